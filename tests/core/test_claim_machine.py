"""Two members of staff, whatever they do and in whatever order: one holder, one open case."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings, strategies as st

from core.errors import DeskError
from core.handoff import Action
from core.store.desk import OWNER_OF
from core.store.turns import Plan
from core.tables import case, outbox
from tests.core.ground import Ground, heard, opened, said

VERBS = ("claim", "release", "steal", "reply", "resolve", "snooze", "wake", "botback", "reopen")
steps = st.lists(
    st.tuples(
        st.sampled_from(VERBS),
        st.sampled_from(("Ben", "Zoe")),
        st.booleans(),  # from a card that is older than the last step
        st.booleans(),  # asked again, with a confirm
    ),
    min_size=1,
    max_size=12,
)


def holds_together(ground: Ground) -> None:
    """Who speaks, who holds and what is open tell the same story."""
    unresolved = [row for row in ground.rows(case) if row.state != "resolved"]
    assert len(unresolved) <= 1
    person = ground.conversation()
    if not unresolved:
        assert person.owner == "bot"
        return
    [row] = unresolved
    expected = OWNER_OF[row.state_before if row.state == "snoozed" else row.state]
    assert person.owner == expected
    held = row.state == "human" or (row.state == "snoozed" and row.state_before == "human")
    assert bool(row.holder) is bool(row.claimed_by) is held
    assert row.holder in ("", "web:Ben", "web:Zoe")


async def act(ground: Ground, verb: str, who: str, *, stale: bool, confirm: bool) -> bool:
    """Press or write; returns whether it was carried out."""
    version = ground.view()["version"] - stale if verb != "reply" else None
    action = Action(
        case_id=1, verb=verb, who=who, by=f"web:{who}", text=_text(verb), version=version,
        confirm=confirm,
    )  # fmt: skip
    try:
        await ground.handoff.act(action)
    except DeskError:
        return False
    return True


def _text(verb: str) -> str:
    return {"reply": "hello", "snooze": "1h"}.get(verb, "")


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps)
def test_any_interleaving_leaves_one_holder_and_one_open_case(
    steps: list[tuple[str, str, bool, bool]],
) -> None:
    with TemporaryDirectory() as folder, opened(Path(folder)) as ground:
        ground.open_case()
        for verb, who, stale, confirm in steps:
            before = (ground.case().state, ground.case().holder, ground.conversation().version)
            done = asyncio.run(act(ground, verb, who, stale=stale, confirm=confirm))
            holds_together(ground)
            row = ground.case()
            if not done:
                assert before == (row.state, row.holder, ground.conversation().version)
            elif verb in ("claim", "steal"):
                assert row.holder == f"web:{who}"
            elif before[1] not in ("", f"web:{who}") and row.holder != before[1]:
                assert confirm  # nobody loses a case to another without a confirm
        ground.take(said(9, "hello?"))
        start = ground.begin()
        assert start is not None
        relayed = start.owner != "bot"
        plan = Plan(
            heard=heard(start), copies={start.rows[0].id: ("Ann: hello?",)} if relayed else {}
        )
        ground.finish(start, plan)
        holds_together(ground)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    first=st.sampled_from(("claim", "reply", "release", "resolve")),
    second=st.sampled_from(("claim", "reply", "release", "resolve")),
    claimed=st.booleans(),
)
def test_two_who_act_at_once_are_one_after_the_other(
    first: str, second: str, *, claimed: bool
) -> None:
    async def both(ground: Ground) -> list[bool]:
        pair = ((first, "Ben"), (second, "Zoe"))
        return await asyncio.gather(
            *(act(ground, verb, who, stale=False, confirm=False) for verb, who in pair)
        )

    with TemporaryDirectory() as folder, opened(Path(folder)) as ground:
        ground.open_case()
        if claimed:
            asyncio.run(act(ground, "claim", "Zoe", stale=False, confirm=False))
        done = asyncio.run(both(ground))
        holds_together(ground)
        took = [w for w, ok in zip((first, second), done, strict=True) if ok and w == "claim"]
        assert len(took) <= 1
        if first == second == "reply":
            said_to_them = [
                row.text for row in ground.rows(outbox, kind="relay", staff_thread_id=None)
            ]
            assert sum(text.endswith("hello") for text in said_to_them) == 1
