"""The staff's desk without a browser: log-in, forms, confirms, stale cards, parts, live frames."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.adapters.desk_twin import DeskTwin
from tests.adapters.test_web_api import Clock, serving

NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}"
PART = {"HX-Request": "true"}


@pytest.fixture
def desk() -> DeskTwin:
    return DeskTwin(Clock(), pause=0.0)


async def enter(client: httpx2.AsyncClient, desk: DeskTwin, name: str = "Ana") -> str:
    """Log in; return what every form must bring."""
    secret = await desk.log_in(name, f"{name}-password")
    assert secret
    client.cookies.set("heed_session", secret)
    member = await desk.member(secret)
    assert member
    return member.csrf


@pytest.fixture
async def client(desk: DeskTwin) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(desk) as made:
        yield made


@pytest.fixture
async def csrf(client: httpx2.AsyncClient, desk: DeskTwin) -> str:
    return await enter(client, desk)


async def act(
    client: httpx2.AsyncClient, case: dict[str, Any], csrf: str, verb: str, **more: Any
) -> httpx2.Response:
    headers = more.pop("headers", {})
    form = {"csrf": csrf, "version": str(case["version"]), "verb": verb, **more}
    return await client.post(f"/desk/{case['id']}/act", data=form, headers=headers)


# Who may come in


@pytest.mark.parametrize(
    "path", ["/desk", "/desk/5", "/desk/5/transcript", "/desk/5/transcript.json", "/desk/saved"]
)
async def test_nobody_sees_the_desk_without_logging_in(
    client: httpx2.AsyncClient, path: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=" + path.replace("/", "%2F")
    part = await client.get(path, headers=PART)
    assert (part.status_code, part.json()["error"]["code"]) == (401, "unauthorized")


async def test_events_and_forms_need_a_log_in_too(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    case = desk.add("Maya", "I am furious")
    events = await client.get("/desk/events", headers={"Accept": "text/event-stream"})
    assert events.status_code == 401
    answer = await act(client, case, "", "claim")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fdesk")
    client.cookies.set("heed_session", "guessed")
    assert (await client.get("/desk")).status_code == 303
    assert case["state"] == "queued"


@pytest.mark.usefixtures("csrf")
async def test_an_ended_session_is_out(client: httpx2.AsyncClient, desk: DeskTwin) -> None:
    assert (await client.get("/desk")).status_code == 200
    desk.sessions.clear()
    assert (await client.get("/desk")).status_code == 303


@pytest.mark.parametrize(
    "path", ["/desk", "/desk/queue", "/desk/2/act", "/desk/2/writing", "/desk/saved"]
)
async def test_a_form_without_its_secret_changes_nothing(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str, path: str
) -> None:
    case = desk.add("Maya", "I am furious")
    assert case["id"] == 4
    for wrong in ("", "form-guess", csrf + "x", "é"):
        form = {"csrf": wrong, "verb": "claim", "name": "x", "text": "y"}
        answer = await client.post(path.replace("2", "4"), data=form)
        assert answer.status_code == 403
    assert case["state"] == "queued"
    assert "x" not in desk.replies


# Looking


@pytest.mark.usefixtures("csrf")
async def test_an_empty_desk_says_what_will_be_here(client: httpx2.AsyncClient) -> None:
    page = await client.get("/desk")
    assert "Nobody is waiting" in page.text
    assert "Choose a case from the queue" in page.text
    chinese = await client.get("/desk?lang=zh")
    assert "没有人在等" in chinese.text
    assert 'lang="zh"' in (await client.get("/desk")).text  # it is remembered


@pytest.mark.usefixtures("csrf")
async def test_what_people_say_stays_text(client: httpx2.AsyncClient, desk: DeskTwin) -> None:
    case = desk.add(
        NASTY,
        NASTY,
        why=NASTY,
        draft=NASTY,
        said=[NASTY],
        remarks=[{"who": NASTY, "text": NASTY, "at": 1.0}],
        moved_by=[{"text": NASTY, "probs": {"negative": 1.0}, "intensity": -1.0}],
        elsewhere=[{"platform": "discord", "name": NASTY, "case": None}],
    )
    files = [{"kind": NASTY, "name": NASTY, "size": 9, "words": NASTY}]
    desk.hear(case, NASTY, was=NASTY, files=files, problem=NASTY)
    desk.replies["x"] = NASTY
    for path in ("/desk", f"/desk/{case['id']}", f"/desk/{case['id']}/transcript", "/desk/saved"):
        html = (await client.get(path)).text
        assert "<script>alert" not in html, path
        assert "<img src=x" not in html, path
        assert "49" not in re.sub(r"\d{3,}|\d\d:\d\d", "", html), path


@pytest.mark.usefixtures("csrf")
async def test_a_case_links_to_its_message_and_tells_what_was_done(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    link = "https://t.me/c/1234567890/77"
    deeds = [
        {"what": "draft withdrawn", "who": "", "at": 1.0},
        {"what": "claimed", "who": NASTY, "at": 2.0},
        {"what": "redrawn", "who": "", "at": 3.0},
    ]
    case = desk.add("Maya", "I am furious", link=link, audit=deeds, trace=[])
    plain = desk.add("Ben", "I am furious")
    html = (await client.get(f"/desk/{case['id']}")).text
    [anchor] = re.findall(rf'<a href="{re.escape(link)}"[^>]*>([^<]+)</a>', html)
    assert anchor == "The message that caused this case"
    assert 'rel="noreferrer noopener"' in html
    [trace] = re.findall(r'<details data-name="trace">.*?</details>', html, re.DOTALL)
    for shown in ("What was done", "draft of the bot withdrawn", "1970-01-01 00:00:01"):
        assert shown in trace, shown
    assert "redrawn" not in trace
    assert "<script>alert" not in trace
    chinese = (await client.get(f"/desk/{case['id']}?lang=zh")).text
    assert "引起此个案的消息" in chinese
    assert "机器人的草稿已作废" in chinese
    other = (await client.get(f"/desk/{plain['id']}?lang=en")).text
    assert "The message that caused this case" not in other
    assert "What was done" not in other


@pytest.mark.usefixtures("csrf")
async def test_a_case_shows_both_sides_and_why(client: httpx2.AsyncClient, desk: DeskTwin) -> None:
    points = [{"at": 1.0, "value": -0.2}, {"at": 2.0, "value": -0.6}]
    case = desk.add(
        "Maya", "I am furious", mood_points=points, held=2, reachable=False, helped="no"
    )
    desk.hear(case, "human began", role="marker")
    desk.hear(case, "Ask storage", role="note", name="Ben")
    desk.hear(case, "On it", role="staff", name="Ana", mark="failed", problem="They left.")
    desk.hear(case, "ok now", was="ok")
    desk.hear(case, "", deleted=True)
    html = (await client.get(f"/desk/{case['id']}")).text
    for shown in (
        "spike: intensity -0.94, threshold -0.8",
        "note, Maya does not see it",
        "not delivered",
        "They left.",
        "Edited; was:",
        "(deleted)",
        "2 messages wait: Maya cannot be reached.",
        "Rule trace",
        "A person answers from here on",
        "<dt>Did it help?</dt><dd>no</dd>",
        "upset",
        "<svg",
        "Today",
        "Heed",
    ):
        assert shown in html, shown
    assert "<title>(1) Heed</title>" in html
    assert "built-in" not in html  # no method of a dictionary was taken for a word


@pytest.mark.usefixtures("csrf")
async def test_an_unknown_case_says_so(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/desk/999")
    assert answer.status_code == 404
    assert "There is no case 999" in answer.text
    assert (await client.get("/desk/999/transcript")).status_code == 404


@pytest.mark.usefixtures("csrf")
async def test_five_hundred_open_cases_are_all_there(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    cases = [desk.add(f"Person {n}", "I am furious") for n in range(500)]
    html = (await client.get("/desk")).text
    assert {f"/desk/{case['id']}" for case in cases} <= set(re.findall(r'href="([^"]+)"', html))
    assert "(500) Heed" in html


async def test_filters_and_search_come_in_the_body_and_filters_stay(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    desk.add("Maya", "the invoice is wrong")
    desk.add("Kim", "hello", platform="discord", state="human", claimed_by="Ana", lang="zh")
    answer = await client.post(
        "/desk", data={"csrf": csrf, "state": "open", "words": "INVOICE", "platform": ""}
    )
    assert ("Maya" in answer.text, "Kim" in answer.text) == (True, False)
    assert "invoice" not in answer.headers["set-cookie"]
    assert 'value="INVOICE"' in answer.text
    for form in ({"state": "mine"}, {"platform": "discord"}, {"tongue": "zh"}, {"state": "human"}):
        data = {"csrf": csrf, "state": "open", **form}
        part = await client.post("/desk/queue", data=data, headers=PART)
        assert ("Maya" in part.text, "Kim" in part.text) == (False, True), form
        assert "<html" not in part.text
    again = await client.get("/desk")
    assert ("Maya" in again.text, "Kim" in again.text) == (False, True)
    nothing = await client.post("/desk", data={"csrf": csrf, "state": "watch"})
    assert "No case fits these filters" in nothing.text


@pytest.mark.usefixtures("csrf")
async def test_a_case_is_unread_until_somebody_looks(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    case = desk.add("Maya", "I am furious")
    path = f"/desk/{case['id']}"
    unread = '<span class="unseen">unread</span>'
    for headers in ({}, PART | {"HX-Boosted": "true"}, PART | {"Heed-Looking": "1"}):
        desk.read.clear()
        await client.get(path, headers=PART)  # a tab that nobody looks at
        assert unread in (await client.get("/desk")).text
        await client.get(path, headers=headers)
        assert unread not in (await client.get("/desk")).text


@pytest.mark.usefixtures("csrf")
async def test_the_answer_to_htmx_is_the_pane_alone(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    case = desk.add("Maya", "I am furious")
    part = await client.get(f"/desk/{case['id']}", headers=PART)
    assert "<html" not in part.text
    assert part.text.lstrip().startswith("<article")
    back = PART | {"HX-History-Restore-Request": "true"}
    assert "<html" in (await client.get(f"/desk/{case['id']}", headers=back)).text


# Acting


async def test_a_form_acts_and_leads_back_to_the_case(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    case = desk.add("Maya", "I am furious")
    answer = await act(client, case, csrf, "claim")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/desk/{case['id']}")
    assert (case["state"], case["claimed_by"]) == ("human", "Ana")
    html = (await client.get(answer.headers["location"])).text
    assert "with you" in html
    assert 'value="release"' in html


@pytest.mark.parametrize(
    ("verb", "form", "changed"),
    [
        ("snooze", {"text": "4h"}, ("state", "snoozed")),
        ("resolve", {"text": "done"}, ("state", "resolved")),
        ("notneeded", {}, ("state", "resolved")),
        ("assign", {"text": "Ben"}, ("claimed_by", "Ben")),
        ("priority", {"text": "3"}, ("priority", 3)),
        ("anonymous", {"text": "on"}, ("anonymous", True)),
        ("botback", {}, ("state", "watch")),
        ("send", {}, ("held", 0)),
        ("draft", {}, ("draft_by", "embedded")),
    ],
)
async def test_each_action_is_a_plain_form(
    client: httpx2.AsyncClient,
    desk: DeskTwin,
    csrf: str,
    verb: str,
    form: dict[str, str],
    changed: tuple[str, object],
) -> None:
    case = desk.add("Maya", "I am furious", held=2)
    assert (await act(client, case, csrf, verb, **form)).status_code == 303
    assert case[changed[0]] == changed[1]
    assert (await client.get(f"/desk/{case['id']}")).status_code == 200


async def test_htmx_gets_the_case_as_it_is_now_and_word_that_it_is_done(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    case = desk.add("Maya", "I am furious")
    answer = await act(client, case, csrf, "reply", text="It is me", headers=PART)
    assert answer.status_code == 200
    assert json.loads(answer.headers["hx-trigger"]) == {"heed-done": {"verb": "reply"}}
    assert "It is me</p>" in answer.text
    assert "</textarea>" in answer.text
    assert 'id="flash" hx-swap-oob="innerHTML"' in answer.text


async def test_two_slashes_make_a_note_and_one_a_saved_reply(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    case = desk.add("Maya", "I am furious")
    await act(client, case, csrf, "reply", text="// ask storage")
    await act(client, case, csrf, "reply", text="/hello")
    lines = (await desk.case(case["id"]) or {})["lines"]
    assert [(one["role"], one["text"]) for one in lines[1:]] == [
        ("note", "ask storage"),
        ("staff", "Hello, I am here for you."),
    ]
    for text in ("/nobody", "/etc/passwd is gone"):
        refused = await act(client, case, csrf, "reply", text=text)
        assert refused.status_code == 400
        assert "no saved reply of that name" in refused.text
        assert f"{text}</textarea>" in refused.text
    await act(client, case, csrf, "reply", text=" /etc is gone")
    assert (await desk.case(case["id"]) or {})["lines"][-1]["text"] == "/etc is gone"


async def test_an_empty_answer_is_not_sent(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    case = desk.add("Maya", "I am furious")
    for verb in ("reply", "note", "remark"):
        assert (await act(client, case, csrf, verb, text=" \n ")).status_code == 400
    assert len((await desk.case(case["id"]) or {})["lines"]) == 1


async def test_somebody_elses_case_asks_first(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    case = desk.add("Maya", "I am furious", state="human", owner="human", claimed_by="Ben")
    assert "Take over" in (await client.get(f"/desk/{case['id']}")).text
    asked = await act(client, case, csrf, "reply", text="It is me")
    assert asked.status_code == 409
    assert "Ben claimed this 2 min ago" in asked.text
    notice = asked.text.split('id="flash"')[1].split("</form>")[0]
    again = dict(re.findall(r'name="(\w+)" value="([^"]*)"', notice))
    assert (again["confirm"], again["text"], again["verb"]) == ("1", "It is me", "reply")
    done = await client.post(f"/desk/{case['id']}/act", data=again | {"csrf": csrf})
    assert done.status_code == 303
    assert (await desk.case(case["id"]) or {})["lines"][-1]["text"] == "It is me"
    assert (await act(client, case, csrf, "steal")).status_code == 409
    assert (await act(client, case, csrf, "steal", confirm="1")).status_code == 303
    assert case["claimed_by"] == "Ana"


async def test_a_block_is_confirmed(client: httpx2.AsyncClient, desk: DeskTwin, csrf: str) -> None:
    case = desk.add("Maya", "I am furious")
    form = {"days": "3", "text": "spam"}
    assert (await act(client, case, csrf, "block", **form)).status_code == 409
    assert case["blocked_until"] is None
    assert (await act(client, case, csrf, "block", **form, confirm="1")).status_code == 303
    assert "Unblock" in (await client.get(f"/desk/{case['id']}")).text


async def test_an_old_form_does_nothing_and_shows_the_present_case(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    case = desk.add("Maya", "I am furious")
    old = dict(case)
    await desk.act(case["id"], "claim", "Ben")
    for headers in ({}, PART):
        answer = await act(client, old, csrf, "reply", text="mine", headers=headers)
        assert answer.status_code == 409
        assert "This case has moved on meanwhile" in answer.text
        assert "with Ben" in answer.text
        assert "mine</textarea>" in answer.text
    note = await act(client, old, csrf, "note", text="for later")  # a note spoils nothing
    assert note.status_code == 303


async def test_a_refusal_of_the_desk_is_shown_as_it_is(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    case = desk.add("Maya", "I am furious", state="resolved", owner="bot")
    answer = await act(client, case, csrf, "claim")
    assert (answer.status_code, "settled already" in answer.text) == (409, True)
    assert (await act(client, case, csrf, "dance")).status_code == 400


async def test_a_settled_case_asks_for_a_verdict(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    case = desk.add("Maya", "I am furious", state="resolved", owner="bot")
    assert "Was this alarm right?" in (await client.get(f"/desk/{case['id']}")).text
    line = (await desk.case(case["id"]) or {})["lines"][0]["id"]
    await act(client, case, csrf, "verdict", text="too late", line=str(line))
    assert case["verdict"] == f"too late {line}"
    await act(client, case, csrf, "verdict", text="right", line=str(line))
    assert case["verdict"] == "right"
    assert "So far: right." in (await client.get(f"/desk/{case['id']}")).text


@pytest.mark.usefixtures("csrf")
async def test_a_reply_of_the_bot_shows_its_thumbs(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    case = desk.add("Maya", "I am furious")
    desk.hear(case, "Try it again.", role="bot", thumbs={"up": 0, "down": 2})
    page = (await client.get(f"/desk/{case['id']}")).text
    assert '<span aria-hidden="true">👎 2</span><span class="unseen">2 thumbs down</span>' in page
    assert "👍" not in page


async def test_an_own_answer_can_be_edited_and_deleted(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    case = desk.add("Maya", "I am furious")
    line = desk.hear(case, "On ti", role="staff", name="Ana", mark="sent")
    await act(client, case, csrf, "edit", line=str(line["id"]), text="On it")
    assert (line["text"], line["was"], line["mark"]) == ("On it", "On ti", "edited")
    await act(client, case, csrf, "delete", line=str(line["id"]))
    assert line["deleted"]
    assert (await act(client, case, csrf, "edit", line="x", text="y")).status_code == 400


async def test_saved_replies_are_kept_and_removed(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    form = {"csrf": csrf, "name": "late", "text": "Sorry for the wait."}
    assert (await client.post("/desk/saved", data=form)).status_code == 303
    assert "Sorry for the wait." in (await client.get("/desk/saved")).text
    assert (await client.post("/desk/saved", data=form | {"text": ""})).status_code == 303
    assert "late" not in desk.replies
    wrong = await client.post("/desk/saved", data=form | {"name": "two words"})
    assert (wrong.status_code, "one word" in wrong.text) == (409, True)
    assert "Sorry for the wait." in wrong.text  # nothing typed is lost


async def test_an_incident_is_answered_once_confirmed_and_muted(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    desk.running = [
        {
            "id": 7,
            "opened_at": desk.clock(),
            "last_at": desk.clock(),
            "users": 38,
            "words": ["export"],
            "places": ["#help"],
            "muted_until": None,
            "case_ids": [1, 2, 3],
        }
    ]
    page = (await client.get("/desk")).text
    assert "Many people are upset at once" in page
    assert "38 people" in page
    form = {"csrf": csrf, "do": "answer", "text": "We are on it."}
    asked = await client.post("/desk/incident/7", data=form)
    assert (asked.status_code, desk.answered) == (409, [])
    done = await client.post("/desk/incident/7", data=form | {"confirm": "1"})
    assert "Sent to 3 people." in done.text
    assert desk.answered == [(7, "We are on it.", "Ana")]
    await client.post("/desk/incident/7", data={"csrf": csrf, "do": "mute"})
    assert "Muted until" in (await client.get("/desk")).text


@pytest.mark.usefixtures("csrf")
async def test_a_transcript_is_a_page_and_a_file(
    client: httpx2.AsyncClient, desk: DeskTwin
) -> None:
    case = desk.add("Maya", "I am furious")
    desk.hear(case, "Ask storage", role="note", name="Ben")
    page = await client.get(f"/desk/{case['id']}/transcript")
    assert "Ask storage" in page.text
    assert "<textarea" not in page.text
    file = await client.get(f"/desk/{case['id']}/transcript.json")
    assert "attachment" in file.headers["content-disposition"]
    assert [line["text"] for line in file.json()["lines"]] == ["I am furious", "Ask storage"]


async def test_a_refusal_is_in_the_language_of_the_page(
    client: httpx2.AsyncClient, csrf: str
) -> None:
    gone = {"id": 999, "version": 1}
    assert "There is no case 999." in (await act(client, gone, csrf, "claim")).text
    await client.get("/desk?lang=zh")
    refused = await act(client, gone, csrf, "claim")
    assert refused.status_code == 409
    assert "没有编号为 999 的个案。" in refused.text


async def test_what_stands_still_is_said_above_the_queue(
    client: httpx2.AsyncClient, desk: DeskTwin, csrf: str
) -> None:
    assert csrf
    desk.standing_still = [{"words": "Nothing <leaves>.", "way_out": "See the log."}]
    page = (await client.get("/desk")).text
    assert "<b>Nothing &lt;leaves&gt;.</b> See the log." in page
    desk.standing_still = []
    assert "See the log." not in (await client.get("/desk")).text
