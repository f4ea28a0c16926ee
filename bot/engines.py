"""From settings to who tags and who writes. Nothing is loaded here: `warm_up` does that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.models import Choice, choose
from bot.settings import Settings
from core.engine.mind import Engine
from core.engine.ports import Tagger
from core.errors import PromptError, SetupError
from core.prompts import PromptBook

if TYPE_CHECKING:
    from core.engine.embedded.phrasebook import PhraseWriter

_REMOTE_SLOTS = 8  # a server does more at a time than this machine's own CPU


def make_book(settings: Settings) -> PromptBook:
    """Return the prompt files in force."""
    return PromptBook(settings.prompts.dir, settings.prompts.tag)


def make_engine(settings: Settings, book: PromptBook, *, allow_demo: bool = False) -> Engine | None:
    """Return the configured model, not yet warm; None: the embedded table and phrase book.

    A demo checkpoint is refused unless the caller says that nobody real will read its words.
    Raises SetupError.
    """
    choice = choose(settings)
    if choice.demo and not allow_demo:
        raise SetupError(
            f"{choice.name} is a demo model whose words mean nothing: it speaks only in the "
            "try-it room. Unset the platform tokens, or choose another model.name."
        )
    if choice.kind == "embedded":
        return None
    return (
        _remote(settings, book, choice)
        if choice.kind == "remote"
        else _local(settings, book, choice)
    )


def _remote(settings: Settings, book: PromptBook, choice: Choice) -> Engine:
    from core.engine.remote import RemoteEngine

    ours = settings.model
    return RemoteEngine(
        choice.source,
        book,
        api_key=ours.api_key.get_secret_value() if ours.api_key else None,
        seconds=ours.reply_seconds,
        history_tokens=ours.history_tokens,
        slots=ours.slots if "slots" in ours.model_fields_set else _REMOTE_SLOTS,
    )


def _local(settings: Settings, book: PromptBook, choice: Choice) -> Engine:
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
    )


def make_tagger(settings: Settings) -> Tagger:
    """Return who tags for `heed tag`: the table, or an Engine to warm up first and close after."""
    from core.engine.embedded.table import TASK, TableTagger

    book = make_book(settings)
    engine = make_engine(settings, book, allow_demo=True)
    if engine is not None:
        return engine
    book.task()
    if book.tag != TASK:
        raise PromptError(
            f"prompts.tag is {book.tag}, and the embedded table knows {TASK} alone: choose a "
            "model by model.name for that task."
        )
    return TableTagger()


def make_phrases(settings: Settings) -> PhraseWriter:
    """Return the phrase book, with the operator's own answers first."""
    from core.engine.embedded.phrasebook import PhraseWriter

    return PhraseWriter(answers=settings.answers.file)
