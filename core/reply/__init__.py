"""Write one reply: stream it in whole sentences, check it, and fall back to a safe sentence.

Nothing is shown before it has passed the checks, and nothing is said that failed them: a reply
with role tokens, a leaked prompt, a claim that no program may make or a language that the person
does not write in becomes a fixed, honest text. One that goes round in circles is stopped there and
keeps its good beginning. Where somebody is tense, a reply that helps without having acknowledged
gets a fixed acknowledgement before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from core.engine.ports import Limits, ReplyRequest, Started, Writer
from core.errors import EngineError
from core.message import Level
from core.reply.checks import CURED, FREE, INVENTED, LONGEST, Bounds, fault, strange
from core.reply.facts import known_facts
from core.reply.loops import beginning, complete, fresh, loops
from core.reply.tongue import names_a_language
from core.texts import Texts
from core.texts.soothing import acknowledges, joined, opens, soothing

__all__ = [
    "INVENTED",
    "Bounds",
    "Show",
    "Written",
    "bounds_of",
    "complete",
    "fault",
    "opening_of",
    "write",
]

Show = Callable[[str], Awaitable[bool]]  # the text so far; False: stop, somebody took over

_RECENT = 6  # replies back in which no acknowledgement is said twice
_STRIDE = 64  # characters between two looks for a loop that no sentence ends


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A finished reply."""

    text: str
    problem: str = ""  # what was wrong with the engine's own words; empty: nothing
    failed: bool = False  # the engine itself failed
    stopped: bool = False  # somebody took over while it was written
    cut: bool = False  # the problem was cut off: the text is the engine's words before it
    shown: str = ""
    soothed: bool = False  # a fixed acknowledgement stands before the engine's words
    by: Started | None = None  # who said the text in the place of who began it


def bounds_of(
    request: ReplyRequest, *, secret: str, knowledge: str, texts: Texts, facts: bool
) -> Bounds:
    """Return what a model's reply to `request` is held against.

    With `facts` it may name only those of the conversation, of the operator's `knowledge` and of
    the prompt's system text, which is the `secret`.
    """
    told = "\n".join([*(line.text for line in request.history), *request.messages])
    return Bounds(
        secret=secret,
        asked=request.messages,
        before=tuple(line.text for line in request.history if line.role == "user"),
        fixed=texts.languages,
        known=known_facts(told, knowledge, secret) if facts else None,
    )


def opening_of(request: ReplyRequest, texts: Texts, level: Level, lang: str) -> str:
    """Return what is said first to somebody tense, should a reply only help; empty: nothing."""
    if names_a_language(request.messages):
        return ""
    said = [line.text for line in request.history if line.role == "bot"][-_RECENT:]
    return next(iter(soothing(texts, level, lang, said, f"{request.key}")), "")


class _Draft:
    """A reply while it is written, and how much of it may be shown."""

    def __init__(self, bounds: Bounds, opening: str) -> None:
        self.text = ""
        self.shown = ""
        self.soothed = False
        self._bounds = bounds
        self._opening = opening  # to be said first, unless the reply says something like it
        self._looked = 0

    def take(self, piece: str) -> str:
        """Take a piece of the reply in. Return its fault where nothing that follows can mend it."""
        self.text += piece
        if len(self.text) > LONGEST:
            return "too long"
        if len(self.text) - self._looked < _STRIDE:
            return ""
        self._looked = len(self.text)
        return "repetition" if loops(self.text) else ""

    def ready(self) -> tuple[str, str]:
        """Return what may be shown now, and what is wrong with what is whole."""
        if self._opening and not opens(self.text):
            return self.shown, ""
        self._soothe()
        whole = complete(self.text, len(self.shown))
        if not whole[len(self.shown) :].strip():
            return self.shown, ""
        problem = fault(whole, bounds=self._bounds, whole=False)
        if problem or strange(whole, self._bounds):
            return self.shown, problem
        return max(self.shown, fresh(whole), key=len), ""

    def end(self) -> str:
        """Nothing follows: return what is wrong with the whole."""
        self._soothe()
        self.text = self.text.strip()
        return fault(self.text, bounds=self._bounds)

    def _soothe(self) -> None:
        if self._opening and self.text.strip() and not acknowledges(self.text):
            self.text = joined(self._opening, self.text.lstrip())
            self.soothed = True
        self._opening = ""


class _Reviewed:
    """Words that people have read before: shown as they come, and held against nothing."""

    def __init__(self) -> None:
        self.text = ""
        self.shown = ""
        self.soothed = False

    def take(self, piece: str) -> str:
        """Take a piece in."""
        self.text += piece
        return ""

    def ready(self) -> tuple[str, str]:
        """Return all of it."""
        return self.text, ""

    def end(self) -> str:
        """Return whether there were words at all."""
        self.text = self.text.strip()
        return "" if self.text else "empty"


async def write(  # noqa: PLR0913 - the walk's one call, all by name
    writer: Writer,
    started: Started,
    *,
    limits: Limits,
    level: Level,
    fallback: str,
    bounds: Bounds = FREE,
    opening: str = "",
    show: Show,
    live: bool = False,
) -> Written:
    """Speak a started reply. `show` gets the guarded text so far each time it has grown.

    `live` shows every piece at once: for reviewed texts, which need no guard. The rest is shown
    by whole sentences that passed every check, after `opening` where they do not acknowledge how
    somebody feels. A fault that nothing can mend ends the reply there and then.
    """
    draft: _Draft | _Reviewed = _Reviewed() if live else _Draft(bounds, opening)
    problem = ""
    try:
        async for piece in writer.continue_reply(started, limits, level):
            problem = draft.take(piece)
            ready = draft.shown
            if not problem:
                ready, problem = draft.ready()
            if problem:
                await writer.cancel(started)
                break
            if ready != draft.shown:
                draft.shown = ready
                if not await show(ready):
                    await writer.cancel(started)
                    return Written(text=draft.text, stopped=True, shown=draft.shown)
    except EngineError as error:
        return Written(text=fallback, problem=str(error), failed=True, shown=draft.shown)
    return _ended(draft, problem or draft.end(), bounds, fallback)


def _ended(draft: _Draft | _Reviewed, problem: str, bounds: Bounds, fallback: str) -> Written:
    if not problem:
        return Written(text=draft.text, shown=draft.shown, soothed=draft.soothed)
    if problem in CURED:
        kept = beginning(draft.text[:LONGEST])
        if kept and not fault(kept, bounds=bounds):
            return Written(
                text=kept, problem=problem, cut=True, shown=draft.shown, soothed=draft.soothed
            )
    return Written(text=fallback, problem=problem, shown=draft.shown)
