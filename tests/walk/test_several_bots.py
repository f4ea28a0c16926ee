"""Two bots on Telegram and two on Discord in one process, and one desk for all of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.app import App
from bot.desk import desk_places
from bot.settings import Desk, Discord, Settings, Telegram
from core.errors import SetupError
from core.tables import case, conversation
from tests.fakes.discord import DiscordFake
from tests.fakes.switchboard import Switchboard
from tests.fakes.telegram import TelegramFake
from tests.fakes.telegram_shapes import PICTURE
from tests.patience import until
from tests.walk.platforms import (
    ANA,
    DESK,
    FURY,
    KIND,
    MAYA,
    OPEN,
    Heed,
    Moment,
    Town,
    heed_on,
    hurry,
    settings_for,
    unsigned,
)
from tests.walk.program import Program

SHOP = "5555:AAHeedTestsOnlyOtherTokenAAAAAAAAAAA"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


class Street(Heed):
    """A Heed with a second bot on either platform."""

    shop: Town
    club: DiscordFake


@asynccontextmanager
async def _street(folder: Path, staff: str) -> AsyncIterator[Street]:
    async with AsyncExitStack() as stack:
        clock = Moment()
        towns = [Town(clock=clock), Town(SHOP, username="ShopBot", clock=clock)]
        one, shop = [await stack.enter_async_context(town) for town in towns]
        guilds = [DiscordFake(clock=clock), DiscordFake(token="club.discord.token", clock=clock)]
        main, club = [await stack.enter_async_context(guild) for guild in guilds]
        board = await stack.enter_async_context(Switchboard(main, club))
        one.group(DESK, title="Desk", forum=True)
        where = {"telegram": f"telegram:{DESK}", "discord": f"discord:{main.desk}"}[staff]
        settings = _settings(folder, (one, shop), (main, club), board, where)
        life = await stack.enter_async_context(AsyncExitStack())
        street = Street(life, one, main, clock)
        street.shop, street.club = shop, club
        await street._start(settings)
        await until(lambda: shop.called("getUpdates"))
        stack.push_async_callback(street.quiet)
        yield street


def _settings(
    folder: Path,
    towns: tuple[Town, Town],
    guilds: tuple[DiscordFake, DiscordFake],
    board: Switchboard,
    staff: str,
) -> Settings:
    one, shop = towns
    bases: dict[str, Any] = {"api_base": shop.api_base, "file_base": shop.file_base}
    telegram = Telegram(
        token=one.token, api_base=one.api_base, file_base=one.file_base,
        more={"shop": {"token": shop.token, **bases}},
    )  # fmt: skip
    discord = Discord(
        token=guilds[0].token, api_base=board.api_base, gateway_url=board.gateway_url,
        more={"club": {"token": guilds[1].token}},
    )  # fmt: skip
    desk = Desk(staff=staff)
    return settings_for(folder, telegram=telegram, discord=discord, desk=desk)


async def _answered(street: Street, text: str) -> None:
    """Let staff answer at the Telegram desk in the newest topic."""
    await street.staff(text, thread=max(street.telegram.chats[DESK].topics))


async def test_people_of_a_second_bot_are_helped_at_the_desk_of_the_first(tmp_path: Path) -> None:
    async with _street(tmp_path, "telegram") as street:
        shop, club = street.shop, street.club
        kinds = sorted((one.platform, one.bot) for one in street.app.adapters.values())
        assert kinds == [
            ("discord", "club"), ("discord", "main"), ("telegram", "4242"), ("telegram", "5555"),
        ]  # fmt: skip

        cross = shop.say(MAYA, MAYA, FURY)
        await street.settled(cross, bot="5555")
        assert shop.texts(MAYA)[-1].startswith(OPEN)
        topic = street.topic()
        await street.staff("Hi Maya, Ana here.")
        assert unsigned(shop.texts(MAYA)[-1]) == "Hi Maya, Ana here."
        assert MAYA not in street.telegram.chats  # not a word of it came from the first bot

        await _photos(street, topic)

        angry = club.say("ben", FURY)
        await street.settled(angry, bot="club")
        await _answered(street, "Ben, I am looking into it.")
        heard = [text for who, text in club.transcript(club.dm("ben")) if who == "Heed"]
        assert unsigned(heard[-1]) == "Ben, I am looking into it."
        assert len(await street.rows(case)) == 2

        tried = shop.say(ANA, ANA, FURY)  # one of the staff tries the second bot
        await street.settled(tried, bot="5555")
        assert len(await street.rows(case)) == 2
        shown = [(one["platform"], one["name"]) for one in street.room.platforms()]
        assert shown == [
            ("telegram", "@HeedBot"),
            ("telegram", "@ShopBot"),
            ("discord", "Heed"),
            ("discord", "Heed"),
        ]


async def _photos(street: Street, topic: int) -> None:
    """A picture goes from the person to the desk, and another one back."""
    shop = street.shop
    sent = shop.send_photo(MAYA, MAYA, "look", PICTURE + b" of a bill")
    await street.settled(sent, bot="5555")
    [shown] = [one for one in street.telegram.seen(DESK, topic) if one.content.endswith(b"bill")]
    assert (shown.who, shown.kind) == ("bot", "photo")
    await street.settled(
        street.telegram.send_photo(
            DESK, ANA, "here", PICTURE + b" back", message_thread_id=topic, is_topic_message=True
        ),
        chat=DESK,
    )
    assert any(one.content.endswith(b"back") for one in shop.seen(MAYA))


async def test_the_same_person_at_two_bots_has_two_conversations(tmp_path: Path) -> None:
    async with _street(tmp_path, "discord") as street:
        await asyncio.gather(
            street.settled(street.telegram.say(MAYA, MAYA, KIND), bot="4242"),
            street.settled(street.shop.say(MAYA, MAYA, FURY), bot="5555"),
        )
        assert street.shop.texts(MAYA)[-1].startswith(OPEN)
        assert not any(text.startswith(OPEN) for text in street.read(MAYA))
        assert len(await street.rows(conversation, user=str(MAYA))) == 2
        thread = street.thread()  # in the channel of the first Discord bot
        await street.slash("ana", "r", channel=thread, text="Hello from Discord.")
        assert unsigned(street.shop.texts(MAYA)[-1]) == "Hello from Discord."
        assert street.club.threads(street.club.desk) == []


async def test_a_second_bot_alone_keeps_the_desk(tmp_path: Path) -> None:
    """Without a token for the first one the desk belongs to the first that has one."""
    further = partial(dict, more={"shop": {"token": SHOP}})
    async with heed_on(tmp_path, staff="web") as heed:
        own = heed.app.settings.telegram
        alone = Telegram(**further(api_base=own.api_base, file_base=own.file_base))
        desk = Desk(staff=f"telegram:{DESK}")
        settings = heed.app.settings.model_copy(update={"telegram": alone, "desk": desk})
        assert [(place.bot, place.chat) for place in desk_places(settings)] == [("5555", str(DESK))]


async def test_each_bot_has_its_own_webhook_and_secret(tmp_path: Path) -> None:
    hook = {"MODE": "webhook", "WEBHOOK_URL": "https://bot.example/telegram/webhook"}
    async with TelegramFake() as one, TelegramFake(SHOP, username="ShopBot") as shop:
        first = {"TOKEN": one.token, "API_BASE": one.api_base, "WEBHOOK_SECRET": "one"}
        more = {"TOKEN": SHOP, "API_BASE": shop.api_base, "WEBHOOK_SECRET": "two"}
        settings = {
            **{f"HEED_TELEGRAM__{key}": value for key, value in (first | hook).items()},
            **{f"HEED_TELEGRAM__MORE__SHOP__{key}": value for key, value in (more | hook).items()},
        }
        async with Program(tmp_path, HEED_MODEL__NAME="embedded", **settings) as program:
            await one.until(lambda: one.webhook)
            await shop.until(lambda: shop.webhook)
            assert (one.webhook["secret"], shop.webhook["secret"]) == ("one", "two")
            shop.say(MAYA, MAYA, "hello")
            update = json.dumps(shop.updates.pop()).encode()
            path = f"{program.url}/telegram/webhook"
            async with aiohttp.ClientSession() as client:
                for url, secret, status in (
                    (f"{path}/shop", "one", 401),
                    (path, "two", 401),
                    (f"{path}/fleet", "two", 404),
                    (f"{path}/shop", "two", 200),
                ):
                    told = {"X-Telegram-Bot-Api-Secret-Token": secret}
                    async with client.post(url, data=update, headers=told) as answer:
                        assert answer.status == status
            await shop.until(lambda: shop.texts(MAYA))
            assert one.chats == {}


async def test_a_token_that_cannot_be_one_is_named_by_its_own_setting(tmp_path: Path) -> None:
    app = App(settings_for(tmp_path, telegram=Telegram(more={"shop": {"token": "abc"}})))
    with pytest.raises(SetupError, match=r"^telegram\.more\.shop\.token does not look like"):
        app.connect()
    await app.close()
