"""One engine hears, another speaks, and each stands in for the other: the edge-cloud split.

A small model beside the bot tags every message and a larger one on a server writes the replies,
or the other way round. What one of them cannot do is done by the other as long as nothing of it
has been said; tag and reply carry the name of who really made them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import TypeVar, cast

from core.engine.mind import Engine
from core.engine.ports import Capacity, Limits, ReplyRequest, Started, Tagger
from core.errors import EngineBusy, EngineError, EngineNotReady, PromptError, SetupError
from core.message import ConversationKey, Level, Tagging

T = TypeVar("T")

_GRACE = 15.0  # seconds that the first to be ready waits for the other at the start
_WAITS = (1.0, 2.0, 5.0, 10.0)  # between the first tries to reach one that is away
_RETRY = 20.0  # and between all later ones
_PATIENCE = 5.0  # seconds that a busy speaker is waited for before the other one speaks
_LEAST = 1.0  # seconds that who stands in may speak at least


@dataclass(kw_only=True, slots=True, eq=False)
class _Spoken:
    """A reply and who speaks it at present."""

    writer: Engine
    started: Started  # the writer's own
    withdrawn: bool = False


class RoutedEngine:
    """Tagger and Writer made of two engines, of which one may be the embedded default.

    `hears` None: `table` hears. `speaks` None: the phrase book speaks (see `writes`). Where both
    are models, each stands in for the other.
    """

    def __init__(
        self,
        hears: Engine | None,
        speaks: Engine | None,
        *,
        table: Tagger | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sides = (hears, speaks)
        self._engines = [one for one in (hears, speaks) if one is not None]
        self._ears = [] if hears is None else self._engines
        self._mouths = [] if speaks is None else self._engines[::-1]
        self._table = table
        self._clock = clock
        self._sleep = sleep
        self._speaking: set[_Spoken] = set()
        self._cold = list(self._engines)  # not warmed up yet, and nobody is at it
        self._reaching: list[asyncio.Task[None]] = []

    @property
    def name(self) -> str:
        """Who hears and who speaks, as shown; tags and replies are stored with their own."""
        return " + ".join("embedded" if one is None else one.name for one in self._sides)

    @property
    def ready(self) -> bool:
        """Whether one of them can be asked, for it can stand in for the other."""
        return any(one.ready for one in self._engines)

    @property
    def mending(self) -> bool:
        """Whether a reply had better wait: nobody stands in for one that is about to come back."""
        coming = (getattr(one, "mending", False) for one in self._engines)
        return not self.ready and any(coming)

    @property
    def writes(self) -> bool:
        """Whether a model speaks; if not, the phrase book answers what was heard."""
        return bool(self._mouths)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The other machines that either sends words to."""
        return tuple(host for one in self._engines for host in getattr(one, "hosts", ()))

    async def _ask(
        self, engines: Sequence[Engine], call: Callable[[Engine], Awaitable[T]], patience: float
    ) -> tuple[Engine, T]:
        """Return who could do it, and what came of it; one busy for longer than `patience` not."""
        fault: EngineError | None = None
        for one in engines:
            if not one.ready:
                continue
            try:
                return one, await call(one)
            except EngineBusy as busy:
                if busy.seconds <= patience:
                    raise
                fault = busy
            except EngineError as error:
                fault = fault or error
        raise fault or EngineNotReady(f"{self.name} is not ready")

    # ---- Tagger ----------------------------------------------------------------------------

    async def tag_many(self, texts: Sequence[str], task: str | None = None) -> list[Tagging]:
        """Tag by who hears, else by who speaks. Raises PromptError, EngineError."""
        if not self._ears:
            return await cast(Tagger, self._table).tag_many(texts, task)
        _, tags = await self._ask(self._ears, lambda one: one.tag_many(texts, task), 0.0)
        return tags

    # ---- Writer ----------------------------------------------------------------------------

    async def start(self, request: ReplyRequest) -> Started:
        """Let the first that can prepare the reply. Raises EngineBusy, EngineError."""
        writer, begun = await self._ask(
            self._mouths, lambda one: one.start(request), patience=_PATIENCE
        )
        spoken = _Spoken(writer=writer, started=begun)
        self._speaking.add(spoken)
        return replace(begun, state=spoken)  # `made` is shared with the writer's own

    def continue_reply(self, started: Started, limits: Limits, level: Level) -> AsyncIterator[str]:
        """Stream the reply; the other engine speaks if the first fails before it said anything.

        Then `model`, `prompt` and `made` of `started` become those of who really spoke.
        """
        return self._stream(started, limits, level, self._clock() + limits.seconds)

    async def _stream(
        self, started: Started, limits: Limits, level: Level, until: float
    ) -> AsyncIterator[str]:
        spoken: _Spoken = started.state
        said = False
        try:
            async with aclosing(_pieces(spoken, limits, level)) as pieces:
                async for piece in pieces:
                    said = True
                    yield piece
        except EngineError as fault:
            if said or spoken.withdrawn:
                raise
            await self._hand_on(started, fault)
        else:
            return
        left = replace(limits, seconds=max(_LEAST, until - self._clock()))
        async with aclosing(_pieces(spoken, left, level)) as pieces:
            async for piece in pieces:
                yield piece

    async def _hand_on(self, started: Started, fault: EngineError) -> None:
        """Let another engine start the reply; raise `fault` where there is none that can."""
        spoken: _Spoken = started.state
        failed = spoken.writer
        await failed.cancel(spoken.started)
        others = [one for one in self._mouths if one is not failed]
        try:
            writer, begun = await self._ask(others, lambda one: one.start(started.request), 0.0)
        except (EngineError, PromptError):
            raise fault from None
        spoken.writer, spoken.started = writer, begun
        begun.made["instead_of"] = {"model": started.model, "why": str(fault)}
        started.model, started.prompt, started.made = begun.model, begun.prompt, begun.made
        if spoken.withdrawn:  # meanwhile
            await writer.cancel(begun)

    async def cancel(self, started: Started) -> None:
        """Take the reply back, whoever speaks it. Never raises."""
        spoken: _Spoken = started.state
        spoken.withdrawn = True
        self._speaking.discard(spoken)
        await spoken.writer.cancel(spoken.started)

    async def settle(self, started: Started, *, kept: bool) -> None:
        """Settle with who spoke."""
        spoken: _Spoken = started.state
        self._speaking.discard(spoken)
        await spoken.writer.settle(spoken.started, kept=kept)

    async def drop(self, key: ConversationKey) -> None:
        """Let both forget the conversation, also where one of them cannot be asked."""
        _all_well(
            await asyncio.gather(*(e.drop(key) for e in self._engines), return_exceptions=True)
        )

    def capacity(self) -> Capacity:
        """Say how busy the engine is that would speak next; its own replies and the others'."""
        speaker = next((one for one in self._mouths if one.ready), self._engines[-1])
        sizes = {one: one.capacity() for one in self._engines}
        elsewhere = sum(spoken.writer is not speaker for spoken in self._speaking)
        return Capacity(
            slots=sizes[speaker].slots + elsewhere,
            running=sizes[speaker].running + elsewhere,
            kv_bytes=sum(size.kv_bytes for size in sizes.values()),
            kv_budget=sum(size.kv_budget for size in sizes.values()),
        )

    async def warm_up(self) -> None:
        """Warm both up; one that is away does not hinder the other, and is tried on and on.

        Raises EngineError when both are away, SetupError and PromptError of either.
        """
        tries = {asyncio.create_task(one.warm_up()): one for one in self._cold}
        pending = set(tries)
        try:
            while pending and not self.ready:
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if pending:
                _, pending = await asyncio.wait(pending, timeout=_GRACE)
            faults = [task.exception() for task in tries if task.done()]
            _all_well([fault for fault in faults if not isinstance(fault, EngineError)])
            if not self.ready:
                _all_well(faults)
        except BaseException:  # a cancel too: what was begun must end with it
            await _end(tries)
            raise
        self._cold.clear()
        for task, one in tries.items():
            if not task.done() or task.exception() is not None:
                self._reaching.append(asyncio.create_task(self._reach(one, task)))

    async def _reach(self, engine: Engine, begun: asyncio.Task[None]) -> None:
        """Try until the engine is warm."""
        trying: Awaitable[None] = begun
        for wait in chain(_WAITS, repeat(_RETRY)):
            try:
                await trying
            except (EngineError, SetupError, PromptError):
                await self._sleep(wait)  # at the start it was away: too late to end for it
            else:
                return
            trying = engine.warm_up()

    async def close(self) -> None:
        """Close both, and stop trying to reach one."""
        await _end(self._reaching)
        self._reaching.clear()
        _all_well(await asyncio.gather(*(e.close() for e in self._engines), return_exceptions=True))


def _pieces(spoken: _Spoken, limits: Limits, level: Level) -> AsyncGenerator[str, None]:
    stream = spoken.writer.continue_reply(spoken.started, limits, level)
    return cast(AsyncGenerator[str, None], stream)  # every engine of ours streams from a generator


def _all_well(ends: Sequence[BaseException | None]) -> None:
    """Raise the first fault among the ends of what was done together."""
    for end in ends:
        if end is not None:
            raise end


async def _end(tasks: Sequence[asyncio.Task[None]] | dict[asyncio.Task[None], Engine]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
