"""A model behind any server that speaks the OpenAI interface: vLLM, SGLang, llama-server, Ollama.

Tag and reply are two requests, each with its fixed text first, so that the server can find the
prefix again. A label's probability is read from the first token the server would say. A reply is
sent only when it is to be spoken, so taking one back before that costs nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from core.engine.calibrations import CalibrationBook, Sheet, mark_server
from core.engine.circuit import Answered, Circuit
from core.engine.lines import Line, Window, headed, line, plain
from core.engine.ports import Capacity, Limits, ReplyRequest, Started
from core.engine.server import (
    Away,
    Broken,
    Overloaded,
    Server,
    Unsuited,
    content,
    first_token,
    tokens,
)
from core.errors import EngineBusy, EngineFailed, EngineNotReady, SetupError
from core.message import ConversationKey, Level, Tagging
from core.personal import Veil
from core.prompts import PromptBook, ReplyPrompt, Task

_CHARS_PER_TOKEN = 8  # a reply with more than this is not the one that was asked for
_AROUND = " \t\r\n\"'`*.,:;!"  # what may stand around a label


@dataclass(kw_only=True, slots=True, eq=False)
class _Reply:
    """A reply from `start` until its slot is free again."""

    prompt: ReplyPrompt
    messages: list[Line]  # without the header
    veil: Veil  # what stands in them for personal data
    withdrawn: bool = False
    spoken: bool = False
    said: int = 0  # characters
    ended: str = "cancelled"  # until it has ended otherwise
    pump: asyncio.Task[None] | None = None
    pieces: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)


class RemoteEngine:
    """Tagger and Writer over `url`, e.g. http://host:8000/v1 or http://host:11434/v1#qwen2.5:0.5b.

    The model is `model`, else what stands behind # in the URL, else the first that the server
    lists. `seconds` is how long one tag, or the silence before a reply, may last. A server that
    fails again and again is left alone for a while (see Circuit): then the engine is not ready,
    and refuses at once. A task's `opening` is not used: nothing can be put into a remote model's
    mouth. Tags are told by what `calibration` knows of this model on this server. With `redact` the
    server reads placeholders for personal data, and the reply has the data again.
    """

    def __init__(  # noqa: PLR0913 - the operator's settings, each with its default
        self,
        url: str,
        book: PromptBook,
        *,
        model: str | None = None,
        api_key: str | None = None,
        seconds: float = 30.0,
        history_tokens: int = 1500,
        slots: int = 8,
        calibration: CalibrationBook | None = None,
        redact: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = Server(url, api_key, seconds=seconds, connections=2 * slots + 2, clock=clock)
        self._model = model or self._server.model
        self._book = book
        self._seconds = seconds
        self._window = Window(history_tokens)
        self._slots = slots
        self._clock = clock
        self._circuit = Circuit(clock, (Away, Overloaded))
        self._tagging = asyncio.Semaphore(slots)
        self._calibration = calibration
        self._redact = redact
        self._sheet: Sheet | None = None  # what is known of the model, once it is
        self._logprobs = True  # until the server shows that it has none
        self._ready = False
        self._running: set[_Reply] = set()

    @property
    def name(self) -> str:
        """The model's name, as shown and stored; the server's until the model is known."""
        return self._model or self._server.host

    @property
    def hosts(self) -> tuple[str, ...]:
        """The machine that the words of people are sent to; () for this very one."""
        return () if self._server.here else (self._server.host,)

    @property
    def ready(self) -> bool:
        """Whether the server has been found, may be asked now, and `close` was not called."""
        return self._ready and not self._circuit.open and self._put_off() <= self._seconds

    # ---- Tagger ----------------------------------------------------------------------------

    async def tag_many(self, texts: Sequence[str], task: str | None = None) -> list[Tagging]:
        """Tag each text alone, a few at a time. Raises PromptError, EngineError."""
        asked = self._book.task(task)
        self._insist()
        trial = self._circuit.half_open  # then one goes ahead, and the others follow if it arrives
        first = [await self._tag(asked, text) for text in texts[:trial]]
        tasks = [asyncio.ensure_future(self._tag(asked, text)) for text in texts[trial:]]
        try:
            return first + list(await asyncio.gather(*tasks))
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tag(self, task: Task, text: str) -> Tagging:
        async with self._tagging:
            began, shown = self._clock(), plain(Veil(on=self._redact)(text))
            messages = [line("system", task.instruction)]
            for one in task.examples:
                messages += [line("user", one.text), line("assistant", one.label)]
            messages.append(line("user", shown))
            with self._circuit.attempt(self.name):
                try:
                    async with asyncio.timeout(self._seconds):
                        logs, usage = await self._read_label(task.labels, messages)
                except TimeoutError:
                    raise Away(self._late()) from None
        if isinstance(logs, str):
            mass, doubt = {label: float(label == logs) for label in task.labels}, 0.5
        else:
            mass = _weigh(task.labels, logs)
            doubt = min(1.0, max(0.0, 1.0 - sum(mass.values())))
        tagging = Tagging(
            probs={label: part / sum(mass.values()) for label, part in mass.items()},
            doubt=doubt,
            instrument=f"{self.name}#remote",
            prompt=task.version,
            polarity=task.polarity,
            made={
                "messages": messages,
                "prompt_prefix": task.instruction,
                "prompt_suffix": shown,
                "label_logprobs": {k: math.log(v) if v else None for k, v in mass.items()},
                "ms": (self._clock() - began) * 1000,
                **tokens(usage),
            },
        )
        return tagging if self._sheet is None else self._sheet.apply(tagging)

    async def _read_label(
        self, labels: Sequence[str], messages: list[Line]
    ) -> tuple[Mapping[str, float] | str, object]:
        """Return {first token: log-probability} and usage; the label alone where there is none."""
        body = {"model": self._model, "messages": messages, "temperature": 0}
        if self._logprobs:
            first = {**body, "max_tokens": 1, "logprobs": True, "top_logprobs": 20}
            try:
                answer = await self._server.ask(first)
            except Unsuited:
                pass
            else:
                if logs := first_token(answer):
                    return logs, answer.get("usage")
                content(answer)
        answer = await self._server.ask({**body, "max_tokens": 16})
        self._logprobs = False
        said = content(answer).strip(_AROUND).casefold()
        for label in labels:
            if label.casefold() == said:
                return label, answer.get("usage")
        raise EngineFailed(f"{self.name} answers no label of the task")

    # ---- Writer ----------------------------------------------------------------------------

    async def start(self, request: ReplyRequest) -> Started:
        """Take a slot and make the prompt ready. Raises EngineBusy, EngineError, PromptError."""
        self._insist()
        if len(self._running) >= self._slots:
            raise EngineBusy(1.0)
        prompt = self._book.reply()
        veil = Veil(on=self._redact)
        messages = self._window.render(_veiled(request, veil), prompt)
        reply = _Reply(prompt=prompt, messages=messages, veil=veil)
        self._running.add(reply)
        return Started(
            key=request.key,
            request=request,
            model=self.name,
            prompt=prompt.version,
            made={
                "messages": headed(messages, prompt.header[request.level]),
                "prompt_prefix": messages[0]["content"],
                "prompt_header": prompt.header[request.level],
                "level": request.level,
                "ms": 0.0,
            },
            state=reply,
        )

    def continue_reply(self, started: Started, limits: Limits, level: Level) -> AsyncIterator[str]:
        """Stream the reply. Raises EngineFailed, and EngineBusy when the server puts it off."""
        return self._stream(started, limits, level, self._clock() + limits.seconds)

    async def _stream(
        self, started: Started, limits: Limits, level: Level, until: float
    ) -> AsyncIterator[str]:
        reply: _Reply = started.state
        if reply.withdrawn:
            return
        if reply.spoken:
            raise EngineFailed("this reply has been spoken already: start another")
        reply.spoken = True
        pump = reply.pump = asyncio.create_task(self._pump(started, limits, level, until))
        pump.add_done_callback(lambda _: reply.pieces.put_nowait(None))
        lifting = reply.veil.lift(started.request.lang)
        try:
            while (piece := await reply.pieces.get()) is not None:
                if said := lifting.feed(piece):
                    yield said
            if said := lifting.end():
                yield said
        finally:
            pump.cancel()
            await asyncio.wait((pump,))
            self._running.discard(reply)
            fault = None if pump.cancelled() else pump.exception()
        if fault is not None:
            raise fault

    async def _pump(self, started: Started, limits: Limits, level: Level, until: float) -> None:
        """Ask for the reply and carry it into its queue: one task holds the connection."""
        reply: _Reply = started.state
        sampling, header = reply.prompt.sampling, reply.prompt.header[level]
        body: dict[str, Any] = {
            "model": self._model,
            "messages": headed(reply.messages, header),
            "max_tokens": min(limits.tokens, sampling.max_tokens),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
        }
        started.made.update(messages=body["messages"], prompt_header=header, level=level)
        began = self._clock()
        try:
            with self._circuit.attempt(self.name) as answered:
                await self._carry(reply, body, until, answered)
        finally:
            ms = (self._clock() - began) * 1000
            started.made.update(ms=ms, characters=reply.said, ended=reply.ended)

    async def _carry(
        self, reply: _Reply, body: dict[str, Any], until: float, answered: Answered
    ) -> None:
        """Queue what the server says; `answered` is called as soon as it says something."""
        loop, most = asyncio.get_running_loop(), int(body["max_tokens"])
        patience = min(self._seconds, until - self._clock())
        try:
            async with (
                asyncio.timeout(patience) as timer,
                aclosing(self._server.speech(body, most)) as speech,
            ):
                async for piece in speech:
                    if not reply.said:
                        answered()
                        timer.reschedule(loop.time() + until - self._clock())
                    reply.said += len(piece)
                    if reply.said > most * _CHARS_PER_TOKEN:
                        raise EngineFailed(f"{self.name} does not end its reply")
                    reply.pieces.put_nowait(piece)
            reply.ended = "stop"
        except TimeoutError:
            reply.ended = "deadline"
            if not reply.said:
                raise Away(f"{self.name} said nothing in {patience:g} s") from None

    async def cancel(self, started: Started) -> None:
        """Take the reply back: its connection is closed. Never raises."""
        reply: _Reply = started.state
        self._running.discard(reply)
        await _end(reply)

    async def settle(self, started: Started, *, kept: bool) -> None:
        """Free the slot, if it is still held; the server keeps what it likes."""
        del kept
        await self.cancel(started)

    async def drop(self, key: ConversationKey) -> None:
        """Forget where the window of a conversation began."""
        self._window.drop(key)

    def capacity(self) -> Capacity:
        """Say how busy the server is; with no room at all while it is left alone."""
        busy = self._put_off() > 0 or self._circuit.open
        return Capacity(slots=self._slots, running=self._slots if busy else len(self._running))

    async def warm_up(self) -> None:
        """Find the server and its model. Raises SetupError, EngineError when it is away."""
        try:
            async with asyncio.timeout(self._seconds):
                listed = await self._listed()
        except TimeoutError:
            raise EngineFailed(self._late()) from None
        if not listed and not self._model:
            raise SetupError(
                f"{self._server.host} serves no model: load one there, then start again."
            )
        self._model = self._model or listed[0]
        if self._calibration is not None:
            self._sheet = self._calibration.sheet(mark_server(self._server.host, self._model))
        self._ready = True

    async def _listed(self) -> list[str]:
        """Return the models served; a named one need not be listed if it answers."""
        server, model = self._server, self._model
        try:
            listed = await server.models()
        except (SetupError, Broken):
            if not model or not await server.speaks(model):
                raise
            return [model]
        if model and listed and model not in listed and not await server.speaks(model):
            raise EngineFailed(
                f"{server.host} does not answer as {model}; it serves {', '.join(listed[:5])}: "
                "write one of them behind # in model.name"
            )
        return listed

    async def close(self) -> None:
        """End running replies and close the connections."""
        self._ready = False
        for reply in tuple(self._running):
            await _end(reply)
        await self._server.close()

    def _late(self) -> str:
        return f"{self._server.host} did not answer in {self._seconds:g} s"

    def _put_off(self) -> float:
        """Return for how many seconds the server still asks to be left alone."""
        return max(0.0, self._server.busy_until - self._clock())

    def _insist(self) -> None:
        if not self._ready:
            raise EngineNotReady(f"{self.name} has not been reached yet")
        self._circuit.insist(self.name)
        if (left := self._put_off()) > self._seconds:
            raise EngineFailed(f"{self.name} asks to be left alone for {left:.0f} s")
        if left:
            raise EngineBusy(left)


def _veiled(request: ReplyRequest, veil: Veil) -> ReplyRequest:
    """Return a request as a server may read it; what the operator wrote is not touched."""
    return replace(
        request,
        history=tuple(replace(one, text=veil(one.text)) for one in request.history),
        messages=tuple(map(veil, request.messages)),
        name=veil(request.name),
    )


async def _end(reply: _Reply) -> None:
    """Let go of a reply's connection, and wait until it is closed."""
    reply.withdrawn = True
    if reply.pump is not None:
        reply.pump.cancel()
        await asyncio.wait((reply.pump,))


def _weigh(labels: Sequence[str], logs: Mapping[str, float]) -> dict[str, float]:
    """Return the probability mass of each label; what is missing to 1 lies outside of them.

    A token counts for a label that it begins, if it begins no other.
    """
    mass = dict.fromkeys(labels, 0.0)
    for token, log in logs.items():
        start = token.strip(_AROUND).casefold()
        begun = [label for label in labels if start and label.casefold().startswith(start)]
        if len(begun) == 1:
            mass[begun[0]] += math.exp(min(0.0, log))
    if sum(mass.values()) <= 0.0:
        raise EngineFailed("the model answers no label of the task")
    return mass
