"""The desk on the page: what staff do there, and what a person on Telegram gets to see of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from argon2 import PasswordHasher

from core.errors import DeskError, NeedsConfirm, StaleCard
from core.store import people
from core.tables import case, conversation, outbox
from tests.patience import PATIENCE, until
from tests.walk.house import House, living, settings_for
from tests.walk.platforms import BACK_TO_BOT, FURY, KIND, OPEN, RESOLVED, Heed, heed_on, hurry

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKS = "I want to talk to a real human please"
QUIET = {"alerts_per_day": 1000, "incident_users": 1000}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def heed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Heed]:
    """Staff sit at the page alone; each test has its own person on Telegram."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        hurry(monkeypatch)
        folder = tmp_path_factory.mktemp("desk")
        async with heed_on(folder, staff="web", desk=QUIET) as alive:
            for name in ("Sam", "Kim"):
                await alive.app.store.write(
                    partial(people.add_staff, name=name, password="", now=0.0, admin=False)
                )
            yield alive


async def asks(heed: Heed, user: int, text: str = ASKS) -> int:
    """Let somebody ask for a person; return the number of their case."""
    await heed.says(user, text)
    [home] = await heed.rows(conversation, user=str(user))
    return int((await heed.rows(case, conversation_id=home.id))[-1].id)


async def act(heed: Heed, number: int, verb: Any, who: str = "Sam", **more: Any) -> dict[str, Any]:
    done = await heed.room.act(number, verb, who, **more)
    await heed.quiet()
    return done


async def shown(heed: Heed, number: int) -> dict[str, Any]:
    found = await heed.room.case(number)
    assert found is not None
    return found


async def test_3_and_9_claim_answer_note_edit_and_take_back(heed: Heed) -> None:
    user = 61
    number = await asks(heed, user)
    assert heed.read(user)[-1].startswith(OPEN)
    before = heed.read(user)
    claimed = await act(heed, number, "claim")
    assert (claimed["state"], claimed["claimed_by"], claimed["owner"]) == ("human", "Sam", "human")
    await act(heed, number, "note", text="sounds exhausted")
    assert heed.read(user) == before
    await act(heed, number, "reply", text="Sam here: it left todday.")
    assert heed.read(user)[-1] == "Sam · Support\nSam here: it left todday."
    lines = (await shown(heed, number))["lines"]
    [said] = [line for line in lines if line["role"] == "staff"]
    assert (said["mark"], said["name"]) == ("sent", "Sam")
    assert [line["text"] for line in lines if line["role"] == "note"] == ["sounds exhausted"]
    await act(heed, number, "edit", text=f"{said['id']} Sam here: it left today.")
    assert heed.read(user)[-1] == "Sam · Support\nSam here: it left today."
    [said] = [one for one in (await shown(heed, number))["lines"] if one["id"] == said["id"]]
    assert (said["mark"], said["was"]) == ("edited", "Sam here: it left todday.")
    await act(heed, number, "delete", text=str(said["id"]))
    assert heed.read(user) == before
    with pytest.raises(DeskError, match="needs some text"):
        await act(heed, number, "reply", text="  ")
    await heed.says(user, "hello?")
    assert heed.read(user) == before  # the machine is silent


async def test_5_and_6_two_of_staff_and_an_old_card(heed: Heed) -> None:
    user = 62
    number = await asks(heed, user)
    old = (await shown(heed, number))["version"]
    await act(heed, number, "claim", version=old)
    with pytest.raises(StaleCard):
        await act(heed, number, "resolve", "Kim", version=old)
    assert (await shown(heed, number))["state"] == "human"
    with pytest.raises(NeedsConfirm, match="Sam"):
        await act(heed, number, "reply", "Kim", text="me too")
    await act(heed, number, "reply", "Kim", text="me too", confirm=True)
    assert heed.read(user)[-1] == "Kim · Support\nme too"
    assert (await shown(heed, number))["claimed_by"] == "Sam"
    with pytest.raises(NeedsConfirm):
        await act(heed, number, "release", "Kim")
    await act(heed, number, "steal", "Kim")
    assert (await shown(heed, number))["claimed_by"] == "Kim"
    with pytest.raises(DeskError, match="Nobody of the name"):
        await act(heed, number, "assign", "Kim", text="Nobody")
    assert (await act(heed, number, "assign", "Kim", text="@Sam"))["claimed_by"] == "Sam"
    released = await act(heed, number, "release")
    assert (released["state"], released["claimed_by"]) == ("queued", "")
    now = (await shown(heed, number))["version"]
    await heed.says(user, "are you there?")  # row 5: who keeps writing makes no card old
    assert (await act(heed, number, "claim", version=now))["state"] == "human"


async def test_rows_8_9_10_and_17_sleep_wake_resolve_reopen_and_judge(heed: Heed) -> None:
    user = 63
    number = await asks(heed, user)
    await act(heed, number, "claim")
    assert (await act(heed, number, "snooze", text="4h"))["state"] == "snoozed"
    assert (await act(heed, number, "wake"))["state"] == "human"
    await act(heed, number, "snooze", text="1h")
    await heed.later(3700)
    assert (await shown(heed, number))["state"] == "human"
    with pytest.raises(DeskError):
        await act(heed, number, "snooze", text="soon")
    planned = await act(heed, number, "resolve", text="refunded in 2h")
    assert planned["resolve_at"]
    await heed.says(user, "one more thing")  # any word from either side calls it off
    assert (await shown(heed, number))["resolve_at"] is None
    await act(heed, number, "resolve", text="refunded in 2h")
    await heed.later(7300)
    done = await shown(heed, number)
    assert (done["state"], done["resolved_by"]) == ("resolved", "Sam")
    assert heed.read(user)[-1].startswith(RESOLVED)
    assert (await act(heed, number, "verdict", text="right"))["verdict"] == "right"
    first = next(line for line in done["lines"] if line["role"] == "user")
    late = await act(heed, number, "verdict", text=f"too late {first['id']}")
    assert late["verdict"] == "too late"
    await heed.says(user, "thanks")
    assert (await shown(heed, number))["state"] == "resolved"
    await heed.says(user, "it is broken again")
    assert (await shown(heed, number))["state"] == "queued"
    await act(heed, number, "resolve")
    assert (await act(heed, number, "reopen", "Kim"))["state"] == "queued"
    await act(heed, number, "notneeded", "Kim")
    assert heed.read(user)[-1].startswith(BACK_TO_BOT)
    await heed.later(90_000)
    with pytest.raises(DeskError, match="older than a day"):
        await act(heed, number, "verdict", text="right")


async def test_rows_13_and_14_back_to_the_bot_and_taken_again(heed: Heed) -> None:
    user = 64
    number = await asks(heed, user)
    await act(heed, number, "claim")
    assert (await act(heed, number, "botback"))["state"] == "watch"
    assert heed.read(user)[-1].startswith(BACK_TO_BOT)
    await heed.says(user, KIND)
    answer = heed.read(user)[-1]
    assert not answer.startswith(BACK_TO_BOT)
    assert answer in [line["text"] for line in (await shown(heed, number))["lines"]]
    await act(heed, number, "reply", text="Me again.")  # row 4: the first answer takes the case
    assert (await shown(heed, number))["claimed_by"] == "Sam"
    await heed.says(user, "and now?")
    assert heed.read(user)[-1] == "Sam · Support\nMe again."


async def test_5_a_suggestion_is_seen_by_staff_alone(heed: Heed) -> None:
    user = 65
    number = await asks(heed, user)
    before = heed.read(user)
    drafted = await act(heed, number, "draft")
    assert drafted["draft"]
    assert drafted["draft_by"]
    assert heed.read(user) == before
    await act(heed, number, "reply", text=drafted["draft"])
    assert heed.read(user)[-1] == f"Sam · Support\n{drafted['draft']}"
    assert (await shown(heed, number))["draft"] == ""


async def test_the_queue_is_sorted_filtered_and_searched(heed: Heed) -> None:
    calm = await asks(heed, 66)
    await heed.says(66, "the kettle is green")
    urgent = await asks(heed, 67, "I want to kill myself")
    rows = (await heed.room.queue({}))["cases"]
    assert rows[0]["id"] == urgent  # words of danger stand at the top
    assert {row["platform"] for row in rows} == {"telegram"}

    async def found(**wanted: str) -> list[int]:
        return [row["id"] for row in (await heed.room.queue(wanted))["cases"]]

    assert await found(words="KETTLE green") == [calm]
    assert await found(words="user66") == [calm]
    assert await found(words="kettle blue") == []
    await act(heed, calm, "claim", "Kim")
    assert await found(mine="Kim") == [calm]
    assert calm in await found(state="human")
    assert calm not in await found(state="queued")
    assert await found(platform="discord") == []
    await act(heed, calm, "priority", "Kim", text="3")
    assert (await shown(heed, calm))["priority"] == 3
    counts = (await heed.room.queue({"mine": "Kim"}))["counts"]
    assert counts["mine"] == 1
    await act(heed, calm, "resolve", "Kim")
    assert calm not in await found()
    assert calm in await found(state="resolved")
    assert calm in await found(state="all", words="kettle")


async def test_saved_replies_remarks_names_and_blocks(heed: Heed) -> None:
    user = 68
    number = await asks(heed, user)
    await heed.room.save_reply("hours", "We are here from 9 to 17.", "Sam")
    assert {"name": "hours", "text": "We are here from 9 to 17."} in await heed.room.saved_replies()
    await act(heed, number, "anonymous", text="on")
    await act(heed, number, "saved", text="hours")
    assert heed.read(user)[-1] == "Support\nWe are here from 9 to 17."
    assert "Sam" not in "\n".join(heed.read(user))
    await heed.room.save_reply("hours", "", "Sam")
    with pytest.raises(DeskError, match="no saved reply"):
        await act(heed, number, "saved", text="hours")
    await act(heed, number, "remark", text="prefers mornings")
    with pytest.raises(NeedsConfirm, match="Shut them out"):
        await act(heed, number, "block", text="7d spam")
    blocked = await act(heed, number, "block", text="7d spam", confirm=True)
    assert blocked["blocked_until"]
    await heed.says(user, "xyzzy please")
    assert heed.read(user)[-1].startswith("You cannot write to this team until")
    texts = [line["text"] for line in (await shown(heed, number))["lines"]]
    assert "xyzzy please" not in texts
    await act(heed, number, "unblock")
    await act(heed, number, "resolve")
    await heed.later(90_000)
    again = await asks(heed, user)
    assert again != number
    later = await shown(heed, again)
    assert [one["text"] for one in later["remarks"]] == ["prefers mornings"]
    assert [one["id"] for one in later["earlier"]] == [number]


async def test_5_the_page_is_told_of_a_new_case_and_of_the_word_somebody_waited_for(
    heed: Heed,
) -> None:
    user = 74
    async with asyncio.timeout(PATIENCE), heed.app.board.listen() as told:
        number = await asks(heed, user)
        first = await anext(event.data async for event in told if event.kind == "case")
        assert (first["case"], first["new"]) == (number, True)
    await act(heed, number, "alert", "Kim")
    async with asyncio.timeout(PATIENCE), heed.app.board.listen() as told:
        for text in ("hello?", "anybody?"):
            await heed.says(user, text)
        turns = (event.data async for event in told if "alert" in event.data)
        heard = [await anext(turns) for _ in range(2)]
    assert heard == [{"case": number, "new": False, "alert": names} for names in (["Kim"], [])]


async def test_rows_20_and_21_what_waits_for_somebody_is_staffs_to_decide(heed: Heed) -> None:
    user = 69
    number = await asks(heed, user)
    before = heed.read(user)
    heed.telegram.block(user)
    await act(heed, number, "reply", text="Are you there?")
    await heed.settled(kind="left", chat=user)
    found = await shown(heed, number)
    assert (found["reachable"], found["held"]) == (False, 1)
    assert [line["mark"] for line in found["lines"] if line["role"] == "staff"] == ["held"]
    heed.telegram.unblock(user)
    await heed.settled(kind="returned", chat=user)
    assert heed.read(user) == before
    sent = await act(heed, number, "send")
    assert heed.read(user)[-1] == "Sam · Support\nAre you there?"
    assert sent["reachable"]


async def test_11_the_transcript_holds_all_and_notes_too(heed: Heed) -> None:
    user = 70
    number = await asks(heed, user)
    await act(heed, number, "note", text="an old friend")
    await act(heed, number, "reply", text="Done.")
    story = await heed.room.transcript(number)
    assert story is not None
    told = [(line["role"], line["text"]) for line in story["lines"]]
    assert ("user", ASKS) in told
    assert ("note", "an old friend") in told
    assert ("staff", "Done.") in told
    assert await heed.room.transcript(9999) is None


async def test_13_many_at_once_are_one_incident_and_answered_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurry(monkeypatch)
    async with heed_on(tmp_path, staff="web", desk={"incident_users": 3}) as heed:
        for user in (71, 72, 73):
            await heed.says(user, FURY)
        [incident] = await heed.room.incidents()
        assert incident["users"] == 3
        assert "charged" in incident["words"]
        assert await heed.room.answer_all(incident["id"], "We give it back.", "Sam") == 3
        await heed.quiet()
        answers = [heed.read(user)[-1] for user in (71, 72, 73)]
        assert answers == ["Support\nWe give it back."] * 3  # in the team's name
        await heed.room.mute(incident["id"], 3600.0, "Sam")
        [incident] = await heed.room.incidents()
        assert incident["muted_until"] > heed.clock()
        await heed.later(1300)  # nobody new for 20 minutes
        assert await heed.room.incidents() == []
        assert len(await heed.rows(case)) == 3


# --- the same over the wire ----------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with living(settings_for(tmp_path)) as alive:
        hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("one two three")
        add = partial(people.add_staff, name="Sam", password=hashed, now=0.0, admin=False)
        await alive.app.store.write(add)
        yield alive


async def test_2_the_forms_of_the_page_need_a_log_in_and_do_what_they_say(house: House) -> None:
    [web] = house.app.adapters.values()
    url = await until(lambda: "" if web.url.endswith(":0") else web.url)
    number = (await house.say(ASKS))["case"]
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(url, cookie_jar=jar) as browser:
        refused = await browser.post(f"/desk/{number}/act", data={"verb": "claim"})
        assert refused.status in (401, 403) or refused.url.path == "/login"
        page = await (await browser.get("/login")).text()
        door = re.search(r'name="door" value="([^"]+)"', page)
        assert door is not None
        entered = await browser.post(
            "/login", data={"door": door[1], "name": "Sam", "password": "one two three"}
        )
        assert entered.status == 200
        page = await (await browser.get(f"/desk/{number}")).text()
        token = re.search(r'name="csrf" value="([^"]+)"', page)
        assert token is not None
        assert "real human" in page
        forged = await browser.post(f"/desk/{number}/act", data={"verb": "claim", "csrf": "x"})
        assert forged.status == 403
        for form in (
            {"verb": "claim"},
            {"verb": "reply", "text": "// be kind"},
            {"verb": "reply", "text": "Hello Ann."},
        ):
            done = await browser.post(f"/desk/{number}/act", data={"csrf": token[1], **form})
            assert done.status == 200, await done.text()
        await asyncio.wait_for(house.idle(), PATIENCE)
        said = await house.lines()
        assert ("note", "be kind") in said
        assert ("staff", "Hello Ann.") in said
        slash = await browser.post(
            f"/desk/{number}/act", data={"csrf": token[1], "verb": "reply", "text": "/nope x"}
        )
        assert slash.status == 400 or "nope" in await slash.text()
        assert all(text != "/nope x" for _, text in await house.lines())
    rows = await house.app.store.read(lambda c: c.execute(outbox.select()).all())
    assert [row.text for row in rows if row.kind == "relay"] == ["Hello Ann."]
