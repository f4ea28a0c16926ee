"""Who tags and who writes at this moment; may be exchanged between two turns, without a restart.

With no model the table tags and the phrase book writes. With a model it does both, and the table
stands in whenever the model is loading, fails, or takes too long: an alarm never waits for it. What
the operator has answered in writing is answered so, whatever model there is; a strict mind lets no
model speak at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from core import triggers
from core.engine.ports import Capacity, Joint, ReplyRequest, Started, Tagger, Writer
from core.errors import EngineBusy, EngineError, EngineFailed, EngineNotReady, PromptError
from core.message import ConversationKey, Tagging

GRACE = 5.0  # seconds an engine may be over its own time before it counts as hung


class Engine(Tagger, Writer, Protocol):
    """A model that tags and writes.

    It may also have `mending`: it broke down and is about to come back by itself, so that a reply
    had better wait; `writes`: False where it only tags and the phrase book writes; and `hosts`:
    the other machines that it sends words to.
    """

    @property
    def ready(self) -> bool:
        """Whether it has been warmed up and lives."""
        ...


@runtime_checkable
class Informed(Protocol):
    """A Writer with answers of the operator's own."""

    def knows(self, request: ReplyRequest) -> bool:
        """Say whether one of them answers this."""
        ...

    @property
    def knowledge(self) -> str:
        """Everything that the operator has written there."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Hearing:
    """What a model said of a message: None where there is no model, or the table stands in."""

    tagging: Tagging | None
    stand_in: bool = False
    started: Started | None = None
    writer: Writer | None = None  # who began `started`; stays so when another engine is swapped in
    problem: str = ""


class Mind:
    """The engine of the moment."""

    def __init__(
        self,
        phrases: Writer,
        engine: Engine | None = None,
        *,
        seconds: float = 30.0,
        strict: bool = False,
    ) -> None:
        self.phrases = phrases
        self.engine = engine
        self.strict = strict  # the model tags, and the phrase book alone speaks
        self.seconds = seconds  # how long one call may take before the table stands in
        self.loading = False  # a model is being loaded: replies wait for it, alarms do not
        self._waiting = 0  # turns for which there is no room yet
        self._starting = 0  # replies that were given room and hold no slot of the engine yet

    @property
    def name(self) -> str:
        """The name of the model that speaks."""
        return self.phrases.name if self.engine is None else self.engine.name

    @property
    def speaks(self) -> bool:
        """Whether replies are a model's; if not, the phrase book answers whatever was heard."""
        engine = self.engine
        return engine is not None and not self.strict and bool(getattr(engine, "writes", True))

    @property
    def hosts(self) -> tuple[str, ...]:
        """The other machines that the words of people are sent to."""
        return tuple(getattr(self.engine, "hosts", ()))

    @property
    def knowledge(self) -> str:
        """Everything that the operator has written for people to read."""
        return self.phrases.knowledge if isinstance(self.phrases, Informed) else ""

    @property
    def ready(self) -> bool:
        """Whether the configured model can speak; always true without one."""
        return self.engine is None or self.engine.ready

    async def swap(self, engine: Engine | None) -> None:
        """Let another engine speak from the next turn on; the old one ends what it has begun."""
        old, self.engine = self.engine, engine
        if old is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self.seconds if engine is not None else 0):
                while old.ready and old.capacity().running:  # noqa: ASYNC110 - see room
                    await asyncio.sleep(0.05)
        await old.close()

    def has_room(self) -> bool:
        """Whether a reply could start now. Nobody waits for an engine that is not ready."""
        if self.loading or _mending(self.engine):
            return False
        return not self.ready or self._writer().capacity().free > self._starting

    async def room(self, wait: Callable[[int], None] = lambda _: None) -> None:
        """Wait until a reply may start. The turn waits on disk too, in the inbox.

        `wait` is told how many others come first, if any do.
        """
        if self.has_room():
            return
        wait(self._waiting + self.capacity().running)
        self._waiting += 1
        try:
            while not self.has_room():  # noqa: ASYNC110 - engines free slots in their own threads
                await asyncio.sleep(0.05)
        finally:
            self._waiting -= 1

    def capacity(self) -> Capacity:
        """Say how busy the engine is."""
        return self._writer().capacity()

    async def tag(self, text: str) -> Hearing:
        """Tag one text by the model, if there is one that can."""
        engine = self.engine
        if engine is None:
            return Hearing(tagging=None)
        try:
            self._insist(engine)
            async with asyncio.timeout(self.seconds):
                [tagging] = await engine.tag_many([text])
        except (EngineError, PromptError, TimeoutError) as error:
            return Hearing(tagging=None, stand_in=True, problem=_words(error))
        return Hearing(tagging=tagging)

    async def tag_and_start(
        self,
        request: ReplyRequest,
        wait: Callable[[int], None] = lambda _: None,
        *,
        apart: bool = False,
    ) -> Hearing:
        """Wait for room, tag the last message and start the reply to it.

        In one forward where the model can, unless they are to stay `apart`: a tag must not go by
        what others have said. Where no model speaks nothing is started here: the
        phrase book needs the scores first. What the operator has answered needs neither.
        """
        if isinstance(self.phrases, Informed) and self.phrases.knows(request):
            hearing = await self.tag(request.messages[-1])
            answer = await self.phrases.start(request)
            return replace(hearing, started=answer, writer=self.phrases)
        await self.room(wait)
        self._starting += 1
        try:
            engine = self.engine
            if engine is None:
                return Hearing(tagging=None)
            self._insist(engine)
            async with asyncio.timeout(self.seconds):
                tagging, started = await _begin(engine, request, speaks=self.speaks, apart=apart)
        except (EngineError, PromptError, TimeoutError) as error:
            return Hearing(tagging=None, stand_in=True, problem=_words(error))
        finally:
            self._starting -= 1
        return Hearing(tagging=tagging, started=started, writer=engine if started else None)

    async def start(self, request: ReplyRequest) -> Started:
        """Start the phrase book's reply to a message whose scores are known."""
        return await self.phrases.start(request)

    async def drop(self, key: ConversationKey) -> None:
        """Forget what is held in memory for a conversation."""
        triggers.forget()
        await self.phrases.drop(key)
        if self.engine is not None:
            with suppress(EngineError, TimeoutError):  # then it holds nothing, or nobody can ask it
                async with asyncio.timeout(self.seconds):
                    await self.engine.drop(key)

    def _writer(self) -> Writer:
        return self.engine if self.engine is not None and self.speaks else self.phrases

    def _insist(self, engine: Engine) -> None:
        if not engine.ready:
            raise EngineNotReady(f"{engine.name} is not ready")


def _mending(engine: object) -> bool:
    return bool(getattr(engine, "mending", False))


async def _begin(
    engine: Engine, request: ReplyRequest, *, speaks: bool, apart: bool = False
) -> tuple[Tagging, Started | None]:
    """Tag, and start where it `speaks`, as soon as an engine that others use too has a slot.

    One that breaks down and can start itself anew is asked once more.
    """
    asked_again = False
    while True:
        try:
            if speaks and not apart and isinstance(engine, Joint):
                return await engine.tag_and_start(request)
            [tagging] = await engine.tag_many([request.messages[-1]])
            return tagging, await engine.start(request) if speaks else None
        except EngineBusy as busy:
            await asyncio.sleep(busy.seconds)
        except EngineFailed:
            if asked_again or not hasattr(engine, "mending"):
                raise
            asked_again = True
            while _mending(engine):  # noqa: ASYNC110 - it is mended in its own threads
                await asyncio.sleep(0.05)


async def take_back(writer: Writer | None, started: Started | None) -> None:
    """Cancel a reply that was begun, if one was; an engine that hangs is not waited for."""
    if writer is None or started is None:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(GRACE):
            await writer.cancel(started)


def _words(error: BaseException) -> str:
    return str(error) or "the model took too long"


def with_scores(request: ReplyRequest, **changes: object) -> ReplyRequest:
    """Return the request with what has been learnt meanwhile (scores, level, language)."""
    return replace(request, **changes)  # type: ignore[arg-type]
