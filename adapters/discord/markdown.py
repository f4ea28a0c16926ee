"""Words as Discord shows them: Markdown in its own dialect, and plain words that stay plain.

Discord's Markdown has no deep headings, no pictures, no fences but those of backticks, and shows
a link without its address. What it reads as a mention or as hidden words is what a model never
meant: it is shown as it was written. Nobody is rung anyway: no message of ours may mention.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from core.markdown import Event, code, lead, lined, read, rewritten, within
from core.message import Post

MOST = 2000  # characters of one message
_AS_MADE = frozenset(  # no words, or words that core has made for Discord
    {"thread", "mark", "react", "delete", "card", "redraw"}
)
_RINGS = re.compile(r"@(?=everyone\b|here\b)|(?<=<)@(?=[!&]?\d+>)")
_HIDES = re.compile(r"(?<!\\)\|\|")
_JOINED = "\u2060"  # nothing to see, and it parts what would be read together
_LANGUAGE = re.compile(r"[\w+#.-]+")
_DEEPEST = "H3"
_BACKTICKS = "`\u200b"

_ADDRESS = r"https?://[^\s<>]+"
_SPECIAL = re.compile(
    rf"(?P<kept>{_ADDRESS}|<t:\d+(?::\w)?>)"
    r"|(?P<sign>[\\*`~|]|(?<![^\W_])_|_(?![^\W_])|<(?=[@#:/a-z])|\[(?=[^\]\n]*\]\())"
    r"|(?P<blank>^[ \t]*)(?P<begins>-#|#{1,3}|>{1,3}|[-+]|\d+\.)(?=\s)",
    re.MULTILINE,
)
_ESCAPED = re.compile(r"\\([\\*`~|_<\[\-#>+.])")


def shown(post: Post) -> str:
    """Return the words of a post as Discord is to be given them, at most 2000 characters."""
    if post.kind in _AS_MADE or not post.text:
        return post.text
    if post.kind == "reply" or post.formatted:
        return dressed(post.text, ours=post.kind == "reply")
    return as_written(post.text)


def dressed(text: str, *, ours: bool = True) -> str:
    """Return Markdown as Discord reads it; as it stands where that would be too long.

    `ours`: a model wrote it. What people wrote may hide words, and underline them.
    """
    text = lined(text)
    events = read(text)
    edits = [*_edits(text, events, ours=ours), *_hidden(text, code(events), ours=ours)]
    made = rewritten(text, edits)
    made = rewritten(made, _rung(made, code(read(made))))
    return made if len(made) <= MOST else text


def as_written(text: str) -> str:
    """Return plain words as Markdown that reads the same; as they stand where it is too long."""
    made = _RINGS.sub(f"@{_JOINED}", _SPECIAL.sub(_escaped, text))
    return made if len(made) <= MOST else text


def unescaped(text: str) -> str:
    """Return the plain words that `as_written` was given."""
    return _ESCAPED.sub(r"\1", text).replace(f"@{_JOINED}", "@")


def _escaped(found: re.Match[str]) -> str:
    words = found[0]
    if found["kept"]:
        return words
    if (begins := found["begins"]) is None:
        return f"\\{words}"
    number = begins.removesuffix(".") if begins.endswith(".") else ""
    return f"{found['blank']}{number}\\{begins.removeprefix(number)}"


def _rung(text: str, programs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, str]]:
    """Part each sign from the name that it would ring; in code nobody is named."""
    for found in _RINGS.finditer(text):
        if not within(found.start(), programs):
            yield found.end(), found.end(), _JOINED


def _hidden(
    text: str, programs: Sequence[tuple[int, int]], *, ours: bool
) -> Iterator[tuple[int, int, str]]:
    """Show what would be hidden, where a model cannot have meant it."""
    for found in _HIDES.finditer(text) if ours else ():
        if not within(found.start(), programs):
            yield found.start(), found.end(), r"\|\|"


def _edits(text: str, events: Sequence[Event], *, ours: bool) -> Iterator[tuple[int, int, str]]:
    for number, one in enumerate(events):
        inner = events[number + 1 :]
        if one.kind == "TaskListMarker":
            yield one.start, one.end, "☑" if one.value else "☐"
        if one.edge != "(":
            continue
        if one.kind == "CodeBlock":
            yield from _program(text, one, inner)
        elif one.kind in ("Link", "Image"):
            yield from _link(text, one, inner)
        elif one.kind == "Heading":
            yield from _heading(text, one, inner)
        elif one.kind == "Strong" and ours and text.startswith("__", one.start):
            yield one.start, one.start + 2, "**"
            yield one.end - 2, one.end, "**"


def _link(text: str, link: Event, inner: Iterable[Event]) -> Iterator[tuple[int, int, str]]:
    """Show where a link leads, after its words."""
    inside = list(_inside("Link" if link.kind == "Link" else "Image", inner))
    address = str(link.value["dest_url"])
    if text.startswith("<", link.start):
        return
    begin, end = (min(e.start for e in inside), max(e.end for e in inside)) if inside else (0, 0)
    label = text[begin:end]
    if not inside or label in (address, address.removeprefix("mailto:")):
        yield link.start, link.end, address
        return
    yield link.start, begin, ""
    title = str(link.value["title"])
    yield end, link.end, "".join(f" ({one})" for one in (address, title) if one)


def _heading(text: str, heading: Event, inner: Iterable[Event]) -> Iterator[tuple[int, int, str]]:
    inside = list(_inside("Heading", inner))
    if not inside:
        return
    begin, end = min(e.start for e in inside), max(e.end for e in inside)
    level = str(heading.value["level"])
    if not text.startswith("#", heading.start):  # words with a line below them
        yield heading.start, heading.start, "# " if level == "H1" else "## "
        yield end, heading.start + len(text[heading.start : heading.end].rstrip()), ""
    elif level > _DEEPEST:
        mark = "" if any(one.kind in ("Strong", "Emphasis") for one in inside) else "**"
        yield heading.start, begin, mark
        yield end, heading.start + len(text[heading.start : heading.end].rstrip()), mark


def _program(text: str, block: Event, inner: Iterable[Event]) -> Iterator[tuple[int, int, str]]:
    """Write a block of code out anew, where Discord would not read it as one."""
    words = "".join(str(one.value) for one in _inside("CodeBlock", inner) if one.kind == "Text")
    source = text[block.start : block.end].rstrip()
    fenced = isinstance(block.value, dict)
    told = source.partition("\n")[0].lstrip("`~").strip() if fenced else ""
    language = _LANGUAGE.match(told)
    fits = source.startswith("```") and not source.startswith("````") and "```" not in words
    closed = source.endswith(("\n```", " ```"))
    if fits and closed and told == (language[0] if language else ""):
        return
    before = lead(text, block.start)
    lines = words.replace("```", 3 * _BACKTICKS).removesuffix("\n").split("\n")
    name = language[0] if language else ""
    if more := told[len(name) :].strip():  # Discord would take it for the first line anyway
        lines = [more, *lines]
    lines = [f"```{name}", *(lines if any(lines) else [" "]), "```"]
    between = f"\n{before if '>' in before else ''}"
    begin = block.start if before.strip() else block.start - len(before)
    yield begin, block.start + len(source), between.join(lines)


def _inside(kind: str, after: Iterable[Event]) -> Iterator[Event]:
    """Yield what stands in something that has just begun, up to its end."""
    depth = 0
    for one in after:
        depth += (one.kind == kind) * (1 if one.edge == "(" else -1 if one.edge == ")" else 0)
        if depth < 0:
            return
        yield one
