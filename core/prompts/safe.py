"""What people write can never become an instruction token.

A chat template marks who speaks with tokens such as `<|im_start|>`. A person who types one must
be heard as having typed it, not obeyed. So the mark is made harmless where it stands, visibly: the
angle bracket becomes a guillemet, and a reader still sees what was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_GHOSTS = "\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff"  # invisible, and used to hide marks
_GAP = rf"[{_GHOSTS}\s]*"
_LESS = "[<\uff1c\ufe64]"
_MORE = "[>\uff1e\ufe65]"
_BAR = "[|\uff5c\u2223\u2758\u2502]"
_WORDS = (
    "s|bos|eos|pad|unk|mask|user|assistant|system|think|tool_call|tool_response|"
    "start_of_turn|end_of_turn|start_of_image|end_of_text|endoftext|im_start|im_end"
)

_PAIR = re.compile(rf"{_LESS}{_GAP}({_BAR}[^<>\n]{{0,64}}?{_BAR}){_GAP}{_MORE}")
_OPEN = re.compile(rf"{_LESS}(?={_GAP}{_BAR})")
_NAMED = re.compile(rf"{_LESS}({_GAP}/?{_GAP}(?:{_WORDS}){_GAP}/?{_GAP}){_MORE}", re.IGNORECASE)
_SYSTEM = re.compile(
    rf"{_LESS}{_GAP}{_LESS}({_GAP}/?{_GAP}sys{_GAP}){_MORE}{_GAP}{_MORE}", re.IGNORECASE
)
_INST = re.compile(
    rf"[\[\uff3b]({_GAP}/?{_GAP}(?:inst|system_prompt|available_tools|tool_calls){_GAP})[\]\uff3d]",
    re.IGNORECASE,
)
_PRIVATE = re.compile("[\ue000-\ue00f]")  # used by the renderer to find its way; means nothing


def safe(text: str, marks: Iterable[str] = ()) -> str:
    """Return `text` with every instruction mark in it made harmless; done twice changes nothing.

    `marks` are further strings that a tokenizer turns into one special token.
    """
    text = _PRIVATE.sub("", text)
    text = _SYSTEM.sub("‹‹\\1››", text)
    text = _PAIR.sub("‹\\1›", text)
    text = _OPEN.sub("‹", text)
    text = _NAMED.sub("‹\\1›", text)
    text = _INST.sub("(\\1)", text)
    for mark in marks:
        if len(mark) > 1:
            text = _broken(text, mark)
    return text


def _broken(text: str, mark: str) -> str:
    """Part every `mark` in `text` after its first character."""
    while mark in text:
        text = text.replace(mark, f"{mark[0]}·{mark[1:]}")
    return text
