"""What a conversation tells about the moment: its language, what was said, asked and given before.

Read anew from the history of each request; nothing of it is kept between two turns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.engine.embedded.answers import normal
from core.engine.embedded.book import Situation
from core.engine.embedded.language import language
from core.engine.ports import ReplyRequest
from core.message import Level, Said

LANGUAGES = ("en", "zh", "es", "ru")
RECENT = 6  # replies back in which nothing is said twice
OPEN = 4  # replies for which a matter runs on
_CALLED = 4  # replies in which a name is called out once
_ENGLISH_TOO = {
    "no",
    "no no",
    "a",
    "me",
    "error",
    "hotel",
    "normal",
    "real",
    "total",
    "son",
    "once",
}
_SPANISH = re.compile(
    r"[ñ¿¡áéíóú]|\b(?:el|la|los|las|una|que|mi|mis|en|es|con|por|para|hola|gracias|quiero|tengo|pero|"
    r"muy|ayuda|cuenta|pedido|donde|como|estoy|eres|soy|buenos|buenas|puedo|está|del|al|te|lo)\b"
)
_ENGLISH = re.compile(
    r"\b(?:the|my|you|your|is|its|it|and|with|this|that|what|how|are|have|of|theres?|write|tell|get|"
    r"please|can|does|did|who|why|when|where|from|they|she|his|her|im|ive|dont|someone|want|need|"
    r"keeps|as|again|still)\b"
)
_GIVEN = {
    "number": re.compile(
        r"(?<![a-z0-9_.,:/@+-])#?[a-z]{0,4}-?(?!(?:19|20)\d\d(?!\d))\d{4,}(?:-\d+)*"
        r"(?![a-z0-9_@%€$£¥元块]|[.,:/]\d)",
        re.IGNORECASE,
    ),
    "email": re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+"),
    "version": re.compile(
        r"\b(?:v|versi[oó]n|версия|ios|android|windows|macos)\s?\d+(?:\.\d+)*\b|\b\d+\.\d+\.\d+\b"
        r"|版本(?:号)?(?:是|为|：|:)?\s?v?\d",
        re.IGNORECASE,
    ),
}


@dataclass(kw_only=True, slots=True)
class Talk:
    """What the history tells about the moment."""

    lang: str  # one of LANGUAGES, or "other"
    level: Level
    own: tuple[str, ...]  # the bot's last lines, oldest first
    heavy: bool  # tense, upset, grave before, or heard as negative
    topic: Situation | None = None  # what the bot's last line was about
    running: Situation | None = None  # the matter that is open
    greeted: bool = False
    name: str = ""  # as it may be called out; empty: not now
    given: frozenset[str] = frozenset()  # what the person has told of number, email, version
    turns: int = 0
    texts: list[str] = field(default_factory=list)


def read(request: ReplyRequest, level: Level, told: Sequence[Situation | None]) -> Talk:
    """Read the moment; `told` is what the bot's last lines were about, oldest first."""
    own = [line.text for line in request.history if line.role == "bot"]
    negative = request.scores is not None and request.scores.p_negative >= 0.5
    grave = any(situation and situation.kind == "grave" for situation in told[-2:])
    matters = [one for one in told[-OPEN:] if one and one.about and one.ask]
    lines = [*(line.text for line in request.history if line.role == "user"), *request.messages]
    called = any(request.name in line for line in own[-_CALLED:]) if request.name else False
    return Talk(
        lang=language_of(request),
        level="tense" if grave and level == "calm" else level,
        own=tuple(own[-RECENT:]),
        heavy=level != "calm" or grave or negative,
        topic=told[-1] if told else None,
        running=matters[-1] if matters else None,
        greeted=any(one and one.name == "greeting" for one in told),
        name="" if called else request.name,
        given=given(lines),
        turns=len(own),
        texts=[text for text in request.messages if text.strip()] or [""],
    )


def given(lines: Sequence[str]) -> frozenset[str]:
    """Return what stands in the lines of a person of that which is usually asked for."""
    return frozenset(kind for kind, look in _GIVEN.items() if any(map(look.search, lines)))


def language_of(request: ReplyRequest) -> str:
    """Say in which language to answer: what was written, then what was said to be spoken.

    Two words are too few to tell languages of one script apart. Another language than ours comes
    back as "other" only when the text is plainly in it.
    """
    told = request.lang.lower().partition("-")[0].partition("_")[0]
    text = " ".join(request.messages)
    found = language(request.messages[-1]) if request.messages else "und"
    found = language(text) if found == "und" else found
    few = len(text.split()) < 3
    if found == "es" and told != "es" and not _SPANISH.search(text.lower()):
        found = "en"
    if found in ("zh", "ru") or (found in LANGUAGES and not few):
        return found
    if found == "und" and re.search("[，。！？、～]", text):
        return "zh"
    if found not in (*LANGUAGES, "und"):
        return _foreign(text, told)
    latin = bool(re.search("[A-Za-z]{2}", text))
    if told in LANGUAGES and (told in ("en", "es") or not latin):
        return told
    if found == "es" and text.strip(" .!?").lower() not in _ENGLISH_TOO:
        return found
    return "en" if told in ("zh", "ru") else _before(request.history)


def _foreign(text: str, told: str) -> str:
    """Settle a text that looks like a language we have no book for."""
    if text.isascii() and (_ENGLISH.search(normal(text)) or len(text.split()) < 4):
        return told if told == "es" else "en"
    return "other"


def _before(history: tuple[Said, ...]) -> str:
    for line in reversed(history):
        if line.role == "user" and (found := language(line.text)) in LANGUAGES:
            return found
    return "en"


def shown_name(name: str, lang: str) -> str:
    """Return a name as it stands after a greeting, nothing where it is no name to call out."""
    shown = " ".join(name.split())
    if not shown or len(shown) > 24 or not re.fullmatch(r"[^\W\d_]+(?:[ '’.-][^\W\d_]+)*", shown):
        return ""
    return f"，{shown}" if lang == "zh" else f", {shown}"
