"""The phrase book of one language: which situation a text belongs to, and what may be said in it.

A situation is found by patterns first, then by likeness to example utterances; below a minimum
there is none, and the caller says so honestly. Grief, danger and illness are worth more than
anything else in a message, and a cheerful situation needs most of the text for itself: a parcel
that is late is still late when "thank you" stands beside it.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib import resources
from itertools import combinations
from typing import Any, Literal

from core.engine.embedded.answers import Nearest, bare, normal
from core.errors import SetupError
from core.message import Level

Kind = Literal["grave", "feeling", "matter", "info", "talk", "small"]
WEIGHT: dict[Kind, float] = {
    "grave": 10.0, "matter": 3.0, "info": 2.8, "feeling": 2.85, "talk": 2.0, "small": 2.0,
}  # fmt: skip
COVER: dict[Kind, float] = {
    "grave": 0.0, "matter": 0.0, "info": 0.15, "feeling": 0.08, "talk": 0.3, "small": 0.65,
}  # fmt: skip
ALIKE = 0.6
BRIEF = 0.75  # the same for one or two words: a rare word alone is like any text that has it
LIMIT = 1200  # signs of a message that are looked at; the rest is the middle of a long one
NET = 1.9  # below it a pattern only names the field, and likeness goes before
SHELF = 16  # situations that are asked about at once
PLAIN = 0.7  # what is less like an example is answered with a frame that says so
THIN = 0.12  # the same for a pattern that covers less of a text; twice that in Chinese
TIE = 0.1  # how much of the text a pattern covers decides only between equals
_SPACED = ("en", "es", "ru")  # words are told apart by spaces
_NEGATED = re.compile(
    r"(?:\b(?:not|never|isnt|arent|wasnt|dont|didnt|no longer|without|aint|не|нет|no)\s(?:\w+\s)?"
    r"|不|没|没有|不是|不太|并不|别|不算|不怎么|没那么)$"
)
_NEGATOR = re.compile(r"\b(?:not|never|isnt|arent|wasnt|dont|no longer|не)\b|不|没")
_BEGIN = r"(?<!\w)"
_GROUP = re.compile(r"(?<!\\)\((?!\?)")
_ALONE = re.compile(r"\\[1-9]|\(\?\(|\(\?P[<=]|\[\^[^]]*\(")  # cannot be joined to others
_PART = re.compile(r"[.!?;。！？；\n]+")


class When:
    """A pattern that is made ready when it is first asked: most of them never are."""

    __slots__ = ("_made", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._made: re.Pattern[str] | None = None

    def ready(self) -> re.Pattern[str]:
        """Return it, compiled. Raises re.error where it is none."""
        if self._made is None:
            self._made = re.compile(self.pattern)
        return self._made


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What can be going on, and the phrases for it."""

    name: str
    kind: Kind
    when: tuple[When, ...]
    calm: tuple[str, ...]
    tense: tuple[str, ...]
    about: str = ""
    ask: str = ""
    bright: bool = False
    weight: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A situation found in a text. `score` orders matches, `likeness` 0..1 is for people."""

    situation: Situation
    score: float
    likeness: float
    whole: bool  # the text says this and nothing else
    frame: str = ""  # a general frame that fits better than the phrases of the situation


class Book:
    """One language's phrases. Read once, changes never."""

    def __init__(self, lang: str, source: str, *, ours: bool = False) -> None:
        """Read a phrase file. Raises SetupError when it cannot be used.

        Patterns of `ours`, which comes with Heed, are known to be right: looking at each takes
        half a second for four languages.
        """
        try:
            data: dict[str, dict[str, Any]] = tomllib.loads(source)
            frames = data.pop("frames")
            situations = [_situation(lang, name, table) for name, table in data.items()]
            for when in () if ours else (when for one in situations for when in one.when):
                when.ready()
        except (tomllib.TOMLDecodeError, re.error, KeyError, TypeError) as error:
            raise SetupError(f"phrases/{lang}.toml cannot be used: {error}.") from error
        self.lang = lang
        self.situations = {situation.name: situation for situation in situations}
        self._frames: dict[str, tuple[str, ...]] = {
            name: (text,) if isinstance(text, str) else tuple(text) for name, text in frames.items()
        }
        more = _running()[lang]
        self._what, asks = more["what"], more["asks"]
        self.still = re.compile(more["still"])  # on a normal text: the open matter is meant
        self._unsettled = re.compile(more["unsettled"])
        self.manner = {name: re.compile(words) for name, words in more["manner"].items()}
        self._asks = {kind: re.compile(words, re.IGNORECASE) for kind, words in asks.items()}
        for name, texts in more.items():
            if isinstance(texts, list):
                self._frames[name] = (*self._frames.get(name, ()), *texts)
        pairs = [(name, said) for name, table in data.items() for said in table.get("say", ())]
        self._nearest = Nearest(pairs)
        self._exact = {bare(normal(said)): name for name, said in pairs}
        self.said = dict(self._told())

    # ------------------------------------------------------------------ finding

    def match(self, texts: Sequence[str], beside: Sequence[str] = ()) -> Match | None:
        """Return the weightiest situation of a burst of messages but those named; or None."""
        found = [match for text in texts if (match := self._match(text, beside))]
        return max(found, key=lambda match: match.score, default=None)

    def _match(self, text: str, beside: Sequence[str] = ()) -> Match | None:
        plain = normal(text if len(text) <= LIMIT else f"{text[:900]} {text[-300:]}")
        if shape := _shape(plain):
            if situation := self.situations.get(shape):
                return Match(situation=situation, score=2.0, likeness=1.0, whole=True)
            return None
        words = bare(plain)
        if (name := self._exact.get(words)) is not None:
            situation = self.situations[name]
            score = WEIGHT[situation.kind] + max(2.0, situation.weight)
            return Match(situation=situation, score=score, likeness=1.0, whole=True)
        size = max(1, len(words))
        candidates = [
            match
            for either, situations in self._shelves
            if either is None or either.search(plain)
            for situation in situations
            if situation.name not in beside and (match := _by_pattern(situation, plain, size))
        ]
        best = max(candidates, key=lambda match: match.score, default=None)
        if best is None or best.score < NET:
            best = self._by_likeness(plain) or best
        long = len(plain) > (280 if self.lang in _SPACED else 110)
        if long and (best is None or best.situation.kind not in ("grave", "matter")):
            rant = self.situations.get("story_rant")
            return Match(situation=rant, score=2.86, likeness=0.0, whole=True) if rant else best
        return best

    def settled(self, text: str) -> bool:
        """Say whether nothing in a text asks, lacks, denies or goes wrong."""
        return not self._unsettled.search(normal(text)) and not set("?？¿") & set(text)

    @cached_property
    def _shelves(self) -> list[tuple[re.Pattern[str] | None, list[Situation]]]:
        """Situations a few at a time, with one pattern that holds where any of theirs does.

        To ask that one first is faster than to ask each, where a word must begin: each would look
        at every place. None: where none must, or where a pattern cannot be joined to others.
        """
        shelves: list[tuple[re.Pattern[str] | None, list[Situation]]] = []
        every = list(self.situations.values())
        for at in range(0, len(every), SHELF):
            situations = every[at : at + SHELF]
            own = [
                _GROUP.sub("(?:", pattern.pattern.removeprefix(_BEGIN))  # no group is asked for
                for situation in situations
                for pattern in situation.when
            ]
            apart = self.lang not in _SPACED or any(map(_ALONE.search, own))
            either = None if apart else re.compile(f"{_BEGIN}(?:{'|'.join(own)})")
            shelves.append((either, situations))
        return shelves

    def _by_likeness(self, plain: str) -> Match | None:
        """Try the text as a whole, then by sentences: one of them may say it all."""
        parts = [plain, *(part for part in _PART.split(plain) if part.strip() not in ("", plain))]
        best: Match | None = None
        for part in parts:
            name, likeness = self._nearest.best(part)
            situation = self.situations.get(name)
            strict = situation and (situation.bright or situation.kind in ("small", "grave"))
            brief = self.lang in _SPACED and len(part.split()) <= 2
            least = BRIEF if brief else ALIKE + (0.1 if strict else 0.0)
            if (
                situation is None
                or likeness < least
                or len(part) < COVER[situation.kind] * len(plain)
            ):
                continue
            score = 1.0 + likeness + (9.0 if situation.kind == "grave" else 0.0)
            if best is None or score > best.score:
                frame = "hedged" if situation.kind == "matter" and likeness < PLAIN else ""
                best = Match(
                    situation=situation, score=score, likeness=likeness, whole=False, frame=frame
                )
        return best

    # ------------------------------------------------------------------ saying

    def phrases(self, situation: Situation, level: Level) -> list[str]:
        """Return everything that may be said in a situation at a level; {name} is still open."""
        if level == "calm":
            frame = self._filled(f"{situation.kind}_calm", situation)
            return [*(self._call(text) for text in situation.calm), *frame]
        if situation.tense:
            return [self._call(text) for text in situation.tense]
        if frame := self._filled(f"{situation.kind}_tense", situation):
            return frame
        if situation.bright:
            return self.frame("bright_tense")
        return [self.offered(self._call(text)) for text in situation.calm]

    def frame(self, name: str, situation: Situation | None = None) -> list[str]:
        """Return the general phrases of a name, filled with what the situation is about."""
        about = situation.about if situation else ""
        return [self._call(text).replace("{about}", about) for text in self._frames[name]]

    def sorry(self) -> str:
        """Return the acknowledgement before an answer of the operator's own."""
        return self._frames["answer_tense"][0]

    def asked_for(self, texts: Sequence[str]) -> frozenset[str]:
        """Return what a person is asked for in these phrases: number, email, version."""
        return frozenset(
            kind for kind, words in self._asks.items() if any(map(words.search, texts))
        )

    def given(self, situation: Situation, kinds: Sequence[str]) -> list[str]:
        """Return what is said where those things have been given already."""
        what = self._what["and"].join(self._what[kind] for kind in sorted(kinds))
        return [text.replace("{what}", what) for text in self.frame("given", situation)]

    def standing(self) -> tuple[str, str]:
        """Return the two ways in which a person is offered, which may be said again and again."""
        return self._frames["Call"][0], self._frames["call"][0]

    def _filled(self, name: str, situation: Situation) -> list[str]:
        if not situation.about or name not in self._frames:
            return []
        texts = [text.replace("{ask}", situation.ask) for text in self._frames[name]]
        return [_upper(self._call(text).replace("{about}", situation.about)) for text in texts]

    def _call(self, text: str) -> str:
        for name in ("Call", "call"):
            text = text.replace(f"{{{name}}}", self._frames[name][0])
        return text

    def offered(self, text: str) -> str:
        """Return a text with the offer of a person after it, unless it is there."""
        word = {"en": '"human"', "zh": "“人工”", "es": "«humano»", "ru": "«человек»"}[self.lang]
        gap = " " if self.lang in _SPACED else ""
        return text if word in text else f"{text}{gap}{self._frames['Call'][0]}"

    def _told(self) -> Iterator[tuple[str, Situation]]:
        """Yield every phrase of a situation without a name, so that history can be understood."""
        levels: tuple[Level, ...] = ("calm", "tense")
        for situation in self.situations.values():
            texts = [text for level in levels for text in self.phrases(situation, level)]
            if situation.about:
                for name in (
                    "kept",
                    "kept_not",
                    "running",
                    "asked",
                    "greeted_about",
                    "hedged",
                    "asks_about",
                ):
                    texts += self.frame(name, situation)
                for n in range(1, len(self._asks) + 1):
                    for kinds in combinations(self._asks, n):
                        texts += self.given(situation, kinds)
            yield from ((text.replace("{name}", ""), situation) for text in texts)


@lru_cache(maxsize=8)
def book_of(lang: str, source: str, *, ours: bool = False) -> Book:
    """Return the book of a phrase file; the same file is read once in a process.

    Raises SetupError like Book.
    """
    return Book(lang, source, ours=ours)


@cache
def _running() -> dict[str, dict[str, Any]]:
    """Return what is said of matters that run on, by language."""
    source = resources.files("core.engine.embedded").joinpath("running.toml")
    return tomllib.loads(source.read_text("utf-8"))


def _situation(lang: str, name: str, table: dict[str, Any]) -> Situation:
    border = _BEGIN + r"(?:{})(?!\w)" if lang in _SPACED else "(?:{})"
    return Situation(
        name=name,
        kind=table["kind"],
        when=tuple(When(border.format(pattern)) for pattern in table["when"]),
        calm=tuple(table["calm"]),
        tense=tuple(table.get("tense", ())),
        about=table.get("about", ""),
        ask=table.get("ask", ""),
        bright=table.get("bright", False),
        weight=table.get("weight", 0.0),
    )


def _by_pattern(situation: Situation, plain: str, size: int) -> Match | None:
    """Return how well a situation's patterns hold on a text, None when none holds.

    `size` is how many characters the words of the text have.
    """
    longest = 0
    for pattern in situation.when:
        for found in pattern.ready().finditer(plain):
            if not _denied(situation, pattern, found, plain):
                longest = max(longest, len(found.group()))
    usual = 0.1 if situation.weight else COVER[situation.kind]
    least = max(usual, 0.35 if situation.bright else 0.0)
    cover = min(1.0, longest / size)
    vague = 0 < situation.weight < NET and longest < 2  # one Chinese sign
    if not longest or vague or cover < least:
        return None
    weight = situation.weight or WEIGHT[situation.kind]
    thin = cover < THIN or (cover < 2 * THIN and longest <= 3)
    frame = "hedged" if thin and situation.kind == "matter" and situation.about else ""
    return Match(
        situation=situation,
        score=weight + TIE * cover,
        likeness=1.0,
        whole=cover >= 0.9,
        frame=frame,
    )


def _denied(situation: Situation, pattern: When, found: re.Match[str], plain: str) -> bool:
    """Say whether a feeling is only mentioned to deny it: "I am not sad"."""
    if situation.kind not in ("feeling", "talk") or not (
        situation.kind == "feeling" or situation.bright
    ):
        return False
    if _NEGATED.search(plain[: found.start()]):
        return True
    return bool(_NEGATOR.search(found.group())) and not _NEGATOR.search(pattern.pattern)


_SHAPES = (
    ("link_only", re.compile(r"(https?://|www\.)\S+")),
    ("number_only", re.compile(r"[#№]?\s*[a-z]{0,3}[-\s]?\d[\d\s./-]{2,}")),
    ("gibberish", re.compile(r"[bcdfghjklmnpqrstvwxz]{5,}")),
    ("", re.compile(r".*[^\W_].*", re.DOTALL)),  # it has words: no shape
    ("emoji_sad", re.compile(".*[😢😭😞😔😟🙁☹😿💔😥😓😩😫😖😣🥺😪].*", re.DOTALL)),
    ("emoji_angry", re.compile(".*[😡😠🤬👿💢🖕👎].*", re.DOTALL)),
)


def _shape(plain: str) -> str:
    """Name a text that has no words to match: pictures, dots, a bare number, a link, letters."""
    for name, pattern in _SHAPES:
        if pattern.fullmatch(plain):
            return name
    pictures = any(unicodedata.category(c) in ("So", "Sk") for c in plain)
    return "emoji_only" if pictures else "punctuation_only"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
