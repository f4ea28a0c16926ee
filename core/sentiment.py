"""Hear one message: what a model and the embedded table read in it, as one set of scores."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace

from core.engine.embedded.language import language
from core.engine.ports import Tagger
from core.message import Scores, Tagging
from core.triggers import candid, match, steering

_LINK = re.compile(r"https?://\S+")
_NOTHING_SAID = {"negative": 0.1, "neutral": 0.8, "positive": 0.1}
_PLAIN_POLARITY = {"negative": -1.0, "neutral": 0.0, "positive": 1.0}
_SURE_NEGATIVE = 0.9
_SURE = 0.75
_FURIOUS = 0.7
_SENTENCES = 8  # of a message that is heard sentence by sentence


class Sentiment:
    """Makes scores of a message, with the table for every head that a model does not have."""

    def __init__(self, table: Tagger) -> None:
        self._table = table

    async def hear(self, text: str, tagging: Tagging | None, *, stand_in: bool = False) -> Scores:
        """Score one text. `tagging`: what the configured model read, None where the table tags.

        `stand_in`: the table speaks for a configured model that could not be asked.
        """
        (read,) = await self._table.tag_many([text])
        scores = combine(text, tagging, read)
        if steering(text):
            scores = await self._unswayed(text, scores)
        return replace(scores, stand_in=True) if stand_in else scores

    async def _unswayed(self, text: str, scores: Scores) -> Scores:
        """Return what the table hears of a message that tells its reader what to hear.

        Such a message has made a model's answer worthless, and its kind words prove nothing: what
        counts is the worst of its own sentences, or the whole, whichever is worse.
        """
        own = candid(text)
        texts = list(dict.fromkeys(filter(None, [text, " ".join(own), *own[:_SENTENCES]])))
        tags = await self._table.tag_many(texts)
        heard = [combine(part, None, tag) for part, tag in zip(texts, tags, strict=True)]
        worst = max(heard, key=lambda one: one.p_negative * (one.strong + one.confidence))
        label, probs = scores.label, scores.probs
        if set(probs) == set(worst.probs):
            label, probs = worst.label, worst.probs
        return replace(
            scores,
            label=label,
            probs=probs,
            p_negative=worst.p_negative,
            p_positive=worst.p_positive,
            intensity=worst.intensity,
            confidence=worst.confidence,
            strong=worst.strong,
            wants_human=max(one.wants_human for one in heard),
            threat_to_leave=max(one.threat_to_leave for one in heard),
            crisis=max(scores.crisis, *(one.crisis for one in heard)),
        )


def combine(text: str, tagging: Tagging | None, table: Tagging) -> Scores:
    """Make one set of scores of what the model (if any) and the table read in `text`."""
    if not _LINK.sub("", text).strip():
        return _nothing(tagging or table)
    told = tagging or table
    main = table if tagging is not None and _contradicts(text, tagging, table) else told
    feeling = main if _polarity(main) else table  # a task without polarity says nothing of mood
    polarity = _polarity(feeling) or _PLAIN_POLARITY
    p_negative = sum(p for name, p in feeling.probs.items() if polarity.get(name, 0.0) < 0)
    p_positive = sum(p for name, p in feeling.probs.items() if polarity.get(name, 0.0) > 0)
    confidence = max(feeling.probs.values(), default=0.0) * (1.0 - feeling.doubt)
    named = main if main.probs.keys() == told.probs.keys() else told  # the task's own labels
    return Scores(
        label=max(named.probs, key=lambda name: named.probs[name], default="neutral"),
        probs=dict(named.probs),
        p_negative=p_negative,
        p_positive=p_positive,
        intensity=_intensity(feeling, polarity, table),
        confidence=confidence,
        strong=_strong(main, table, p_negative, confidence),
        wants_human=_head(main.wants_human, table.wants_human),
        threat_to_leave=_head(main.threat_to_leave, table.threat_to_leave),
        crisis=max(main.crisis or 0.0, table.crisis or 0.0),  # neither talks the other out of it
        lang=language(text),
        instrument=told.instrument,
        prompt=told.prompt,
    )


def _contradicts(text: str, tagging: Tagging, table: Tagging) -> bool:
    """Say whether a model hears no harm where the table is sure of plain fury, or praise in anger.

    Praise in words of money or of leaving is for both to hear. No model talks the table out of
    that, whether it is mistaken, broken, or was told to by the message itself. Of held-out messages
    that are in truth not negative the table finds fury in 1 of 4,000, and of those that are
    positive it is sure of the opposite in 3 of 1,000.
    """
    polarity = _polarity(tagging)
    good, bad = (
        sum(p for name, p in tagging.probs.items() if polarity.get(name, 0.0) * sign > 0)
        for sign in (1, -1)
    )
    heard = table.probs.get("negative", 0.0)
    if not polarity or heard <= 0.5 or bad >= 0.5:
        return False
    if good > 0.5:
        said = match(text)
        if said.money or said.threat:
            return True
    fury = heard >= _FURIOUS and (table.strong or 0.0) >= _FURIOUS
    sure = max(table.probs.values()) * (1.0 - table.doubt) >= _SURE
    return sure and (fury or (heard >= _SURE_NEGATIVE and good > 0.5))


def _polarity(tagging: Tagging) -> Mapping[str, float]:
    """Return label -> -1..1; plain sentiment labels explain themselves."""
    if tagging.polarity:
        return tagging.polarity
    return _PLAIN_POLARITY if set(tagging.probs) == set(_PLAIN_POLARITY) else {}


def _intensity(feeling: Tagging, polarity: Mapping[str, float], table: Tagging) -> float:
    """Return the signed strength, -1..1.

    From class probabilities alone a model tells how sure it is of a direction, not how strong the
    feeling is: "a bit slow today" can be negative at 0.99. So its mean is taken with the table's
    head, which was trained on strength, and only what both find strong is strong.
    """
    if feeling.intensity is not None:
        return feeling.intensity
    direction = sum(p * polarity.get(name, 0.0) for name, p in feeling.probs.items())
    return direction if table.intensity is None else (direction + table.intensity) / 2.0


def _strong(main: Tagging, table: Tagging, p_negative: float, confidence: float) -> float:
    """Return how strongly upset this sounds, 0..1.

    A model that is sure of the negative raises what the table found, but only towards the
    geometric mean: where the table hears nothing strong, sureness alone makes no alarm.
    """
    if main.strong is not None:
        return main.strong
    strong = table.strong or 0.0
    if p_negative >= _SURE_NEGATIVE and confidence >= _SURE:
        return max(strong, math.sqrt(strong * p_negative))
    return strong


def _head(model: float | None, table: float | None) -> float:
    return model if model is not None else table or 0.0


def _nothing(tagging: Tagging) -> Scores:
    """Score a message without words of its own: neutral, and nearly without weight."""
    return Scores(
        label="neutral",
        probs=_NOTHING_SAID,
        p_negative=0.1,
        p_positive=0.1,
        intensity=0.0,
        confidence=0.1,
        strong=0.0,
        wants_human=0.0,
        threat_to_leave=0.0,
        crisis=0.0,
        lang="und",
        instrument=tagging.instrument,
        prompt=tagging.prompt,
    )
