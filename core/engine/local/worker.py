"""What is done in the engine thread: conversations kept warm, turns begun, spoken and settled.

A turn owns the memory of its conversation from `start` until it is settled, so that nothing else
can touch or evict it; between turns the memories lie here, least recently used first. All turns
that speak take their next step in one forward; one joins or leaves between two steps.
"""

from __future__ import annotations

import logging
import zlib
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict
from typing import cast

from core.engine.local.chat import Chat, Rendered, shared, spoken
from core.engine.local.model import Model
from core.engine.local.speech import Speech, pick
from core.engine.local.tags import Asked, Tags
from core.engine.local.turns import Counters, Memory, Pieces, Settings, Turn
from core.engine.ports import Limits, ReplyRequest
from core.errors import EngineBusy, EngineFailed
from core.message import ConversationKey, Level, Tagging
from core.prompts import PromptBook, ReplyPrompt

_log = logging.getLogger(__name__)
_HOLD = frozenset({"starting", "ready", "speaking"})  # stages that hold a slot
_PIECE = 512  # tokens of a prompt computed in one forward
_BURST = 4  # messages of full length that a burst may have
_SMALL = 128  # the same while others speak, who wait for it


class Worker:
    """Everything that touches the model. Called by one thread only.

    What may take long is a generator that pauses between two forwards, so that the thread can
    do something for others meanwhile.
    """

    def __init__(
        self,
        settings: Settings,
        book: PromptBook,
        counters: Counters,
        tick: Callable[[], None] = lambda: None,  # called again and again while a forward runs
    ) -> None:
        self._settings = settings
        self._book = book
        self._clock = settings.clock
        self.counters = counters
        began = self._clock()
        self.model = Model(settings, counters, tick)
        self.chat = Chat(self.model.tokenizer, settings.name, settings.message_tokens)
        self.tags = Tags(settings, book, self.model, self.chat, counters)
        self._warm: OrderedDict[ConversationKey, Memory] = OrderedDict()
        self._turns: dict[ConversationKey, Turn] = {}
        self._speaking: list[Turn] = []
        self.running = 0  # replies that have begun
        self.kv_bytes = 0  # KV held for conversations and prompts, as of the last change
        self.model.warm_up()
        self.tags.ask(None)
        book.reply()
        _log.info(
            "%s is ready after %.1f s: %s, %d thread(s), %s",
            settings.name,
            self._clock() - began,
            self.model.kernels.words,
            self.model.threads,
            "tag and reply in one forward" if self.model.tree else "one forward each",
        )

    # ---- how busy it is ------------------------------------------------------------------

    def _tally(self) -> None:
        """Count slots and bytes here, in the one thread that changes them."""
        held = [*self._warm.values()]
        held += [turn.memory for turn in self._turns.values() if turn.memory is not None]
        self.running = sum(turn.stage in ("ready", "speaking") for turn in self._turns.values())
        self.kv_bytes = self.tags.kv_bytes + sum(memory.size for memory in held)

    # ---- tags ----------------------------------------------------------------------------

    def tag(self, texts: Sequence[str], name: str | None) -> Generator[None, None, list[Tagging]]:
        """Tag each text alone. Pauses between forwards; returns the list of tags."""
        return self.tags.tag(texts, name)

    # ---- turns ---------------------------------------------------------------------------

    def start(self, turn: Turn, *, tagged: bool) -> Generator[None, None, Tagging | None]:
        """Bring a turn to its first logits, and read the tag in the same forward if `tagged`.

        Pauses between the pieces of a long prompt.
        """
        key = turn.request.key
        if (older := self._turns.get(key)) is not None:
            self.settle(older, kept=False)  # one reply at a time in a conversation
        if turn.withdrawn:
            turn.stage = "settled"
        _insist(turn)
        if sum(one.stage in _HOLD for one in self._turns.values()) >= self._settings.slots:
            raise EngineBusy(1.0)
        turn.stage = "starting"
        self._turns[key] = turn
        alone: Tagging | None = None
        try:
            asked = self.tags.ask(None) if tagged else None
            if asked is not None and asked.task.stands != "suffix":
                [alone] = self.tags.some(asked, turn.request.messages[-1:])
                asked = None
                yield
                _insist(turn)
            found = yield from self._begin(turn, self._book.reply(), asked)
        except BaseException:  # whatever it was: the slot is free again, the memory is not trusted
            turn.memory = None
            self.settle(turn, kept=False)
            raise
        return alone or found

    def _begin(
        self, turn: Turn, prompt: ReplyPrompt, asked: Asked | None
    ) -> Generator[None, None, Tagging | None]:
        """Compute what is new: the message, then in one forward the header and the tag's suffix."""
        began = self._clock()
        request = turn.request
        memory = turn.memory = self._warm.pop(request.key, None) or self.model.memory()
        prefix = self._render(request, prompt, memory)
        header = self.chat.tail(prompt.header[request.level])
        memory.cut(shared(memory.ids, prefix.ids))
        turn.turn_at = reused = len(memory.ids)  # where to go back to if it is taken back now
        branches = [header.ids, *([] if asked is None else [asked.suffix.ids])]
        memory.reserve(len(prefix.ids) + sum(map(len, branches)))
        pieces = 0
        while len(left := prefix.ids[len(memory.ids) :]) > (
            piece := _SMALL if self._speaking else _PIECE
        ):
            self.model.read(memory, left[:piece])
            pieces += 1
            yield
            _insist(turn)
        logits, states = self.model.grow(memory, left, branches, keep=True), self.model.states
        seed = zlib.crc32(repr(prefix.ids).encode(), prompt.sampling.seed)
        turn.ids, turn.turn_at = prefix.ids, prefix.turn_at
        turn.prompt, turn.level, turn.logits = prompt, request.level, logits[0].clone()
        turn.speech, turn.stage = Speech(self.model.tokenizer, seed), "ready"
        self.counters.tokens_reused += reused
        self._tally()
        how = {
            "prompt_prefix": prefix.text,
            "prompt_header": header.text,
            "tokens_reused": reused,
            "tokens_computed": len(prefix.ids) - reused + sum(map(len, branches)),
            "forwards": pieces + 1,
            "ms": (self._clock() - began) * 1000,
        }
        turn.made.update(how, level=request.level, sampling=asdict(prompt.sampling), seed=seed)
        if asked is None:
            return None
        state = None if states is None else states[1]
        how["prompt_suffix"] = asked.suffix.text
        return self.tags.read(asked, logits[1], "branch", how, state)

    def _render(self, request: ReplyRequest, prompt: ReplyPrompt, memory: Memory) -> Rendered:
        """Render a conversation within its window; the system prompt is never trimmed."""
        chat, system = self.chat, prompt.render(request.name, request.lang)
        room = self.model.positions // 2 - len(chat.encode(system))
        room = max(0, min(self._settings.history_tokens, room))
        shown = chat.window(request.history, memory.since, room)
        memory.since = shown[0].at if shown else -1.0
        most = min(self.model.positions // 4, _BURST * self._settings.message_tokens)
        return chat.conversation(system, spoken(shown, chat.latest(request.messages, most), chat))

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
        memory, turn.memory = cast(Memory, turn.memory), None  # spoilt if the forward fails
        memory.cut(len(turn.ids))
        trunk = turn.ids[len(memory.ids) :]
        turn.logits = self.model.grow(memory, trunk, [header.ids], keep=True)[0].clone()
        turn.memory = memory
        turn.made["prompt_header"] = header.text
        turn.made["tokens_computed"] += len(trunk) + len(header.ids)
        turn.made["forwards"] += 1

    def beat(self) -> bool:
        """Let every turn that speaks say one token; False when nobody does."""
        for turn in tuple(self._speaking):
            try:
                self._say(turn)
            except Exception as fault:  # noqa: BLE001 - logits may be anything; this reply alone ends
                self._fail(turn, fault)
        self._speaking = [turn for turn in self._speaking if turn.stage == "speaking"]
        if self._speaking:
            together = [self._speaking] if self.model.tree else [[one] for one in self._speaking]
            for turns in together:
                self._step(turns)
            self._speaking = [turn for turn in self._speaking if turn.stage == "speaking"]
        return bool(self._speaking)

    def _say(self, turn: Turn) -> None:
        """Choose the next token of one turn, or end it; what is not said is not computed."""
        said = turn.speech.tokens
        if turn.withdrawn:
            self._end(turn, "cancelled")
            return
        if self._clock() >= turn.until:
            self._end(turn, "deadline")
            return
        turn.token = pick(turn.logits, turn.prompt.sampling, said, turn.speech.chance)
        if turn.token in self.model.stops:
            self._end(turn, "stop")
            return
        if (text := turn.speech.add(turn.token)) and turn.pieces is not None:
            turn.pieces.put(text)
        if len(said) >= turn.most_tokens:
            self._end(turn, "tokens")

    def _step(self, turns: Sequence[Turn]) -> None:
        """Compute what follows the token that each has just said, in one forward."""
        memories = [cast(Memory, turn.memory) for turn in turns]
        tokens = [cast(int, turn.token) for turn in turns]
        try:
            logits = self.model.steps(memories, tokens)
        except Exception as fault:  # noqa: BLE001 - a model may raise anything; the guilty alone end
            if len(turns) == 1:
                self._fail(turns[0], fault)
            else:  # a forward of our decoder that fails leaves every memory as it was
                for turn in turns:
                    self._step([turn])
            return
        for turn, row in zip(turns, logits, strict=True):
            turn.logits = row

    def _fail(self, turn: Turn, fault: Exception) -> None:
        _log.error("the engine failed while it wrote a reply", exc_info=fault)
        turn.memory = None  # not to be trusted
        self._end(turn, "failed", EngineFailed(f"the model failed: {type(fault).__name__}"))

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


def _insist(turn: Turn) -> None:
    """Raise where nobody wants this turn any more."""
    if turn.withdrawn or turn.stage == "settled":
        raise EngineFailed("the reply was taken back before it began")
