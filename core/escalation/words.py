"""What a message's words add to its scores: trouble that is counted, and words of somebody else.

Phrase lists only add evidence. One of them alone opens nothing here; several messages of a
conversation that speak of trouble do, however mild or polite each of them sounds to a model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from core.message import Scores
from core.triggers import Triggers

Said = tuple[float, int]  # when a scored message came, and how many kinds of trouble it spoke of

KEPT = 8  # scored messages that are remembered so
FORGOTTEN = 86400.0  # seconds after which one is not
_QUOTED = re.compile(r"“[^“”]+”|\"[^\"]+\"|「[^「」]+」|『[^『』]+』|«[^«»]+»|„[^„“”]+[“”]")
_OTHERS = 0.4  # the share of quoted letters from which on a message is not its writer's own
_NOT_OWN: Mapping[str, float] = {"negative": 0.1, "neutral": 0.8, "positive": 0.1}


def others_words(text: str) -> bool:
    """Say whether most of a message is quoted: what somebody else said, and not how this one is."""
    quoted = sum(_letters(part) for part in _QUOTED.findall(text))
    return quoted > 0 and quoted >= _OTHERS * _letters(text)


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))


def as_quoted(scores: Scores) -> Scores:
    """Return the scores of a message that is mostly a quotation: of no mood of its own."""
    return replace(
        scores,
        label="neutral",
        probs=_NOT_OWN,
        p_negative=0.1,
        p_positive=0.1,
        intensity=0.0,
        confidence=min(scores.confidence, 0.1),
        strong=0.0,
        wants_human=0.0,
        threat_to_leave=0.0,
    )


def own(triggers: Triggers) -> Triggers:
    """Return what still counts of a quotation's phrases: a call for a person, and danger."""
    return replace(triggers, threat="", money="", unheard="", plight="", formal="", laugh="")


def trouble(scores: Scores, triggers: Triggers, *, heavy: bool) -> int:
    """Count the kinds of trouble that one message speaks of, 0 to 2.

    `heavy`: it is surely and strongly negative, which is one kind where no phrase is found. Of a
    message that sounds friendly only what it puts on record counts: polite fury says thanks, too.
    Laughter means no harm, but for bitter laughter.
    """
    if triggers.laugh and scores.label != "negative":
        return 0
    if scores.label == "positive":
        return int(bool(triggers.formal))
    phrases = (triggers.unheard, triggers.plight, triggers.formal)
    return max(min(2, sum(map(bool, phrases))), int(heavy))


def count(
    lately: tuple[Said, ...], scores: Scores, triggers: Triggers, at: float, *, heavy: bool
) -> tuple[Said, ...]:
    """Return what is remembered with this message. Thanks and laughter end the trouble so far."""
    phrases = triggers.unheard or triggers.plight or triggers.formal
    glad = triggers.courtesy or (scores.label == "positive" and not phrases)
    glad = glad or (bool(triggers.laugh) and scores.label != "negative")
    before = tuple(said for said in lately if at - said[0] <= FORGOTTEN)
    if glad:
        before = tuple((time, 0) for time, _found in before)
    return (*before, (at, trouble(scores, triggers, heavy=heavy)))[-KEPT:]
