"""On Discord staff point at a message, people ask why, and nothing unheard is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.store import privacy
from core.tables import case, conversation, inbox
from tests.patience import until
from tests.walk.platforms import GROUP_NOTICE, KIND, Heed, heed_on, hurry

ESCALATE = "Escalate this message"
SECRET = "xyzzy-only-among-ourselves"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
async def heed(tmp_path: Path) -> AsyncIterator[Heed]:
    async with heed_on(tmp_path, on=("discord",), staff="discord") as alive:
        yield alive


def bytes_of(folder: Path) -> bytes:
    """Return all that stands in the database's files."""
    return b"".join(one.read_bytes() for one in folder.iterdir() if one.is_file())


async def at_work(heed: Heed, name: str) -> None:
    """Let somebody be known as staff: they have used a command at the desk."""
    heed.discord.slash(name, "save", channel=heed.discord.desk, text="hello Good day")
    await until(lambda: heed.whispers(name))
    await heed.quiet()


async def pointed(heed: Heed, name: str, message_id: str) -> str:
    """Point at a message of the general channel; return what was whispered."""
    before = len(heed.whispers(name))
    heed.discord.menu(name, ESCALATE, channel=heed.discord.channel, message_id=message_id)
    await until(lambda: len(heed.whispers(name)) > before)
    await heed.quiet()
    return heed.whispers(name)[-1]


async def test_staff_point_at_a_message_and_its_author_has_a_case(heed: Heed) -> None:
    await at_work(heed, "ana")
    wrote = heed.discord.say("maya", "nobody helps me with order 77", channel=heed.discord.channel)
    told = await pointed(heed, "ana", wrote)
    [opened] = await heed.rows(case)
    assert (opened.rule, opened.state, told) == ("staff", "queued", told)
    assert f"#{opened.id}" in told
    [theirs] = await heed.rows(conversation, user=heed.discord.person("maya"))
    assert (opened.conversation_id, theirs.name, theirs.private) == (theirs.id, "maya", False)
    assert theirs.owner == "queue"
    notice = next(
        one
        for one in heed.discord.messages(heed.discord.channel)
        if one["content"].startswith(GROUP_NOTICE)
    )
    assert notice["message_reference"]["message_id"] == wrote
    thread = heed.thread()
    assert any("maya: nobody helps me with order 77" in one for one in heed.heard(thread))
    again = await pointed(heed, "ana", wrote)
    assert "already" in again
    assert len(await heed.rows(case)) == 1


async def test_the_words_that_were_pointed_at_go_when_their_author_is_forgotten(heed: Heed) -> None:
    await at_work(heed, "ana")
    wrote = heed.discord.say("maya", f"help me {SECRET}", channel=heed.discord.channel)
    await pointed(heed, "ana", wrote)
    assert SECRET in "\n".join(heed.heard(heed.thread()))
    heed.discord.slash("maya", "forget", channel=heed.discord.channel, text="yes")
    await heed.settled(kind="command")
    await until(lambda: SECRET not in "\n".join(heed.heard(heed.thread())))
    await heed.quiet()
    await heed.app.store.write(privacy.bury)
    assert await heed.contains(SECRET) == []


async def test_nobody_but_staff_points_and_never_at_bots_or_colleagues(heed: Heed) -> None:
    await at_work(heed, "ana")
    wrote = heed.discord.say("maya", "hello all", channel=heed.discord.channel)
    assert "Only staff" in await pointed(heed, "ben", wrote)
    own = heed.discord.say("ana", "I am here", channel=heed.discord.channel)
    assert "Nobody needs help" in await pointed(heed, "ana", own)
    asked = await heed.writes("maya", KIND, channel=heed.discord.channel, mention=True)
    answer = next(
        one
        for one in heed.discord.messages(heed.discord.channel)
        if (one.get("message_reference") or {}).get("message_id") == asked
    )
    assert "Nobody needs help" in await pointed(heed, "ana", answer["id"])
    assert await heed.rows(case) == []


async def test_a_role_of_the_desk_is_enough_to_point(heed: Heed) -> None:
    role = heed.discord.give_role("bob", "support")
    desk = heed.app.settings.desk.model_copy(update={"roles": (role,)})
    await heed.restart(desk=desk)
    wrote = heed.discord.say("maya", "hello all", channel=heed.discord.channel)
    assert "Only staff" in await pointed(heed, "ben", wrote)
    assert "is open" in await pointed(heed, "bob", wrote)


async def test_what_staff_type_is_completed_from_the_desk(heed: Heed) -> None:
    await at_work(heed, "ana")

    async def shown(command: str, text: str) -> list[str]:
        begun = heed.discord.begin("ana", command, text, channel=heed.discord.desk)
        await begun.answered.wait()
        assert begun.answer is not None
        return [one["name"] for one in begun.answer["data"]["choices"]]

    assert await shown("s", "he") == ["hello"]
    assert await shown("assign", "A") == ["ana"]
    assert await shown("snooze", "1") == ["1h", "1d"]
    assert (await shown("resolve", "refunded"))[:2] == ["refunded", "refunded in 30m"]
    assert await shown("note", "x") == []


async def test_whoever_runs_the_server_is_told_which_gate_stops_a_message(heed: Heed) -> None:
    heed.discord.slash("owner", "why", channel=heed.discord.channel)
    await until(lambda: heed.whispers("owner"))
    assert "discord.watch" in heed.whispers("owner")[-1]
    heed.discord.slash("owner", "here", channel=heed.discord.channel)
    await until(lambda: len(heed.whispers("owner")) == 2)
    assert heed.discord.channel in heed.whispers("owner")[-1]


@pytest.mark.parametrize("watching", [False, True])
async def test_no_text_of_an_unwatched_channel_is_in_the_database_file(
    tmp_path: Path,
    watching: bool,  # noqa: FBT001
) -> None:
    discord = {"mode": "watch", "watch": ("1",)} if watching else {}
    async with heed_on(
        tmp_path, on=("discord",), staff="discord", reads_all=watching, discord=discord
    ) as heed:
        channel = heed.discord.channel
        thread = heed.discord.add_channel("t", kind=11, parent=channel)
        for where in (channel, thread):
            first = heed.discord.say("maya", f"one {SECRET}", channel=where)
            heed.discord.say("ben", f"two {SECRET}", channel=where, reply_to=first)
            heed.discord.edit(where, first, f"edited {SECRET}")
            heed.discord.say("ben", "", channel=where, files=[(f"{SECRET}.txt", b"x")])
            heed.discord.react("ben", where, first, "👍")
            heed.discord.delete(where, first)
        await heed.writes("maya", "a word for you", channel=channel, mention=True)
        heed.discord.invalidate()  # the history is read again
        heed.discord.say("ben", f"meanwhile {SECRET}", channel=channel)
        await heed.writes("ben", "hello", channel=channel, mention=True)
        assert len(await heed.rows(inbox, kind="said")) == 2
    kept = bytes_of(tmp_path)
    assert b"a word for you" in kept
    assert SECRET.encode() not in kept
