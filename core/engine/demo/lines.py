"""What the demo model learns from: the project's own written messages and phrases, nothing else.

A message carries its sentiment as it was written down. What it is for and which mood it shows
follow from its situation in the phrase book, and so do the two replies to it: one for a calm
person, one for somebody tense or upset. A tenth of the written messages is kept out by id, the
same tenth that the embedded table keeps out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.engine.embedded import book, rows

LANGUAGES: Final = ("en", "zh")
KEPT_OUT: Final = 0.1
_HOME: Final = Path(book.__file__).parent
_UNKNOWN: Final = 25  # of so many messages that the book does not know, one is answered
_INTENT: Final = {
    "matter": "help",
    "info": "question",
    "grave": "confides",
    "feeling": "confides",
    "small": "chats",
    "talk": "chats",
}
_EMOTION: Final = {
    "sadness": "sadness bereavement illness depression loneliness breakup job_loss emoji_sad shame",
    "anger": "anger frustration accused insult_bot emoji_angry legal_threat story_rant scam",
    "fear": "panic stress exam abuse emergency",
    "joy": "joy success solved birthday compliment thanks laughter praise_staff",
}
_MOOD_OF: Final = {name: mood for mood, names in _EMOTION.items() for name in names.split()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One message with what is known of it; empty: nothing is known."""

    text: str
    lang: str
    label: str = ""  # negative | neutral | positive
    intent: str = ""
    emotion: str = ""
    calm: str = ""  # what is answered to a calm person
    tense: str = ""  # what is answered to somebody tense or upset

    def of(self, task: str) -> str:
        """Return the label of this line for a task, empty where it has none."""
        known = {"sentiment": self.label, "intent": self.intent, "emotion": self.emotion}
        return known.get(task, "")


SPARSE = 3  # every third message: more cost minutes and teach so small a model nothing


def read_lines() -> tuple[list[Line], list[Line]]:
    """Return the lines to learn from, and the lines kept out: of these no text was learnt from."""
    learnt: list[Line] = []
    kept: list[Line] = []
    for lang in LANGUAGES:
        source = (_HOME / "phrases" / f"{lang}.toml").read_text("utf-8")
        phrases = book.Book(lang, source)
        learnt += _said(phrases, source)
        for path in sorted((_HOME / "written").glob(f"{lang}_[a-z].jsonl")):
            for at, row in enumerate(rows.read_rows(path)[::SPARSE]):
                out = rows.chance(row) < KEPT_OUT
                line = _heard(phrases, row["text"], row["label"], answered=at % _UNKNOWN == 0)
                (kept if out else learnt).append(line)
    seen = {_bare(line.text) for line in learnt}
    return learnt, [line for line in kept if _bare(line.text) not in seen]


def _bare(text: str) -> str:
    return "".join(sign for sign in text.casefold() if sign.isalnum()) or text


def _said(phrases: book.Book, source: str) -> Iterator[Line]:
    """Yield the book's own examples of what people say in each situation."""
    for name, table in tomllib.loads(source).items():
        situation = phrases.situations.get(name)
        if situation is None:
            continue
        for text in table.get("say", ()):
            yield _in(phrases, situation, text, "")
            if shown := _written(text, phrases.lang):
                yield _in(phrases, situation, shown, "")


def _written(text: str, lang: str) -> str:
    """Return an example as somebody careful would write it; the book's are bare."""
    if lang == "zh":
        asks = text.endswith(("吗", "呢", "么")) or any(w in text for w in ("哪", "怎么", "什么"))
        return f"{text}{'？' if asks else '。'}"
    first = text.split(maxsplit=1)[0]
    asks = first in ("where", "what", "how", "who", "when", "why", "can", "do", "is", "are", "does")
    return f"{text[:1].upper()}{text[1:]}{'?' if asks else '!' if len(text) < 12 else '.'}"


def _heard(phrases: book.Book, text: str, label: str, *, answered: bool) -> Line:
    """Return a written message with the replies of the phrase book to it."""
    match = phrases.match([text])
    if match is not None:
        return _in(phrases, match.situation, text, label)
    emotion = {"positive": "joy", "neutral": "calm"}.get(label, "")
    asks = text.rstrip().endswith(("?", "？", "吗", "么", "呢"))
    good = {"positive": "unsure_good", "negative": "unsure_hard"}.get(label, "unsure")
    calm = phrases.frame("unsure_question" if asks else good)[0] if answered else ""
    tense = phrases.frame("unsure_hard")[0] if answered else ""
    return Line(text=text, lang=phrases.lang, label=label, emotion=emotion, calm=calm, tense=tense)


def _in(phrases: book.Book, situation: book.Situation, text: str, label: str) -> Line:
    """Return a message of a known situation. Cheer is not answered to what sounds unhappy."""
    mood = _MOOD_OF.get(situation.name, "")
    plain = {"positive": "joy", "neutral": "calm"}.get(label, "")
    calm, tense = (
        phrases.phrases(situation, level)[0].replace("{name}", "") for level in ("calm", "tense")
    )
    return Line(
        text=text,
        lang=phrases.lang,
        label=label,
        intent=_INTENT[situation.kind],
        emotion=plain or mood or ("calm" if not label and situation.kind != "grave" else ""),
        calm=tense if situation.bright and label == "negative" else calm,
        tense=tense,
    )
