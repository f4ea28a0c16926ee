"""What both sides of the door hold: settings, counters, a turn, and the stream of its text."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from core.engine.calibrations import CalibrationBook
from core.engine.ports import ReplyRequest
from core.errors import EngineError
from core.message import Level

Stage = Literal["new", "starting", "ready", "speaking", "over", "settled"]


class Memory(Protocol):
    """Token ids beside what they have cost: KV of our own decoder, or of the library."""

    ids: list[int]
    since: float  # the history shown in here begins at this time; -1: there is none

    @property
    def croppable(self) -> bool:
        """Whether tokens can be taken off the end."""
        ...

    @property
    def size(self) -> int:
        """Bytes held, counted by room and not by length."""
        ...

    def cut(self, length: int) -> None:
        """Keep the first `length` tokens, or fewer where that cannot be done."""
        ...

    def reserve(self, length: int) -> None:
        """Make room for `length` tokens in all."""
        ...

    def compact(self) -> None:
        """Give back what is not used."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the operator chose for the local engine."""

    source: str  # hub id or folder
    name: str  # as shown and stored; never a path
    history_tokens: int
    message_tokens: int
    slots: int
    kv_budget: int  # bytes
    threads: int | None
    precision: str
    device: str = "auto"
    adapter: str | None = None  # folder or hub id of a LoRA
    calibration: CalibrationBook | None = None  # None: tags are told as they were scored
    states: bool = False  # put the hidden state beside each tag, for a probe to be fitted
    clock: Callable[[], float]  # seconds, for deadlines and durations


@dataclass(kw_only=True, slots=True)
class Counters:
    """What the engine has done since it was made, warming up included. Read from anywhere."""

    loads: int = 0  # times weights were read: one copy in memory for each
    forwards: int = 0
    prefills: int = 0  # forwards of more than one row
    tokens_computed: int = 0
    tokens_reused: int = 0  # rows found in a warm conversation or a shared prefix
    replies: int = 0  # replies that ended, however
    tags: int = 0
    restarts: int = 0  # times a thread that hung or ended was replaced


class Pieces:
    """The text of one reply on its way from the engine thread to one reader in the event loop.

    A slow reader gets several pieces as one; nobody waits for it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._news = asyncio.Event()
        self._text: list[str] = []
        self._over = False
        self._fault: EngineError | None = None

    def put(self, text: str) -> None:
        """Hand over text. Any thread."""
        self._tell(text, over=False, fault=None)

    def end(self, fault: EngineError | None = None) -> None:
        """Say that nothing follows, or why. Any thread; the first end counts."""
        self._tell("", over=True, fault=fault)

    def _tell(self, text: str, *, over: bool, fault: EngineError | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: there is no reader
            self._loop.call_soon_threadsafe(self._take, text, over, fault)

    def _take(self, text: str, over: bool, fault: EngineError | None) -> None:  # noqa: FBT001
        if self._over:
            return
        self._text.append(text)
        self._over, self._fault = over, fault
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield what has come until the end. Raises the fault that ended it."""
        while True:
            await self._news.wait()
            self._news.clear()
            text = "".join(self._text)
            self._text.clear()
            if text:
                yield text
            if self._over and not self._text:
                if self._fault is not None:
                    raise self._fault
                return


@dataclass(kw_only=True, slots=True, eq=False)
class Turn:
    """One reply from its first forward until it is settled.

    The engine thread owns everything here but `withdrawn`, which the event loop may set at any
    moment and the thread reads between two steps.
    """

    request: ReplyRequest
    home: object = None  # the Worker that began it; no other may touch its memory
    made: dict[str, Any] = field(default_factory=dict)
    withdrawn: bool = False
    forgotten: bool = False  # the conversation was dropped: nothing of it is kept
    stage: Stage = "new"
    memory: Memory | None = None  # the turn alone holds it until it is settled
    ids: list[int] = field(default_factory=list)  # the prompt up to the end of the message
    turn_at: int = 0  # where in `ids` this message began
    prompt: Any = None  # ReplyPrompt
    level: Level = "calm"
    logits: Any = None  # of the next token, [vocabulary]
    token: int | None = None  # said, and not yet in the memory
    speech: Any = None
    pieces: Pieces | None = None
    most_tokens: int = 0
    until: float = 0.0
    spoke_at: float = 0.0
