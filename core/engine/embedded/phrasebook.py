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
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from weakref import WeakSet

from core.engine.embedded.answers import MINIMUM, Answer, Answers, normal
from core.engine.embedded.book import NET, Book, Match, Situation, book_of
from core.engine.embedded.language import language
from core.engine.embedded.manner import Manner, fallback, fitting, manner
from core.engine.embedded.picking import pick, turned
from core.engine.embedded.talk import (
    LANGUAGES,
    RECENT,
    Talk,
    given,
    language_of,
    read,
    shown_name,
)
from core.engine.ports import Capacity, Limits, ReplyRequest, Started
from core.errors import EngineBusy, SetupError
from core.message import ConversationKey, Level
from core.texts import Texts
from core.texts.soothing import NAMES, acknowledges, joined, soothing, without

SLOTS = 64
SURE = 0.9  # an answer this like goes before everything
GLAD = 0.7  # a message this likely to be positive is good news
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
    """What may be said, and why."""

    texts: list[str]
    source: str
    likeness: float = 0.0
    own: bool = False  # the operator's own words
    mild: bool = False  # needs no acknowledgement before it: grief, a courtesy, good news


class PhraseWriter:
    """Implements Writer with phrases. Holds nothing between turns."""

    def __init__(
        self,
        phrases_dir: Path | None = None,
        answers: Path | None = None,
        pace: float = 0.0,
        *,
        minimum: float = MINIMUM,
        texts: Texts | None = None,
    ) -> None:
        """Read the books and the operator's answers file; `pace` is seconds between pieces.

        An answer less like than `minimum` is none; `texts` have the acknowledgements. Raises
        SetupError when one of the files cannot be used.
        """
        digest = hashlib.sha256()
        self._books: dict[str, Book] = {}
        for lang in LANGUAGES:
            source, ours = _source(phrases_dir, lang)
            digest.update(source.encode())
            self._books[lang] = book_of(lang, source, ours=ours)
        self._version = f"phrases@{digest.hexdigest()[:8]}"
        self._answers = Answers(answers, minimum)
        self._texts = texts or Texts.load()
        self._openings = tuple(self._every_opening())
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

    @property
    def knowledge(self) -> str:
        """Everything that the operator has written in the answers file."""
        self._answers.refresh()
        return self._answers.words

    def knows(self, request: ReplyRequest) -> bool:
        """Say whether an answer of the operator's will be the reply to this."""
        if not self._answers.any():  # nearly everywhere: who writes is asked about for nothing
            return False
        texts = [text for text in request.messages if text.strip()]
        book = self._book(language_of(request))
        return self._answered(texts, book, lambda: book.match(texts)) is not None

    async def start(self, request: ReplyRequest) -> Started:
        """Pick the reply. Raises EngineBusy when every slot is taken."""
        if not self.capacity().free:
            raise EngineBusy
        speech, made = self._speech(request, request.level)
        answered = str(made["source"]).startswith("answers.toml")
        self._running.add(speech)
        return Started(
            key=request.key,
            request=request,
            model=self.name,
            prompt=self._answers.version if answered else self._version,
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
        own = [line.text for line in request.history if line.role == "bot"]
        told = [self._situation(text, request.name) for text in own[-RECENT:]]
        talk = read(request, level, told)
        choice = self._choice(request, talk)
        text = self._pick(request, talk, choice)
        made = {"engine": HOW, "source": choice.source, "similarity": round(choice.likeness, 3)}
        return _Speech(text=text, lang=_script(text, talk.lang), level=level), made

    def _book(self, lang: str) -> Book:
        return self._books.get(lang, self._books["en"])

    def _every_opening(self) -> Iterable[str]:
        for lang, book in self._books.items():
            yield book.sorry()
            yield from (self._texts.say(name, lang) for names in NAMES.values() for name in names)

    def _situation(self, text: str, name: str) -> Situation | None:
        """Recognize one of our own lines, whatever language it was in."""
        plain = without(text, self._openings)
        for book in self._books.values():
            shown = shown_name(name, book.lang)
            nameless = plain.replace(shown, "") if shown else plain
            for known in (plain, nameless):
                if situation := book.said.get(known):
                    return situation
        return None

    def _answered(
        self, texts: list[str], book: Book, match: Callable[[], Match | None]
    ) -> tuple[Answer, float] | None:
        """Return the operator's answer; grief and danger go before all but the surest."""
        if not self._answers.any():
            return None
        found = [
            hit for text in texts if (hit := self._answers.find(text, book.lang, language(text)))
        ]
        best = max(found, key=lambda hit: hit[1], default=None)
        if best is None or best[1] >= SURE:
            return best
        heard = match()
        return None if heard is not None and heard.situation.kind == "grave" else best

    def _choice(self, request: ReplyRequest, talk: Talk) -> _Choice:
        book = self._book(talk.lang)
        meant = manner(talk.texts, book)
        match = fitting(talk.texts, meant, book)
        if hit := self._answered(talk.texts, book, lambda: match):
            answer, likeness = hit
            text = answer.text if talk.level == "calm" else book.offered(answer.text)
            source = f"answers.toml: {answer.question} {likeness:.2f}"
            return _Choice(texts=[text], source=source, likeness=likeness, own=True)
        if talk.lang not in self._books and (match is None or match.likeness < 1.0):
            texts = book.phrases(book.situations["other_language"], "calm")
            return _Choice(texts=texts, source="phrase: other_language")
        if found := self._kept(book, talk, match) or self._gladly(request, book, talk, match):
            return found
        matter = self._open(book, talk)
        small = match is None or match.situation.kind in ("small", "talk")
        if matter and small and any(book.still.search(normal(text)) for text in talk.texts):
            texts, source = book.frame("asked", matter), f"phrase: {matter.name}, asked before"
            return _Choice(texts=texts, source=source)
        heard = request.scores
        if match and match.score < NET and heard is not None and heard.p_positive >= 0.6:
            match = None  # the field is known, but nothing is wrong
        if match and not self._false_cheer(request, match):
            return self._matched(book, talk, match)
        return self._unsure(request, book, talk, meant)

    def _open(self, book: Book, talk: Talk) -> Situation | None:
        """Return the matter that is open, in the words of this language; None where it has none."""
        return None if talk.running is None else book.situations.get(talk.running.name)

    def _matched(self, book: Book, talk: Talk, match: Match) -> _Choice:
        """Say what belongs to a situation, as the conversation has it so far."""
        situation, running = match.situation, self._open(book, talk)
        told = f"phrase: {situation.name}"
        if situation.name == "greeting" and talk.greeted:
            frame = "greeted" if running is None else "greeted_about"
            texts = book.frame(frame, running)
            return _Choice(texts=texts, source=f"{told}, again", likeness=match.likeness, mild=True)
        level = "tense" if talk.heavy and situation.bright else talk.level
        texts = book.phrases(situation, level)
        if situation.about and running is not None and running.name == situation.name:
            texts, told = book.frame("asked", situation), f"{told}, asked before"
        elif situation.about and (kinds := book.asked_for(texts) & talk.given):
            texts, told = book.given(situation, sorted(kinds)), f"{told}, told"
        elif match.frame and situation.about:
            texts = book.frame(match.frame, situation)
        mild = situation.kind in ("grave", "small") or situation.bright
        return _Choice(texts=texts, source=told, likeness=match.likeness, mild=mild)

    def _kept(self, book: Book, talk: Talk, match: Match | None) -> _Choice | None:
        """Take what answers our own question as an answer, and do not ask again."""
        topic = None if talk.topic is None else book.situations.get(talk.topic.name)
        named = bool(given(talk.texts))
        if named and (topic is None or not topic.ask):
            topic = self._open(book, talk)
        if topic is None or not topic.ask or not topic.about:
            return None
        text = " ".join(talk.texts).lower().replace("'", "").replace("’", "")
        told = named or bool(re.search(r"\d{3,}|#\w+", text))
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

    def _gladly(
        self, request: ReplyRequest, book: Book, talk: Talk, match: Match | None
    ) -> _Choice | None:
        """Be glad where a matter is only named in good news: "finally got my refund, thanks"."""
        if match is None or match.situation.kind not in ("matter", "info") or given(talk.texts):
            return None
        glad = request.scores is not None and request.scores.p_positive >= GLAD
        if not glad or len(talk.texts) > 1 or not book.settled(talk.texts[0]):
            return None
        solved, running = book.situations.get("solved"), self._open(book, talk)
        if solved and running is not None and running.name == match.situation.name:
            texts = book.phrases(solved, "tense" if talk.heavy else "calm")
        else:
            texts = book.frame("bright_tense" if talk.heavy else "unsure_good")
        return _Choice(
            texts=texts, source=f"phrase: good news of {match.situation.name}", mild=True
        )

    def _false_cheer(self, request: ReplyRequest, match: Match) -> bool:
        """Say whether cheerful words were probably meant otherwise."""
        negative = request.scores is not None and request.scores.p_negative >= 0.5
        return match.situation.bright and negative and not match.whole

    def _unsure(self, request: ReplyRequest, book: Book, talk: Talk, meant: Manner) -> _Choice:
        name = fallback(request.scores, meant, heavy=talk.heavy, level=talk.level)
        matter = self._open(book, talk)
        if matter and name != "unsure_good" and (talk.level != "calm" or not talk.heavy):
            source = f"phrase: {matter.name}, running on"
            return _Choice(texts=book.frame("running", matter), source=source)
        return _Choice(texts=book.frame(name), source=f"phrase: {name}")

    def _pick(self, request: ReplyRequest, talk: Talk, choice: _Choice) -> str:
        """Choose by a hash of the conversation and its length, nothing that was just said.

        To somebody tense the acknowledgement comes first, where a phrase does not begin with it.
        """
        book = self._book(talk.lang)
        turn = int.from_bytes(hashlib.sha256(f"{request.key}".encode()).digest()[:4]) + talk.turns
        name = shown_name(talk.name, book.lang)
        first = soothing(self._texts, talk.level, book.lang, talk.own, f"{request.key}")
        if first and choice.own and not any(book.sorry() in line for line in talk.own):
            first = (book.sorry(),)

        def spoken(texts: list[str], *, mild: bool = False) -> list[str]:
            shown = [text.replace("{name}", name) for text in turned(texts, turn)]
            if not first or mild:
                return shown
            return [text if acknowledges(text) else joined(first[0], text) for text in shown]

        texts = spoken(choice.texts, mild=choice.mild)
        if choice.own and not any(one in line for one in choice.texts for line in talk.own[-1:]):
            return texts[0]  # what the operator wrote may be said again, only not at once
        others = [spoken(book.frame(frame)) for frame in ("again", "unsure")]
        return pick([*([] if choice.own else [texts]), *others], talk.own, book.standing())


def _source(folder: Path | None, lang: str) -> tuple[str, bool]:
    """Read a phrase file: the operator's where there is one, else ours; and say whether it is."""
    own = folder / f"{lang}.toml" if folder else None
    try:
        if own and own.is_file():
            return own.read_text("utf-8"), False
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{own} cannot be read as UTF-8 text: {error}.") from error
    shipped = resources.files("core.engine.embedded") / "phrases" / f"{lang}.toml"
    return shipped.read_text("utf-8"), True


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
