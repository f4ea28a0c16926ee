"""`heed replay --since`: the stored decisions under other settings, old against new.

Each conversation is judged again from its stored scores, by the same `judge` as in the walk; no
model is asked, nothing is sent, nothing is written. Where words are no longer kept, what the
stored trace says of phrases stands for them. A case that was really opened lasts as long as it
did; one that only the new settings open is taken to last as long as mood rests after a case.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from bot.evaluating.hindsight_tables import GONE, lines
from bot.evaluating.verdicts import alerts_of, read, scores_of
from bot.replay import policies
from core import mood as moods
from core.engine.embedded.table import Table as Lexicon
from core.errors import SetupError
from core.escalation import RULES, Decision, Past, Policy, judge, peak_of, unsaid
from core.escalation.rules import DAY
from core.message import Scores
from core.mood import Mood, MoodPolicy
from core.store.judged import Closed, Decided
from core.triggers import Triggers

if TYPE_CHECKING:
    from bot.settings import Settings

WARM_UP = 2 * DAY  # read before `since`: mood, rest and counts must be what they were
_HEARD = 30  # scored messages that an edit is weighed among, as in the walk


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One person called, by the stored rules or by other settings."""

    conversation_id: int
    at: float
    until: float  # while it lasts nobody is called again
    rule: str
    why: str  # quotes words
    text: str | None
    case: int | None = None  # the stored one that it opens, or comes later in
    verdict: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One call of either side; of both where their times overlap."""

    old: Call | None
    new: Call | None

    @property
    def verdict(self) -> str:
        """What staff said of the stored one; empty: nothing, or there was none."""
        return "" if self.old is None else self.old.verdict


def replay_stored(
    settings: Settings,
    other: Settings | None,
    since: float,
    *,
    texts: bool = False,
    json_out: Path | None = None,
    stdout: TextIO | None = None,
) -> int:
    """Print who was called since a time, and who would have been by the rules of `other`; return 0.

    The database is that of `settings`. `other` None: the settings in force, with what the page
    changed. Words are shown only with `texts`. Raises SetupError.
    """
    out = stdout or sys.stdout
    if json_out is not None and (json_out.is_dir() or not json_out.absolute().parent.is_dir()):
        raise SetupError(f"{json_out} cannot be written: name a file in a folder that exists.")
    in_force, kept = read(settings, since=max(0.0, since - WARM_UP), words=True)
    other = other or in_force
    rows = [row for row in kept.decisions if row.at >= since]
    if not rows:
        raise SetupError("The database holds no decision since then: name an earlier date.")
    ladder, policy = policies(other, dict(Lexicon.load().thresholds))
    rules = Rules(
        ladder=ladder,
        policy=policy,
        rest=60.0 * other.escalation.refractory_minutes,
        not_needed=60.0 * other.escalation.not_needed_minutes,
    )
    people: dict[int, list[Decided]] = defaultdict(list)
    for row in kept.decisions:
        people[row.conversation_id].append(row)
    new = _once([call for mine in people.values() for call in _called(mine, kept.cases, rules)])
    old = _stored(alerts_of(kept), rules.rest)
    pairs = _paired(*([call for call in side if call.at >= since] for side in (old, new)))
    report = _report(pairs, rows, texts=texts) | {"since": since}
    out.writelines(f"{line}\n" for line in lines(report))
    if json_out is not None:
        text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
        try:
            json_out.write_bytes(text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise SetupError(f"{json_out} cannot be written: {error.strerror}.") from error
    return 0


# -- judged again --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What one side judges by; times in seconds."""

    ladder: MoodPolicy
    policy: Policy
    rest: float  # of mood after a case
    not_needed: float  # and after one that nobody needed, doubled by each further one

    def after(self, case: Closed, before: int, peak: float | None) -> tuple[float, float | None]:
        """Return until when mood rests after a case that ended, and what a spike must be above."""
        ended = case.resolved_at or math.inf
        if case.verdict != "not needed":
            return ended + self.rest, None
        return ended + min(self.not_needed * 2**before, DAY), peak


@dataclass(kw_only=True, slots=True)
class _Person:
    """One conversation while it is judged again."""

    past: Past = field(default_factory=Past)
    until: float = -math.inf  # a call of ours lasts
    within: Closed | None = None  # the stored case that the last message lay in
    peak: float = 0.0  # the worst message of it
    called: set[int] = field(default_factory=set)  # cases in which somebody is called already
    unneeded: int = 0
    heard: list[tuple[str, float, Scores]] = field(default_factory=list)


def _called(rows: Sequence[Decided], cases: Mapping[int, Closed], rules: Rules) -> Iterator[Call]:
    """Judge one conversation again, oldest first, and yield whom it calls."""
    person = _Person()
    for row in rows:
        case = cases.get(row.case_id or 0)
        _pass(person, case, rules)
        decision = _judged(person, row, rules)
        lasts = row.at < person.until
        if case is not None and lasts:
            person.called.add(case.id)
        held = bool(row.rule) and not row.opened and not row.dry  # by staff's hand, not by a rule
        free = not lasts if case is None else case.id not in person.called
        if not decision.open or held or not free or (case and case.rule not in RULES):
            continue
        person.past = person.past.opened(decision, row.at)
        if case is None:
            person.until = row.at + rules.rest
            person.past = replace(person.past, refractory_until=person.until)
        else:
            person.called.add(case.id)
            person.until = case.resolved_at or math.inf
        yield Call(
            conversation_id=row.conversation_id,
            at=row.at,
            until=person.until,
            rule=decision.rule,
            why=decision.line,
            text=row.text,
            case=None if case is None else case.id,
        )


def _once(calls: Sequence[Call]) -> list[Call]:
    """Return the first call in each stored case: one that went private lies in two chats."""
    seen: set[int] = set()
    found = []
    for call in sorted(calls, key=lambda call: call.at):
        if call.case is None or call.case not in seen:
            found.append(call)
        if call.case is not None:
            seen.add(call.case)
    return found


def _pass(person: _Person, case: Closed | None, rules: Rules) -> None:
    """Let a stored case end before the next message is judged: mood rests after it."""
    ended = person.within
    if ended is not None and (case is None or case.id != ended.id):
        if ended.id in person.called:
            until, peak = rules.after(ended, person.unneeded, person.peak)
            person.past = replace(person.past, refractory_until=until, not_needed_peak=peak)
        person.unneeded += ended.verdict == "not needed"
        person.peak = 0.0
    person.within = case


def _judged(person: _Person, row: Decided, rules: Rules) -> Decision:
    """Judge one message as the walk did, an edit in the place of the message that it changes."""
    scores = None if row.scores is None else scores_of(row.scores)
    trace = {one["rule"]: one for one in row.trace}
    before = person.past
    if row.edited:
        before = _without(person, row.message_id, rules, private=row.private)
    # How an engine failed is not stored, that the rule fired is: no setting changes it.
    failed = rules.policy.engine_failures if _fired(trace, "failure") else 0
    judged = judge(
        replace(before, engine_failures=failed),
        row.text or "",
        scores,
        row.at,
        private=row.private,
        command_human=_certain(trace, "request"),
        mood_policy=rules.ladder,
        policy=rules.policy,
        triggers=None if row.text is not None else _phrases(trace),
    )
    questions = before.last_questions if row.edited else judged.past.last_questions
    person.past = replace(judged.past, last_questions=questions)
    if scores is not None:
        person.heard = [*person.heard, (row.message_id, row.at, scores)][-_HEARD:]
        person.peak = max(person.peak, peak_of(scores)) if person.within else 0.0
    return judged.decision


def _without(person: _Person, message_id: str, rules: Rules, *, private: bool) -> Past:
    """Return the past as if one message had not been heard yet."""
    earlier = next((at for one, at, _ in person.heard if one == message_id), None)
    person.heard = [one for one in person.heard if one[0] != message_id]
    ladder = rules.ladder if private else rules.ladder.lowered(rules.policy.group_offset)
    mood = Mood()
    for _, at, scores in person.heard:
        mood = moods.step(mood, scores, at, ladder)
    return replace(unsaid(person.past, earlier), mood=mood)


def _fired(trace: Mapping[str, Mapping[str, Any]], rule: str) -> bool:
    return bool(trace.get(rule, {}).get("fired"))


def _certain(trace: Mapping[str, Mapping[str, Any]], rule: str) -> bool:
    """Say whether a phrase or a button fired a rule: that is a 1, which no score is."""
    found = trace.get(rule, {})
    return _fired(trace, rule) and found.get("value") == found.get("threshold") == 1.0


def _phrases(trace: Mapping[str, Mapping[str, Any]]) -> Triggers:
    """Return what a trace without its notes still tells of the phrases that matched."""
    crisis, request, money = (
        GONE if _certain(trace, name) else "" for name in ("crisis", "request", "money")
    )
    return Triggers(crisis=crisis, request=request, money=money)


def _stored(alerts: Sequence[Any], rest: float) -> list[Call]:
    """Return whom the stored rules called, and whom a dry run would have."""
    found: list[Call] = []
    lasts: dict[int, float] = {}
    for alert in alerts:
        if alert.case is None and alert.at < lasts.get(alert.conversation_id, -math.inf):
            continue
        until = alert.at + rest
        if alert.case is not None:
            until = alert.case.resolved_at or math.inf
        lasts[alert.conversation_id] = until
        found.append(
            Call(
                conversation_id=alert.conversation_id,
                at=alert.at,
                until=until,
                rule=alert.rule,
                why="",
                text=None if alert.message is None else alert.message.text,
                verdict=alert.verdict,
            )
        )
    return found


def _paired(old: Sequence[Call], new: Sequence[Call]) -> list[Difference]:
    """Bring calls of one person that overlap together, oldest first; each is in one pair."""
    left: dict[int, list[Call]] = defaultdict(list)
    for call in new:
        left[call.conversation_id].append(call)
    found = []
    for call in old:
        mine = left[call.conversation_id]
        match = next((one for one in mine if one.at <= call.until and call.at <= one.until), None)
        if match is not None:
            mine.remove(match)
        found.append(Difference(old=call, new=match))
    found += [Difference(old=None, new=call) for calls in left.values() for call in calls]
    return sorted(found, key=_when)


def _when(pair: Difference) -> float:
    return min(call.at for call in (pair.old, pair.new) if call is not None)


# -- the report ----------------------------------------------------------------------------------


def _report(pairs: Sequence[Difference], rows: Sequence[Decided], *, texts: bool) -> dict[str, Any]:
    old = Counter(pair.old.rule for pair in pairs if pair.old is not None)
    new = Counter(pair.new.rule for pair in pairs if pair.new is not None)
    gone = [pair for pair in pairs if pair.new is None]
    return {
        "kind": "hindsight",
        "messages": len(rows),
        "people": len({row.conversation_id for row in rows}),
        "without_words": sum(row.text is None for row in rows),
        "old": old.total(),
        "new": new.total(),
        "both": sum(pair.old is not None and pair.new is not None for pair in pairs),
        "rules": [
            {"rule": rule, "old": old[rule], "new": new[rule]}
            for rule in RULES
            if old[rule] or new[rule]
        ],
        "no_longer": Counter(pair.verdict or "no verdict" for pair in gone),
        "calls": [_call(pair, texts=texts) for pair in pairs],
    }


def _call(pair: Difference, *, texts: bool) -> dict[str, Any]:
    old, new = pair.old, pair.new
    told: dict[str, Any] = {
        "conversation": next(c.conversation_id for c in (old, new) if c is not None),
        "at": _when(pair),
        "old": None if old is None else {"rule": old.rule, "at": old.at},
        "new": None if new is None else {"rule": new.rule, "at": new.at},
        "verdict": pair.verdict,
    }
    if texts:
        said = next((c.text for c in (old, new) if c is not None and c.text is not None), None)
        told |= {"text": said, "why": None if new is None else new.why}
    return told


__all__ = ["replay_stored"]
