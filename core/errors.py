"""Every error Heed raises on purpose.

HeedError
├── SetupError            the operator can mend it: one plain sentence, exit code 2
├── StoreError            the database refused
│   └── StoreBusy         locked or full: nothing was acknowledged, try again
├── EngineError           the model did not do its part
│   ├── EngineNotReady    still warming up, or being swapped
│   ├── EngineBusy        every writer slot is taken; carries the seconds to wait
│   └── EngineFailed      it hung, died, or answered nonsense
├── PromptError           a prompt file is wrong; says which line and what to write
├── DeskError             a staff action that cannot be done
│   ├── StaleCard         the button belongs to an older state of the case
│   └── NeedsConfirm      somebody else holds the case; ask again with confirm
└── DeliveryError         a post that did not certainly arrive
    ├── NotSent           nothing reached the platform: safe to repeat
    │   └── RetryAfter    the platform said how long to wait
    ├── OutcomeUnknown    it may or may not have arrived
    ├── Refused           the platform will never take this post as it is
    │   ├── NoThread      topics or threads cannot be made or used there
    │   │   ├── ThreadGone    it was deleted: it may be made anew
    │   │   └── ThreadShut    it is closed or locked: it may be opened again
    │   ├── Unchangeable  a message that can no longer be edited or deleted
    │   └── TooLarge      a file that is larger than the platform takes or gives
    └── Unreachable       the person blocked the bot, left, or closed their messages
"""

from __future__ import annotations


class HeedError(Exception):
    """Base of every error raised on purpose."""


class SetupError(HeedError):
    """Something the operator can mend; the message is one plain sentence that says how."""


class StoreError(HeedError):
    """The database refused an operation."""


class StoreBusy(StoreError):
    """The database is locked or full: nothing was written, try again."""


class EngineError(HeedError):
    """The model did not do its part."""


class EngineNotReady(EngineError):
    """The engine is still warming up, or is being swapped."""


class EngineBusy(EngineError):
    """Every writer slot is taken; `seconds` says when to ask again."""

    def __init__(self, seconds: float = 1.0) -> None:
        super().__init__(f"every writer slot is taken, ask again in {seconds:.0f} s")
        self.seconds = seconds


class EngineFailed(EngineError):
    """The engine hung, died, or answered something that is no answer."""


class PromptError(HeedError):
    """A prompt file cannot be used; the message says where and what to write instead."""


class DeskError(HeedError):
    """A staff action that cannot be done; why is shown to the staff member.

    `words` is the sentence in English. `name` is what the catalogues call the same sentence and
    `values` are what it mentions; a span of `seconds` stands there as {when}, in words.
    """

    def __init__(self, words: str, *, name: str = "", **values: str | int) -> None:
        super().__init__(words)
        self.name = name
        self.values = values


class StaleCard(DeskError):
    """The button belongs to an older state of the case; show the present card instead."""


class NeedsConfirm(DeskError):
    """Somebody else holds the case; the same action with `confirm` set is carried out."""


class DeliveryError(HeedError):
    """A post that did not certainly arrive."""


class NotSent(DeliveryError):
    """Nothing reached the platform: repeating is safe."""


class RetryAfter(NotSent):
    """The platform asked to wait `seconds` before the next send to this chat."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the platform asks to wait {seconds:.1f} s")
        self.seconds = seconds


class OutcomeUnknown(DeliveryError):
    """The connection broke after the post went out: it may or may not have arrived."""


class Refused(DeliveryError):
    """The platform will never take this post as it is."""


class NoThread(Refused):
    """Topics or threads cannot be made or used in this chat."""


class ThreadGone(NoThread):
    """The topic or thread was deleted: it may be made anew."""


class ThreadShut(NoThread):
    """The topic or thread is closed or locked: it may be opened again."""


class Unchangeable(Refused):
    """The message is too old, or gone, or not ours: it can no longer be edited or deleted."""


class TooLarge(Refused):
    """The file is larger than the platform takes or gives; nothing was sent."""


class Unreachable(DeliveryError):
    """The person blocked the bot, left, or closed their direct messages."""
