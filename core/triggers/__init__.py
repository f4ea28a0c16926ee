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
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import product

_LANGUAGES = ("en", "zh", "es", "ru")
_EVIDENCE = ("unheard", "plight", "formal", "laugh")
_LISTS = ("request", "alone", "ambiguous", "crisis", "threat", "money", *_EVIDENCE)
_HAN = "\u3400-\u9fff"
_FIRST_HAN = "\u3400"
_HAN_THERE = re.compile(f"[{_HAN}]")
_UNIT = re.compile(rf"[{_HAN}]|[^\W{_HAN}]+")  # a word, or one Chinese character
_COMMON = "我你他她它们的了是想要不在有没就都也还人个一再好这那会能可以"
_COMMON_HAN = frozenset(_COMMON)

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
_SPACED_HAN = re.compile(rf"(?<=[{_HAN}])[ \t*_·~\-]+(?=[{_HAN}])")
_SENTENCE_END = re.compile(r"[!?。\n\r]+|[.;]+(?=\s|$)")
_WORD = re.compile(r"[^\W_]+")
_DRAWN_OUT = re.compile(r"([a-zа-я])\1{2,}")
_FRIENDLY = frozenset("👍🙏👌👋💯🎉🤝❤💙💚💜🧡💛😊🙂😀😃😄😁☺🥰🤗✅")
_TONES = re.compile("[\\s\ufe0f\u200d\U0001f3fb-\U0001f3ff]")
_LONGEST_COURTESY = 80
_AND = " & "
_NAME = re.compile(r"\{(\w+)\}")
_ENDS = {"^": r"(?<![^\n])", "$": r"(?=\n|\Z)"}  # of a sentence
_MAYBE_LETTER = re.compile(r"\[\w+\]\??|\w\?")
_GAPS = {"...": 3, "......": 8}  # words
_NEAR = 80  # characters between the phrases of `a & b`


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
    courtesy: bool = False  # thanks, ok or goodbye, and nothing else


def match(text: str, money_words: tuple[str, ...] = ()) -> Triggers:
    """Find what the phrase lists of every language find in `text`.

    `money_words` are the operator's own plain words beside the shipped ones.
    """
    lists = _lists()
    found: dict[str, str] = {}
    excepted = ""
    readings = _readings(text)
    for folded in readings:
        units = frozenset(folded.split() if folded.isascii() else _UNIT.findall(folded))
        for kind in _LISTS:
            if kind not in found and (phrase := lists[kind].find(folded, units)):
                found[kind] = phrase
        own = _plain(money_words).find(folded, units) if money_words else ""
        if own:
            found.setdefault("money", own)
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
        courtesy=_is_courtesy(text, readings),
    )


class _Phrases:
    """One list over all languages. A phrase is tried only where a word it needs occurs."""

    def __init__(self, phrases: Iterable[str], excepted: _Phrases | None, *, whole: bool) -> None:
        self._excepted = excepted
        self._whole = whole
        self._by_unit: dict[str, list[str]] = {}
        for phrase in map(_letters, phrases):
            for unit in _needed(phrase):
                self._by_unit.setdefault(unit, []).append(phrase)
        self._units = frozenset(self._by_unit)

    def find(self, folded: str, units: frozenset[str]) -> str:
        """Return the longest match outside every exception, or nothing."""
        patterns = self._candidates(units)
        if not patterns:
            return ""
        found = [said for p in patterns if (said := p.first(folded))]
        if found and self._excepted:
            left = self._excepted.cut(folded, units)
            found = [said for p in patterns if (said := p.first(left))]
        return max(found, key=len, default="").strip()[:100]

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

    def _candidates(self, units: frozenset[str]) -> list[_Pattern]:
        if self._units.isdisjoint(units):  # most texts, for most lists
            return []
        phrases = dict.fromkeys(p for unit in units & self._units for p in self._by_unit[unit])
        return [_compiled(phrase, whole=self._whole) for phrase in phrases]


class _Pattern:
    """What finds one phrase in folded text; of a phrase with `&`, its parts near each other."""

    def __init__(self, phrase: str, *, whole: bool) -> None:
        parts = phrase.split(_AND)
        self._first, *self._others = (re.compile(_expression(p, whole=whole)) for p in parts)

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
    return lists | exceptions


@cache
def _plain(words: tuple[str, ...]) -> _Phrases:
    """Make a list of plain words, whatever signs are in them."""
    phrases = (" ".join(re.findall(r"\w+", word)) for word in words)
    return _Phrases(filter(None, phrases), _lists()["not_money"], whole=False)


@cache
def _courtesy() -> re.Pattern[str]:
    """Compile the courtesies: one or several of them and nothing else."""
    phrases = "|".join(_expression(_letters(p), whole=False) for p in _data()["courtesy"])
    return re.compile(rf"(?:(?:{phrases})\s*)+")


def _is_courtesy(text: str, readings: Iterable[str]) -> bool:
    """Say whether a short text is thanks, agreement, goodbye or a friendly emoji only."""
    if len(text) > _LONGEST_COURTESY:
        return False
    signs = _TONES.sub("", text)
    if signs and all(sign in _FRIENDLY for sign in signs):
        return True
    return any(_courtesy().fullmatch(reading.replace("\n", " ")) for reading in readings)


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


# -- phrases ------------------------------------------------------------------------------------


def _tokens(phrase: str) -> list[str]:
    """Split a phrase at the spaces outside its choices."""
    return re.findall(r"(?:\([^()]*\)\??|[^\s()])+", phrase)


def _optional(token: str) -> bool:
    """Say whether a whole token may be left out."""
    return token in _GAPS or token in _ENDS or (token.endswith(")?") and token.rfind("(") == 0)


def _expression(phrase: str, *, whole: bool) -> str:
    """Write a phrase as a regular expression over folded text."""
    parts: list[str] = []
    begun = False  # a space stands before a token once something is sure to stand before it
    for token in _tokens(phrase):
        body = token.replace("(", "(?:").replace("#", r"\d+")
        body = body.replace("......", r"[^\n]{0,12}").replace("...", r"[^\n]{0,4}")
        if token in _GAPS:
            parts.append(rf"(?: \w+){{0,{_GAPS[token]}}}" if begun else "")
        elif token in _ENDS:
            parts.append(_ENDS[token])
        elif _optional(token):
            parts.append(f"(?: {body[:-1]})?" if begun else f"(?:{body[:-1]} )?")
        else:
            parts.append(f" {body}" if begun else body)
            begun = True
    outside = rf"[^\W{_HAN}]"  # Chinese has no word boundaries to keep to
    before = "" if re.match(rf"\(?[{_HAN}]", phrase) else f"(?<!{outside})"
    after = "" if re.search(rf"[{_HAN}]\)?\??$", phrase) else f"(?!{outside})"
    expression = before + "".join(parts) + after
    if not whole:
        return expression
    anywhere = expression.replace(" ", r"\s")  # "a human. please" is one call in two sentences
    return rf"\A(?:{anywhere}\s*)+\Z"


def _needed(phrase: str) -> set[str]:
    """Return units of which every match has at least one: those of the most telling part."""
    needed: list[set[str]] = []
    for token in _tokens(phrase.replace(_AND, " ")):
        if _optional(token):
            continue
        if _HAN_THERE.search(token):
            needed += [
                {_telling(said) for said in part} for part in _parts(token) if "" not in part
            ]
        elif token[0] == "(" and token.find(")") == len(token) - 1:  # the usual case, and quick
            needed.append({_telling(said) for said in _choices(token[1:-1])})
        else:
            needed.append({_telling("".join(said)) for said in product(*_parts(token))})
    return max(needed, key=_worth)


def _parts(token: str) -> list[list[str]]:
    """Give, for every choice and letter of a token in turn, the ways to say it."""
    found = re.findall(r"\(([^()]*)\)(\??)|([^.()|?])(\??)", token)
    return [
        [*(_choices(choice) if choice else [letter]), *([""] if maybe or may else [])]
        for choice, maybe, letter, may in found
    ]


def _choices(choice: str) -> list[str]:
    """Give what a choice lets say: one of the letters in brackets, a letter or none before `?`."""
    said = choice.split("|")
    while odd := [one for one in said if "?" in one or "[" in one]:
        said = [one for one in said if one not in odd]
        for one in odd:
            part = _MAYBE_LETTER.search(one)
            ways = [*part[0].strip("[]?"), *([""] if part[0][-1] == "?" else [])] if part else [""]
            said += [f"{one[: part.start()]}{way}{one[part.end() :]}" for way in ways if part]
    return said


def _worth(units: set[str]) -> tuple[bool, int, int]:
    """Rank units by how rarely they will be met."""
    return "" not in units and units.isdisjoint(_COMMON_HAN), min(map(len, units)), -len(units)


def _telling(said: str) -> str:
    """Return the longest word, or the Chinese character, that says most; a number says nothing."""
    if said.isalpha():  # the usual case: this is asked of every choice at the start
        rest = said.lstrip(_COMMON) or said
        return rest[0] if rest[0] >= _FIRST_HAN else said
    units: list[str] = _UNIT.findall(said)
    return max(units, key=lambda unit: (len(unit), unit not in _COMMON_HAN), default="")
