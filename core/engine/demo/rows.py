"""From lines to rows of token ids, asked exactly as the local engine asks a real model.

A row begins where its shared prefix ends: at the first thing a person said. The prefix is the
system prompt of a conversation, or the instruction of a task asked about one message alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from transformers import PreTrainedTokenizerBase

from core.engine.demo.lines import Line
from core.engine.demo.tokenizer import END
from core.engine.local.chat import Chat
from core.message import Level
from core.prompts import PromptBook, Task

_NAMES: Final = ("Ada", "Sam", "Maya", "Tom", "Lin", "小明", "小雨")
_NAMED: Final = 0.15  # of the conversations, as much with somebody whose name is known
_HISTORY: Final = (0.75, 0.2, 0.05)  # how often none, one or two exchanges go before
_LEVELS: Final[tuple[Level, ...]] = ("calm", "tense", "upset")
_OFTEN: Final = (0.7, 0.15, 0.15)
_LONGEST: Final = 160  # tokens of a row; what is longer costs more than it teaches


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids after the prefix; `learnt[i]` says whether ids[i] is an answer's token."""

    ids: list[int]
    learnt: list[bool]


@dataclass(frozen=True, slots=True)
class Pool:
    """Rows over one shared prefix."""

    prefix: list[int]
    rows: list[Row]


class Asking:
    """The prompts of a book, rendered once for one tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, book: PromptBook) -> None:
        self.tokenizer = tokenizer
        self._chat = Chat(tokenizer, "demo", message_tokens=512)
        self._reply = book.reply()
        self.tasks = {name: book.task(name) for name in book.names()}
        self.prefixes = {name: self._alone(task) for name, task in self.tasks.items()}
        self._known: dict[str, list[int]] = {}
        between = self._chat.conversation("s", [("user", "u"), ("assistant", "a"), ("user", "")])
        self._next = self._chat.encode(f"{END}{between.text.rpartition(END)[2]}")
        self.end = self._chat.encode(END)

    def _alone(self, task: Task) -> list[int]:
        shown = [
            line
            for one in task.examples
            for line in (("user", one.text), ("assistant", f"{task.opening}{one.label}"))
        ]
        return self._chat.conversation(task.instruction, [*shown, ("user", "")]).ids

    def system(self, name: str = "", lang: str = "und") -> list[int]:
        """Return the prefix of a conversation with somebody of that name."""
        return self._chat.conversation(self._reply.render(name, lang), [("user", "")]).ids

    def header(self, level: Level) -> list[int]:
        """Return how the reply is asked for."""
        return self._tail(self._reply.header[level])

    def suffix(self, task: str, *, alone: bool) -> list[int]:
        """Return how a label is asked for, after a message alone or in its conversation."""
        asked = self.tasks[task]
        return self._tail("" if alone else asked.instruction, asked.opening)

    def words(self, text: str) -> list[int]:
        """Return what somebody said, as ids."""
        if text not in self._known:
            self._known[text] = self._chat.encode(self._chat.plain(text))
        return self._known[text]

    def exchange(self, line: Line) -> list[int]:
        """Return a message with its calm reply, up to where the next message begins."""
        return [*self.words(line.text), *self.header("calm"), *self.words(line.calm), *self._next]

    def _tail(self, note: str, opening: str = "") -> list[int]:
        key = f"{note}\ue000{opening}"
        if key not in self._known:
            self._known[key] = self._chat.tail(note, opening).ids
        return self._known[key]


class Lesson:
    """An endless, seeded course of rows; the book's own examples are answered twice as often."""

    def __init__(self, asking: Asking, lines: Sequence[Line], seed: int) -> None:
        self._asking = asking
        self._chance = random.Random(seed)  # noqa: S311 - a course, no secret
        answered = [line for line in lines if line.calm]
        examples = [line for line in answered if not line.label]  # the phrase book's own: clearest
        self._answered = self._endless(answered + examples)
        known = {
            name: [line for line in lines if line.of(name) in task.labels]
            for name, task in asking.tasks.items()
        }
        self._labelled = {name: self._endless(some) for name, some in known.items() if some}

    def _endless(self, lines: list[Line]) -> Iterator[Line]:
        while lines:
            self._chance.shuffle(lines)
            yield from lines

    def pools(self, count: int) -> Iterator[Pool]:
        """Yield `count` rows of each task alone, then conversations: labels and replies."""
        for name, lines in self._labelled.items():
            share = count if name == "sentiment" else count // 8
            rows = [self._tagged(next(lines), name, alone=True) for _ in range(share)]
            yield Pool(self._asking.prefixes[name], rows)
        for named, share in ((False, count // 2), (True, int(count // 2 * _NAMED))):
            name = self._chance.choice(_NAMES) if named else ""
            rows = [self._replied() for _ in range(share)]
            for task in self._suffixed():
                part = share // 3 if task == "sentiment" else share // 16
                rows += [self._tagged(next(self._labelled[task]), task) for _ in range(part)]
            yield Pool(self._asking.system(name), rows)

    def _suffixed(self) -> list[str]:
        return [name for name in self._labelled if self._asking.tasks[name].stands == "suffix"]

    def _before(self) -> list[int]:
        """Return what was said before: no, one or two exchanges."""
        (count,) = self._chance.choices(range(len(_HISTORY)), _HISTORY)
        lines = (next(self._answered) for _ in range(count))
        return [token for line in lines for token in self._asking.exchange(line)]

    def _tagged(self, line: Line, task: str, *, alone: bool = False) -> Row:
        asked = self._asking.words(line.text) + self._asking.suffix(task, alone=alone)
        answer = self._asking.words(line.of(task))[:1]
        return self._row([] if alone else self._before(), asked, answer)

    def _replied(self) -> Row:
        line = next(self._answered)
        (level,) = self._chance.choices(_LEVELS, _OFTEN)
        asked = self._asking.words(line.text) + self._asking.header(level)
        said = self._asking.words(line.calm if level == "calm" else line.tense)
        return self._row(self._before(), asked, said + self._asking.end)

    @staticmethod
    def _row(before: list[int], asked: list[int], answer: list[int]) -> Row:
        if len(before) + len(asked) + len(answer) > _LONGEST:
            before = []
        ids = [*before, *asked, *answer]
        learnt = [False] * (len(ids) - len(answer)) + [True] * len(answer)
        return Row(ids[:_LONGEST], learnt[:_LONGEST])
