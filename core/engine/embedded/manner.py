"""How a message is meant, apart from its subject, and which situation must not answer it so.

A word names a subject in a complaint, a question, a joke and a piece of good news alike. What is
found here keeps a form for trouble from a plain question, pity from a joke, cheer from danger, and
a form about anything from somebody who asks for a person or says that they leave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core import triggers
from core.engine.embedded.answers import normal
from core.engine.embedded.book import NET, Book, Match
from core.message import Scores

SURE = 0.85  # a fallback takes sides only where a message is this likely to be of one
PAINED = -0.4  # and pity only where the feeling is at least this strong
_MILD_GRAVE = ("panic", "depression", "illness", "bullying")  # what people joke about having
_GRAVE_PLAYED = ("abuse", "emergency")  # what a game or a screen has too
_ENDING = ("leaving", "cancel", "legal_threat", "delete_account")
_WARNING = ("scam", "phishing", "seed_phrase")  # say what not to give away, asked or not
_FAULTS = ("bug", "crash", "slow", "not_solved", "confused")  # no question of how things are
PRECISE = 3.14  # a matter that scores more was named in so many words
BRIEF_LAUGH = 40  # signs of a message that may be a laugh and little else
_ADVISED = ("medical", "legal", "money_advice", "hungry", "ask_advice")


@dataclass(frozen=True, kw_only=True, slots=True)
class Manner:
    """What a burst of messages does, whatever it is about."""

    danger: bool = False  # the crisis phrases hold, and nobody laughs
    request: bool = False  # asks for a person
    threat: bool = False  # says that they leave
    laughs: bool = False
    staged: bool = False  # of a game or a screen, or told with a laugh; no crisis phrase holds
    thanks: bool = False
    proud: bool = False  # tells of something achieved
    asks: bool = False
    general: bool = False  # a question about how things are, not about an own trouble
    advice: bool = False  # asks what to do with one's own life


def manner(texts: Sequence[str], book: Book) -> Manner:
    """Read how the texts are meant."""
    found = [triggers.match(text) for text in texts]
    plain = [normal(text) for text in texts]
    words = book.manner

    def says(name: str) -> bool:
        return any(words[name].search(text) for text in plain)

    laughs = says("laughs") or any(one.laugh for one in found)
    marked = texts[-1].rstrip().endswith(("?", "？", "吗", "嗎"))
    asks = marked or says("asks")
    trouble = says("trouble")
    return Manner(
        danger=any(one.crisis for one in found) and not laughs,
        request=any(one.request for one in found),
        threat=any(one.threat for one in found),
        laughs=laughs,
        staged=(laughs or says("staged")) and not any(one.crisis for one in found),
        thanks=says("thanks") and not asks and not trouble,
        proud=says("proud") and not marked,
        asks=asks,
        general=asks and not trouble,
        advice=says("advice"),
    )


def fitting(texts: Sequence[str], heard: Manner, book: Book) -> Match | None:
    """Return the situation that may answer what is meant so; None where none may."""
    match = book.match(texts)
    glad = heard.proud and not heard.danger
    if match and match.situation.name in _MILD_GRAVE[: 4 if heard.laughs else 1 if glad else 0]:
        match = book.match(texts, _MILD_GRAVE)
    if match and heard.staged and match.situation.name in _GRAVE_PLAYED:
        match = book.match(texts, (*_MILD_GRAVE, *_GRAVE_PLAYED))
    kind = match.situation.kind if match else ""
    name = match.situation.name if match else ""
    if kind == "grave":
        return match
    if heard.general and match and name in _FAULTS and not match.whole:
        match, kind, name = None, "", ""
    weak = match is None or match.score < NET
    named = kind == "matter" and name not in _FAULTS and (match.score if match else 0.0) > PRECISE
    brief = sum(map(len, texts)) < BRIEF_LAUGH
    for meant, other in (
        (heard.danger, "danger"),
        (heard.request and name != "are_you_human", "wants_person"),
        (heard.threat and name not in _ENDING and not named, "leaving"),
        (heard.proud and kind not in ("matter", "info"), "success"),
        (heard.advice and _beside(match), "ask_advice"),
        (heard.thanks and weak, "thanks"),
        (heard.laughs and weak and brief, "laughter"),
    ):
        if meant and other in book.situations and other != name:
            return Match(situation=book.situations[other], score=NET, likeness=1.0, whole=True)
    if match and name in _ENDING:
        return replace(match, frame="")
    if match and kind == "matter" and heard.general and name not in _WARNING and not match.whole:
        return replace(match, frame="asks_about")
    return match


def _beside(match: Match | None) -> bool:
    """Say whether what was found is beside the question of what somebody should do."""
    if match is None:
        return True
    return (
        match.situation.kind in ("feeling", "info", "talk")
        and not match.whole
        and match.situation.name not in _ADVISED
    )


def fallback(scores: Scores | None, heard: Manner, *, heavy: bool, level: str) -> str:
    """Name the frame for what no situation answers: it takes sides only where that is sure."""
    light = heard.laughs or heard.proud or heard.thanks
    if scores is None:
        plain = "unsure_question" if heard.asks else "unsure"
        return "unsure_hard" if heavy and not heard.general else plain
    pained = scores.p_negative >= SURE and scores.intensity <= PAINED and scores.confidence >= SURE
    tense = level != "calm" and scores.p_negative >= 0.5
    if heard.general or (heard.asks and not pained):
        return "unsure_question"
    if light:
        return "unsure"
    if pained or tense:
        return "unsure_hard"
    return "unsure_good" if scores.p_positive >= SURE and not heavy else "unsure"
