"""The desk: each step of a case, from the page, a button, a command or a plain line."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import DeskError, NeedsConfirm, StaleCard
from core.handoff import Action
from core.message import Message, Place, Scores
from core.store import views
from core.store.rows import base36
from core.store.turns import Plan
from core.tables import audit, case, history, inbox, outbox, staff_thread
from tests.core.desk_chat import (
    BEN,
    STAFF,
    act,
    card_of,
    command,
    drawn,
    from_staff,
    lay_out,
    owner,
    pressed,
    to_person,
)
from tests.core.ground import (
    DECISION,
    DESK,
    OPENING,
    SAD,
    Ground,
    answering,
    heard,
    opened,
    said,
)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path) as made:
        yield made


# --- row 1: a case is opened --------------------------------------------------------------------


def test_opening_tells_the_person_and_the_staff_and_gives_the_queue_the_word(
    ground: Ground,
) -> None:
    ground.open_case()
    assert owner(ground) == ("queue", "queued", "")
    assert ground.conversation().version == 1
    assert [row.what for row in ground.rows(audit, case_id=1)] == ["opened"]
    assert to_person(ground) == ["A person will read this."]
    title, card, context, ping = ground.send_all(STAFF, thread="31")
    assert title.text == "#1 Ann"
    assert "mood -0.62" in card.text
    assert "neg .90" in card.text
    assert "model scripted" in card.text
    labels = [button.label for button in card.buttons]
    assert (labels[0], labels[-3:]) == ("Claim", ["Resolve", "Not needed", "More"])
    assert card.pin
    assert (context.text, ping.text) == ("what was said", "ann needs a person")


def test_one_person_has_at_most_one_unresolved_case(ground: Ground) -> None:
    ground.open_case()
    with pytest.raises(Exception, match="UNIQUE constraint failed"):
        ground.do(lambda c: c.execute(case.insert().values(**_second_case())))


def _second_case() -> dict[str, Any]:
    return {"conversation_id": 1, "state": "queued", "opened_at": 1.0}


def test_row_15_a_watched_case_is_queued_again_in_the_same_thread(ground: Ground) -> None:
    lay_out(ground)
    asyncio.run(act(ground, "claim"))
    asyncio.run(act(ground, "botback"))
    ground.send_all(STAFF)
    ground.take(said(2, "worse"))
    start = ground.begin()
    assert (start.owner, start.case_state) == ("bot", "watch")
    finished = ground.finish(start, Plan(heard=heard(start, decision=DECISION), opening=OPENING))
    assert finished.case_id == 1
    assert owner(ground) == ("queue", "queued", "")
    assert len(ground.rows(staff_thread)) == 1
    ping, icon = ground.send_all(STAFF)
    assert (ping.text, icon.state) == ("ann needs a person", "queued")
    assert "Claim" in [button.label for button in drawn(ground).buttons]


# --- row 3: claim -------------------------------------------------------------------------------


async def test_a_claim_gives_the_word_to_a_human(ground: Ground) -> None:
    lay_out(ground)
    changed = await act(ground, "claim")
    assert owner(ground) == ("human", "human", "Ben")
    assert changed.moved
    assert ground.changes == [changed]
    assert to_person(ground) == []
    [icon] = ground.send_all(STAFF)
    assert (icon.kind, icon.state) == ("thread", "human")
    card = drawn(ground)
    assert "With Ben" in card.text
    assert card.buttons[0].label == "Release"


async def test_of_two_who_press_claim_one_has_it(ground: Ground) -> None:
    lay_out(ground)
    version = ground.view()["version"]
    results = await asyncio.gather(
        act(ground, "claim", "Ben", version=version),
        act(ground, "claim", "Zoe", version=version),
        return_exceptions=True,
    )
    assert isinstance(results[1], NeedsConfirm)
    assert "Ben took this" in str(results[1])
    assert owner(ground) == ("human", "human", "Ben")


async def test_a_held_case_is_taken_only_with_a_confirm_or_by_stealing(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "claim", "Ben")
    with pytest.raises(NeedsConfirm, match="Ben"):
        await act(ground, "claim", "Zoe")
    assert owner(ground)[2] == "Ben"
    await act(ground, "claim", "Zoe", confirm=True)
    assert owner(ground)[2] == "Zoe"
    await act(ground, "steal", "Ben")
    assert owner(ground)[2] == "Ben"
    assert [row.who for row in ground.rows(audit, what="claimed")] == ["Ben", "Zoe", "Ben"]


# --- row 4: the first reply claims --------------------------------------------------------------


async def test_the_first_reply_claims_and_reaches_the_person(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "reply", text="I am here.")
    assert owner(ground) == ("human", "human", "Ben")
    assert to_person(ground) == [f"{BEN}I am here."]
    line = ground.rows(history)[-1]
    assert (line.role, line.name, line.text) == ("staff", "Ben", "I am here.")
    assert ground.case().first_reply_at == ground.now
    version = ground.conversation().version
    await act(ground, "reply", text="Still here.")
    assert ground.conversation().version == version
    assert to_person(ground) == ["Still here."]


async def test_a_long_answer_is_split_for_the_persons_platform(ground: Ground) -> None:
    lay_out(ground)
    words = "word " * 1500
    await act(ground, "reply", text=words)
    parts = to_person(ground)
    assert len(parts) > 1
    assert all(len(part) <= 4096 for part in parts)
    assert " ".join(parts).removeprefix(BEN).split() == words.split()
    assert ground.rows(history)[-1].text == words


async def test_a_second_persons_answer_is_held_until_confirmed(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "reply", text="mine")
    with pytest.raises(NeedsConfirm):
        await act(ground, "reply", "Zoe", text="theirs")
    assert to_person(ground) == [f"{BEN}mine"]
    assert [row.text for row in ground.rows(history, role="staff")] == ["mine"]
    await act(ground, "reply", "Zoe", text="theirs", confirm=True)
    assert to_person(ground) == ["Zoe · Support\ntheirs"]
    assert owner(ground)[2] == "Ben"  # who answers beside the holder does not take over


@pytest.mark.parametrize("verb", ["reply", "note"])
async def test_an_answer_or_note_needs_words(ground: Ground, verb: str) -> None:
    lay_out(ground)
    with pytest.raises(DeskError, match="needs some text"):
        await act(ground, verb, text="  ")
    assert owner(ground)[0] == "queue"


async def test_what_the_machine_had_not_sent_is_withdrawn_by_a_claim(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "claim")
    await act(ground, "botback")
    ground.take(said(2))
    ground.answer(ground.begin(), "too late")
    await act(ground, "claim")
    assert to_person(ground) == [
        'You are back with the bot. Say "human" whenever you want a person.'
    ]
    assert ground.row(outbox, kind="reply").state == "withdrawn"


# --- rows 6, 10, 11, 13, 14 ---------------------------------------------------------------------


async def test_release_puts_the_case_back_in_the_queue(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "claim")
    with pytest.raises(NeedsConfirm):
        await act(ground, "release", "Zoe")
    await act(ground, "release")
    assert owner(ground) == ("queue", "queued", "")
    with pytest.raises(DeskError, match="not possible"):
        await act(ground, "release")


async def test_resolve_asks_whether_it_helped_and_may_be_reopened(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "claim")
    await act(ground, "resolve")
    assert owner(ground) == ("bot", "resolved", "")
    [post] = ground.send_all()
    assert post.text == "This is settled from our side. Did it help?"
    assert [button.data for button in post.buttons] == ["u:yes", "u:no"]
    row = ground.case()
    assert (row.resolved_by, row.resolved_at) == ("Ben", ground.now)
    assert row.reopen_until == ground.now + 86400.0
    assert ground.conversation().past["refractory_until"] == ground.now + 1800.0
    for verb in ("resolve", "claim", "botback"):
        with pytest.raises(DeskError):
            await act(ground, verb)
    with pytest.raises(DeskError, match="write first"):
        await act(ground, "reply", text="one more thing")


async def test_row_17_somebody_who_writes_again_is_in_the_same_thread(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "resolve")
    ground.take(said(2, "it broke again"))
    start = ground.begin()
    ground.finish(start, Plan(heard=heard(start), reopen=("I told the team.", "wrote again")))
    assert owner(ground) == ("queue", "queued", "")
    assert to_person(ground)[-1] == "I told the team."
    assert "wrote again" in [post.text for post in ground.send_all(STAFF)]
    assert len(ground.rows(staff_thread)) == 1


async def test_not_needed_goes_back_to_the_bot_and_rests_twice_as_long_each_time(
    ground: Ground,
) -> None:
    rests = []
    for number in range(1, 6):
        case_id = ground.open_case(number)
        action = Action(case_id=case_id, verb="notneeded", who="Ben")
        await ground.handoff.act(action)
        rests.append(ground.conversation().past["refractory_until"] - ground.now)
        assert ground.case(case_id).verdict == "not needed"
        assert ground.case(case_id).reopen_until is None
    assert rests == [7200.0, 14400.0, 28800.0, 57600.0, 86400.0]
    assert ground.conversation().past["not_needed_peak"] == pytest.approx(0.9 * 0.8)
    assert ground.conversation().owner == "bot"
    assert "You are back with the bot." in to_person(ground)[-1]


async def test_what_was_not_needed_is_remembered_whatever_the_labels_are_and_until_resolved(
    ground: Ground,
) -> None:
    ground.take(said(1, "I am fed up"))
    start = ground.begin()
    rage = replace(SAD, label="anger", probs={"anger": 0.9, "joy": 0.1})
    felt = tuple(replace(one, scores=rage) for one in heard(start, decision=DECISION))
    ground.finish(start, Plan(heard=felt, opening=OPENING))
    await act(ground, "notneeded")
    assert ground.conversation().past["not_needed_peak"] == pytest.approx(0.9 * 0.8)
    ground.open_case(2)
    await ground.handoff.act(Action(case_id=2, verb="resolve", who="Ben"))
    assert ground.conversation().past["not_needed_peak"] is None


async def test_the_rest_of_one_person_is_not_lengthened_by_another(ground: Ground) -> None:
    for user in ("ann", "ben"):
        case_id = ground.open_case(1 if user == "ann" else 2, user=user)
        await ground.handoff.act(Action(case_id=case_id, verb="notneeded", who="Ben"))
        assert ground.conversation(user).past["refractory_until"] == ground.now + 7200.0


async def test_given_back_the_bot_answers_and_staff_watch(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "claim")
    await act(ground, "botback")
    assert owner(ground) == ("bot", "watch", "")
    assert "You are back with the bot." in to_person(ground)[0]
    ground.take(said(2))
    ground.answer(ground.begin(), "Here I am.")
    assert to_person(ground) == ["Here I am."]
    await act(ground, "claim")
    assert owner(ground) == ("human", "human", "Ben")


async def test_a_case_that_was_only_watched_is_resolved_without_a_word(ground: Ground) -> None:
    ground.open_case(opening=replace(OPENING, rule="staff", state="watch", notice=""))
    await act(ground, "resolve")
    assert to_person(ground) == []
    assert ground.case().reopen_until is None


async def test_one_that_was_given_back_is_settled_in_words(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "claim")
    await act(ground, "botback")
    to_person(ground)
    await act(ground, "resolve")
    [told] = to_person(ground)
    assert told.startswith("This is settled")
    assert ground.case().reopen_until is not None


async def test_bot_on_gives_a_claimed_case_back(ground: Ground) -> None:
    lay_out(ground)
    await ground.staff(command("/claim"))
    await ground.staff(command("/bot on", number=901))
    assert owner(ground) == ("bot", "watch", "")


async def test_a_note_stays_inside_and_moves_nothing(ground: Ground) -> None:
    lay_out(ground)
    before = ground.conversation().version
    await act(ground, "note", text="careful here")
    assert to_person(ground) == []
    assert ground.conversation().version == before
    assert ground.rows(history)[-1].role == "note"
    shown = ground.store.read_now(lambda c: views.full_case(c, 1))
    assert shown["lines"][-1]["text"] == "careful here"


async def test_there_is_no_such_case(ground: Ground) -> None:
    for verb in ("claim", "note", "reply"):
        with pytest.raises(DeskError, match="no case 7"):
            await ground.handoff.act(Action(case_id=7, verb=verb, who="Ben", text="x"))


async def test_an_old_button_changes_nothing(ground: Ground) -> None:
    lay_out(ground)
    old = ground.view()["version"]
    await act(ground, "claim")
    with pytest.raises(StaleCard):
        await act(ground, "resolve", version=old)
    assert owner(ground)[1] == "human"
    await act(ground, "resolve", version=ground.view()["version"])
    assert owner(ground)[1] == "resolved"


async def test_somebody_who_keeps_writing_does_not_make_the_buttons_stale(ground: Ground) -> None:
    lay_out(ground)
    version = ground.view()["version"]
    for number in (2, 3):
        ground.take(said(number))
        start = ground.begin()
        plan = Plan(heard=heard(start, decision=DECISION), evidence="slide again")
        ground.finish(start, plan)
    await act(ground, "claim", version=version)
    assert owner(ground)[1] == "human"


async def test_every_step_leaves_one_audit_row_without_anybodys_words(ground: Ground) -> None:
    lay_out(ground)
    for verb in ("claim", "release", "claim", "botback", "claim", "resolve"):
        await act(ground, verb)
    rows = [(row.what, row.who) for row in ground.rows(audit, case_id=1)]
    assert rows == [
        ("opened", ""),
        ("claimed", "Ben"),
        ("released", "Ben"),
        ("claimed", "Ben"),
        ("given back", "Ben"),
        ("claimed", "Ben"),
        ("resolved", "Ben"),
    ]


# --- staff write in their own chat --------------------------------------------------------------


async def test_on_telegram_a_plain_line_in_the_topic_goes_to_the_person(ground: Ground) -> None:
    lay_out(ground)
    await ground.staff(from_staff("I am Ben."))
    assert to_person(ground) == [f"{BEN}I am Ben."]
    assert owner(ground) == ("human", "human", "Ben")
    assert ground.row(inbox, message_id="900").state == "done"


@pytest.mark.parametrize("how", ["slashes", "reply to the card", "command"])
async def test_on_telegram_a_note_stays_inside(ground: Ground, how: str) -> None:
    lay_out(ground)
    card = ground.row(staff_thread).card_message_id
    message = {
        "slashes": from_staff("// he is upset"),
        "reply to the card": from_staff("he is upset", reply_to=card),
        "command": command("/note he is upset"),
    }[how]
    await ground.staff(message)
    assert to_person(ground) == []
    line = ground.rows(history)[-1]
    assert (line.role, line.text, line.name) == ("note", "he is upset", "Ben")
    assert owner(ground)[0] == "queue"


async def test_without_topics_a_reply_to_the_card_or_a_copy_goes_to_the_person(
    ground: Ground,
) -> None:
    ground.open_case()
    thread = ground.claim(STAFF).post
    ground.lost(thread)
    card, *rest = ground.send_all(STAFF)
    ground.send_all()
    await ground.staff(from_staff("a", thread="", reply_to=f"m{card.id}"))
    await ground.staff(from_staff("b", number=901, thread="", reply_to=f"m{rest[-1].id}"))
    await ground.staff(from_staff("among us", number=902, thread=""))
    await ground.staff(from_staff("among us", number=903, thread="", reply_to="somebody else's"))
    assert to_person(ground) == [f"{BEN}a", "b"]


@pytest.fixture
def discord(tmp_path: Path) -> Iterator[Ground]:
    with opened(tmp_path, Place(platform="discord", bot="heed", chat=DESK.chat)) as made:
        yield made


async def test_on_discord_a_plain_line_stays_inside_and_a_reply_to_a_copy_goes_out(
    discord: Ground,
) -> None:
    lay_out(discord)
    discord.take(said(2, "hello?"))
    start = discord.begin()
    discord.finish(start, Plan(heard=heard(start), copies={start.rows[0].id: ("Ann: hello?",)}))
    [copy] = discord.send_all(STAFF)
    card = discord.row(staff_thread).card_message_id

    def wrote(text: str, number: int, **more: Any) -> Message:
        return from_staff(text, number=number, platform="discord", **more)

    await discord.staff(wrote("what does she want", 900))
    await discord.staff(wrote("look at this card", 901, reply_to=card))
    await discord.staff(wrote("Hello Ann.", 902, reply_to=f"m{copy.id}"))
    assert to_person(discord) == [f"{BEN}Hello Ann."]
    kept = [row for row in discord.rows(history) if row.role != "marker"]
    roles = [(row.role, row.text) for row in kept][-3:]
    assert roles == [
        ("note", "what does she want"),
        ("note", "look at this card"),
        ("staff", "Hello Ann."),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/claim", ("human", "human", "Ben")),
        ("/resolve", ("bot", "resolved", "")),
        ("/notneeded", ("bot", "resolved", "")),
        ("/bot off", ("human", "human", "Ben")),
        ("/r hello", ("human", "human", "Ben")),
    ],
)
async def test_commands_in_the_thread(
    ground: Ground, line: str, expected: tuple[str, str, str]
) -> None:
    lay_out(ground)
    await ground.staff(command(line))
    assert owner(ground) == expected


async def test_a_command_nobody_knows_is_told_to_staff_and_sent_to_nobody(ground: Ground) -> None:
    lay_out(ground)
    await ground.staff(command("/resovle"))
    assert to_person(ground) == []
    [post] = ground.send_all(STAFF)
    assert "/resovle was not sent to anybody" in post.text
    assert owner(ground)[0] == "queue"


async def test_the_buttons_of_a_card_work(ground: Ground) -> None:
    lay_out(ground)
    buttons = {b.label: b.data for b in card_of(ground).buttons}
    assert all(len(data.encode()) <= 64 for data in buttons.values())
    await ground.staff(pressed(buttons["Claim"]))
    assert owner(ground) == ("human", "human", "Ben")
    ground.send_all(STAFF)
    await ground.staff(pressed(buttons["Resolve"], number=901, who="Zoe"))
    assert "card was old" in ground.send_all(STAFF)[0].text  # and here is the present one
    assert "With Ben" in drawn(ground).text
    assert owner(ground)[1] == "human"
    fresh = {b.label: b.data for b in card_of(ground).buttons}
    await ground.staff(pressed(fresh["Resolve"], number=902, who="Zoe"))
    [told] = ground.send_all(STAFF)
    assert told.text.startswith("Ben took this")
    assert [button.label for button in told.buttons] == ["Take over"]
    await ground.staff(pressed(fresh["Resolve"], number=903))
    assert owner(ground)[1] == "resolved"


@pytest.mark.parametrize("data", ["", "h:1:zz:1", "h:1:cl", "u:human", "h:ZZ:cl:1", "h:9:cl:0"])
async def test_a_button_that_means_nothing_changes_nothing(ground: Ground, data: str) -> None:
    lay_out(ground)
    await ground.staff(pressed(data))
    assert owner(ground) == ("queue", "queued", "")
    assert ground.row(inbox, message_id="900").state == "done"


async def test_an_answer_in_a_case_that_somebody_else_has_is_held_until_its_writer_decides(
    ground: Ground,
) -> None:
    lay_out(ground)
    await act(ground, "claim")
    ground.send_all(STAFF)
    await ground.staff(from_staff("my two cents", who="Zoe"))
    assert to_person(ground) == []
    [post] = ground.send_all(STAFF)
    assert post.text == "Ben claimed this 0 s ago."
    assert post.reply_to == "900"
    assert (ground.rows(history)[-1].role, ground.rows(history)[-1].text) == (
        "held",
        "my two cents",
    )
    anyway, note = (button.data for button in post.buttons)
    await ground.staff(pressed(anyway, number=901, who="Zoe"))
    assert to_person(ground) == ["Zoe · Support\nmy two cents"]
    assert owner(ground) == ("human", "human", "Ben")
    await ground.staff(pressed(note, number=902, who="Zoe"))
    assert ground.rows(history, text="my two cents")[0].role == "staff"
    assert "dealt with already" in ground.send_all(STAFF)[-1].text


async def test_a_held_answer_may_stay_inside_as_a_note(ground: Ground) -> None:
    lay_out(ground)
    await act(ground, "claim")
    ground.send_all(STAFF)
    await ground.staff(from_staff("my two cents", who="Zoe"))
    [post] = ground.send_all(STAFF)
    await ground.staff(pressed(post.buttons[1].data, number=901, who="Zoe"))
    assert ground.rows(history)[-1].role == "note"
    assert to_person(ground) == []


async def test_a_hard_lock_refuses_whoever_does_not_have_the_case(ground: Ground) -> None:
    policy = replace(ground.rules.policy, hard_lock=True)
    ground.rules = replace(ground.rules, policy=policy)
    lay_out(ground)
    await act(ground, "claim")
    ground.send_all(STAFF)
    await ground.staff(from_staff("my two cents", who="Zoe"))
    [post] = ground.send_all(STAFF)
    assert [button.label for button in post.buttons] == ["Take over"]
    assert ground.rows(history, role="held") == []
    await ground.staff(command("/steal", number=901, who="Zoe"))
    await ground.staff(from_staff("my two cents", number=902, who="Zoe"))
    assert to_person(ground) == ["Zoe · Support\nmy two cents"]


async def test_one_refused_line_of_a_burst_does_not_take_the_others_along(ground: Ground) -> None:
    lay_out(ground)
    ground.take(
        from_staff("first", number=900), from_staff("", number=901), from_staff("last", number=902)
    )
    start = ground.begin(ground.row(inbox, message_id="900").conversation_id)
    assert len(start.rows) == 3
    await ground.handoff.staff_message(start)
    assert to_person(ground) == [f"{BEN}first", "last"]
    assert any("needs some text" in post.text for post in ground.send_all(STAFF))
    assert {row.state for row in ground.rows(inbox)} == {"done"}


async def test_why_a_line_was_refused_stands_as_an_answer_to_it(ground: Ground) -> None:
    lay_out(ground)
    await ground.staff(from_staff("", number=900))
    await ground.staff(from_staff("", number=901))
    found = [(post.text, post.reply_to) for post in ground.send_all(STAFF) if post.reply_to]
    assert found == [("An answer needs some text.", "900"), ("An answer needs some text.", "901")]


async def test_a_staff_line_is_carried_out_once(ground: Ground) -> None:
    lay_out(ground)
    await ground.staff(from_staff("once"))
    assert ground.take(from_staff("once")) == [None]
    assert len(ground.rows(history, role="staff")) == 1


async def test_a_line_in_one_thread_never_reaches_another_case(ground: Ground) -> None:
    lay_out(ground)
    second = ground.open_case(2, user="zed")
    ground.send_all(("staff", 2), thread="32")
    await ground.staff(from_staff("for zed", thread="32"))
    assert to_person(ground) == []
    posts = ground.send_all(("person", ground.case(second).conversation_id))
    assert posts[-1].text == f"{BEN}for zed"
    assert ground.case().state == "queued"


def test_a_card_shows_what_moved_it_and_stays_short(ground: Ground) -> None:
    for number in range(1, 5):
        ground.take(said(number, f"line {number} " + "x" * 3000))
        start = ground.begin()
        intensity = -0.1 * number
        scores: Scores = replace(SAD, intensity=intensity)
        ground.finish(
            start, replace(answering(start), heard=(replace(heard(start)[0], scores=scores),))
        )
    ground.open_case(9)
    moved = ground.view()["moved_by"]
    assert [m["text"].split(" x")[0] for m in moved] == ["line 3", "line 4", "I am fed up"]
    card = card_of(ground)
    assert len(card.text) <= 1900
    assert len(card.title) <= 100


@pytest.mark.parametrize("number", [0, 1, 35, 36, 1295, 123456789])
def test_numbers_in_button_data_can_be_read_back(number: int) -> None:
    assert int(base36(number), 36) == number
