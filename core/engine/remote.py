"""A model behind any server that speaks the OpenAI interface: vLLM, SGLang, llama-server, Ollama.

Tag and reply are two requests, each with its fixed text first, so that the server can find the
prefix again. A label's probability is read from the first token the server would say. A reply is
sent only when it is to be spoken, so taking one back before that costs nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from core.engine.ports import Capacity, Limits, ReplyRequest, Started
from core.engine.server import Server, Unsuited, content
from core.errors import EngineBusy, EngineFailed, EngineNotReady, SetupError
from core.message import ConversationKey, Level, Said, Tagging
from core.prompts import PromptBook, ReplyPrompt, Task, safe

_CHARS_PER_TOKEN = 8  # a reply with more than this is not the one that was asked for
_MESSAGE_CHARS = 4000  # of one message shown
_OVERHEAD = 6  # tokens a chat template spends on one line
_WINDOWS = 4096  # conversations whose window is remembered
_AROUND = " \t\r\n\"'`*.,:;!"  # what may stand around a label

Line = dict[str, str]


@dataclass(kw_only=True, slots=True, eq=False)
class _Reply:
    """A reply from `start` until its slot is free again."""

    prompt: ReplyPrompt
    messages: list[Line]  # without the header
    withdrawn: bool = False
    spoken: bool = False
    pump: asyncio.Task[None] | None = None
    pieces: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)


class RemoteEngine:
    """Tagger and Writer over `url`, e.g. http://host:8000/v1 or http://host:11434/v1#qwen2.5:0.5b.

    The model is `model`, else what stands behind # in the URL, else the first that the server
    lists. `seconds` is how long one tag, or the silence before a reply, may last. A task's
    `opening` is not used: nothing can be put into a remote model's mouth.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = Server(url, api_key, seconds=seconds, connections=2 * slots + 2, clock=clock)
        self._model = model or self._server.model
        self._book = book
        self._seconds = seconds
        self._history_tokens = history_tokens
        self._slots = slots
        self._clock = clock
        self._tagging = asyncio.Semaphore(slots)
        self._logprobs = True  # until the server shows that it has none
        self._ready = False
        self._running: set[_Reply] = set()
        self._since: OrderedDict[ConversationKey, float] = OrderedDict()

    @property
    def name(self) -> str:
        """The model's name, as shown and stored; the server's until the model is known."""
        return self._model or self._server.host

    @property
    def ready(self) -> bool:
        """Whether the server has been found, and `close` was not called."""
        return self._ready

    # ---- Tagger ----------------------------------------------------------------------------

    async def tag_many(self, texts: Sequence[str], task: str | None = None) -> list[Tagging]:
        """Tag each text alone, a few at a time. Raises PromptError, EngineError."""
        asked = self._book.task(task)
        self._insist()
        tasks = [asyncio.ensure_future(self._tag(asked, text)) for text in texts]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tag(self, task: Task, text: str) -> Tagging:
        async with self._tagging:
            began, shown = self._clock(), _plain(text)
            messages = [_line("system", task.instruction)]
            for one in task.examples:
                messages += [_line("user", one.text), _line("assistant", one.label)]
            messages.append(_line("user", shown))
            try:
                async with asyncio.timeout(self._seconds):
                    logs, usage = await self._read_label(task.labels, messages)
            except TimeoutError:
                raise EngineFailed(self._late()) from None
        if isinstance(logs, str):
            mass, doubt = {label: float(label == logs) for label in task.labels}, 0.5
        else:
            mass = _weigh(task.labels, logs)
            doubt = min(1.0, max(0.0, 1.0 - sum(mass.values())))
        return Tagging(
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
                **_tokens(usage),
            },
        )

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
                if logs := _first_token(answer):
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
        messages = self._render(request, prompt)
        reply = _Reply(prompt=prompt, messages=messages)
        self._running.add(reply)
        return Started(
            key=request.key,
            request=request,
            model=self.name,
            prompt=prompt.version,
            made={
                "messages": _headed(messages, prompt.header[request.level]),
                "prompt_prefix": messages[0]["content"],
                "prompt_header": prompt.header[request.level],
                "level": request.level,
                "ms": 0.0,
            },
            state=reply,
        )

    def _render(self, request: ReplyRequest, prompt: ReplyPrompt) -> list[Line]:
        """Return the lines of a prompt: strictly in turns, because some templates insist."""
        said = self._window(request.key, request.history)
        lines = [("user" if one.role == "user" else "assistant", _plain(one.text)) for one in said]
        lines += [("user", _plain(text)) for text in request.messages]
        while lines[0][0] != "user":
            lines.pop(0)
        messages = [_line("system", prompt.render(request.name, request.lang))]
        for role, text in lines:
            if messages[-1]["role"] == role:
                messages[-1]["content"] += f"\n{text}"
            else:
                messages.append(_line(role, text))
        return messages

    def _window(self, key: ConversationKey, history: Sequence[Said]) -> list[Said]:
        """Return the part of a history to show.

        When it does not fit, the oldest go until half the room is free, so that many turns after
        that share their beginning. Tokens are guessed: three bytes each.
        """
        since = self._since.pop(key, -math.inf)
        lines = [line for line in history if line.role != "marker" and line.at >= since]
        costs = [len(_plain(line.text).encode()) // 3 + _OVERHEAD for line in lines]
        total, first = sum(costs), 0
        if total > self._history_tokens:
            while first < len(lines) and total > self._history_tokens // 2:
                total -= costs[first]
                first += 1
        if shown := lines[first:]:
            self._since[key] = shown[0].at
            if len(self._since) > _WINDOWS:
                self._since.popitem(last=False)
        return shown

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
        try:
            while (piece := await reply.pieces.get()) is not None:
                yield piece
        finally:
            pump.cancel()
            await asyncio.wait((pump,))
            self._running.discard(reply)
            fault = None if pump.cancelled() else pump.exception()
        if fault is not None:
            raise fault

    async def _pump(self, started: Started, limits: Limits, level: Level, until: float) -> None:
        """Carry the reply from the server into its queue: one task holds the connection."""
        reply: _Reply = started.state
        sampling, header = reply.prompt.sampling, reply.prompt.header[level]
        most = min(limits.tokens, sampling.max_tokens)
        body = {
            "model": self._model,
            "messages": _headed(reply.messages, header),
            "max_tokens": most,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
        }
        started.made.update(messages=body["messages"], prompt_header=header, level=level)
        began, said, ended = self._clock(), 0, "cancelled"
        try:
            async with (
                asyncio.timeout(until - began),
                aclosing(self._server.speech(body, most)) as speech,
            ):
                async for piece in speech:
                    said += len(piece)
                    if said > most * _CHARS_PER_TOKEN:
                        raise EngineFailed(f"{self.name} does not end its reply")
                    reply.pieces.put_nowait(piece)
            ended = "stop"
        except TimeoutError:
            ended = "deadline"
            if not said:
                raise EngineFailed(f"{self.name} said nothing in {limits.seconds:g} s") from None
        finally:
            started.made.update(ms=(self._clock() - began) * 1000, characters=said, ended=ended)

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
        self._since.pop(key, None)

    def capacity(self) -> Capacity:
        """Say how busy the server is; with no room at all while it asks to be left alone."""
        busy = self._clock() < self._server.busy_until
        return Capacity(slots=self._slots, running=self._slots if busy else len(self._running))

    async def warm_up(self) -> None:
        """Find the server and its model. Raises SetupError, EngineError when it is away."""
        try:
            async with asyncio.timeout(self._seconds):
                listed = await self._server.models()
        except TimeoutError:
            raise EngineFailed(self._late()) from None
        if not listed and not self._model:
            raise SetupError(
                f"{self._server.host} serves no model: load one there, then start again."
            )
        self._model = self._model or listed[0]
        self._ready = True

    async def close(self) -> None:
        """End running replies and close the connections."""
        self._ready = False
        for reply in tuple(self._running):
            await _end(reply)
        await self._server.close()

    def _late(self) -> str:
        return f"{self._server.host} did not answer in {self._seconds:g} s"

    def _insist(self) -> None:
        if not self._ready:
            raise EngineNotReady(f"{self.name} has not been reached yet")
        if (left := self._server.busy_until - self._clock()) > 0:
            raise EngineBusy(left)


async def _end(reply: _Reply) -> None:
    """Let go of a reply's connection, and wait until it is closed."""
    reply.withdrawn = True
    if reply.pump is not None:
        reply.pump.cancel()
        await asyncio.wait((reply.pump,))


# ---- prompts -------------------------------------------------------------------------------


def _line(role: str, content: str) -> Line:
    return {"role": role, "content": content}


def _plain(text: str) -> str:
    """Return what somebody wrote, clipped, and free of instruction marks and half characters."""
    clipped = text.strip()[:_MESSAGE_CHARS]
    return safe(clipped.encode("utf-8", "replace").decode("utf-8"))


def _headed(messages: Sequence[Line], header: str) -> list[Line]:
    """Return the lines with a note before the answer, where every template has room for it."""
    *before, last = messages
    return [*before, _line("user", f"{last['content']}\n\n[{header}]") if header else last]


# ---- answers -------------------------------------------------------------------------------


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


def _first_token(answer: Mapping[str, Any]) -> dict[str, float]:
    """Return {token: log-probability} of the first position; {} where the server has none."""
    try:
        first = answer["choices"][0]["logprobs"]["content"][0]
        listed = first.get("top_logprobs") or [first]
        pairs = [(str(one["token"]), float(one["logprob"])) for one in listed]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return {}
    return {token: log for token, log in pairs if not math.isnan(log)}


def _tokens(usage: object) -> dict[str, int]:
    """Return how many tokens were computed and reused, as far as the server tells."""
    if not isinstance(usage, dict) or not isinstance(usage.get("prompt_tokens"), int):
        return {}
    details = usage.get("prompt_tokens_details")
    reused = details.get("cached_tokens") if isinstance(details, dict) else 0
    reused = reused if isinstance(reused, int) else 0
    return {"tokens_computed": usage["prompt_tokens"] - reused, "tokens_reused": reused}
