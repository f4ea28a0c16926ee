"""Phrases that mean something whatever a model thinks: a call for a person, danger, money, goodbye.

The lists are data, one file per language, and all of them are tried on every text, since people
mix languages. A phrase stands on a line of its own, written as it is said. `(a|b)` is a choice,
without a choice inside; a choice followed by `?` may be left out, a letter followed by `?` too;
`[ao]` is one of these letters. `...` stands for up to three words (where it touches a word: for up
to four characters), `......` for up to eight (twelve), `#` for a number, `^` and `$` for the ends
of a sentence, `{kin}` for the choices that the file names `kin` under `words`. `a & b` are two
phrases near each other in either order. A `not_` list names what only looks like its sibling: what
it covers is taken out before the sibling is searched.

Text is folded first: case, accents, full-width and look-alike letters, zero-width characters,
letters drawn out or spaced apart. Matching takes time linear in the text and never raises.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from bisect import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources import files

from core.triggers.phrases import AND, HAN, UNIT, expression, needed_by_all, script_of, scripts_in

_LANGUAGES = ("en", "zh", "es", "ru")
_EVIDENCE = ("unheard", "plight", "formal", "laugh")
_LISTS = ("request", "alone", "ambiguous", "crisis", "threat", "money", *_EVIDENCE)

# Marks that change how a letter looks and not which one it is, and characters without width.
_MARKS = re.compile(
    "['`\u00ad\u02bc\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u2018\u2019"
    "\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufe20-\ufe2f\ufeff\x00-\x08]"
    "|[\U000e0000-\U000e0fff]"
)
_CYRILLIC_TWINS = str.maketrans("асеіорхуѕј", "aceiopxysj")
_DIGIT_TWINS = str.maketrans("013457", "oieast")
_DISGUISED = re.compile(r"\b(?=\w*[013457\u0400-\u04ff])(?=\w*[a-z])\w+")
_LETTER = r"[^\W\d_]"
_SPACED_OUT = re.compile(rf"(?<!\w){_LETTER}(?:[ .*_\-]{_LETTER}){{3,}}(?!\w)")
_MAYBE_SPACED = re.compile(rf"(?:[ .*_\-]{_LETTER}){{2}}[ .*_\-]")  # in all of the above; quick
_SPACED_HAN = re.compile(rf"(?<=[{HAN}])[ \t*_·~\-]+(?=[{HAN}])")
_SENTENCE_END = re.compile(r"[!?。\n\r]+|[.;]+(?=\s|$)")
_SENTENCES = re.compile(r"(?<=[!?。！？])|[\n\r]+|(?<=[.;；])(?=\s|$)")  # before folding
_WORD = re.compile(r"[^\W_]+")
_DRAWN_OUT = re.compile(r"([a-zа-я])\1{2,}")
_FRIENDLY = frozenset("👍🙏👌👋💯🎉🤝❤💙💚💜🧡💛😊🙂😀😃😄😁☺🥰🤗✅")
_TONES = re.compile("[\\s\ufe0f\u200d\U0001f3fb-\U0001f3ff]")
_LONGEST_COURTESY = 80
_NAME = re.compile(r"\{(\w+)\}")
_NEAR = 80  # characters between the phrases of `a & b`
_USUAL = 4000  # characters of a text that is remembered for a while

_Reading = tuple[str, frozenset[str], frozenset[str]]  # folded text, its words, the lists near it


@dataclass(frozen=True, kw_only=True, slots=True)
class Triggers:
    """The phrase that matched, of each kind, as it was read after folding; empty: none did."""

    request: str = ""  # clearly asks for a person
    ambiguous_request: str = ""  # may ask for a person: the wants_human score settles it
    not_request: str = ""  # most of the text only looks like a request: that score must not count
    crisis: str = ""
    threat: str = ""  # says they leave, cancel or go to a competitor
    money: str = ""
    unheard: str = ""  # says that the answer did not help, or that they have said it before
    plight: str = ""  # says what is at stake, or that it is too much
    formal: str = ""  # politely puts it on record, or asks who answers for it
    laugh: str = ""  # laughs
    steer: str = ""  # tells its reader how to hear it
    courtesy: bool = False  # thanks, ok or goodbye, and nothing else


def match(text: str, money_words: tuple[str, ...] = ()) -> Triggers:
    """Find what the phrase lists of every language find in `text`.

    `money_words` are the operator's own plain words beside the shipped ones.
    """
    found = _matched(text) if len(text) <= _USUAL else _match(text)
    if money_words and not found.money:
        own = _plain(money_words)
        said = (own.find(folded, _units(folded)) for folded in _readings(text))
        return replace(found, money=next(filter(None, said), ""))
    return found


def forget() -> None:
    """Keep no text in memory of those that were matched lately."""
    _matched.cache_clear()


def _match(text: str) -> Triggers:
    lists = _lists()
    found: dict[str, str] = {}
    excepted = ""
    readings = _read(text)
    for folded, units, near in readings:
        for kind in (*_LISTS, "steer"):
            if kind in near and kind not in found and (said := lists[kind].find(folded, units)):
                found[kind] = said
        if "not_request" in near:
            excepted = excepted or lists["not_request"].most_of(folded, units)
    request = found.get("request") or found.get("alone", "")
    return Triggers(
        request=request,
        ambiguous_request="" if request else found.get("ambiguous", ""),
        not_request="" if request else excepted,
        crisis=found.get("crisis", ""),
        threat=found.get("threat", ""),
        money=found.get("money", ""),
        **{kind: found.get(kind, "") for kind in _EVIDENCE},
        steer=found.get("steer", ""),
        courtesy=_is_courtesy(text, readings),
    )


# A message is matched when it comes, when it is heard, when it is judged and when it is answered.
_matched = lru_cache(maxsize=256)(_match)


def steering(text: str) -> str:
    """Return the phrase by which a text tells its reader how to hear it; empty: there is none."""
    return match(text).steer


def candid(text: str) -> list[str]:
    """Return the sentences of a text that do not tell their reader how to hear them."""
    sentences = filter(None, map(str.strip, _SENTENCES.split(text)))
    return [one for one in sentences if not steering(one)]


class _Phrases:
    """One list over all languages. A phrase is tried only where the words it needs occur."""

    def __init__(self, phrases: Iterable[str], excepted: _Phrases | None, *, whole: bool) -> None:
        self._excepted = excepted
        self._whole = whole
        self._by_script: dict[str, list[str]] = {}
        for phrase in phrases:
            self._by_script.setdefault(script_of(phrase), []).append(phrase)
        self._indexes: dict[str, _Index] = {}  # each is made when the first text needs it

    def find(self, folded: str, units: frozenset[str]) -> str:
        """Return the longest match outside every exception, or nothing."""
        patterns = self._candidates(units)
        if not patterns:
            return ""
        found = [said for p in patterns if (said := p.first(folded))]
        if found and self._excepted:
            left = self._excepted.cut(folded, units)
            found = [said for p in patterns if (said := p.first(left))]
        return max(found, key=lambda said: (len(said), said), default="").strip()[:100]

    def cut(self, folded: str, units: frozenset[str]) -> str:
        """Return the text with a sentence break in place of every match."""
        for pattern in self._candidates(units):
            kept, end = [], 0
            for start, after in pattern.spans(folded):
                if start >= end:
                    kept.append(folded[end:start])
                    end = after
            if end:
                folded = "\n".join([*kept, folded[end:]])
        return folded

    def most_of(self, folded: str, units: frozenset[str]) -> str:
        """Return the longest match if it is at least half of the text."""
        phrase = self.find(folded, units)
        return phrase if 2 * len(phrase) >= len(folded) else ""

    def possible(self, units: frozenset[str]) -> tuple[str, ...]:
        """Return the phrases whose needed words all occur."""
        found: list[str] = []
        for script in scripts_in(units):
            if script in self._by_script:
                found += self._index(script).possible(units)
        return tuple(found)

    def words(self, script: str) -> Iterable[str]:
        """Return the words of a script: without one of them no phrase of it matches."""
        return self._index(script).words if script in self._by_script else ()

    def _index(self, script: str) -> _Index:
        index = self._indexes.get(script)
        if index is None:  # two threads may both make it, and neither sees half of one
            index = self._indexes[script] = _Index(self._by_script[script])
        return index

    def _candidates(self, units: frozenset[str]) -> list[_Pattern]:
        return [_compiled(phrase, whole=self._whole) for phrase in self.possible(units)]


class _Index:
    """Phrases of one script, found by the words that they cannot match without."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._by_unit: dict[str, list[str]] = {}
        self._needed: dict[str, list[frozenset[str]]] = {}
        for phrase in map(_letters, phrases):
            best, *self._needed[phrase] = needed_by_all(phrase)
            for unit in best:
                self._by_unit.setdefault(unit, []).append(phrase)

    @property
    def words(self) -> Iterable[str]:
        """Every word by which a phrase is found here."""
        return self._by_unit.keys()

    def possible(self, units: frozenset[str]) -> list[str]:
        """Return the phrases of which every needed set has a unit in the text."""
        known = units & self._by_unit.keys()
        if not known:  # most texts, for most lists
            return []
        phrases = dict.fromkeys(p for unit in sorted(known) for p in self._by_unit[unit])
        return [p for p in phrases if not any(map(units.isdisjoint, self._needed[p]))]


class _Pattern:
    """What finds one phrase in folded text; of a phrase with `&`, its parts near each other."""

    def __init__(self, phrase: str, *, whole: bool) -> None:
        parts = phrase.split(AND)
        self._first, *self._others = (re.compile(expression(p, whole=whole)) for p in parts)

    def first(self, folded: str) -> str:
        """Return the first match, or nothing."""
        if not self._others:
            found = self._first.search(folded)
            return found[0] if found else ""
        start, end = next(self.spans(folded), (0, 0))
        return folded[start:end]

    def spans(self, folded: str) -> Iterator[tuple[int, int]]:
        """Give where the matches start and end, in order of the first part."""
        own = [m.span() for m in self._first.finditer(folded)]
        others = [[m.span() for m in p.finditer(folded)] for p in self._others if own]
        if all(others):
            for span in own:
                near = [_nearest(span, spans) for spans in others]
                if None not in near:
                    whole = [span, *filter(None, near)]
                    yield min(start for start, _ in whole), max(end for _, end in whole)


def _nearest(span: tuple[int, int], spans: list[tuple[int, int]]) -> tuple[int, int] | None:
    """Return which of some sorted spans is nearest to a span, if it is near and apart from it."""
    at = bisect(spans, span)
    near = [s for s in spans[max(at - 1, 0) : at + 2] if max(s[0] - span[1], span[0] - s[1]) >= 0]
    best = min(near, key=lambda s: max(s[0] - span[1], span[0] - s[1]), default=None)
    return best if best and max(best[0] - span[1], span[0] - best[1]) <= _NEAR else None


@cache
def _compiled(phrase: str, *, whole: bool) -> _Pattern:
    """Compile a phrase when it is first needed: all at once would delay every start."""
    return _Pattern(phrase, whole=whole)


@cache
def _data() -> dict[str, list[str]]:
    """Read the lists of all languages, joined by their names."""
    read: dict[str, list[str]] = {}
    for language in _LANGUAGES:
        source = files(__name__).joinpath(f"{language}.toml").read_text("utf-8")
        lists = tomllib.loads(source)
        words: dict[str, str] = {}
        for name, said in lists.pop("words", {}).items():
            words[name] = _named(said.replace("\n", ""), words)
        for kind, phrases in lists.items():
            lines = _named(phrases.replace("-", " "), words).splitlines()
            read.setdefault(kind, []).extend(p for p in lines if p and not p.startswith("# "))
    return read


def _named(phrases: str, words: dict[str, str]) -> str:
    """Put the choices for their names."""
    return _NAME.sub(lambda m: words[m[1]], phrases)


@cache
def _lists() -> dict[str, _Phrases]:
    """Make the lists, once per process. `alone` must be all that a text says."""
    data = _data()
    exceptions = {k: _Phrases(data[k], None, whole=False) for k in data if k.startswith("not_")}
    excepted = {k: exceptions.get(f"not_{k}") for k in _LISTS}
    excepted["ambiguous"] = exceptions["not_request"]
    lists = {k: _Phrases(data[k], excepted[k], whole=k == "alone") for k in _LISTS}
    plain = {kind: _Phrases(data[kind], None, whole=False) for kind in ("courtesy", "steer")}
    return lists | exceptions | plain


def _near(units: frozenset[str]) -> frozenset[str]:
    """Return the names of the lists of which a phrase may match: most texts are near to few."""
    near: set[str] = set()
    for script in scripts_in(units):
        lists = _lists_by_word(script)
        for unit in units & lists.keys():
            near |= lists[unit]
    return frozenset(near)


@cache
def _lists_by_word(script: str) -> dict[str, frozenset[str]]:
    """Return which lists have phrases that need a word, by the word."""
    found: dict[str, set[str]] = {}
    for name, phrases in _lists().items():
        for word in phrases.words(script):
            found.setdefault(word, set()).add(name)
    return {word: frozenset(names) for word, names in found.items()}


@cache
def _plain(words: tuple[str, ...]) -> _Phrases:
    """Make a list of plain words, whatever signs are in them."""
    phrases = (" ".join(re.findall(r"\w+", word)) for word in words)
    return _Phrases(filter(None, phrases), _lists()["not_money"], whole=False)


@lru_cache(maxsize=64)
def _courtesies(phrases: tuple[str, ...]) -> re.Pattern[str]:
    """Compile some courtesies: one or several of them and nothing else."""
    either = "|".join(expression(phrase, whole=False) for phrase in phrases)
    return re.compile(rf"(?:(?:{either})\s*)+")


def _is_courtesy(text: str, readings: Iterable[_Reading]) -> bool:
    """Say whether a short text is thanks, agreement, goodbye or a friendly emoji only."""
    if len(text) > _LONGEST_COURTESY:
        return False
    signs = _TONES.sub("", text)
    if signs and all(sign in _FRIENDLY for sign in signs):
        return True
    for folded, units, near in readings:
        phrases = _lists()["courtesy"].possible(units) if "courtesy" in near else ()
        if phrases and _courtesies(phrases).fullmatch(folded.replace("\n", " ")):
            return True
    return False


def _read(text: str) -> list[_Reading]:
    """Give the ways a text may be read, with their words and the lists that may match."""
    read = ((folded, _units(folded)) for folded in _readings(text))
    return [(folded, units, _near(units)) for folded, units in read]


def _units(folded: str) -> frozenset[str]:
    """Return the words and the Chinese characters of a reading."""
    return frozenset(folded.split() if folded.isascii() else UNIT.findall(folded))


# -- folding ------------------------------------------------------------------------------------


@cache
def _simplify() -> dict[int, int]:
    """Return the traditional characters that occur in the lists, and their simplified form."""
    traditional, simplified = _data()["traditional_simplified"]
    return str.maketrans(traditional, simplified)


def _letters(text: str) -> str:
    """Fold case, width, accents, invisible characters and traditional Chinese."""
    if text.isascii():
        return _MARKS.sub("", text.lower())
    bare = _MARKS.sub("", unicodedata.normalize("NFKD", text).casefold())
    return bare.translate(_simplify())


def _readings(text: str) -> list[str]:
    """Give the ways a text may be read: words parted by one space, sentences by a line break."""
    folded = _DISGUISED.sub(_undisguised, _letters(text))
    if not folded.isascii():
        folded = _SPACED_HAN.sub("", folded)
    ways = [folded]
    if _MAYBE_SPACED.search(folded):
        whole = _SPACED_OUT.sub(lambda m: _closed(m[0]), folded)
        parted = _SPACED_OUT.sub(lambda m: f"{m[0][0]} {_closed(m[0][1:])}", folded)
        ways = [whole, parted]  # "human", and "a human" of "a h u m a n"
    seen = dict.fromkeys(map(_words, ways))
    for way in tuple(seen):
        if _DRAWN_OUT.search(way):
            seen[_DRAWN_OUT.sub(r"\1", way)] = None
            seen[_DRAWN_OUT.sub(r"\1\1", way)] = None
    return list(seen)


def _words(folded: str) -> str:
    """Reduce to words parted by one space, sentences by a line break."""
    sentences = (_WORD.findall(sentence) for sentence in _SENTENCE_END.split(folded))
    return "\n".join(" ".join(words) for words in sentences if words)


def _closed(spaced: str) -> str:
    """Join letters that were spaced apart."""
    return re.sub(r"[\W_]", "", spaced)


def _undisguised(word: re.Match[str]) -> str:
    """Put letters for look-alikes: digits in a word of letters, Cyrillic among Latin letters."""
    return word[0].translate(_CYRILLIC_TWINS).translate(_DIGIT_TWINS)
