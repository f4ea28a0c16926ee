"""What is told of a turn to whoever follows along: pages, callers over HTTP, the terminal.

It is told after it is committed, and forgotten: the database is the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.hearing import tag_data
from core.ports import Board, Event, EventKind
from core.store.desk import Opening
from core.store.turns import Finished, Plan, Start


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Tells a board of turns. Every method returns at once."""

    board: Board
    model: Callable[[], str]  # the name of who speaks now

    def tell(self, start: Start, inbox_id: int, kind: EventKind, data: Mapping[str, Any]) -> None:
        """Tell one thing about one message."""
        self.board.tell(Event(kind=kind, key=start.key, data=data, inbox=inbox_id))

    def rest(self, start: Start, plan: Plan, shown: str) -> None:
        """Tell the end of a reply, which is whole only now: its tokens together are its text."""
        text = "" if plan.answer is None else plan.answer.text
        rest = text.removeprefix(shown)
        if rest and (rest != text or not shown):  # a fallback is no continuation of what was shown
            self.tell(start, plan.heard[-1].row.id, "token", {"text": rest})

    def finished(self, start: Start, plan: Plan, finished: Finished) -> None:
        """Tell whoever follows along; callers of a merged burst learn whose answer is theirs."""
        last = plan.heard[-1]
        words = [plan.answer.text] if plan.answer is not None else list(plan.notices)
        for opening in (plan.opening, plan.reopen):
            if isinstance(opening, Opening):
                words.append(opening.notice)
            elif opening is not None:
                words.append(opening[0])
        said = "\n\n".join(filter(None, words)) or None
        known: dict[str, Any] = {
            "mood": round(plan.mood, 4),
            "escalated": finished.owner != "bot",
            "owner": finished.owner,
            "case": finished.case_id,
        }
        if plan.answer is not None:
            known |= {"model": plan.answer.model, "prompt_version": plan.answer.prompt}
        for heard in plan.heard:
            mine = {"response": said} if heard is last else {"answered_by": last.row.id}
            self._done(start, heard.row.id, tag_data(heard.scores), {**known, **mine})
        self.tell(start, last.row.id, "line", {"owner": finished.owner})
        if finished.case_id is not None:
            told = {
                "case": finished.case_id,
                "new": finished.opened,
                "alert": list(finished.alert),
            }
            self.tell(start, last.row.id, "case", told)

    def closed(self, start: Start, words: str = "") -> None:
        """Tell whoever waits for a start's rows that they are done without a turn of their own."""
        for row in start.rows:
            self._done(start, row.id, tag_data(None), {"response": words or None})
        self.tell(start, start.rows[-1].id, "line", {})

    def _done(
        self, start: Start, inbox_id: int, tag: Mapping[str, Any], known: Mapping[str, Any]
    ) -> None:
        """Tell what came of one message: the fields of POST /chat, whatever ended it."""
        data = {
            **{name: tag[name] for name in ("sentiment", "intensity", "strong")},
            "mood": 0.0,
            "response": None,
            "escalated": start.owner != "bot",
            "owner": start.owner,
            "case": start.case_id,
            "message_id": inbox_id,
            "model": self.model(),
            "prompt_version": "",
            **known,
        }
        self.tell(start, inbox_id, "done", data)
