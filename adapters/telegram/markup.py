"""A reply's Markdown as plain text with entities, or None where that would lose a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from telegram import InlineKeyboardButton, InlineKeyboardMarkup, MessageEntity
from telegramify_markdown import RenderConfig, convert

from core.message import Button, Post

MOST = 4096  # UTF-16 units of one message
_PER_ROW = 3
_HIDING = frozenset({"text_link", "text_mention"})


def _quiet() -> RenderConfig:
    """Return a rendering without the library's pictures before headings."""
    config = RenderConfig.isolated()
    symbols = config.markdown_symbol
    symbols.heading_level_1 = symbols.heading_level_2 = ""
    symbols.heading_level_3 = symbols.heading_level_4 = ""
    symbols.unordered_list_item = "•"
    return config


_CONFIG = _quiet()


def shown(post: Post) -> tuple[str, list[MessageEntity] | None]:
    """Return the text of a post as people will read it, with its formatting where it has any."""
    text = sendable(post.text)
    if (post.formatted or post.kind == "reply") and (
        both := formatted(text, marked=post.formatted)
    ):
        return both
    return text, None


def formatted(text: str, *, marked: bool = False) -> tuple[str, list[MessageEntity]] | None:
    """Return text and entities, None when the text is to be sent as it stands.

    `marked`: it is Markdown for certain, so what is escaped in it is to be read plain.

    Formatting may take marks away, never words: a converter drops what looks like HTML, and an
    answer about `<head>` would reach the person with a hole in it. Nor may it hide where a link
    leads, or name a person by their id, which rings their phone.
    """
    plain, found = convert(text, config=_CONFIG)
    if not (found or marked) or not plain.strip() or units(plain) > MOST:
        return None
    facts: list[dict[str, Any]] = [entity.to_dict() for entity in found]
    if any(fact["type"] in _HIDING for fact in facts):
        return None
    kept = [plain, *(str(fact.get(key, "")) for fact in facts for key in ("url", "language"))]
    if sum(map(_letters, kept)) < _letters(text):
        return None
    return plain, [MessageEntity(**fact) for fact in facts]


def keyboard(buttons: Sequence[Button]) -> InlineKeyboardMarkup | None:
    """Return the buttons, three a row, or None."""
    if not buttons:
        return None
    made = [InlineKeyboardButton(each.label, callback_data=each.data) for each in buttons]
    return InlineKeyboardMarkup([made[at : at + _PER_ROW] for at in range(0, len(made), _PER_ROW)])


def units(text: str) -> int:
    """Return the length of a text as Telegram counts it."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def sendable(text: str) -> str:
    """Replace halves of characters, which no request can carry."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))
