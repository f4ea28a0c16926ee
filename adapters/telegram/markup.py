"""A post's Markdown as plain text with entities, or the text as it stands where that is safer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from telegram import InlineKeyboardButton, InlineKeyboardMarkup, MessageEntity
from telegramify_markdown import RenderConfig, convert

from core.markdown import Event, code, definitions, lined, read, rewritten, within
from core.message import Button, Post

MOST = 4096  # UTF-16 units of one message
MOST_ENTITIES = 100
_PER_ROW = 3
_SPOKEN = frozenset({"reply", "relay", "edit", "context"})  # kinds that carry somebody's words
_NAMED = re.compile(r"(?<![\w/@])@(?=[A-Za-z]\w{2})")  # never within an address of mail
_JOINED = "\u2060"  # nothing to see, and what it parts is no name of Telegram's
_ENTITY = re.compile(r"&(?=#?\w+;)")
_PIPES = re.compile(r"(?<!\\)\|\|")
_WHOLE = re.compile(r"(?:https?://|mailto:)[^\s<>]+")
_SHOW_AS_WRITTEN = frozenset({"InlineHtml", "Html", "InlineMath", "DisplayMath"})
_STRESS = frozenset({"Emphasis", "Strong", "Strikethrough"})
_ADDRESS = re.compile(r"https?://[^\s<>()\[\]]+")
_CODE = frozenset({"code", "pre"})
_WORTH = {"pre": 0, "code": 1, "blockquote": 2, "spoiler": 0}  # kept before all others
_ROUNDS = 8  # times that what was escaped is read again: it may now be something else

Facts = list[dict[str, Any]]  # entities as Telegram writes them; offsets in UTF-16 units


def _quiet() -> RenderConfig:
    """Return a rendering with no pictures before headings, and nothing folded away."""
    config = RenderConfig.isolated()
    symbols = config.markdown_symbol
    symbols.heading_level_1 = symbols.heading_level_2 = ""
    symbols.heading_level_3 = symbols.heading_level_4 = ""
    symbols.unordered_list_item = "•"
    symbols.task_completed, symbols.task_uncompleted = "☑", "☐"
    symbols.horizontal_rule = "———"
    symbols.image = ""
    config.cite_expandable = False
    return config


_CONFIG = _quiet()


def shown(post: Post) -> tuple[str, list[MessageEntity] | None]:
    """Return the text of a post as people will read it, with its formatting where it has any."""
    rings = _rings(post)
    if post.formatted or post.kind == "reply":
        both = formatted(sendable(post.text), marked=post.formatted, rings=rings)
        if both is not None:
            return both
    return plain(post), None


def plain(post: Post) -> str:
    """Return the text of a post without any formatting."""
    text = sendable(post.text)
    return _unrung(text, [])[0] if _rings(post) else text


def _rings(post: Post) -> bool:
    """Say whether a name in a post would ring somebody's phone: in groups it does."""
    return post.kind in _SPOKEN and post.place.chat.startswith("-")


def formatted(
    text: str, *, marked: bool = False, rings: bool = False
) -> tuple[str, list[MessageEntity]] | None:
    """Return text and entities, None when the text is to be sent as it stands.

    `marked`: it is Markdown for certain, so what is escaped in it is to be read plain, and what
    is hidden was meant to be. `rings`: names in it must be kept from ringing.

    Formatting may take marks away, never words: what looks like HTML or a formula is shown as it
    was written, and so is the whole text where a word would be missing. Nor may it hide where a
    link leads: its address stands behind its words.
    """
    text = lined(text)
    text = rewritten(text, _repeated(text, read(text)))
    ready, boxes = _ready(text, marked=marked)
    words, found = convert(ready, latex_escape=False, config=_CONFIG)
    facts: Facts = [entity.to_dict() for entity in found]
    if not (facts or marked) or not words.strip():
        return None
    words, facts = _open_links(words, facts)
    facts = _allowed(words, facts)
    kept = [words, *(str(fact.get("language", "")) for fact in facts), "xX" * boxes]
    if _letters(text) - _letters("".join(kept)):
        return None
    if rings:
        words, facts = _unrung(words, facts)
    if units(words) > MOST:
        return None
    return words, [MessageEntity(**fact) for fact in facts]


def _ready(text: str, *, marked: bool) -> tuple[str, int]:
    """Return the Markdown that the converter is to read, and how many boxes in it are ticked."""
    if not marked:
        programs = code(read(text))
        pipes = (one for one in _PIPES.finditer(text) if not within(one.start(), programs))
        text = rewritten(text, ((one.start(), one.end(), r"\|\|") for one in pipes))
    for _ in range(_ROUNDS):
        found = [*definitions(text), *_as_written(text, read(text, math=True))]
        edits = [(at, at, "\\") for at in dict.fromkeys(found)]
        if not edits:
            break
        text = rewritten(text, edits)
    events = read(text)
    ticked = sum(one.kind == "TaskListMarker" and bool(one.value) for one in events)
    return rewritten(text, _simpler(events)), ticked


def _repeated(text: str, events: Sequence[Event]) -> Iterator[tuple[int, int, str]]:
    """Yield the links whose words are their address: it need not stand there twice."""
    for one in events:
        if one.kind == "Link" and one.edge == "(" and text.startswith("[", one.start):
            address = str(one.value["dest_url"])
            written = text[one.start + 1 : one.end].partition("](")[0]
            if _bare(written) == _bare(address) and _WHOLE.fullmatch(address):
                yield one.start, one.end, f"<{address.removeprefix('mailto:')}>"


def _as_written(text: str, events: Sequence[Event]) -> Iterator[int]:
    """Yield where a backslash is needed, so that nothing is taken for HTML, a sign or a formula."""
    block = False
    addresses = [found.span() for found in _ADDRESS.finditer(text)]
    for one in events:
        if one.kind == "HtmlBlock":
            block = one.edge == "("
            if block:
                yield text.find("<", one.start, one.end)
        elif _is_sign(text, one) or (one.kind in _SHOW_AS_WRITTEN and not block):
            yield one.start
        elif one.edge == "(" and one.kind in _STRESS and within(one.start, addresses):
            yield one.start  # a mark inside an address is a part of it


def _is_sign(text: str, one: Event) -> bool:
    """Say whether a word of the text is the name of a sign, as in HTML."""
    named = _ENTITY.match(text, one.start, one.end) is not None
    return named and one.kind == "Text" and one.value != text[one.start : one.end]


def _simpler(events: Sequence[Event]) -> Iterator[tuple[int, int, str]]:
    """Yield what the converter would show less well: deep headings, pictures, titles of links."""
    for number, one in enumerate(events):
        if one.edge != "(":
            continue
        if one.kind == "Heading" and one.value["level"] in ("H5", "H6"):
            yield one.start, one.start + int(one.value["level"][1]) - 4, ""
        elif one.kind == "Image":
            empty = events[number + 1].kind == "Image"
            address = str(one.value["dest_url"])
            yield (one.start, one.end, address) if empty else (one.start, one.start + 1, "")
        if one.kind in ("Link", "Image") and one.value["title"]:
            yield one.end, one.end, f" ({one.value['title']})"


# -- entities ------------------------------------------------------------------------------------


def _open_links(text: str, facts: Facts) -> tuple[str, Facts]:
    """Put the address of each link behind its words, where it does not stand there already."""
    links = [fact for fact in facts if "url" in fact]
    others = [fact for fact in facts if "url" not in fact]
    pieces = []
    for link in links:
        label = _cut(text, link["offset"], link["offset"] + link["length"])
        address = str(link["url"])
        if label != address.removeprefix("mailto:"):
            pieces.append((link["offset"] + link["length"], link["offset"], f" ({address})"))
    return _with(text, others, pieces)


def _unrung(text: str, facts: Facts) -> tuple[str, Facts]:
    """Part each name from its sign; in code, Telegram sees no names."""
    programs = [(f["offset"], f["offset"] + f["length"]) for f in facts if f["type"] in _CODE]
    found = [units(text[: one.end()]) for one in _NAMED.finditer(text)]
    names = [at for at in found if not within(at - 1, programs)]  # of its sign
    if names and units(text) + len(names) > MOST:
        return _NAMED.sub("＠", text), facts
    return _with(text, facts, [(at, at - 1, _JOINED) for at in names])


def _with(text: str, facts: Facts, pieces: Sequence[tuple[int, int, str]]) -> tuple[str, Facts]:
    """Insert words: each piece tells where, since where what it belongs to stands, and itself."""
    for at, since, words in sorted(pieces, reverse=True):
        more = units(words)
        text = f"{_cut(text, 0, at)}{words}{_cut(text, at)}"
        for fact in facts:
            end = fact["offset"] + fact["length"]
            if fact["offset"] >= at:
                fact["offset"] += more
            elif end > at or (end == at and fact["offset"] < since):
                fact["length"] += more
    return text, facts


def _allowed(text: str, facts: Facts) -> Facts:
    """Return the entities that Telegram takes: no quote in a quote, no blank, and not too many."""
    kept: Facts = []
    quoted = 0
    for fact in sorted(facts, key=lambda one: (one["offset"], -one["length"])):
        start, end = fact["offset"], fact["offset"] + fact["length"]
        if fact["type"] == "underline" or not _cut(text, start, end).strip():
            continue  # the converter underlines headings, as if they led somewhere
        if fact["type"] == "blockquote":
            if start < quoted:
                continue
            quoted = end
        kept.append(fact)
    best = sorted(kept, key=lambda one: _WORTH.get(one["type"], 3))[:MOST_ENTITIES]
    return [fact for fact in kept if any(fact is one for one in best)]


def _bare(address: str) -> str:
    return re.sub(r"^(?:https?://|mailto:)", "", address).rstrip("/").lower()


def _cut(text: str, start: int, end: int | None = None) -> str:
    """Return a stretch of a text, counted in UTF-16 units."""
    told = text.encode("utf-16-le")
    return told[2 * start : None if end is None else 2 * end].decode("utf-16-le", "replace")


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


def _letters(text: str) -> Counter[str]:
    """Return the letters of a text; its numbers may change, as those of a list do."""
    return Counter(filter(str.isalpha, text))
