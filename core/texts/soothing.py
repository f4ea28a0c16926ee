"""Acknowledging how somebody feels: whether a text begins with it, and fixed words for that.

What is looked for is data (soothing.toml); what is said comes from the catalogues, several texts
for each level, so that nobody reads the same one twice in a row.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources

from core.message import Level
from core.texts import Texts

NAMES: dict[str, tuple[str, ...]] = {
    level: tuple(f"soothe_{level}_{n}" for n in range(1, 5)) for level in ("tense", "upset")
}
_END = re.compile(r"(?<=[.!?…])(?:\s+|$)|(?<=[。！？\n])")  # also at the very end
_HAN = re.compile("[\u3400-\u9fff]")
_FEW = 2  # words; a first sentence this short ("Hello Maya.") is read together with the next


def acknowledges(text: str) -> bool:
    """Say whether a text begins by acknowledging a feeling, in whatever language it is."""
    first = _first(text, whole=True)
    return bool(_words().search(first.replace("’", "'")))


def opens(text: str) -> bool:
    """Say whether so much of a growing text is there that `acknowledges` will not change."""
    return bool(_first(text, whole=False))


def soothing(
    texts: Texts, level: Level, lang: str, said: Sequence[str], seed: str = ""
) -> tuple[str, ...]:
    """Return the acknowledgements for a level, first the one to take: none of `said` begins so.

    `said` are the last replies of the conversation, `seed` what tells it from others. Empty at
    calm, and in a language without texts.
    """
    base = lang.lower().replace("_", "-").partition("-")[0]
    if level == "calm" or not texts.languages & {base, lang.lower()}:
        return ()
    found = [texts.say(name, lang) for name in NAMES[level]]
    turn = hashlib.sha256(seed.encode()).digest()[0] + len(said)
    turned = [found[(turn + at) % len(found)] for at in range(len(found))]
    return tuple(sorted(turned, key=lambda words: _last(words, said)))


def joined(opening: str, text: str) -> str:
    """Return an acknowledgement with the text that it stands before."""
    return f"{opening}{'' if opening.endswith(('。', '！', '？')) else ' '}{text}"


def without(text: str, openings: Sequence[str]) -> str:
    """Return a text without the acknowledgement before it, if one of `openings` stands there."""
    found = next((one for one in openings if text.startswith(one)), "")
    return text[len(found) :].lstrip()


def _last(words: str, said: Sequence[str]) -> int:
    """Return how far back something was said, the longer the smaller; never: least of all."""
    return max((at for at, line in enumerate(said, 1) if words in line), default=0)


def _first(text: str, *, whole: bool) -> str:
    """Return the first sentence; with the second where it is short; empty: still growing."""
    text = text.strip() if whole else text.lstrip()
    for end in _END.finditer(text):
        sentence = text[: end.end()]
        last = sentence[-1:]
        if end.end() == len(text) and not whole and last not in "。！？" and not last.isspace():
            return ""  # a full stop that may go on: 3.50
        size = len(sentence.split()) + len(_HAN.findall(sentence)) // 2
        if size > _FEW:
            return sentence
    return text if whole else ""


@cache
def _words() -> re.Pattern[str]:
    source = resources.files("core.texts").joinpath("soothing.toml").read_text("utf-8")
    listed = [one for found in tomllib.loads(source).values() for one in found]
    return re.compile("|".join(listed), re.IGNORECASE)
