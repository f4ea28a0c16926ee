"""How one message was heard, decided and answered, sorted for eyes: no I/O, no decisions.

What is not known by name here is not lost: it stands in `rest`, which the page shows as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.web.view import Facts, plain, signed, tag_view

_SCORES = ("intensity", "confidence", "strong", "wants_human", "threat_to_leave", "crisis")
_FIGURES = ("tokens_reused", "tokens_computed", "forwards", "ms", "tokens", "reply_ms")
_PROMPT = ("prompt_prefix", "prompt_header", "prompt_suffix")


def why_view(facts: Facts | None, line: Facts, t: Facts) -> dict[str, Any] | None:
    """Return the panel of one message; None when nothing is kept about it.

    `facts` is what Desk.explain tells, `line` the message's own line of the conversation.
    """
    if not facts:
        return None
    made = dict(facts.get("made") or {})
    reply = made.pop("reply", None)
    scores = facts.get("scores") or {}
    known = {"scores", "made", "trace", "rule", "why", "opened", "mood", "level", "versions"}
    known.add("conversation_id")
    return {
        "text": line.get("text", ""),
        "tag": tag_view(scores, t),
        "chances": [
            {"name": t.get(name, name), "part": part} for name, part in _probs(scores).items()
        ],
        "scores": _pairs(scores, _SCORES, t),
        "heard": _how({"engine": scores.get("instrument", ""), **made}, t),
        "decided": _decided(facts, t),
        "mood": _mood(facts, t),
        "trace": trace_view(facts, t),
        "reply": _how(reply, t) if reply else None,
        "versions": {name: v for name, v in (facts.get("versions") or {}).items() if v},
        "rest": {name: v for name, v in facts.items() if name not in known},
    }


def _probs(scores: Facts) -> Mapping[str, float]:
    found: Mapping[str, float] = scores.get("probs") or {}
    return found


def _pairs(facts: Facts, names: tuple[str, ...], t: Facts) -> list[tuple[str, str]]:
    """Return (label, value) of those names that have a value."""
    words = t["fact"]
    return [
        (words.get(name, name), plain(facts[name])) for name in names if facts.get(name) is not None
    ]


def _decided(facts: Facts, t: Facts) -> str:
    if facts.get("opened"):
        return str(t["why_opened"]).format(why=facts.get("why") or facts.get("rule"))
    return str(t["why_quiet"])


def _mood(facts: Facts, t: Facts) -> str:
    if facts.get("mood") is None:
        return ""
    level = t.get(f"level_{facts.get('level')}", facts.get("level"))
    return str(t["why_mood"]).format(value=signed(facts["mood"]), level=level)


def trace_view(facts: Facts, t: Facts) -> list[dict[str, Any]]:
    """Return the rows of the rule trace of a message or a case."""
    return [_step(one, t) for one in facts.get("trace") or []]


def _step(one: Facts, t: Facts) -> dict[str, Any]:
    name = str(one.get("rule", ""))
    return {
        "rule": t["rule"].get(name, name),
        "value": plain(one.get("value")),
        "threshold": plain(one.get("threshold")),
        "fired": bool(one.get("fired")),
        "note": one.get("note") or "",
    }


def _how(made: Facts, t: Facts) -> dict[str, Any]:
    """Return how a tag or a reply was made: who made it, figures, the prompt, the rest."""
    told = {"engine", *_FIGURES, *_PROMPT, "label_logprobs"}
    own = made.get("prompt_suffix") or made.get("prompt_header") or ""
    shared = made.get("prompt_prefix") or ""
    engine = str(made.get("engine") or "")
    return {
        "engine": t["how"].get(engine, engine),
        "figures": _pairs(made, _FIGURES, t),
        "prompt": {"prefix": shared, "rest": own} if shared or own else None,
        "logprobs": {k: v for k, v in (made.get("label_logprobs") or {}).items() if v is not None},
        "rest": {t["fact"].get(k, k): v for k, v in made.items() if k not in told and v},
    }
