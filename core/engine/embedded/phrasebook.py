"""The Writer that needs no model: reviewed phrases and the operator's own answers.

Order of what is said: grief and danger first, then the operator's answers file, then the phrase
book by situation, mood and language, then a sentence that admits not to know. Nothing is generated,
so nothing can be made up; the same conversation gets the same reply, and no sentence comes twice
in a row. An answer of the operator's that is nearly word for word what was asked goes before all.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any
from weakref import WeakSet

from core.engine.embedded.answers import Answers, normal
from core.engine.embedded.book import NET, Book, Match, Situation
from core.engine.embedded.language import language
from core.engine.ports import Capacity, Limits, ReplyRequest, Started
from core.errors import EngineBusy, SetupError
from core.message import ConversationKey, Level, Said

LANGUAGES = ("en", "zh", "es", "ru")
SLOTS = 64
SURE = 0.9  # an answer this like goes before everything
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
HOW = "table and phrase book, no prompt"
_HAS_NOT = {
    "en": r"(?:(?:dont|do not|didnt|cant|no) (?:\w+ )?(?:have|know|idea|remember|find|clue|number)|"
    r"not sure|no(?:pe)?$|forgot)",
    "zh": "没有|不知道|不记得|忘了|不清楚|找不到|不晓得|没带",
    "es": r"no (?:lo |la )?(?:tengo|sé|se|recuerdo|encuentro)|ni idea|no$",
    "ru": "не (?:знаю|помню|нашл|могу найти)|нету?|понятия не имею",
}


@dataclass(eq=False, slots=True, weakref_slot=True)
class _Speech:
    """What one started reply will say."""

    text: str
    lang: str
    level: Level
    cancelled: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class _Choice:
    texts: list[str]
    source: str
    likeness: float = 0.0


@dataclass(kw_only=True, slots=True)
class _Talk:
    """What the history tells about the moment."""

    lang: str
    level: Level
    own: tuple[str, ...]  # the bot's last two lines, oldest first
    heavy: bool  # tense, upset, grave before, or heard as negative
    topic: Situation | None = None  # what the bot's last line was about
    turns: int = 0
    texts: list[str] = field(default_factory=list)


class PhraseWriter:
    """Implements Writer with phrases. Holds nothing between turns."""

    def __init__(
        self, phrases_dir: Path | None = None, answers: Path | None = None, pace: float = 0.0
    ) -> None:
        """Read the books and the operator's answers file; `pace` is seconds between pieces.

        Raises SetupError when one of them cannot be used.
        """
        digest = hashlib.sha256()
        self._books: dict[str, Book] = {}
        for lang in LANGUAGES:
            source = _source(phrases_dir, lang)
            digest.update(source.encode())
            self._books[lang] = Book(lang, source)
        self._version = f"phrases@{digest.hexdigest()[:8]}"
        self._answers = Answers(answers)
        self._pace = pace
        self._running: WeakSet[_Speech] = WeakSet()

    @property
    def name(self) -> str:
        """The model's name, as shown and stored."""
        return "embedded"

    @property
    def problem(self) -> str:
        """What to mend in the answers file while the last good one is in use; empty: nothing."""
        return self._answers.problem

    async def start(self, request: ReplyRequest) -> Started:
        """Pick the reply. Raises EngineBusy when every slot is taken."""
        if not self.capacity().free:
            raise EngineBusy
        speech, made = self._speech(request, request.level)
        self._running.add(speech)
        return Started(
            key=request.key,
            request=request,
            model=self.name,
            prompt=self._version,
            made=made,
            state=speech,
        )

    async def continue_reply(
        self, started: Started, limits: Limits, level: Level
    ) -> AsyncIterator[str]:
        """Stream the reply, word by word or sign by sign; another level picks it anew.

        The limits are kept by larger or faster pieces, so that no sentence is cut.
        """
        speech: _Speech = started.state
        if level != speech.level:
            anew, made = self._speech(started.request, level)
            speech.text, speech.lang, speech.level = anew.text, anew.lang, level
            started.made.update(made)
        pieces = _pieces(speech.text, speech.lang, limits.tokens)
        pause = min(self._pace, limits.seconds / (len(pieces) + 1))
        try:
            for piece in pieces:
                if speech.cancelled:
                    return
                yield piece
                await asyncio.sleep(pause)
        finally:
            self._running.discard(speech)

    async def cancel(self, started: Started) -> None:
        """Stop before the next piece, also before the first."""
        started.state.cancelled = True
        self._running.discard(started.state)

    async def settle(self, started: Started, *, kept: bool) -> None:  # noqa: ARG002
        """Free the slot; there is nothing to keep."""
        self._running.discard(started.state)

    async def drop(self, key: ConversationKey) -> None:
        """Nothing is held for a conversation."""

    def capacity(self) -> Capacity:
        """Say how many replies are being spoken."""
        return Capacity(slots=SLOTS, running=len(self._running))

    async def warm_up(self) -> None:
        """Everything was read when it was made; look whether the answers have changed."""
        self._answers.refresh()

    async def close(self) -> None:
        """Nothing is open."""

    # ------------------------------------------------------------------ choosing

    def _speech(self, request: ReplyRequest, level: Level) -> tuple[_Speech, dict[str, Any]]:
        talk = self._talk(request, level)
        choice = self._choice(request, talk)
        text = self._pick(request, talk, choice)
        made = {"engine": HOW, "source": choice.source, "similarity": round(choice.likeness, 3)}
        return _Speech(text=text, lang=_script(text, talk.lang), level=level), made

    def _talk(self, request: ReplyRequest, level: Level) -> _Talk:
        """Read the moment: language, mood, what was said before."""
        lang = _language(request)
        own = [line.text for line in request.history if line.role == "bot"]
        told = [self._situation(text, request.name) for text in own[-2:]]
        negative = request.scores is not None and request.scores.p_negative >= 0.5
        grave = any(situation and situation.kind == "grave" for situation in told)
        return _Talk(
            lang=lang,
            level="tense" if grave and level == "calm" else level,
            own=tuple(own[-2:]),
            heavy=level != "calm" or grave or negative,
            topic=told[-1] if told else None,
            turns=len(own),
            texts=[text for text in request.messages if text.strip()] or [""],
        )

    def _situation(self, text: str, name: str) -> Situation | None:
        """Recognize one of our own lines, whatever language it was in."""
        for book in self._books.values():
            shown = _name(name, book.lang)
            plain = text.replace(shown, "{name}") if shown else text
            for known in (text, plain, text.replace(".", "{name}.", 1)):
                if situation := book.said.get(known):
                    return situation
        return None

    def _choice(self, request: ReplyRequest, talk: _Talk) -> _Choice:
        book = self._books.get(talk.lang, self._books["en"])
        match = book.match(talk.texts)
        if talk.lang not in self._books and (match is None or match.likeness < 1.0):
            texts = book.phrases(book.situations["other_language"], "calm")
            return _Choice(texts=texts, source="phrase: other_language")
        grave = match is not None and match.situation.kind == "grave"
        found = [hit for text in talk.texts if (hit := self._answers.find(text, book.lang))]
        if found:
            answer, likeness = max(found, key=lambda hit: hit[1])
            if not grave or likeness >= SURE:
                text = book.lead(answer.text) if talk.level != "calm" else answer.text
                source = f"answers.toml: {answer.question}"
                return _Choice(texts=[text], source=source, likeness=likeness)
        if kept := self._kept(book, talk, match):
            return kept
        heard = request.scores
        if match and match.score < NET and heard is not None and heard.p_positive >= 0.6:
            match = None  # the field is known, but nothing is wrong
        if match and not self._false_cheer(request, match):
            situation = match.situation
            level = "tense" if talk.heavy and situation.bright else talk.level
            return _Choice(
                texts=book.phrases(situation, level),
                source=f"phrase: {situation.name}",
                likeness=match.likeness,
            )
        return self._unsure(request, book, talk)

    def _kept(self, book: Book, talk: _Talk, match: Match | None) -> _Choice | None:
        """Take what answers our own question as an answer, and do not ask again."""
        topic = talk.topic
        if topic is None or not topic.ask or not topic.about:
            return None
        topic = book.situations.get(topic.name, topic)
        text = " ".join(talk.texts).lower().replace("'", "").replace("’", "")
        told = bool(re.search(r"\d{3,}|#\w+", text))
        name = match.situation.name if match else ""
        aside = match is None or name in (topic.name, "number_only", "no", "forgot_question")
        net = match is not None and match.score < NET
        aside = aside or net
        elsewhere = match is not None and match.situation.kind in ("grave", "matter") and not net
        asks = text.rstrip().endswith(("?", "？"))
        if aside and not told and len(text) < 60 and re.search(_HAS_NOT[book.lang], text):
            frame = "kept_not"
        elif (told and (aside or not elsewhere)) or (
            match is None and not asks and len(text) < 200
        ):
            frame = "kept"
        else:
            return None
        source = f"phrase: {topic.name}, {'told' if frame == 'kept' else 'not at hand'}"
        return _Choice(texts=book.frame(frame, topic), source=source, likeness=1.0)

    def _false_cheer(self, request: ReplyRequest, match: Match) -> bool:
        """Say whether cheerful words were probably meant otherwise."""
        negative = request.scores is not None and request.scores.p_negative >= 0.5
        return match.situation.bright and negative and not match.whole

    def _unsure(self, request: ReplyRequest, book: Book, talk: _Talk) -> _Choice:
        asked = talk.texts[-1].rstrip().endswith(("?", "？", "吗", "么", "呢"))
        heard = request.scores
        good = heard is not None and heard.p_positive >= 0.7 and not talk.heavy
        name = "unsure_question" if asked else "unsure_good" if good else "unsure"
        name = "unsure_hard" if talk.heavy else name
        return _Choice(texts=book.frame(name), source=f"phrase: {name}")

    def _pick(self, request: ReplyRequest, talk: _Talk, choice: _Choice) -> str:
        """Choose by a hash of the conversation and its length, never what was just said."""
        lang = talk.lang if talk.lang in self._books else "en"
        again = self._books[lang].frame("again")
        seed = int.from_bytes(hashlib.sha256(f"{request.key}".encode()).digest()[:4])
        for texts in (choice.texts, again):
            shown = [text.replace("{name}", _name(request.name, lang)) for text in texts]
            turned = [shown[(seed + talk.turns + i) % len(shown)] for i in range(len(shown))]
            for avoided in (talk.own, talk.own[-1:]):
                for text in turned:
                    if text not in avoided:
                        return text
        return choice.texts[0]


def _source(folder: Path | None, lang: str) -> str:
    """Read a phrase file: the operator's where there is one, else the packaged one."""
    own = folder / f"{lang}.toml" if folder else None
    try:
        if own and own.is_file():
            return own.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{own} cannot be read as UTF-8 text: {error}.") from error
    return (resources.files("core.engine.embedded") / "phrases" / f"{lang}.toml").read_text("utf-8")


def _language(request: ReplyRequest) -> str:
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


def _name(name: str, lang: str) -> str:
    """Return a name as it stands after a greeting, nothing where it is no name to call out."""
    shown = " ".join(name.split())
    if not shown or len(shown) > 24 or not re.fullmatch(r"[^\W\d_]+(?:[ '’.-][^\W\d_]+)*", shown):
        return ""
    return f"，{shown}" if lang == "zh" else f", {shown}"


def _script(text: str, lang: str) -> str:
    return lang if lang == "zh" and re.search("[\u4e00-\u9fff]", text) else "en"


def _pieces(text: str, lang: str, most: int) -> list[str]:
    """Cut a reply into at most `most` pieces: words with their space, or one or two signs."""
    if lang == "zh":
        pieces = re.findall("[ -~]+|.{1,2}?(?:(?=[ -~])|$)|.{1,2}", text, re.DOTALL)
    else:
        pieces = re.findall(r"\S+\s*|\s+", text)
    while len(pieces) > max(1, most):
        pieces = ["".join(pieces[i : i + 2]) for i in range(0, len(pieces), 2)]
    return pieces
