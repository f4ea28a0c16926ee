from __future__ import annotations

import discord
import pytest

from core.errors import NotSent, Refused, RetryAfter, TooLarge
from core.message import File, Media
from tests.adapters.discord_bench import Recorder, keep, post, running
from tests.fakes.discord import DiscordFake
from tests.fakes.discord_shapes import MIB
from tests.patience import until

PICTURE = File(name="mood.png", kind="photo", content=b"\x89PNG first")
OTHER = File(name="mood.png", kind="photo", content=b"\x89PNG second")
CDN = "GET /cdn/*"


def media(channel: str, message_id: str, file_id: str, kind: str = "photo", **more: str) -> Media:
    named = {"platform": "discord", "bot": "main", "chat": channel, "message_id": message_id}
    return Media(**named, file_id=file_id, kind=kind, **more)


async def heard(door: Recorder, before: int = 0) -> Media:
    """Return the first file of the message that is heard next."""
    await until(lambda: len(door.messages) > before)
    message = door.messages[-1]
    hung = message.attachments[0]
    return media(
        message.key.thread or message.key.chat, message.message_id, hung.file_id, hung.kind
    )


async def test_several_files_go_out_in_one_message_under_its_text() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        log = File(name="chat.json", kind="file", content=b"{}")
        sent = post(fake.desk, "the transcript", kind="transcript", files=(PICTURE, log))
        receipt = await heed.deliver(sent, keep)
        [message] = fake.messages(fake.desk)
        assert (message["id"], message["content"]) == (receipt.message_id, "the transcript")
        assert [one["filename"] for one in message["attachments"]] == ["mood.png", "chat.json"]
        assert (fake.file(message), fake.file(message, 1)) == (PICTURE.content, b"{}")


async def test_more_files_than_one_message_holds_follow_in_another() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        files = tuple(File(name=f"{n}.txt", kind="file", content=b"x") for n in range(12))
        receipt = await heed.deliver(post(fake.desk, "all", kind="relay", files=files), keep)
        first, second = fake.messages(fake.desk)
        assert (len(first["attachments"]), len(second["attachments"])) == (10, 2)
        assert (receipt.message_id, receipt.more) == (first["id"], (second["id"],))


async def test_a_broken_upload_is_repeated_whole_and_makes_one_message() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        fake.fail("POST /channels/*/messages", "reset")
        await heed.deliver(post(fake.desk, "", kind="picture", files=(PICTURE,)), keep)
        [message] = fake.messages(fake.desk)
        assert fake.file(message) == PICTURE.content


async def test_a_card_holds_its_picture_is_pinned_and_gets_a_new_one() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        card = post(fake.desk, "queued", kind="card", files=(PICTURE,), pin=True)
        receipt = await heed.deliver(card, keep)
        [message] = fake.messages(fake.desk)
        assert (message["pinned"], fake.file(message)) == (True, PICTURE.content)
        change = post(
            fake.desk, "human", kind="redraw", message_id=receipt.message_id, files=(OTHER,)
        )
        await heed.deliver(change, keep)
        [message] = fake.messages(fake.desk)
        assert [one["filename"] for one in message["attachments"]] == ["mood.png"]
        assert (message["content"], fake.file(message)) == ("human", OTHER.content)
        plain = post(fake.desk, "done", kind="redraw", message_id=receipt.message_id)
        await heed.deliver(plain, keep)
        assert fake.file(fake.messages(fake.desk)[0]) == OTHER.content


async def test_a_refused_pin_leaves_the_card_where_it_is() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        fake.denied.add((fake.desk, "pin"))
        receipt = await heed.deliver(post(fake.desk, "card", kind="card", pin=True), keep)
        [message] = fake.messages(fake.desk)
        assert (message["id"], message["pinned"]) == (receipt.message_id, False)


async def test_a_file_from_the_same_bot_is_fetched_by_a_fresh_address_and_sent_again() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        fake.link_lives = -1.0  # the address in the event is dead on arrival
        fake.say("ann", "look", files=[("cat.png", b"a cat")])
        found = await heard(door)
        with pytest.raises(Refused):
            await heed.fetch(found)
        fake.link_lives = 86_400.0
        await heed.deliver(post(fake.desk, "Ann: look", kind="relay", media=(found,)), keep)
        [message] = fake.messages(fake.desk)
        assert (message["content"], fake.file(message)) == ("Ann: look", b"a cat")
        assert message["attachments"][0]["filename"] == "cat.png"


async def test_a_file_can_be_fetched_also_from_a_forward() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        first = fake.say("ann", "mine", files=[("voice.ogg", b"a voice")])
        file = await heed.fetch(await heard(door))
        assert (file.name, file.kind, file.content) == ("voice.ogg", "voice", b"a voice")
        fake.say("ben", "", forward=(fake.dm("ann"), first))
        forwarded = await heard(door, before=1)
        assert (door.messages[-1].text, door.messages[-1].scored) == ("mine", False)
        assert (await heed.fetch(forwarded)).content == b"a voice"


async def test_what_cannot_be_fetched_is_gone_or_has_to_wait() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        said = fake.say("ann", "look", files=[("cat.png", b"a cat")])
        found = await heard(door)
        fake.fail(CDN, "429-cloudflare", retry_after=7.0)
        with pytest.raises(RetryAfter) as waits:
            await heed.fetch(found)
        assert waits.value.seconds == 7.0
        for fault in ("reset", "503"):
            fake.fail(CDN, fault, count=9)
            with pytest.raises(NotSent):
                await heed.fetch(found)
            fake.faults.clear()
        with pytest.raises(Refused, match="no longer"):
            await heed.fetch(media(found.chat, said, "1"))
        fake.delete(fake.dm("ann"), said)
        with pytest.raises(Refused, match="10008"):
            await heed.fetch(found)
        with pytest.raises(Refused, match="no message"):
            await heed.fetch(media("web", "x", "1"))


async def test_a_file_beyond_the_limit_is_named_before_it_is_downloaded() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        fake.upload_limit = 100 * MIB  # a person with a better account than the server's
        fake.say("ann", "film", files=[("film.mp4", b"x" * (50 * MIB + 1))])
        found = await heard(door)
        fake.upload_limit = None
        with pytest.raises(TooLarge):
            await heed.fetch(found)
        with pytest.raises(TooLarge):
            await heed.deliver(post(fake.desk, "film", kind="relay", media=(found,)), keep)
        assert fake.called(CDN) == []
        assert fake.messages(fake.desk) == []


@pytest.mark.parametrize(("tier", "most"), [(1, 10), (2, 50)])
async def test_how_large_a_file_may_be_depends_on_the_server(tier: int, most: int) -> None:
    fits = File(name="a.bin", kind="file", content=b"x" * (most * MIB))
    large = File(name="b.bin", kind="file", content=b"x" * (most * MIB + 1))
    async with DiscordFake() as fake:
        fake.tier = tier
        async with running(fake, Recorder()) as heed:
            await heed.deliver(post(fake.desk, "", kind="relay", files=(fits,)), keep)
            with pytest.raises(TooLarge):
                await heed.deliver(post(fake.desk, "", kind="relay", files=(large,)), keep)
            if tier == 2:
                with pytest.raises(TooLarge):
                    await heed.deliver(post(fake.dm("ann"), "", kind="relay", files=(fits,)), keep)
            assert len(fake.called("POST /channels/*/messages")) == 1


async def test_a_file_that_only_discord_finds_too_large_is_said_to_be_so() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        fake.upload_limit = 4
        with pytest.raises(TooLarge, match="40005"):
            await heed.deliver(post(fake.desk, "", kind="picture", files=(PICTURE,)), keep)


async def test_a_sticker_is_passed_on_as_a_picture_or_else_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        monkeypatch.setattr(discord.Asset, "BASE", fake.cdn_base)
        fake.say("ann", "", sticker=("wave", 1))
        wave = await heard(door)
        assert door.messages[0].attachments[0].name == "wave"
        assert (await heed.fetch(wave)).name == "wave.png"
        await heed.deliver(post(fake.desk, "Ann:", kind="relay", media=(wave,)), keep)
        fake.say("ann", "", sticker=("dance", 3))
        dance = await heard(door, before=1)
        with pytest.raises(Refused, match="no picture"):
            await heed.fetch(dance)
        named = media(dance.chat, dance.message_id, dance.file_id, "sticker", name="dance")
        again = post(fake.desk, "Ann:", kind="relay", media=(named,), nonce="b")
        await heed.deliver(again, keep)
        first, second = fake.messages(fake.desk)
        assert fake.file(first) == b"sticker wave"
        assert second["content"] == "Ann:\n:dance:"
