"""What each instrument of a model scores, to calibrate it by: alone, in bulk, in a conversation.

The same text is asked in the way in which Heed will ask it, one instrument after the other.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from bot.evaluating.rows import Row
from core.calibration import EMPTY, leaning, table
from core.engine.mind import Engine
from core.engine.ports import Joint, ReplyRequest
from core.errors import EngineBusy, EngineError
from core.evaluation import Bools, Floats
from core.message import ConversationKey, Tagging

if TYPE_CHECKING:
    from core.prompts import Task

ROWS = 30  # the fewest labelled rows that tell anything
_BATCH = 64

OnRow = Callable[[], object]


def held_out(name: str) -> bool:
    """Say whether the row with this id judges; else the fit may see it. Ids never change sides."""
    return bool(hashlib.sha256(name.encode("utf-8", "replace")).digest()[0] & 1)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Heard:
    """What one instrument scored: the empty messages, and the rows that it could read."""

    instrument: str
    labels: tuple[str, ...]
    empty: Floats  # (m, labels)
    rows: Sequence[Row]
    scores: Floats  # (n, labels)
    states: Floats | None  # (n, size)

    @property
    def out(self) -> Bools:
        """Which rows judge, (n,)."""
        return np.array([held_out(row.id) for row in self.rows], bool)

    @property
    def prior(self) -> Floats:
        """The bias that the empty messages ask for."""
        return leaning(self.empty) if len(self.empty) else np.zeros(len(self.labels))


def instruments(engine: Engine, task: Task) -> tuple[str, ...]:
    """Return what the engine tags with; a task with a prompt of its own is asked in no branch."""
    if not isinstance(engine, Joint):
        return ("remote",)
    return ("alone", "bulk", *(["branch"] if task.stands == "suffix" else []))


async def hear(engine: Engine, task: Task, rows: Sequence[Row], name: str, on_row: OnRow) -> Heard:
    """Ask one instrument for every text. Raises EngineError where it can read too few."""
    ask = {"bulk": _bulk, "branch": _branch}.get(name, _alone)
    empty = [tag for tag in await ask(engine, EMPTY, lambda: None) if tag is not None]
    tags = await ask(engine, [row.text for row in rows], on_row)
    kept = [(row, tag) for row, tag in zip(rows, tags, strict=True) if tag is not None]
    if len(kept) < min(ROWS, len(rows)) or (not rows and not empty):
        raise EngineError(f"{engine.name} could read {len(kept)} of {len(tags)} rows only.")
    told = [tag for _, tag in kept]
    states = [tag.made["state"] for tag in told if "state" in tag.made]
    return Heard(
        instrument=name,
        labels=task.labels,
        empty=table(empty, task.labels),
        rows=[row for row, _ in kept],
        scores=table(told, task.labels),
        states=np.array(states, np.float64) if states else None,
    )


async def _alone(engine: Engine, texts: Sequence[str], on_row: OnRow) -> list[Tagging | None]:
    """Tag one text after the other; a server is asked a few at a time, which it does not notice."""
    size = 1 if isinstance(engine, Joint) else _BATCH
    found: list[Tagging | None] = []
    for at in range(0, len(texts), size):
        found += await _some(engine, texts[at : at + size])
        for _ in texts[at : at + size]:
            on_row()
    return found


async def _bulk(engine: Engine, texts: Sequence[str], on_row: OnRow) -> list[Tagging | None]:
    """Tag many texts in each forward."""
    found: list[Tagging | None] = []
    for at in range(0, len(texts), _BATCH):
        some = texts[at : at + _BATCH]
        pair = some if len(some) > 1 else [*some, *some]  # one text by itself is another instrument
        found += (await _some(engine, pair))[: len(some)]
        for _ in some:
            on_row()
    return found


async def _some(engine: Engine, texts: Sequence[str], tries: int = 5) -> list[Tagging | None]:
    """Tag texts together; when the engine fails, each by itself, to spare the others."""
    try:
        return list(await engine.tag_many(texts))
    except EngineBusy as busy:
        if tries:
            await asyncio.sleep(busy.seconds)
            return await _some(engine, texts, tries - 1)
    except EngineError:
        if len(set(texts)) > 1:
            times = 2 if isinstance(engine, Joint) else 1  # two are asked in bulk, one is not
            return [tag for text in texts for tag in (await _some(engine, [text] * times))[:1]]
    return [None] * len(texts)


async def _branch(engine: Engine, texts: Sequence[str], on_row: OnRow) -> list[Tagging | None]:
    """Tag each text as the first message of a conversation; the reply is taken back at once."""
    found: list[Tagging | None] = []
    for at, text in enumerate(texts):
        key = ConversationKey(platform="terminal", bot="heed", chat="calibrate", user=str(at))
        try:
            tag, started = await cast(Joint, engine).tag_and_start(
                ReplyRequest(key=key, history=(), messages=(text,))
            )
        except EngineError:
            found.append(None)
        else:
            await engine.cancel(started)
            found.append(tag)
        await engine.drop(key)
        on_row()
    return found
