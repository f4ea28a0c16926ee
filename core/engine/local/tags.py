"""Tags: how likely each label is, read from the logits at one place and never generated."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.engine.calibrations import Sheet, mark_folder
from core.engine.local.chat import Chat, Rendered
from core.engine.local.model import Model
from core.engine.local.turns import Counters, Settings
from core.errors import EngineFailed, PromptError
from core.message import Tagging
from core.prompts import PromptBook, Task

_log = logging.getLogger(__name__)
_ROWS = 256  # new rows in one forward of many tags


@dataclass(kw_only=True, slots=True)
class Asked:
    """A task made ready for this model's tokenizer."""

    task: Task
    first: dict[str, int]  # label -> the token it begins with
    prefix: Rendered  # for a message alone: everything before it
    alone: Rendered  # for a message alone: everything after it
    suffix: Rendered  # after a message in its conversation
    memory: Any  # holds `prefix` once it was needed


class Tags:
    """The tasks of a prompt book, asked of one model."""

    def __init__(
        self, settings: Settings, book: PromptBook, model: Model, chat: Chat, counters: Counters
    ) -> None:
        self._name = settings.name
        self._clock = settings.clock
        self._book = book
        self._model = model
        self._chat = chat
        self._counters = counters
        self._asked: dict[str, Asked] = {}
        self._states = settings.states
        self._sheet: Sheet | None = None
        if settings.calibration is not None:
            mark = mark_folder(settings.name, model.folder, settings.adapter)
            self._sheet = settings.calibration.sheet(mark)

    @property
    def kv_bytes(self) -> int:
        """KV held for the prompts of tasks."""
        return sum(asked.memory.size for asked in self._asked.values())

    def tag(self, texts: Sequence[str], name: str | None) -> Generator[None, None, list[Tagging]]:
        """Tag each text alone, as branches of one tree over the task's shared prompt.

        Several at once are asked for their labels and nothing else, which spares the vocabulary
        head: their probabilities are the same, their doubt is not known and told as 0.
        Pauses after every forward; what it returns in the end is the list of tags.
        """
        asked = self.ask(name)
        tags: list[Tagging] = []
        while len(tags) < len(texts):
            tags += self.some(asked, texts[len(tags) :], bulk=len(texts) > 1)
            yield
        return tags

    def some(self, asked: Asked, texts: Sequence[str], *, bulk: bool = False) -> list[Tagging]:
        """Tag as many of the texts as fit into one forward, at least one."""
        began, memory = self._clock(), asked.memory
        trunk = asked.prefix.ids[len(memory.ids) :]
        shown: list[str] = []
        branches: list[list[int]] = []
        rows = 0
        for text in texts:
            words = self._chat.plain(text)
            branch = self._chat.encode(words) + asked.alone.ids
            if branches and rows + len(branch) > _ROWS:
                break
            shown.append(words)
            branches.append(branch)
            rows += len(branch)
        before, before_rows = self._counters.forwards, len(memory.ids)
        labels = list(asked.first.values()) if bulk else None
        try:
            logits = self._model.grow(memory, trunk, branches, keep=False, words=labels)
        except BaseException:  # whatever it was, the shared prefix may be half written
            asked.memory = self._model.memory()
            raise
        states = self._model.states
        spent = (self._clock() - began) * 1000
        tags: list[Tagging] = []
        for at, (words, branch, row) in enumerate(zip(shown, branches, logits, strict=True)):
            reused = len(asked.prefix.ids) if tags else before_rows
            made: dict[str, Any] = {
                "prompt_prefix": asked.prefix.text + words,
                "prompt_suffix": asked.alone.text,
                "prompt_header": "",
                "tokens_reused": reused,
                "tokens_computed": len(branch) + (len(trunk) if not tags else 0),
                "forwards": self._counters.forwards - before,
                "ms": spent / len(branches),
                "together": len(branches),
            }
            self._counters.tokens_reused += reused
            state = None if states is None else states[at]
            tags.append(self.read(asked, row, "bulk" if bulk else "alone", made, state))
        return tags

    def read(
        self,
        asked: Asked,
        row: torch.Tensor,
        where: str,
        made: Mapping[str, Any],
        state: torch.Tensor | None,
    ) -> Tagging:
        """Read the label from logits [vocabulary], or [labels]: what is outside them is doubt.

        This is where a tag is calibrated: what leaves here is what everybody sees. `state`
        [hidden] is what the logits were made from.
        """
        self._counters.tags += 1
        logs = row.log_softmax(-1)
        whole = len(row) > len(asked.first)
        if whole:
            logs = logs[list(asked.first.values())]
        found = dict(zip(asked.first, logs.tolist(), strict=True))
        if not all(map(math.isfinite, found.values())):
            raise EngineFailed("the model failed: its numbers are out of range")
        chances = torch.tensor(list(found.values()), dtype=torch.float64)
        seen = None if state is None else state.float().cpu().numpy()
        beside = {} if seen is None or not self._states else {"state": seen.tolist()}
        tagging = Tagging(
            probs=dict(zip(found, chances.softmax(-1).tolist(), strict=True)),
            doubt=min(1.0, max(0.0, 1.0 - float(chances.exp().sum()))) if whole else 0.0,
            instrument=f"{self._name}#{where}",
            prompt=asked.task.version,
            polarity=asked.task.polarity,
            made={**made, "label_logprobs": found, **beside},
        )
        return tagging if self._sheet is None else self._sheet.apply(tagging, seen)

    def ask(self, name: str | None) -> Asked:
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
            for line in (
                ("user", one.text),
                ("assistant", f"{task.opening}{_glue(task)}{one.label}"),
            )
        ]
        whole = self._chat.conversation(task.instruction, [*examples, ("user", "")])
        self._asked[task.name] = Asked(
            task=task,
            first=first,
            prefix=whole,
            alone=self._chat.tail(opening=task.opening),
            suffix=self._chat.tail(task.instruction, task.opening),
            memory=self._model.memory(),
        )
        return self._asked[task.name]

    def _first_tokens(self, task: Task) -> dict[str, int]:
        """Return the token each label begins with. Raises PromptError when two share one."""
        start = self._chat.tail(opening=task.opening)
        glue = _glue(task)
        first: dict[str, int] = {}
        for label in task.labels:
            ids = self._chat.encode(f"{start.text}{glue}{label}")
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
                        f"token of {self._name}; choose words that begin differently"
                    )
            first[label] = token
        return first


def _glue(task: Task) -> str:
    """Return what stands between the opening of an answer and its label."""
    return " " if task.opening and not task.opening[-1].isspace() else ""
