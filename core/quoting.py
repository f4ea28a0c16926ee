"""Other people's words as a card shows them: on one line, cut, calling and formatting nothing."""

from __future__ import annotations

import re
import unicodedata

from core.message import TextLimit
from core.split import measure, split


def plain(text: str, most: int, platform: str) -> str:
    """Return somebody's words on one line, at most `most` long, that ping and format nothing."""
    words = without_pings(clip(one_line(text), most))
    if platform != "discord":
        return words
    pieces = re.split(r"(https?://[^\s<>|*`~\[\]()\\]+)", words)  # an address is left as it is
    return "".join(
        piece if n % 2 else re.sub(r"([\\`*_~|<>\[\]()#])", r"\\\1", piece)
        for n, piece in enumerate(pieces)
    )


def without_pings(text: str) -> str:
    """Return a text in which nobody is called: an invisible space stands behind the @."""
    return re.sub(r"(?<!\w)@(?=\w)|@(?=everyone|here)", "@\u200b", text)


def one_line(text: str) -> str:
    """Return a text as one harmless line."""
    return harmless(" ".join(text.split()))


def harmless(line: str) -> str:
    """Drop what changes the direction of the text around it, and what nobody can see or send."""
    return "".join(
        char
        for char in line
        if unicodedata.category(char) not in {"Cc", "Cs"}
        and char not in "\u061c\u200e\u200f\u2028\u2029\ufeff"
        and not "\u202a" <= char <= "\u202e"
        and not "\u2066" <= char <= "\u2069"
    )


def clip(text: str, most: int) -> str:
    """Return a line of at most `most` UTF-16 units, cut between words where it can be."""
    if measure(text, TextLimit(size=most, utf16=True)) <= most:
        return text
    guard = "·"  # what begins with it is no code fence, which would be closed at the cut
    if most <= 20:
        return "".join(char for char in text if char <= "\uffff")[:most]
    return split(guard + text, TextLimit(size=most - 1, utf16=True))[0][1:].rstrip() + "…"
