"""The fixed texts: every sentence that is sent word for word, in catalogues per language.

A catalogue is a TOML file with two tables: [user], what the people who write to us read, and
[staff], what the desk reads. English is the list of names; Chinese has all of them, Spanish and
Russian all of [user]. An operator's folder may hold files of the same shape: what stands there
replaces the packaged text, and a language of the operator's own is used where it has the name.
No model ever writes or changes one of these.
"""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from core.errors import SetupError

COMPLETE = ("en", "zh")
USER_ONLY = ("es", "ru")
PARTS = ("user", "staff")
STAFF = "staff"  # in the place of a language: the one that staff have chosen to read

Catalogue = dict[str, dict[str, str]]  # part -> name -> text


class Texts:
    """The catalogues of all languages, checked when they were loaded."""

    def __init__(
        self,
        catalogues: Mapping[str, Catalogue],
        own: Mapping[str, Catalogue],
        staff: str = "en",
    ) -> None:
        self._staff = staff
        self._texts = {lang: _flat(catalogue) for lang, catalogue in catalogues.items()}
        self._own = {lang: frozenset(_flat(catalogue)) for lang, catalogue in own.items()}
        for lang, catalogue in own.items():
            self._texts.setdefault(lang, {}).update(_flat(catalogue))

    @classmethod
    def load(cls, folder: Path | None = None, *, staff: str = "en") -> Texts:
        """Read the packaged catalogues, and over them the operator's `<lang>.toml` in `folder`.

        Raises KeyError when a packaged catalogue lacks a name, SetupError when a file of the
        operator's cannot be used. A folder that is not there is no error: nothing is replaced.
        """
        packaged = _packaged()
        english = packaged["en"]
        own: dict[str, Catalogue] = {}
        for path in sorted(folder.glob("*.toml")) if folder else ():
            own[path.stem.lower()] = _read(path, english)
        return cls(packaged, own, staff)

    @property
    def names(self) -> frozenset[str]:
        """Every name that `say` knows."""
        return frozenset(self._texts["en"])

    @property
    def languages(self) -> frozenset[str]:
        """The languages that have a catalogue, by their two letters."""
        return frozenset(self._texts)

    def say(self, name: str, lang: str, /, **values: str | int) -> str:
        """Return one text in `lang` ("zh-CN" counts as "zh"), else in English, with its values.

        Values a text does not mention are ignored, so that an operator may leave one out.
        Raises KeyError for a name that is not in the list, or a value that the text needs.
        """
        tag = self._staff if lang == STAFF else lang.lower().replace("_", "-")
        for known in (tag, tag.partition("-")[0], "en"):
            if (text := self._texts.get(known, {}).get(name)) is not None:
                return text.format_map(values)
        raise KeyError(f"no text is named {name!r}")

    def approved(self, name: str, lang: str) -> bool:
        """Say whether the operator has put a text of their own here (asked for `crisis`)."""
        return name in self._own.get(lang.lower().partition("-")[0], ())


def _flat(catalogue: Catalogue) -> dict[str, str]:
    return {name: text for part in catalogue.values() for name, text in part.items()}


@cache
def _packaged() -> Mapping[str, Catalogue]:
    """Read and check the packaged catalogues: once in a process, for nobody changes them."""
    packaged = {lang: _catalogue(lang) for lang in (*COMPLETE, *USER_ONLY)}
    english = packaged["en"]
    for lang, catalogue in packaged.items():
        for part in PARTS if lang in COMPLETE else PARTS[:1]:
            if missing := english[part].keys() - catalogue.get(part, {}).keys():
                raise KeyError(f"texts/{lang}.toml lacks [{part}] {', '.join(sorted(missing))}")
        _check(f"texts/{lang}.toml", catalogue, english)
    return packaged


def _catalogue(lang: str) -> Catalogue:
    data = tomllib.loads(resources.files(__name__).joinpath(f"{lang}.toml").read_text("utf-8"))
    return {part: {name: text.strip() for name, text in data[part].items()} for part in data}


def _read(path: Path, english: Catalogue) -> Catalogue:
    """Read one file of the operator's. Raises SetupError with one sentence that says what to do."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SetupError(f"{path} cannot be read as UTF-8 TOML: {error}.") from error
    catalogue: Catalogue = {}
    for part, texts in data.items():
        if part not in PARTS or not isinstance(texts, dict):
            raise SetupError(f"{path}: [{part}] is unknown; write the texts under [user], [staff].")
        for name, text in texts.items():
            if not isinstance(text, str) or not text.strip():
                raise SetupError(f"{path}: {name} must be a text in quotes that is not empty.")
            catalogue.setdefault(part, {})[name] = text.strip()
    _check(str(path), catalogue, english)
    return catalogue


def _check(where: str, catalogue: Catalogue, english: Catalogue) -> None:
    """Allow only names that are asked for, and values that are handed over."""
    for part, texts in catalogue.items():
        for name, text in texts.items():
            if name not in english[part]:
                raise SetupError(
                    f"{where}: no text is named {name} in [{part}]; see texts/en.toml."
                )
            try:
                wanted = _values(text)
            except ValueError as error:
                raise SetupError(f"{where}: {name}: {error}; write {{{{ for a brace.") from error
            allowed = _values(english[part][name])
            if odd := wanted - allowed:
                known = ", ".join(f"{{{value}}}" for value in sorted(allowed)) or "no value"
                raise SetupError(f"{where}: {name} has {{{min(odd)}}}; it may use {known}.")


def _values(text: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}
