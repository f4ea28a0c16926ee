"""A database with people in it, and no machine: rows written straight into the tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import insert, select

from core.store import Inline, Store, create_tables
from core.tables import audit, case, conversation, decision, feedback, history, inbox
from tests.core.ground import SEAL


@cache
def _empty() -> bytes:
    """Return the file of a database without rows: made once, copied for every test."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "heed.db"
        create_tables(f"sqlite:///{path}")
        return path.read_bytes()


class Town:
    """Rows written straight into the tables: who said what when, and what became of it."""

    def __init__(self, path: Path) -> None:
        url = f"sqlite:///{path}"
        path.write_bytes(_empty())
        self.store = Store(url, Inline, seal=SEAL)
        self.messages = 0

    def rows(self, table: Any) -> list[Any]:
        return list(self.store.read_now(lambda c: c.execute(select(table)).all()))

    def add(self, table: Any, **values: Any) -> int:
        return self.store.write_now(
            lambda c: c.execute(insert(table).values(**values).returning(table.c.id)).scalar_one()
        )

    def person(self, user: str, /, **values: Any) -> int:
        facts = {"platform": "telegram", "bot": "heed", "chat": user, "user": user, "lang": "en"}
        return self.add(conversation, **{**facts, "opened_at": 0.0, "touched_at": 0.0, **values})

    def say(self, who: int, at: float, p: float | None = 0.1, **judged: Any) -> None:
        self.messages += 1
        arrived = judged.pop("received_at", at)
        row = self.add(
            inbox, conversation_id=who, sequence=1, message={}, message_id=str(self.messages),
            state="done", received_at=arrived, touched_at=at,
        )  # fmt: skip
        scores = None if p is None else {"p_negative": p}
        self.add(history, conversation_id=who, inbox_id=row, role="user", at=at, scores=scores)
        if p is not None:
            facts = {"opened": False, "trace": [], "mood": 0.0, "level": "calm", "versions": {}}
            self.add(
                decision, **{**facts, "conversation_id": who, "inbox_id": row, "at": at, **judged}
            )

    def reply(self, who: int, at: float, model: str = "echo", prompt: str = "1") -> int:
        """Let the bot say a line; return it."""
        facts = {"conversation_id": who, "inbox_id": None, "at": at, "model": model}
        return self.add(history, role="bot", text="ok", prompt=prompt, **facts)

    def thumb(self, who: int, line: int, value: int, at: float) -> None:
        self.add(feedback, conversation_id=who, history_id=line, value=value, at=at)

    def case(self, who: int, at: float, **values: Any) -> int:
        return self.add(case, conversation_id=who, opened_at=at, **{"state": "resolved", **values})

    def step(self, case_id: int, what: str, at: float) -> None:
        self.add(audit, case_id=case_id, what=what, at=at)


@contextmanager
def founded(folder: Path) -> Iterator[Town]:
    town = Town(folder / "heed.db")
    try:
        yield town
    finally:
        town.store.close()
