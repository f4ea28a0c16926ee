"""A phrase of the lists as a regular expression, and the words that it cannot match without."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from itertools import product

HAN = "\u3400-\u9fff"
_FIRST_HAN = "\u3400"
_HAN_THERE = re.compile(f"[{HAN}]")
UNIT = re.compile(rf"[{HAN}]|[^\W{HAN}]+")  # a word, or one Chinese character
_SCRIPTS = {
    "han": _HAN_THERE,
    "cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "latin": re.compile(r"[a-zA-Z]"),
}
_DIGIT = re.compile(r"\d")  # of no script: a text may be a number and nothing else
_COMMON = "我你他她它们的了是想要不在有没就都也还人个一再好这那会能可以"
_COMMON_HAN = frozenset(_COMMON)
AND = " & "
_ENDS = {"^": r"(?<![^\n])", "$": r"(?=\n|\Z)"}  # of a sentence
_MAYBE_LETTER = re.compile(r"\[\w+\]\??|\w\?")
_GAPS = {"...": 3, "......": 8}  # words


def _tokens(phrase: str) -> list[str]:
    """Split a phrase at the spaces outside its choices."""
    return re.findall(r"(?:\([^()]*\)\??|[^\s()])+", phrase)


def _optional(token: str) -> bool:
    """Say whether a whole token may be left out."""
    return token in _GAPS or token in _ENDS or (token.endswith(")?") and token.rfind("(") == 0)


def expression(phrase: str, *, whole: bool) -> str:
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
    outside = rf"[^\W{HAN}]"  # Chinese has no word boundaries to keep to
    before = "" if re.match(rf"\(?[{HAN}]", phrase) else f"(?<!{outside})"
    after = "" if re.search(rf"[{HAN}]\)?\??$", phrase) else f"(?!{outside})"
    found = before + "".join(parts) + after
    if not whole:
        return found
    anywhere = found.replace(" ", r"\s")  # "a human. please" is one call in two sentences
    return rf"\A(?:{anywhere}\s*)+\Z"


def script_of(phrase: str) -> str:
    """Return the script that a text must have for the phrase to be in it; several: any text."""
    found = [script for script, letter in _SCRIPTS.items() if letter.search(phrase)]
    return found[0] if len(found) == 1 and not _DIGIT.search(phrase) else ""


@lru_cache(maxsize=8)
def scripts_in(units: frozenset[str]) -> tuple[str, ...]:
    """Return the scripts of a text, and nothing as one more: of phrases that fit any text."""
    text = "".join(units)
    return ("", *(script for script, letter in _SCRIPTS.items() if letter.search(text)))


def needed_by_all(phrase: str) -> list[frozenset[str]]:
    """Return sets of units: every match has at least one of each. The most telling is the first."""
    needed: list[frozenset[str]] = []
    for token in _tokens(phrase.replace(AND, " ")):
        if not _optional(token):
            needed += _needed_by(token)
    needed.sort(key=_worth, reverse=True)
    return [needed[0], *(units for units in needed[1:] if "" not in units)]


@cache
def _needed_by(token: str) -> list[frozenset[str]]:
    """Return the sets of units for one token; many phrases share their tokens."""
    if _HAN_THERE.search(token):
        parts = [part for part in _parts(token) if "" not in part]
        return [frozenset(map(_telling, part)) for part in parts]
    if token[0] == "(" and token.find(")") == len(token) - 1:  # the usual case, and quick
        return [frozenset(map(_telling, _choices(token[1:-1])))]
    return [frozenset(_telling("".join(said)) for said in product(*_parts(token)))]


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


def _worth(units: frozenset[str]) -> tuple[bool, int, int]:
    """Rank units by how rarely they will be met."""
    return "" not in units and units.isdisjoint(_COMMON_HAN), min(map(len, units)), -len(units)


def _telling(said: str) -> str:
    """Return the longest word, or the Chinese character, that says most; a number says nothing."""
    if said.isascii() and "#" not in said:  # the usual case: asked of every choice at the start
        return max(said.split(), key=len, default="")
    if said.isalpha():
        rest = said.lstrip(_COMMON) or said
        return rest[0] if rest[0] >= _FIRST_HAN else said
    units: list[str] = UNIT.findall(said)
    return max(units, key=lambda unit: (len(unit), unit not in _COMMON_HAN), default="")
