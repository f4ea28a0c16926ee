"""Why something that staff asked for was not done, in the words of whoever reads it."""

from __future__ import annotations

from core import durations
from core.errors import DeskError
from core.texts import Texts


def sentence(error: DeskError, texts: Texts, lang: str) -> str:
    """Return the error's sentence from the catalogue of `lang`; in English where it has no name."""
    if not error.name:
        return str(error)
    values = dict(error.values)
    if "seconds" in values:
        values["when"] = durations.words(float(values["seconds"]), lang, texts)
    return texts.say(error.name, lang, **values)
