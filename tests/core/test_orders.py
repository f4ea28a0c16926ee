"""What staff mean: every command and button is understood, and nothing unknown reaches anybody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core import answers, errands, orders
from core.errors import DeskError
from core.message import Author, Message
from core.orders import CODES, COMMANDS, Action
from core.steps import _VERBS
from core.store.turns import Plan
from core.tables import history, outbox, staff_thread
from tests.core.desk_chat import command, from_staff, lay_out, owner, pressed, to_person, to_staff
from tests.core.ground import TEXTS, Ground, heard, opened, said

ELSEWHERE = {"resend", "arrived"}  # carried out where orders are sorted


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        lay_out(made)
        yield made


def read(ground: Ground, message: Message, **more: Any) -> Action | DeskError | None:
    return ground.store.read_now(lambda c: orders.read(c, message, **more))


def understood(ground: Ground, message: Message, **more: Any) -> Action:
    action = read(ground, message, **more)
    assert isinstance(action, Action)
    return action


@pytest.mark.parametrize(("name", "verb"), [pair for pair in COMMANDS.items() if pair[0] != "all"])
def test_every_command_is_understood(ground: Ground, name: str, verb: str) -> None:
    action = understood(ground, command(f"/{name} some words"))
    assert (action.verb, action.text, action.case_id) == (verb, "some words", 1)
    assert (action.who, action.by) == ("Ben", "telegram:ben")


@pytest.mark.parametrize(("code", "verb"), [*CODES.items()])
def test_every_button_is_understood(ground: Ground, code: str, verb: str) -> None:
    action = understood(ground, pressed(f"h:1:{code}:a"))
    assert (action.verb, action.case_id) == (verb, 1)
    assert (action.version, action.number) in ((10, 0), (None, 10))


@pytest.mark.parametrize("verb", sorted({*CODES.values(), *COMMANDS.values()}))
def test_every_verb_that_is_understood_is_carried_out_somewhere(verb: str) -> None:
    assert verb in {*_VERBS, *answers.VERBS, *errands.VERBS, *ELSEWHERE}


def test_every_button_of_every_card_is_known(ground: Ground) -> None:
    cards = ground.handoff.cards
    view = ground.view()
    found = [cards.held("Ben", "1 min", 1, 7), cards.undelivered(view, 2), cards.draft(view)]
    for state in ("queued", "human", "snoozed", "watch", "resolved"):
        found += [cards.draw({**view, "state": state}, at) for at in ("telegram", "discord")]
    codes = {b.data.split(":")[2] for card in found for b in (*card.buttons, *cards.steal(view))}
    assert codes <= set(CODES)
    assert len(codes) > 15


@pytest.mark.parametrize(
    ("code", "says"),
    [("za", "1h"), ("zb", "4h"), ("zc", "1d"), ("vr", "right"), ("vn", "not needed")],
)
def test_a_press_says_what_a_command_would_spell_out(ground: Ground, code: str, says: str) -> None:
    assert understood(ground, pressed(f"h:1:{code}:0")).text == says


def test_an_answer_to_all_names_an_incident_and_needs_no_thread(ground: Ground) -> None:
    line = replace(command("/all 3 We are on it."), key=from_staff(thread="").key)
    action = understood(ground, line)
    assert (action.verb, action.case_id, action.text) == ("answer all", 3, "We are on it.")


def test_bot_on_and_off_are_two_verbs(ground: Ground) -> None:
    assert understood(ground, command("/bot on")).verb == "botback"
    assert understood(ground, command("/bot off")).verb == "claim"
    assert isinstance(read(ground, command("/bot perhaps")), DeskError)


@pytest.mark.parametrize("line", ["/resovle", "/help", "/start", "/x y z", "/"])
async def test_an_unknown_command_goes_to_nobody_and_staff_are_told(
    ground: Ground, line: str
) -> None:
    await ground.staff(command(line))
    assert to_person(ground) == []
    assert owner(ground)[1] == "queued"
    [post] = to_staff(ground)
    assert "was not sent to anybody" in post.text
    assert "/claim" in post.text


def test_a_command_without_a_case_says_where_it_belongs(ground: Ground) -> None:
    refused = read(ground, replace(command("/claim"), key=from_staff(thread="").key))
    assert isinstance(refused, DeskError)
    assert "belongs into a case's thread" in str(refused)
    assert read(ground, replace(command("/what"), key=from_staff(thread="").key)) is None
    for free in ("contact", "watch", "save"):
        action = understood(ground, replace(command(f"/{free} x"), key=from_staff(thread="").key))
        assert action.case_id == 0


async def test_words_in_a_thread_of_ours_that_is_no_case_get_a_reason(ground: Ground) -> None:
    assert read(ground, from_staff("lunch?", thread="77")) is None  # staff among themselves
    await ground.staff(from_staff("hello?", number=77, thread="77", own_thread=True))
    assert to_person(ground) == []
    post = ground.row(outbox, kind="digest")
    assert "belongs to no case, so nothing was sent" in post.text
    assert post.reply_to == "77"
    assert owner(ground)[1] == "queued"


def test_in_a_chat_without_threads_a_command_means_the_only_case_one_has(ground: Ground) -> None:
    ground.do(lambda c: c.execute(staff_thread.update().values(thread="", status="fallback")))
    there = from_staff(thread="").key
    assert isinstance(read(ground, replace(command("/release"), key=there)), DeskError)
    ground.do(lambda c: c.exec_driver_sql("UPDATE cases SET state='human', holder='telegram:ben'"))
    assert understood(ground, replace(command("/release"), key=there)).case_id == 1


@pytest.mark.parametrize(
    ("platform", "replies", "text", "verb"),
    [
        ("telegram", None, "hello", "reply"),
        ("telegram", False, "hello", "note"),
        ("telegram", None, "// hello", "note"),
        ("telegram", True, "//hello", "note"),
        ("discord", None, "hello", "note"),
        ("discord", True, "hello", "reply"),
        ("discord", True, "// hello", "note"),
    ],
)
def test_a_plain_line_goes_out_or_stays_inside_by_the_rule_of_the_place(
    ground: Ground, platform: str, *, replies: bool | None, text: str, verb: str
) -> None:
    moved = staff_thread.update().values(platform=platform)
    ground.do(lambda c: c.execute(moved))
    action = understood(ground, from_staff(text, platform=platform), replies=replies)
    assert (action.verb, action.text) == (verb, "hello")


def test_staff_among_themselves_mean_nothing(ground: Ground) -> None:
    assert read(ground, from_staff("lunch?", thread="")) is None
    assert read(ground, from_staff("lunch?", thread="77")) is None
    assert read(ground, from_staff("lunch?", thread="", reply_to="never seen")) is None


def test_an_anonymous_admin_is_nobody_in_particular(ground: Ground) -> None:
    message = from_staff("hello")
    hidden = replace(message, author=Author(id="1087968824", name="Group", anonymous=True))
    assert understood(ground, hidden).by == ""


async def test_an_anonymous_admin_speaks_as_support_and_nobody_holds_the_case(
    ground: Ground,
) -> None:
    message = from_staff("hello")
    hidden = replace(message, author=Author(id="1087968824", name="Group", anonymous=True))
    await ground.staff(hidden)
    assert to_person(ground) == ["Support\nhello"]
    assert owner(ground)[:2] == ("human", "human")
    assert ground.case().holder == ""
    assert TEXTS.say("answered_anonymously", "en") in [post.text for post in to_staff(ground)]


async def test_a_verdict_in_reply_to_a_copy_names_the_line_that_was_missed(
    ground: Ground,
) -> None:
    ground.take(said(2, "this was it"))
    start = ground.begin()
    assert start is not None
    ground.finish(start, Plan(heard=heard(start), copies={start.rows[0].id: ("Ann: this",)}))
    copy = to_staff(ground)[-1]
    line = ground.rows(history, message_id="2")[0].id
    press = replace(command("/verdict too late"), reply_to=f"m{copy.id}")
    await ground.staff(press)
    assert (ground.case().verdict, ground.case().missed_line) == ("too late", line)


def test_what_happened_to_a_message_nobody_knows_means_nothing(ground: Ground) -> None:
    for kind in ("edited", "deleted", "reacted"):
        event = from_staff("x", kind=kind, number=999, event_id=f"{kind}1", data="👍")
        assert read(ground, event) is None


def test_a_slash_command_is_answered_to_its_sender_alone(ground: Ground) -> None:
    assert understood(ground, command("/why")).whisper == ""
    ground.do(lambda c: c.execute(staff_thread.update().values(platform="discord")))
    line = replace(command("/why"), key=from_staff(platform="discord").key)
    assert understood(ground, line).whisper == line.message_id


@pytest.mark.parametrize("roles", [(), ("7",)])
async def test_on_discord_only_the_roles_of_the_desk_may_act(
    ground: Ground, roles: tuple[str, ...]
) -> None:
    ground.choose(roles=frozenset({"7"}))
    ground.do(lambda c: c.execute(staff_thread.update().values(platform="discord")))
    line = replace(command("/claim"), key=from_staff(platform="discord").key)
    await ground.staff(replace(line, author=Author(id="ben", name="Ben", roles=roles)))
    assert owner(ground)[1] == ("human" if roles else "queued")
