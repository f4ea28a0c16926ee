"""Whether a reply is in a language that the person writes in; judged only when both are plain.

Lenient on purpose: relatives count as one language, short texts as none, and whoever names a
language ("in English please", "translate this") may be answered in any.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from core.engine.embedded.language import language

LETTERS = 20  # a shorter reply is in no language
_FAMILIES = (
    {"es", "pt", "it", "fr"},
    {"ru", "uk", "sr"},
    {"zh", "ja"},
    {"de", "nl"},
    {"ar", "fa"},
)
_SPACELESS = {"zh", "ja", "th"}
_OWN_SCRIPT = {"zh", "ja", "ko", "ru", "uk", "sr", "ar", "fa", "he", "el", "hi", "bn", "ta", "th"}
_WORDS, _REPLY_WORDS = 4, 8  # fewer words in Latin letters are in no language
_BEFORE = 3  # lines of the past that may have settled the language
_ASIDE = re.compile(
    r"```.*?(?:```|$)|`[^`\n]*`|https?://\S+|www\.\S+|\S+@\S+\.\S+"
    r"|“[^”]*”|„[^“”]*[“”]|\"[^\"\n]*\"|«[^»]*»|「[^」]*」|『[^』]*』|《[^》]*》",
    re.DOTALL,
)
_HAN = re.compile("[\u3400-\u9fff]")
_LATIN_WORD = re.compile(r"[A-Za-z]{2,}")
_NAMED = re.compile(
    r"\b(?:english|chinese|mandarin|cantonese|spanish|russian|french|german|italian|portuguese|"
    r"japanese|korean|arabic|ukrainian|polish|turkish|dutch|hindi|vietnamese|indonesian|thai|"
    r"translat\w*|languages?|ingl[eé]s|chino|español|castellano|ruso|franc[eé]s|alem[aá]n|italiano|"
    r"portugu[eé]s|japon[eé]s|idiomas?|tradu\w+|anglais|allemand|espagnol|chinois|"
    r"englisch|deutsch|spanisch|übersetz\w*)\b"
    r"|[英中汉法德俄日韩]语|[英中法德俄日韩]文|西班牙[语文]|葡萄牙语|意大利语|阿拉伯语|翻译|译成|什么语言|双语"
    r"|по[- ](?:английски|русски|испански|китайски|немецки|французски)|английск\w+|китайск\w+|"
    r"испанск\w+|немецк\w+|французск\w+|русск\w+|перев(?:од|ест|ед)\w*|язык\w*"
    r"|英語|中国語|日本語|翻訳",
    re.IGNORECASE,
)


def plain(text: str) -> str:
    """Return a text without code, addresses and what it quotes."""
    return _ASIDE.sub(" ", text)


def names_a_language(texts: Sequence[str]) -> bool:
    """Say whether somebody speaks of a language, so that an answer may be in that one."""
    return any(_NAMED.search(text) for text in texts)


def foreign(reply: str, asked: Sequence[str], before: Sequence[str], fixed: frozenset[str]) -> bool:
    """Say whether a reply is in no language of the person's.

    `asked` is the burst, `before` what they wrote earlier, `fixed` the languages that a fixed
    text could take its place in: English is not exchanged for English.
    """
    spoken = _spoken(tuple(asked), tuple(before[-_BEFORE:]))
    if not spoken:
        return False
    found = _sure(plain(reply), _REPLY_WORDS, LETTERS)
    if not found or any(_related(found, own) for own in spoken):
        return False
    return found != "en" or not spoken.isdisjoint(fixed)


@lru_cache(maxsize=64)
def _spoken(asked: tuple[str, ...], before: tuple[str, ...]) -> frozenset[str]:
    """Return the languages of a person; empty where nobody can be sure."""
    if names_a_language((*asked, *before)):
        return frozenset()
    now = plain(" ".join(asked))
    found = _sure(now, _WORDS, 2)
    if not found:
        return frozenset()
    mixed = found in _OWN_SCRIPT and len(_LATIN_WORD.findall(now)) >= 3
    earlier = {one for text in before if (one := _sure(plain(text), _WORDS, 2))}
    return frozenset({found, *earlier, *(("en",) if mixed else ())})


def _sure(text: str, words: int, letters: int) -> str:
    """Return the language of a text, empty where it is too short or its halves disagree."""
    found = language(text)
    told = sum(2 if _HAN.match(sign) else 1 for sign in text if sign.isalpha())
    if found == "und" or told < letters:
        return ""
    if found in _OWN_SCRIPT:
        return found
    pieces = text.split()
    if len(pieces) < words:
        return ""
    half = len(pieces) // 2
    halves = {language(" ".join(part)) for part in (pieces[:half], pieces[half:])}
    return found if halves <= {found, "und"} else ""


def _related(one: str, other: str) -> bool:
    return one == other or any({one, other} <= family for family in _FAMILIES)
