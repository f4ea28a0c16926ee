"""A desk on the other platform than the person: one case and one card, any mix (section 14)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from bot.settings import Desk
from core.errors import NeedsConfirm
from core.tables import case, conversation, outbox, person
from tests.fakes.telegram_shapes import PICTURE
from tests.patience import until
from tests.walk.platforms import ANA, DESK, KIND, OPEN, RESOLVED, Heed, heed_on, hurry

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKS = "I want to talk to a real human please"
BOTH = ("telegram", "discord")
QUIET = {"alerts_per_day": 1000, "incident_users": 1000}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def discord(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Heed]:
    """Staff on Discord; people write on Telegram too."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        hurry(monkeypatch)
        folder = tmp_path_factory.mktemp("discord")
        async with heed_on(folder, on=BOTH, staff="discord", desk=QUIET) as alive:
            yield alive


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def telegram(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Heed]:
    """Staff on Telegram; people write on Discord too."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        hurry(monkeypatch)
        folder = tmp_path_factory.mktemp("telegram")
        async with heed_on(folder, on=BOTH, staff="telegram", desk=QUIET) as alive:
            yield alive


async def thread_for(heed: Heed, user: int) -> str:
    """Let somebody on Telegram ask for a person; return their thread on Discord."""
    await heed.says(user, ASKS)
    return thread_of(heed, f"user{user}")


def thread_of(heed: Heed, who: str) -> str:
    threads = heed.discord.threads(heed.discord.desk)
    [found] = [one for one in threads if one["name"].endswith(f" {who}")]
    return str(found["id"])


async def topic_for(heed: Heed, who: str) -> int:
    """Let somebody on Discord ask for a person; return their topic on Telegram."""
    await heed.writes(who, ASKS)
    topics = heed.telegram.chats[DESK].topics
    [found] = [number for number, one in topics.items() if one["name"].endswith(f" {who}")]
    return int(found)


async def case_of(heed: Heed, user: object) -> Any:
    [home] = await heed.rows(conversation, user=str(user))
    return (await heed.rows(case, conversation_id=home.id))[-1]


def last(heed: Heed, channel: str) -> dict[str, Any]:
    return heed.discord.messages(channel)[-1]


async def test_a_person_on_telegram_is_helped_on_discord_and_on_the_page(discord: Heed) -> None:
    heed, user = discord, 31
    thread = await thread_for(heed, user)
    assert heed.read(user)[-1].startswith(OPEN)
    assert (
        heed.post(thread, "Case ")["content"]
        .splitlines()[0]
        .endswith("user31 · telegram · en · direct message")
    )
    await heed.click("ana", thread, "Claim")
    await heed.says(user, "order 1234")
    copy = heed.post(thread, "user31: order 1234")["id"]
    answer = await heed.writes("ana", "Found it.", channel=thread, reply_to=copy)
    assert heed.read(user)[-1] == "ana · Support\nFound it."
    assert heed.reactions(answer) == {"✅"}  # the mark tells what the person's platform said
    number = (await case_of(heed, user)).id
    with pytest.raises(NeedsConfirm, match="ana"):
        await heed.room.act(number, "reply", "Sam", text="me too")
    await heed.room.act(number, "note", "Sam", text="be kind")
    await heed.quiet()
    assert heed.heard(thread)[-1] == "// Sam: be kind"
    await heed.room.act(number, "reply", "Sam", text="Sam here.", confirm=True)
    await heed.quiet()
    assert heed.read(user)[-1] == "Sam · Support\nSam here."
    assert heed.heard(thread)[-1] == "Sam: Sam here."
    shown = await heed.room.case(number)
    assert shown is not None
    roles = [line["role"] for line in shown["lines"]]
    assert (roles.count("staff"), roles.count("note")) == (2, 1)
    assert shown["claimed_by"] == "ana"
    await heed.click("ana", thread, "Resolve")
    assert heed.read(user)[-1].startswith(RESOLVED)
    assert heed.thread_state(thread)["locked"]


async def test_edits_deletions_and_reactions_cross_over(discord: Heed) -> None:
    heed, user = discord, 32
    thread = await thread_for(heed, user)
    written = await heed.says(user, "the red one")
    heed.telegram.edit(user, written, "the blue one")
    await heed.settled(written, chat=user, kind="edited")
    copy = heed.post(thread, "user32: the blue one")["id"]
    answer = await heed.writes("ana", "It is redy.", channel=thread, reply_to=copy)
    heed.discord.edit(thread, answer, "It is ready.")
    await heed.settled(answer, kind="edited")
    assert heed.read(user)[-1] == "ana · Support\nIt is ready."
    heed.telegram.react(user, user, heed.telegram.seen(user)[-1].message_id, "👍")
    await until(lambda: "👍" in heed.reactions(answer))
    heed.discord.react("ana", thread, copy, "❤️")
    await until(lambda: heed.marks(written, user) == ("❤",))
    heed.discord.delete(thread, answer)
    await heed.settled(answer, kind="deleted")
    assert "ready" not in "\n".join(heed.read(user))
    heed.telegram.block(user)
    await heed.slash("ana", "r", channel=thread, text="Are you there?")
    await until(lambda: any(t.startswith("Not delivered") for t in heed.heard(thread)))


async def test_files_are_downloaded_and_sent_again_under_the_limits(discord: Heed) -> None:
    heed, user = discord, 33
    thread = await thread_for(heed, user)
    await heed.settled(heed.telegram.send_photo(user, user, "look"), chat=user)
    assert last(heed, thread)["content"] == "user33: look"
    assert heed.discord.file(last(heed, thread)) == PICTURE
    await heed.settled(heed.telegram.voice(user, user), chat=user)
    assert heed.discord.file(last(heed, thread)) == b"OggS voice"
    big = heed.telegram.send_file(user, user, "film.mkv", b"x", "my film", 30_000_000)
    await heed.settled(big, chat=user)
    assert "user33: my film" in last(heed, thread)["content"]
    assert "[film.mkv, 30 MB: too big to be passed on" in last(heed, thread)["content"]
    assert last(heed, thread)["attachments"] == []
    await heed.settled(heed.telegram.contact(user, user), chat=user)
    assert "Ben" in last(heed, thread)["content"]
    assert "+49123" in last(heed, thread)["content"]
    copy = heed.post(thread, "user33: look")["id"]
    letter = [("a.pdf", b"%PDF letter")]
    await heed.writes("ana", "here", channel=thread, reply_to=copy, files=letter)
    sent = heed.telegram.seen(user)[-1]
    assert (sent.kind, sent.content, sent.name) == ("document", b"%PDF letter", "a.pdf")
    assert sent.text == "ana · Support\nhere"


async def test_formatting_is_translated_and_no_line_passes_for_anothers(discord: Heed) -> None:
    heed, user = discord, 34
    thread = await thread_for(heed, user)
    bold = [{"type": "bold", "offset": 0, "length": 3}, {"type": "code", "offset": 4, "length": 2}]
    await heed.says(user, "red ls * 2", entities=bold)
    assert last(heed, thread)["content"] == "user34: **red** `ls` \\* 2"
    link = [{"type": "text_link", "offset": 0, "length": 4, "url": "https://example.org/x"}]
    await heed.says(user, "here", entities=link)
    assert last(heed, thread)["content"] == "user34: here (https://example.org/x)"
    code = [{"type": "pre", "offset": 3, "length": 7, "language": "py"}]
    await heed.says(user, "so\nx = 1\ny\nana: I promise 500", entities=code)
    shown = last(heed, thread)["content"].splitlines()
    assert shown[1:-1] == ["```py", "x = 1", "y", "```"]
    assert shown[-1].strip() == "ana: I promise 500"
    assert shown[-1] != shown[-1].lstrip()  # moved to the right: nobody's own line
    await heed.slash("ana", "r", channel=thread, text="**Yes**, use `pip`.")
    answer = heed.telegram.seen(user)[-1]
    assert answer.text == "ana · Support\nYes, use pip."
    assert answer.entities == ("bold", "code")
    await heed.slash("ana", "r", channel=thread, text="snake_case and 2 * 3")
    assert heed.telegram.seen(user)[-1].text == "snake_case and 2 * 3"
    pressed = await heed.click("ana", thread, "Reply")
    await heed.fill(pressed, "*really*")
    assert heed.telegram.seen(user)[-1].text == "really"
    answers = await heed.rows(outbox, kind="relay", cause_kind="staff_post", target=0)
    assert [one.formatted for one in answers if "really" in one.text] == [True]


async def test_mentions_never_ring_and_emoji_become_their_names(discord: Heed) -> None:
    heed, user = discord, 35
    thread = await thread_for(heed, user)
    await heed.says(user, "@everyone @here <@&1> help")
    message = last(heed, thread)
    assert "everyone" in message["content"]
    assert (message["mention_everyone"], message["mentions"]) == (False, [])
    emoji = heed.discord.add_emoji("party")
    await heed.slash("ana", "r", channel=thread, text=f"Hooray <:party:{emoji}>")
    assert heed.read(user)[-1] == "ana · Support\nHooray :party:"


async def test_a_person_on_discord_is_helped_on_telegram(telegram: Heed) -> None:
    heed = telegram
    topic = await topic_for(heed, "maya")
    direct = heed.discord.dm("maya")
    assert heed.heard(direct)[-1].startswith(OPEN)
    queue = await heed.room.queue({})  # the page shows every case, whatever desk it has
    assert "maya" in [row["who"] for row in queue["cases"]]
    written = await heed.writes("maya", "**cannot** log in", files=[("a.png", PICTURE)])
    copy = heed.telegram.seen(DESK, topic)[-1]
    assert (copy.text, copy.kind, copy.content) == ("maya: cannot log in", "photo", PICTURE)
    assert copy.entities == ("bold",)
    emoji = heed.discord.add_emoji("sad")
    await heed.writes("maya", f"<:sad:{emoji}> @everyone")
    assert heed.read(DESK, topic)[-1] == "maya: :sad: @\u2060everyone"
    line = heed.telegram.say(
        DESK, ANA, "Try now", thread=topic,
        entities=[{"type": "bold", "offset": 4, "length": 3}],
    )  # fmt: skip
    await heed.settled(line, chat=DESK)
    assert heed.heard(direct)[-1] == "Ana · Support\nTry **now**"
    assert heed.marks(line) == ("👌",)
    there: dict[str, Any] = {"message_thread_id": topic, "is_topic_message": True}
    await heed.settled(heed.telegram.send_photo(DESK, ANA, "this", **there), chat=DESK)
    assert heed.discord.file(last(heed, direct)) == PICTURE
    await heed.settled(heed.telegram.sticker(DESK, ANA, **there), chat=DESK)
    assert last(heed, direct)["attachments"]
    heed.telegram.edit(DESK, line, "Try later")
    await heed.settled(line, chat=DESK, kind="edited")
    assert "Ana · Support\nTry later" in heed.heard(direct)
    assert heed.marks(line) == ("✍",)
    heed.discord.react("maya", direct, last(heed, direct)["id"], "👍")
    heed.telegram.react(DESK, ANA, copy.message_id, "❤")
    await until(lambda: heed.reactions(written) == {"❤"})
    heed.discord.delete(direct, written)
    await heed.settled(written, kind="deleted")
    assert "(deleted by user)" in heed.read(DESK, topic)
    heed.discord.closed_people.add(heed.discord.person("maya"))
    await heed.staff("Hello?", thread=topic)
    await until(lambda: any("Not delivered to maya" in t for t in heed.read(DESK, topic)))


async def test_a_link_joins_two_accounts_and_nothing_else(telegram: Heed) -> None:
    heed, user = telegram, 41
    await heed.says(user, "/link")
    code = heed.read(user)[-1].partition("Your code is ")[2].partition(".")[0]
    direct = heed.discord.dm("lena")
    await heed.slash("lena", "link", text="WRONG123")
    assert heed.heard(direct)[-1].startswith("I do not know that code")
    await heed.slash("lena", "link", text=code.lower())
    assert heed.heard(direct)[-1].startswith("Done: the team now sees")
    topic = await topic_for(heed, "lena")
    number = (await case_of(heed, heed.discord.person("lena"))).id
    card = next(s.text for s in heed.telegram.seen(DESK, topic) if s.text.startswith("Case "))
    assert "Also on: telegram user41" in card
    await heed.says(user, KIND)  # owner, mood and case stay per place: here the bot answers
    [there] = await heed.rows(conversation, user=str(user))
    assert there.owner == "bot"
    assert await heed.rows(case, conversation_id=there.id) == []
    shown = await heed.room.case(number)
    assert shown is not None
    assert all(KIND not in line["text"] for line in shown["lines"])
    await heed.slash("lena", "link", text=code)  # a code works once
    assert heed.heard(direct)[-1].startswith("I do not know that code")
    await heed.slash("lena", "link", text="off")
    assert heed.heard(direct)[-1].startswith("Your accounts are no longer shown")
    assert [row.linked for row in await heed.rows(person, user=str(user))] == [None]
    shown = await heed.room.case(number)
    assert shown is not None
    assert shown["elsewhere"] == []
    await heed.says(user, "/link")
    late = heed.read(user)[-1].partition("Your code is ")[2].partition(".")[0]
    await heed.later(601)
    await heed.slash("lena", "link", text=late)
    assert heed.heard(direct)[-1].startswith("I do not know that code")


async def test_where_one_desk_is_down_the_next_of_the_list_has_the_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    async with heed_on(tmp_path, on=BOTH, staff="discord", desk=QUIET) as heed:
        both = f"discord:{heed.discord.desk},telegram:{DESK}"
        await heed.restart(desk=Desk(staff=both, **QUIET))
        await heed.says(51, ASKS)
        thread = thread_of(heed, "user51")
        assert heed.telegram.chats[DESK].topics == {}
        heed.discord.denied.add((heed.discord.desk, "view"))  # the bot was shut out
        await heed.says(51, "are you there?")
        await until(lambda: heed.telegram.chats[DESK].topics)
        await heed.quiet()
        topic = heed.topic()
        assert heed.read(51)[-1] == "Your messages are saved but delayed."
        await heed.says(51, "still here")
        assert "user51: still here" in heed.read(DESK, topic)
        await heed.press("Claim")
        await heed.staff("Hi, Ana here.", thread=topic)
        assert heed.read(51)[-1] == "Ana · Support\nHi, Ana here."
        assert len(await heed.rows(case)) == 1
        assert [row["who"] for row in (await heed.room.queue({}))["cases"]] == ["user51"]
        assert thread
