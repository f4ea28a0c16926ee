"""What is done in the engine thread: conversations kept warm, turns begun and spoken, tags read.

A turn owns the memory of its conversation from `start` until it is settled, so that nothing else
can touch or evict it; between turns the memories lie here, least recently used first.
"""

from __future__ import annotations

import logging
import zlib
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from core.engine.local.chat import Chat, Rendered, shared, spoken
from core.engine.local.model import Memory, Model
from core.engine.local.speech import Speech, pick
from core.engine.local.turns import Counters, Pieces, Settings, Turn
from core.engine.ports import Limits, ReplyRequest
from core.errors import EngineBusy, EngineFailed, PromptError
from core.message import ConversationKey, Level, Tagging
from core.prompts import PromptBook, ReplyPrompt, Task

_log = logging.getLogger(__name__)
_ROWS = 256  # new rows in one forward of many tags


@dataclass(kw_only=True, slots=True)
class _Asked:
    """A task made ready for this model's tokenizer."""

    task: Task
    first: dict[str, int]  # label -> the token it begins with
    prefix: Rendered  # for a message alone: everything before it
    alone: Rendered  # for a message alone: everything after it
    suffix: Rendered  # after a message in its conversation
    memory: Memory  # holds `prefix` once it was needed


class Worker:
    """Everything that touches the model. Called by one thread only."""

    def __init__(self, settings: Settings, book: PromptBook, counters: Counters) -> None:
        self._settings = settings
        self._book = book
        self._clock = settings.clock
        self.counters = counters
        began = self._clock()
        self.model = Model(settings, counters)
        self.chat = Chat(self.model.tokenizer, settings.name, settings.message_tokens)
        self._asked: dict[str, _Asked] = {}
        self._warm: OrderedDict[ConversationKey, Memory] = OrderedDict()
        self._turns: dict[ConversationKey, Turn] = {}
        self._speaking: deque[Turn] = deque()
        self.running = 0  # replies that hold a slot
        self.kv_bytes = 0  # KV held for conversations and prompts, as of the last change
        self.model.warm_up()
        self._ask(None)
        book.reply()
        _log.info(
            "%s is ready after %.1f s: %s, %d thread(s), %s",
            settings.name,
            self._clock() - began,
            str(self.model.dtype).removeprefix("torch."),
            self.model.threads,
            "tag and reply in one forward" if self.model.tree else "one forward each",
        )

    # ---- how busy it is ------------------------------------------------------------------

    def _tally(self) -> None:
        """Count slots and bytes here, in the one thread that changes them."""
        held = [*self._warm.values(), *(asked.memory for asked in self._asked.values())]
        held += [turn.memory for turn in self._turns.values() if turn.memory is not None]
        self.running = sum(turn.stage in ("ready", "speaking") for turn in self._turns.values())
        self.kv_bytes = sum(memory.size for memory in held)

    # ---- tags ----------------------------------------------------------------------------

    @torch.inference_mode()
    def tag(self, texts: Sequence[str], name: str | None) -> list[Tagging]:
        """Tag each text alone, as branches of one tree over the task's shared prompt."""
        asked = self._ask(name)
        tags: list[Tagging] = []
        while len(tags) < len(texts):
            tags += self._tag_some(asked, texts[len(tags) :])
        return tags

    def _tag_some(self, asked: _Asked, texts: Sequence[str]) -> list[Tagging]:
        """Tag as many of the texts as fit into one forward, at least one."""
        began, memory = self._clock(), asked.memory
        trunk = asked.prefix.ids[len(memory.ids) :]
        shown: list[str] = []
        branches: list[list[int]] = []
        rows = 0
        for text in texts:
            words = self.chat.plain(text)
            branch = self.chat.encode(words) + asked.alone.ids
            if branches and rows + len(branch) > _ROWS:
                break
            shown.append(words)
            branches.append(branch)
            rows += len(branch)
        before, before_rows = self.counters.forwards, len(memory.ids)
        try:
            logits = self.model.grow(memory, trunk, branches, keep=False)
        except BaseException:  # whatever it was, the shared prefix may be half written
            asked.memory = self.model.memory()
            raise
        spent = (self._clock() - began) * 1000
        tags: list[Tagging] = []
        for words, branch, row in zip(shown, branches, logits, strict=True):
            reused = len(asked.prefix.ids) if tags else before_rows
            made: dict[str, Any] = {
                "prompt_prefix": asked.prefix.text + words,
                "prompt_suffix": asked.alone.text,
                "prompt_header": "",
                "tokens_reused": reused,
                "tokens_computed": len(branch) + (len(trunk) if not tags else 0),
                "forwards": self.counters.forwards - before,
                "ms": spent / len(branches),
                "together": len(branches),
            }
            self.counters.tokens_reused += reused
            tags.append(self._tagging(asked, row, "alone", made))
        return tags

    def _tagging(
        self, asked: _Asked, row: torch.Tensor, where: str, made: dict[str, Any]
    ) -> Tagging:
        """Read the label from logits [vocabulary]: what is outside the labels is doubt."""
        self.counters.tags += 1
        logs = row.log_softmax(-1)
        found = {label: float(logs[token]) for label, token in asked.first.items()}
        chances = torch.tensor(list(found.values()), dtype=torch.float64)
        return Tagging(
            probs=dict(zip(found, chances.softmax(-1).tolist(), strict=True)),
            doubt=min(1.0, max(0.0, 1.0 - float(chances.exp().sum()))),
            instrument=f"{self._settings.name}#{where}",
            prompt=asked.task.version,
            polarity=asked.task.polarity,
            made={**made, "label_logprobs": found},
        )

    def _ask(self, name: str | None) -> _Asked:
        """Return a task for this tokenizer; when its new file cannot be used, the last good."""
        task = self._book.task(name)
        known = self._asked.get(task.name)
        if known is not None and known.task.version == task.version:
            return known
        try:
            first = self._first_tokens(task)
        except PromptError as fault:
            if known is None:
                raise
            _log.warning("%s; the one before stays in force", fault)
            return known
        examples = [
            line
            for one in task.examples
            for line in (("user", one.text), ("assistant", f"{task.opening}{one.label}"))
        ]
        whole = self.chat.conversation(task.instruction, [*examples, ("user", "")])
        self._asked[task.name] = _Asked(
            task=task,
            first=first,
            prefix=whole,
            alone=self.chat.tail(opening=task.opening),
            suffix=self.chat.tail(task.instruction, task.opening),
            memory=self.model.memory(),
        )
        return self._asked[task.name]

    def _first_tokens(self, task: Task) -> dict[str, int]:
        """Return the token each label begins with. Raises PromptError when two share one."""
        start = self.chat.tail(opening=task.opening)
        glue = " " if task.opening and not task.opening[-1].isspace() else ""
        first: dict[str, int] = {}
        for label in task.labels:
            ids = self.chat.encode(f"{start.text}{glue}{label}")
            if ids[: len(start.ids)] != start.ids or len(ids) == len(start.ids):
                raise PromptError(
                    f"{task.name}.toml: the opening runs into the label {label}; "
                    "let it end with a colon or a line end, or leave it empty"
                )
            token = ids[len(start.ids)]
            for other, taken in first.items():
                if taken == token:
                    raise PromptError(
                        f"{task.name}.toml: the labels {other} and {label} begin with the same "
                        f"token of {self._settings.name}; choose words that begin differently"
                    )
            first[label] = token
        return first

    # ---- turns ---------------------------------------------------------------------------

    @torch.inference_mode()
    def start(self, turn: Turn, *, tagged: bool) -> Tagging | None:
        """Bring a turn to its first logits, and read the tag in the same forward if `tagged`."""
        key = turn.request.key
        if (older := self._turns.get(key)) is not None:
            self.settle(older, kept=False)  # one reply at a time in a conversation
        if turn.withdrawn:
            turn.stage = "settled"
            raise EngineFailed("the reply was taken back before it began")
        if self.running >= self._settings.slots:
            raise EngineBusy(1.0)
        asked = self._ask(None) if tagged else None
        if asked is None or asked.task.stands == "suffix":
            return self._begin(turn, self._book.reply(), asked)
        alone = self._tag_some(asked, turn.request.messages[-1:])[0]
        self._begin(turn, self._book.reply(), None)
        return alone

    def _begin(self, turn: Turn, prompt: ReplyPrompt, asked: _Asked | None) -> Tagging | None:
        """Run the one forward of a turn: the message, the reply's header, the tag's suffix."""
        began, forwards = self._clock(), self.counters.forwards
        request = turn.request
        memory = self._warm.pop(request.key, None) or self.model.memory()
        prefix = self._render(request, prompt, memory)
        header = self.chat.tail(prompt.header[request.level])
        memory.cut(shared(memory.ids, prefix.ids))
        reused = len(memory.ids)
        trunk, branches = prefix.ids[reused:], [header.ids]
        if asked is not None:
            branches.append(asked.suffix.ids)
        logits = self.model.grow(memory, trunk, branches, keep=True)
        computed = len(trunk) + sum(map(len, branches))
        self.counters.tokens_reused += reused
        seed = zlib.crc32(repr(prefix.ids).encode(), prompt.sampling.seed)
        turn.memory, turn.ids, turn.turn_at = memory, prefix.ids, prefix.turn_at
        turn.prompt, turn.level, turn.logits = prompt, request.level, logits[0].clone()
        turn.speech, turn.stage = Speech(self.model.tokenizer, seed), "ready"
        self._turns[request.key] = turn
        self._tally()
        how = {
            "prompt_prefix": prefix.text,
            "prompt_header": header.text,
            "tokens_reused": reused,
            "tokens_computed": computed,
            "forwards": self.counters.forwards - forwards,
            "ms": (self._clock() - began) * 1000,
        }
        turn.made.update(how, level=request.level, sampling=asdict(prompt.sampling), seed=seed)
        if asked is None:
            return None
        made = {**how, "prompt_suffix": asked.suffix.text}
        return self._tagging(asked, logits[1], "branch", made)

    def _render(self, request: ReplyRequest, prompt: ReplyPrompt, memory: Memory) -> Rendered:
        """Render a conversation within its window; the system prompt is never trimmed."""
        chat, system = self.chat, prompt.render(request.name, request.lang)
        room = self.model.positions // 2 - len(chat.encode(system))
        room = max(0, min(self._settings.history_tokens, room))
        shown = chat.window(request.history, memory.since, room)
        memory.since = shown[0].at if shown else -1.0
        return chat.conversation(system, spoken(shown, request.messages, chat))

    @torch.inference_mode()
    def speak(self, turn: Turn, pieces: Pieces, limits: Limits, level: Level, until: float) -> None:
        """Let a started turn speak, into `pieces`, until the clock says `until`."""
        if turn.stage not in ("ready", "settled"):
            raise EngineFailed("this reply has been spoken already: start another")
        turn.pieces = pieces
        if turn.withdrawn or turn.stage == "settled":
            self._end(turn, "cancelled")
            return
        if level != turn.level:
            self._head_anew(turn, level)
        turn.most_tokens = min(limits.tokens, turn.prompt.sampling.max_tokens)
        turn.until, turn.spoke_at, turn.stage = until, self._clock(), "speaking"
        self._speaking.append(turn)

    def _head_anew(self, turn: Turn, level: Level) -> None:
        """Cut off a header that tells another mood level and run the right one."""
        header = self.chat.tail(turn.prompt.header[level])
        turn.level = turn.made["level"] = level
        if header.text == turn.made["prompt_header"]:
            return
        memory, turn.memory = turn.memory, None  # spoilt if the forward fails
        memory.cut(len(turn.ids))
        trunk = turn.ids[len(memory.ids) :]
        turn.logits = self.model.grow(memory, trunk, [header.ids], keep=True)[0].clone()
        turn.memory = memory
        turn.made["prompt_header"] = header.text
        turn.made["tokens_computed"] += len(trunk) + len(header.ids)
        turn.made["forwards"] += 1

    @torch.inference_mode()
    def beat(self) -> bool:
        """Take one step of the reply whose turn it is; False when nobody is speaking."""
        if self._speaking:
            turn = self._speaking.popleft()
            try:
                ended = self._step(turn)
            except Exception as fault:  # noqa: BLE001 - a model may raise anything; this reply alone ends
                _log.exception("the engine failed while it wrote a reply")
                turn.memory = None  # spoilt
                self._end(turn, "failed", EngineFailed(f"the model failed: {type(fault).__name__}"))
            else:
                if ended:
                    self._end(turn, ended)
                else:
                    self._speaking.append(turn)
        return bool(self._speaking)

    def _step(self, turn: Turn) -> str:
        """Say one token; returns why the reply ends here, or nothing."""
        said = turn.speech.tokens
        if turn.withdrawn:
            return "cancelled"
        if self._clock() >= turn.until:
            return "deadline"
        if len(said) >= turn.most_tokens:
            return "tokens"
        token = pick(turn.logits, turn.prompt.sampling, said, turn.speech.chance)
        if token in self.model.stops:
            return "stop"
        if (text := turn.speech.add(token)) and turn.pieces is not None:
            turn.pieces.put(text)
        if len(said) < turn.most_tokens:
            turn.logits = self.model.step(turn.memory, token)
        return ""

    def _end(self, turn: Turn, why: str, fault: EngineFailed | None = None) -> None:
        """End a turn's speech: complete what is known of it, and wake its reader."""
        if turn.stage == "speaking":
            self.counters.replies += 1
            turn.stage = "over"
            turn.made.update(
                ended=why,
                tokens=len(turn.speech.tokens),
                reply_ms=(self._clock() - turn.spoke_at) * 1000,
            )
            self._tally()
        if turn.pieces is not None:
            rest = "" if fault or why == "cancelled" else turn.speech.rest()
            if rest:
                turn.pieces.put(rest)
            turn.pieces.end(fault)

    # ---- after the turn ------------------------------------------------------------------

    @torch.inference_mode()
    def settle(self, turn: Turn, *, kept: bool) -> None:
        """Put the conversation back: with the reply, or as it was before this message."""
        if turn.stage in ("new", "settled"):
            turn.stage = "settled"
            return
        if turn in self._speaking:
            self._speaking.remove(turn)
        self._end(turn, "cancelled")
        turn.stage = "settled"
        key, memory = turn.request.key, turn.memory
        turn.memory = turn.logits = None
        if self._turns.get(key) is turn:
            del self._turns[key]
        if memory is not None and not turn.forgotten:
            if not kept:
                memory.cut(turn.turn_at)
                memory.compact()
            self._keep(key, memory)
        self._tally()

    def _keep(self, key: ConversationKey, memory: Memory) -> None:
        """Hold a conversation warm; the least recently used go when the budget is spent."""
        self._warm[key] = memory
        self._warm.move_to_end(key)
        held = sum(memory.size for memory in self._warm.values())
        while self._warm and held > self._settings.kv_budget:
            held -= self._warm.popitem(last=False)[1].size

    def drop(self, key: ConversationKey) -> None:
        """Free all that is held for a conversation, now or when its turn is settled."""
        self._warm.pop(key, None)
        if (turn := self._turns.get(key)) is not None:
            turn.forgotten = True
        self._tally()

    def warm(self) -> Mapping[ConversationKey, int]:
        """Return the conversations held between turns, with their tokens."""
        return {key: len(memory.ids) for key, memory in self._warm.items()}
