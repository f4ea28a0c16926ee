"""From settings to who tags and who writes. Nothing is loaded here: `warm_up` does that."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bot.models import Choice, choose, choose_half
from bot.settings import Settings
from core.engine.calibrations import CalibrationBook
from core.engine.mind import Engine
from core.engine.ports import Tagger
from core.errors import PromptError, SetupError
from core.prompts import PromptBook

if TYPE_CHECKING:
    from core.engine.embedded.phrasebook import PhraseWriter

# Of the seconds that a turn has, those that a server may be silent. The rest is for learning that
# it was, before the mind gives up for both; or for the engine that stands in.
_ALONE, _OF_TWO = 0.9, 0.4


def make_book(settings: Settings) -> PromptBook:
    """Return the prompt files in force."""
    return PromptBook(settings.prompts.dir, settings.prompts.tag, clock=time.monotonic)


def make_engine(settings: Settings, book: PromptBook, *, allow_demo: bool = False) -> Engine | None:
    """Return the configured model, not yet warm; None: the embedded table and phrase book.

    Its tags are told by what `heed calibrate` has found, where that was run.

    A demo checkpoint is refused unless the caller says that nobody real will read its words.
    Raises SetupError.
    """
    return _make(settings, book, choose(settings), allow_demo=allow_demo)


def _make(
    settings: Settings, book: PromptBook, choice: Choice, *, allow_demo: bool, share: float = _ALONE
) -> Engine | None:
    if choice.demo and not allow_demo:
        raise SetupError(
            f"{choice.name} is a demo model whose words mean nothing: it speaks only in the "
            "try-it room. Unset the platform tokens, or choose another model.name."
        )
    if choice.kind == "embedded":
        return None
    if choice.kind == "remote":
        return _remote(settings, book, choice, share, CalibrationBook())
    if choice.kind == "local":
        return _local(settings, book, choice, CalibrationBook())
    hears, speaks = (
        _make(settings, book, half, allow_demo=allow_demo, share=_OF_TWO) for half in choice.halves
    )
    return _routed(book, hears, speaks)


def _routed(book: PromptBook, hears: Engine | None, speaks: Engine | None) -> Engine:
    from core.engine.routed import RoutedEngine

    table = _table(book, "model.tag") if hears is None else None
    return RoutedEngine(hears, speaks, table=table)


def make_raw(settings: Settings, book: PromptBook, choice: Choice, *, states: bool) -> Engine:
    """Return the chosen model, not yet warm, with its tags as it scores them.

    With `states` a local one gives its hidden states too. Raises SetupError where no model is
    chosen.
    """
    if choice.kind == "remote":
        return _remote(settings, book, choice, _ALONE, None)
    if choice.kind == "local":
        return _local(settings, book, choice, None, states=states)
    raise SetupError(
        "No model is configured, and the embedded table is calibrated when it is made: name a "
        "model by --model or model.name."
    )


def _remote(
    settings: Settings,
    book: PromptBook,
    choice: Choice,
    share: float,
    calibration: CalibrationBook | None,
) -> Engine:
    from core.engine.remote import RemoteEngine

    ours = settings.model
    return RemoteEngine(
        choice.source,
        book,
        api_key=ours.api_key.get_secret_value() if ours.api_key else None,
        seconds=share * ours.reply_seconds,
        history_tokens=ours.history_tokens,
        slots=ours.slots,
        calibration=calibration,
        redact=settings.privacy.redact,
    )


def _local(
    settings: Settings,
    book: PromptBook,
    choice: Choice,
    calibration: CalibrationBook | None,
    *,
    states: bool = False,
) -> Engine:
    from core.engine.local import LocalEngine

    ours = settings.model
    return LocalEngine(
        choice.source,
        book,
        history_tokens=ours.history_tokens,
        slots=ours.slots,
        kv_budget_mb=ours.kv_budget_mb,
        threads=ours.threads or None,
        precision=ours.precision,
        device=ours.device,
        adapter=ours.adapter or None,
        calibration=calibration,
        states=states,
    )


def make_tagger(settings: Settings, book: PromptBook | None = None) -> Tagger:
    """Return who tags for `heed tag`: the table, or an Engine to warm up first and close after.

    `book`: other prompt files than the configured ones.
    """
    book = book or make_book(settings)
    choice = choose_half(settings, "tag")
    return _make(settings, book, choice, allow_demo=True) or _table(book, "model.name")


def _table(book: PromptBook, key: str) -> Tagger:
    """Return the embedded table; `key` is the setting that names a model in its place."""
    from core.engine.embedded.table import TASK, TableTagger

    task, tagger = book.task().name, TableTagger()
    known: tuple[str, ...] = getattr(tagger, "tasks", (TASK,))
    if task not in known:
        raise PromptError(
            f"The embedded table knows {' and '.join(known)} alone, and the task is {task}: choose "
            f"a model by {key} for that task."
        )
    return tagger


def make_phrases(settings: Settings) -> PhraseWriter:
    """Return the phrase book, with the operator's own answers first."""
    from core.engine.embedded.phrasebook import PhraseWriter
    from core.texts import Texts

    own = settings.answers
    return PhraseWriter(answers=own.file, minimum=own.minimum, texts=Texts.load(settings.texts.dir))
