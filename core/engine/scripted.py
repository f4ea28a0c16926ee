"""An engine that answers from a table: for tests, benchmarks and the simulator.

It keeps every promise of the ports and can break each one on demand: late, slow, silent, wrong,
or failing as often as it is told. Whatever it was asked stands in `log`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from core.engine.ports import Capacity, Limits, ReplyRequest, Started
from core.errors import EngineBusy, EngineFailed, PromptError
from core.message import ConversationKey, Level, Tagging

T = TypeVar("T")
Verb = Literal["tag", "start", "speak", "cancel", "settle", "drop", "warm_up", "close"]
Replies = Mapping[str, str] | Callable[[ReplyRequest], str]
Reading = Mapping[str, float] | Tagging
Tags = Mapping[str, Reading] | Callable[[str], Reading]

GARBAGE = "<|im_start|>assistant\n<|im_start|>assistant\n\ufffd\ufffd"
NEUTRAL: Mapping[str, float] = {"negative": 0.05, "neutral": 0.9, "positive": 0.05}
POLARITY: Mapping[str, float] = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}
_PIECE = re.compile(r"\s*\S{1,6}|\s+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One thing that the engine was asked to do."""

    verb: Verb
    key: ConversationKey | None = None
    text: str = ""
    kept: bool | None = None


@dataclass(kw_only=True, slots=True, eq=False)
class _Script:
    """A started reply."""

    withdrawn: bool = False
    stop: asyncio.Event = field(default_factory=asyncio.Event)


class ScriptedEngine:
    """Tagger, Writer and Joint whose words are given.

    `replies` and `tags`: a function, or a table of pattern -> answer in which the first pattern
    found in the text (a regular expression, case aside) wins and "" fits all. A reading is
    {label: probability} or a whole Tagging. `delay`: seconds before each tag and each first
    logits; `pace`: seconds before each piece of a reply.
    """

    def __init__(  # noqa: PLR0913 - one knob for each way to behave
        self,
        replies: Replies | None = None,
        tags: Tags | None = None,
        *,
        name: str = "scripted",
        delay: float = 0.0,
        pace: float = 0.0,
        slots: int = 2,
        tasks: Sequence[str] = ("sentiment",),
        polarity: Mapping[str, float] = POLARITY,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._name = name
        self._replies: Replies = replies if replies is not None else {"": "I hear you."}
        self._tags: Tags = tags if tags is not None else {}
        self._tasks = tuple(tasks)
        self._polarity = polarity
        self._sleep = sleep
        self._slots = slots
        self._running: set[_Script] = set()
        self._failures: dict[Verb, int] = {}
        self._hangs: dict[Verb, asyncio.Event] = {}
        self._garbage: list[str] = []
        self.delay = delay
        self.pace = pace
        self.log: list[Asked] = []

    @property
    def name(self) -> str:
        """The model's name, as shown and stored."""
        return self._name

    @property
    def ready(self) -> bool:
        """Whether it can be asked; a script always can."""
        return True

    # ---- trouble on demand -----------------------------------------------------------------

    def fail(self, verb: Verb, times: int = 1) -> None:
        """Raise EngineFailed the next `times` times it is asked to do `verb`."""
        self._failures[verb] = self._failures.get(verb, 0) + times

    def hang(self, verb: Verb) -> None:
        """Do not answer to `verb` any more, until `release`."""
        self._hangs.setdefault(verb, asyncio.Event())

    def release(self) -> None:
        """Answer all that hangs."""
        for event in self._hangs.values():
            event.set()
        self._hangs.clear()

    def garble(self, times: int = 1, text: str = GARBAGE) -> None:
        """Say `text` in place of the next `times` replies."""
        self._garbage += [text] * times

    def asked(self, verb: Verb) -> list[Asked]:
        """Return what was asked of one kind, oldest first."""
        return [asked for asked in self.log if asked.verb == verb]

    async def _trouble(self, verb: Verb) -> None:
        if (event := self._hangs.get(verb)) is not None:
            await event.wait()
        if self._failures.get(verb, 0) > 0:
            self._failures[verb] -= 1
            raise EngineFailed(f"the script says that {verb} fails")

    # ---- Tagger ----------------------------------------------------------------------------

    async def tag_many(self, texts: Sequence[str], task: str | None = None) -> list[Tagging]:
        """Tag each text from the table. Raises PromptError, EngineFailed on demand."""
        if task is not None and task not in self._tasks:
            known = ", ".join(self._tasks)
            raise PromptError(f"there is no task {task}: choose one of {known}")
        self.log += [Asked(verb="tag", text=text) for text in texts]
        await self._wait()
        await self._trouble("tag")
        return [self._read(text, "alone", task) for text in texts]

    def _read(self, text: str, where: str, task: str | None = None) -> Tagging:
        table = self._tags
        reading = table(text) if callable(table) else _first(table, text, NEUTRAL)
        if isinstance(reading, Tagging):
            return reading
        return Tagging(
            probs=dict(reading),
            doubt=0.0,
            instrument=f"{self._name}#{where}",
            prompt=f"{task or self._tasks[0]}@scripted",
            polarity=self._polarity,
        )

    async def _wait(self) -> None:
        if self.delay:
            await self._sleep(self.delay)

    # ---- Writer and Joint ------------------------------------------------------------------

    async def start(self, request: ReplyRequest) -> Started:
        """Prepare a reply. Raises EngineBusy without a free slot, EngineFailed on demand."""
        self.log.append(Asked(verb="start", key=request.key, text=request.messages[-1]))
        if len(self._running) >= self._slots:
            raise EngineBusy(1.0)
        script = _Script()
        self._running.add(script)
        try:
            await self._wait()
            await self._trouble("start")
        except BaseException:  # a cancel too: the slot must come back
            self._free(script)
            raise
        return Started(
            key=request.key,
            request=request,
            model=self._name,
            prompt="reply@scripted",
            made={},
            state=script,
        )

    async def tag_and_start(self, request: ReplyRequest) -> tuple[Tagging, Started]:
        """Tag the last message and start the reply to it."""
        started = await self.start(request)
        self.log.append(Asked(verb="tag", key=request.key, text=request.messages[-1]))
        try:
            await self._trouble("tag")
        except BaseException:  # a cancel too: the slot must come back
            self._free(started.state)
            raise
        return self._read(request.messages[-1], "branch"), started

    def continue_reply(self, started: Started, limits: Limits, level: Level) -> AsyncIterator[str]:
        """Stream the reply in pieces of a few characters; each counts as one token.

        A function of `replies` is given the request with the present level.
        """
        until = asyncio.get_running_loop().time() + limits.seconds
        return self._stream(started, limits, level, until)

    async def _stream(
        self, started: Started, limits: Limits, level: Level, until: float
    ) -> AsyncIterator[str]:
        script: _Script = started.state
        request = started.request
        if level != request.level:
            request = replace(request, level=level)
        self.log.append(Asked(verb="speak", key=started.key, text=request.messages[-1]))
        said = 0
        try:
            if self._hangs or self._failures:
                await self._unless(script, self._trouble("speak"))
            for piece in _PIECE.findall(self._words(request))[: limits.tokens]:
                if self.pace:
                    await self._unless(script, self._sleep(self.pace))
                if script.withdrawn or asyncio.get_running_loop().time() >= until:
                    break
                said += 1
                yield piece
        finally:
            started.made["tokens"] = said
            self._free(script)

    def _words(self, request: ReplyRequest) -> str:
        if self._garbage:
            return self._garbage.pop(0)
        if callable(self._replies):
            return self._replies(request)
        return _first(self._replies, request.messages[-1], "")

    async def _unless(self, script: _Script, work: Awaitable[None]) -> None:
        """Wait for `work` unless the reply is taken back first."""
        doing, stop = asyncio.ensure_future(work), asyncio.ensure_future(script.stop.wait())
        try:
            await asyncio.wait((doing, stop), return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
        finally:
            doing.cancel()
            stop.cancel()

    async def cancel(self, started: Started) -> None:
        """Take the reply back; its stream ends."""
        self.log.append(Asked(verb="cancel", key=started.key))
        script: _Script = started.state
        script.withdrawn = True
        script.stop.set()
        self._free(script)

    async def settle(self, started: Started, *, kept: bool) -> None:
        """Note whether the reply was kept."""
        self.log.append(Asked(verb="settle", key=started.key, kept=kept))
        self._free(started.state)

    async def drop(self, key: ConversationKey) -> None:
        """Note that a conversation was dropped."""
        self.log.append(Asked(verb="drop", key=key))

    def capacity(self) -> Capacity:
        """Say how busy the engine is."""
        return Capacity(slots=self._slots, running=len(self._running))

    async def warm_up(self) -> None:
        """Be ready. Raises EngineFailed on demand."""
        self.log.append(Asked(verb="warm_up"))
        await self._trouble("warm_up")

    async def close(self) -> None:
        """End whatever hangs."""
        self.log.append(Asked(verb="close"))
        self.release()

    def _free(self, script: _Script) -> None:
        self._running.discard(script)


def _first(table: Mapping[str, T], text: str, default: T) -> T:
    """Return the answer of the first pattern found in `text`."""
    for pattern, answer in table.items():
        if re.search(pattern, text, re.IGNORECASE):
            return answer
    return default
