"""What core sees of a model: two small ports, and never a tensor.

`Tagger` scores the labels of a text. `Writer` writes a reply in two steps, so that code can decide
between them: `start` prepares the first word, `continue_reply` speaks it. An engine that is both
may offer `tag_and_start`, which does the tag and the start of the reply in one forward.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from core.message import ConversationKey, Level, Said, Scores, Tagging


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplyRequest:
    """Everything a reply may be made from."""

    key: ConversationKey
    history: tuple[Said, ...]  # oldest first, without the messages to answer
    messages: tuple[str, ...]  # the burst to answer, oldest first, at least one
    level: Level = "calm"  # the mood level before this message
    lang: str = "und"
    name: str = ""  # the person's name, as the platform tells it
    now: float = 0.0
    scores: Scores | None = None  # of the last message, where it was tagged before


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """When a reply must end, whatever the model would like."""

    tokens: int = 256
    seconds: float = 30.0  # from the call of continue_reply


@dataclass(kw_only=True, slots=True)
class Started:
    """A reply that has its first logits and has sampled nothing. Handed back to its engine."""

    key: ConversationKey
    request: ReplyRequest
    model: str  # which model speaks
    prompt: str  # version of the reply prompt, "reply@hash"; for the phrase book its own version
    made: dict[str, Any] = field(default_factory=dict)  # prompts, tokens reused/computed, ms
    state: Any = None  # the engine's own


@dataclass(frozen=True, kw_only=True, slots=True)
class Capacity:
    """How busy an engine is. Lanes ask before they start a reply."""

    slots: int
    running: int
    kv_bytes: int = 0
    kv_budget: int = 0

    @property
    def free(self) -> int:
        """Replies that could start now."""
        return max(0, self.slots - self.running)


class Tagger(Protocol):
    """Scores labels. Never touches a conversation."""

    @property
    def name(self) -> str:
        """The model's name, as shown and stored."""
        ...

    async def tag_many(self, texts: Sequence[str], task: str | None = None) -> list[Tagging]:
        """Tag each text alone, in order. `task` None: the configured tag task.

        Raises PromptError for an unknown task, EngineError when the engine cannot.
        """
        ...


class Writer(Protocol):
    """Writes replies."""

    @property
    def name(self) -> str:
        """The model's name, as shown and stored."""
        ...

    async def start(self, request: ReplyRequest) -> Started:
        """Prepare a reply up to its first logits. Raises EngineError (EngineBusy: no slot)."""
        ...

    def continue_reply(self, started: Started, limits: Limits, level: Level) -> AsyncIterator[str]:
        """Stream the reply's text in pieces until it ends, a limit is met, or it is cancelled.

        `level` is the mood level after this message; an engine that told the prompt another one
        runs its header anew. Raises EngineFailed.
        """
        ...

    async def cancel(self, started: Started) -> None:
        """Take the reply back, within one step, also before it began. Never raises."""
        ...

    async def settle(self, started: Started, *, kept: bool) -> None:
        """After the commit: keep the reply in the warm conversation, or roll back."""
        ...

    async def drop(self, key: ConversationKey) -> None:
        """Free whatever is held for a conversation: it was forgotten or has changed."""
        ...

    def capacity(self) -> Capacity:
        """Say how busy the engine is."""
        ...

    async def warm_up(self) -> None:
        """Load and run once; only then is the engine ready. Raises SetupError, EngineError."""
        ...

    async def close(self) -> None:
        """End threads and connections."""
        ...


@runtime_checkable
class Joint(Protocol):
    """Both in one forward: the label scores now, and a started reply."""

    async def tag_and_start(self, request: ReplyRequest) -> tuple[Tagging, Started]:
        """Tag the last message of the request in its conversation and start the reply to it."""
        ...
