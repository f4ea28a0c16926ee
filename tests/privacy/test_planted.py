"""Planted words after /forget: in no byte of the database, of the logs, of staff's chats."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from core.engine.scripted import ScriptedEngine
from core.message import Author
from core.store import people
from core.tables import conversation, person
from tests.patience import PATIENCE, until
from tests.privacy.planted import code_in, files, left, logged, mark
from tests.walk.house import living, settings_for
from tests.walk.platforms import DESK, FURY, GROUP, MAYA, Heed, heed_on, hurry

Plant = Callable[[Heed, str], Awaitable[list[str]]]
TELEGRAM = (
    *(
        "name",
        "text",
        "before",
        "after",
        "file",
        "caption",
        "group",
        "forwarded",
        "link",
        "contact",
    ),
    *("button", "poll", "command", "unreadable", "upset", "late"),
)
DISCORD = ("text", "before", "after", "file", "caption", "group", "slash", "poll", "upset", "late")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr("core.janitor.PAUSE", 0.05)


async def on_telegram(heed: Heed, tag: str) -> list[str]:
    """Let Maya leave marked words in whatever she can fill on Telegram, and need a person."""
    fake, said = heed.telegram, {one: mark(f"{tag}{one}") for one in TELEGRAM}
    heed.telegram.group(GROUP)
    me = {"from": {**fake._user(MAYA), "first_name": said["name"]}}
    await heed.says(MAYA, said["text"], **me)
    await heed.says(MAYA, "", contact={"phone_number": "+49", "first_name": said["contact"]})
    first = await heed.says(MAYA, f"{said['before']} and more", **me)
    fake.edit(MAYA, first, said["after"])
    await heed.settled(first, kind="edited")
    await heed.says(MAYA, f"@{fake.username} {said['group']}", chat=GROUP, **me)
    origin = {"type": "hidden_user", "sender_user_name": said["forwarded"], "date": 1}
    await heed.says(MAYA, "look", forward_origin=origin, **me)
    link = {"type": "text_link", "offset": 0, "length": 4, "url": f"https://x.org/{said['link']}"}
    await heed.says(MAYA, f"here {said['link']}", entities=[link], **me)
    held = fake.send_file(MAYA, MAYA, f"{said['file']}.pdf", caption=said["caption"])
    await heed.settled(held, chat=MAYA)
    await heed.says(MAYA, f"/frob {said['command']}", **me)
    fake.push("callback_query", {
        "id": f"cb-{tag}", "from": me["from"], "chat_instance": "1", "data": said["button"],
        "message": fake.chats[MAYA].messages[first],
    })  # fmt: skip
    fake.push("message", {"text": said["unreadable"], "from": {"id": MAYA}, "chat": {"type": 7}})
    await heed.says(MAYA, f"{FURY} {said['upset']}", **me)
    second = await heed.says(MAYA, f"{said['late']} was wrong", **me)
    fake.edit(MAYA, second, f"{said['late']} is right")
    await heed.settled(second, kind="edited")
    fake.send_file(MAYA, MAYA, f"{said['file']}.pdf", caption=said["caption"])
    await heed.says(MAYA, "", poll={
        "id": "1", "question": said["poll"], "options": [{"text": "a", "voter_count": 0}],
        "is_closed": False, "is_anonymous": True, "type": "regular", "total_voter_count": 0,
        "allows_multiple_answers": False,
    })  # fmt: skip
    await heed.quiet()
    return [f"{tag}{one}" for one in TELEGRAM]


async def on_discord(heed: Heed, tag: str) -> list[str]:
    """Let maya do the same on Discord."""
    fake, said = heed.discord, {one: mark(f"{tag}{one}") for one in DISCORD}
    direct = fake.dm("maya")
    await heed.writes("maya", said["text"])
    first = await heed.writes("maya", f"{said['before']} and more")
    fake.edit(direct, first, said["after"])
    await heed.settled(first, kind="edited")
    await heed.writes("maya", said["group"], channel=fake.channel, mention=True)
    await heed.writes("maya", said["caption"], files=((f"{said['file']}.pdf", b"%PDF"),))
    await heed.writes("maya", "", poll=(said["poll"], ("a", "b")))
    await heed.slash("maya", "why", text=said["slash"])
    await heed.writes("maya", f"{FURY} {said['upset']}")
    second = await heed.writes("maya", f"{said['late']} was wrong")
    fake.edit(direct, second, f"{said['late']} is right")
    await heed.settled(second, kind="edited")
    await heed.writes("maya", said["caption"], files=((f"{said['file']}.pdf", b"%PDF"),))
    await heed.quiet()
    return [f"{tag}{one}" for one in DISCORD]


def staffs(heed: Heed) -> list[tuple[str, bytes]]:
    """Return all that the bot has left for staff to read in their chats.

    Not what Telegram itself writes there when a topic is made: its name of then, which no bot can
    delete. The topic's own name is looked at.
    """
    home = heed.telegram.chats[DESK]
    found: list[Any] = [
        one
        for one in home.messages.values()
        if one.get("from", {}).get("is_bot") and "forum_topic_created" not in one
    ]
    found += [line.content for line in heed.telegram.seen(DESK) if line.who == "bot"]
    found.append(home.topics)
    threads = heed.discord.threads(heed.discord.desk)
    for channel in (heed.discord.desk, *(one["id"] for one in threads)):
        found += [*heed.discord.messages(channel), *threads]
    words = "\n".join(
        one.decode("latin-1")
        if isinstance(one, bytes)
        else json.dumps(one, ensure_ascii=False, default=str)
        for one in found
    )
    return [("staff", words.encode())]


async def cleaned(heed: Heed) -> None:
    """Wait until the janitor has nothing more to do for anybody forgotten."""
    async with asyncio.timeout(PATIENCE):
        while any(row.forgotten for row in await heed.rows(conversation)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await heed.app.janitor.look()
    await heed.app.janitor.look()


async def forget(heed: Heed, platform: str) -> None:
    """Let Maya be forgotten on a platform, and wait until she is told."""
    if platform == "telegram":
        heed.telegram.say(MAYA, MAYA, "/forget yes")
        await until(lambda: heed.read(MAYA)[-1].startswith("Done: "))
    else:
        direct = heed.discord.dm("maya")
        heed.discord.slash("maya", "forget", text="yes")
        await until(lambda: heed.heard(direct)[-1].startswith("Done: "))
    await heed.quiet()


async def remains(heed: Heed, folder: Path, fields: list[str], log: StringIO) -> list[Any]:
    """Return what can still be read of planted fields once all is done."""
    await cleaned(heed)
    return left(fields, [*files(folder), ("log", log.getvalue().encode()), *staffs(heed)])


@pytest.mark.proof_short
async def test_nothing_of_anybody_is_left_after_forget_wherever_they_wrote(
    tmp_path: Path, proof: Any
) -> None:
    """Telegram and Discord, linked: with a case open, after edits, under a reader, in mid-turn."""
    violations: list[Any] = []
    tried = 0
    with logged() as log:
        both = {"on": ("telegram", "discord"), "staff": "telegram"}
        async with heed_on(tmp_path, **both) as heed:
            engine = ScriptedEngine()
            await heed.app.mind.swap(engine)
            here = await on_telegram(heed, "tg")
            there = await on_discord(heed, "dc")
            await heed.says(MAYA, "/link")
            await heed.slash("maya", "link", text=code_in(heed.read(MAYA)[-1]))
            assert all(row.linked for row in await heed.rows(person))
            shown = left([*here, *there], [*files(tmp_path), *staffs(heed)])
            assert {field for field, _ in shown} >= {*here, *there} - {"tgbutton"}
            assert "staff" in {name for _, name in shown}
            # A reader holds the old state, and a turn of hers is being written in the group.
            reader = sqlite3.connect(tmp_path / "heed.db")
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM history").fetchone()
            engine.hang("reply")
            engine.hang("start")
            words = f"@{heed.telegram.username} {mark('tgmid')}"
            heed.telegram.say(GROUP, MAYA, words)
            await until(lambda: any(mark("tgmid") in str(one) for one in engine.log))
            await forget_meanwhile(heed)
            engine.release()
            await heed.quiet()
            reader.close()
            dropped = {one.key.chat for one in engine.asked("drop") if one.key is not None}
            assert dropped >= {str(MAYA), str(GROUP)}  # what the model held of her, too
            violations += await remains(heed, tmp_path, [*here, "tgmid"], log)
            tried += len(here) + 1
            kept = left(there, files(tmp_path))
            assert {field for field, _ in kept} >= {"dctext", "dcgroup"}  # another account's
            assert [row.linked for row in await heed.rows(person)] == [None]
            again = await on_telegram(heed, "tw")  # who comes back begins anew, and may go again
            await forget(heed, "discord")
            violations += await remains(heed, tmp_path, there, log)
            await forget(heed, "telegram")
            violations += await remains(heed, tmp_path, [*here, *there, *again], log)
            tried += 2 * len(there) + len(again)
            assert await heed.rows(conversation, user=str(MAYA)) == []
            assert await heed.rows(person) == []
        violations += left([*here, *there, *again], files(tmp_path))
    proof(
        "privacy",
        "planted words after /forget, in no byte of database, -wal, -shm, log or staff's posts",
        f"{tried} fields; two platforms, linked accounts, groups, a case open, edits, a reader, "
        "a turn at work, coming back",
        violations,
    )


async def forget_meanwhile(heed: Heed) -> None:
    """Let Maya be forgotten while something of hers is being written elsewhere."""
    heed.telegram.say(MAYA, MAYA, "/forget yes")
    await until(lambda: heed.read(MAYA)[-1].startswith("Done: "))


@pytest.mark.proof_short
async def test_nothing_is_left_of_somebody_on_the_web_or_erased_by_the_operator(
    tmp_path: Path, proof: Any
) -> None:
    fields = ["webtext", "webupset", "webname"]
    with logged() as log:
        async with living(settings_for(tmp_path)) as house:
            author = Author(id="ann", name=mark("webname"))
            await house.say(mark("webtext"), author=author)
            await house.say(f"{FURY} {mark('webupset')}", author=author)
            await house.idle()
            assert {field for field, _ in left(fields, files(tmp_path))} == {*fields}
            key = await house.app.store.read(_key_of_ann)
            erased = await house.app.commands.rights.erase(key)
            assert erased is not None
            assert erased.count.cases == 1
            async with asyncio.timeout(PATIENCE):
                while await house.app.store.read(_anybody):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            await house.app.janitor.look()
            await house.app.janitor.look()
            violations = left(fields, [*files(tmp_path), ("log", log.getvalue().encode())])
        violations += left(fields, files(tmp_path))
    proof(
        "privacy",
        "planted words of a person of the web, erased by the operator",
        f"{len(fields)} fields",
        violations,
    )


def _key_of_ann(connection: Any) -> Any:
    [found] = people.find(connection, "web", "ann")
    return people.key_of(connection, found)


def _anybody(connection: Any) -> bool:
    return connection.execute(select(conversation.c.id)).first() is not None


async def test_what_staff_were_told_before_an_edit_goes_when_the_message_is_deleted(
    tmp_path: Path,
) -> None:
    async with heed_on(tmp_path, on=("discord",), staff="discord") as heed:
        await heed.writes("maya", FURY)
        direct = heed.discord.dm("maya")
        said = await heed.writes("maya", mark("first"))
        for text in (mark("second"), mark("third")):
            heed.discord.edit(direct, said, text)
            await heed.settled(said, kind="edited")
            await heed.quiet()
        told = heed.heard(heed.thread())
        assert [line.partition(": ")[2] for line in told if line.startswith("edited; was")] == [
            mark("first"),
            mark("second"),
        ]
        heed.discord.delete(direct, said)
        await heed.settled(said, kind="deleted")
        await heed.quiet()
        seen = json.dumps(heed.heard(heed.thread()), ensure_ascii=False)
        fields = ["first", "second", "third"]
        assert [field for field in fields if mark(field) in seen] == []
        for field in fields:
            assert await heed.contains(mark(field)) == []
