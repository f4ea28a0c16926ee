"""All that is kept of a person, for them to have: as JSON, and as one page that stands alone.

The page is read without a network and runs nothing; every word in it is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from html import escape
from typing import Any

from core.sheet import sheet
from core.texts import Texts

Kept = Mapping[str, Any]  # of one place: core.store.kept.export's dictionary
_STYLE = """
body{max-width:48rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif;
color:#1c2026;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.5rem}h3{font-size:1rem;color:#59626f}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dt{color:#59626f}dd{margin:0}
ol{list-style:none;padding:0}
li{margin:.7rem 0;padding:.4rem .8rem;border-left:4px solid #b9c1cc;break-inside:avoid}
li.user{border-color:#3b73c4}li.staff{border-color:#2c8a57}
p,dd{margin:.1rem 0;white-space:pre-wrap;overflow-wrap:anywhere}
small,footer{color:#59626f}
@media(prefers-color-scheme:dark){@media screen{body{color:#dfe4ea;background:#181b20}
small,footer,dt,h3{color:#9aa5b3}}}
"""
_NUMBERS = ("intensity", "confidence", "strong", "wants_human", "threat_to_leave", "crisis")


def as_json(places: Sequence[Kept]) -> bytes:
    """Return it as UTF-8 JSON: a list, one entry per place."""
    return json.dumps(places, ensure_ascii=False, indent=1).encode("utf-8", "replace")


def as_page(places: Sequence[Kept], texts: Texts, lang: str, *, zone: tzinfo = UTC) -> bytes:
    """Return it as one HTML file without scripts or anything fetched; times in `zone`."""
    page = _Page(texts, lang, zone)
    body = "\n".join(page.place(one) for one in places) or f"<p>{page.word('dossier_none')}</p>"
    body = f"<p>{page.word('dossier_about')}</p>\n{body}"
    times = texts.say("transcript_times", lang, name=str(zone))
    return sheet(lang, texts.say("dossier_title", lang), _STYLE, body, times)


class _Page:
    """Writes the parts of one page, in one language."""

    def __init__(self, texts: Texts, lang: str, zone: tzinfo) -> None:
        self._texts = texts
        self._lang = lang
        self._zone = zone

    def word(self, name: str) -> str:
        """Return a fixed text, escaped."""
        return escape(self._texts.say(name, self._lang))

    def place(self, kept: Kept) -> str:
        """Return all that is kept of a person in one place."""
        person = kept["person"]
        where = " · ".join(str(person[n]) for n in ("platform", "chat", "thread") if person[n])
        parts = [f'<h2 dir="auto">{escape(where)}</h2>', self._person(person)]
        for name, rows in (
            ("messages", [self._line(one) for one in kept["messages"]]),
            ("unread", [self._told(one["received_at"], _flat(one)) for one in kept["unread"]]),
            ("decisions", [self._decision(one) for one in kept["decisions"]]),
            ("cases", [self._told(one["opened_at"], _flat(one)) for one in kept["cases"]]),
            ("feedback", [self._told(one["at"], _flat(one)) for one in kept["feedback"]]),
        ):
            if rows:
                count = f"{self.word(f'dossier_{name}')} ({len(rows)})"
                parts.append(f"<h3>{count}</h3><ol>{''.join(rows)}</ol>")
        return f"<section>{''.join(parts)}</section>"

    def _person(self, person: Mapping[str, Any]) -> str:
        rows = [
            (name, self._when(value) if name.endswith(("_at", "_since", "_until")) else value)
            for name, value in person.items()
            if value not in ("", None, [], {}) and name not in ("linked", "unreadable_at")
        ]
        rows += [
            ("linked", " · ".join(str(v) for v in one.values() if v))
            for one in person.get("linked") or ()
        ]
        rows += [("unreadable_at", self._when(at)) for at in person.get("unreadable_at") or ()]
        told = "".join(f'<dt>{escape(n)}</dt><dd dir="auto">{escape(str(v))}</dd>' for n, v in rows)
        return f"<dl>{told}</dl>"

    def _line(self, line: Mapping[str, Any]) -> str:
        who = line["name"] or self._texts.say(f"dossier_{line['role']}", self._lang)
        words = [str(line["text"])] if line["text"] else []
        words += ["📎 " + _flat(file) for file in line["files"] or ()]
        body = "".join(f'<p dir="auto">{escape(one)}</p>' for one in words)
        small = [f"{self.word('dossier_was')}: {escape(line['was'])}"] if line["was"] else []
        if line["scores"]:
            small.append(escape(_scores(line["scores"])))
        if line["model"]:
            small.append(escape(f"{line['model']} {line['prompt']}".strip()))
        notes = "".join(f'<p dir="auto"><small>{one}</small></p>' for one in small)
        role = "user" if line["role"] == "user" else "staff" if line["role"] == "staff" else "bot"
        head = f"{escape(str(who))} · {self._when(line['at'])}"
        return f'<li class="{role}"><small dir="auto">{head}</small>{body}{notes}</li>'

    def _decision(self, row: Mapping[str, Any]) -> str:
        rules = [
            f"{one['rule']} {one.get('value', 0):.2f}/{one.get('threshold', 0):.2f}"
            + (f" {one['note']}" if one.get("note") else "")
            for one in row["trace"] or ()
        ]
        told = {n: row[n] for n in ("rule", "why", "opened", "mood", "level") if n in row}
        return self._told(row["at"], " · ".join(filter(None, [_flat(told), *rules])))

    def _told(self, at: float, words: str) -> str:
        return f'<li><small>{self._when(at)}</small><p dir="auto">{escape(words)}</p></li>'

    def _when(self, at: float | None) -> str:
        if at is None:
            return ""
        return f"{datetime.fromtimestamp(at, self._zone):%Y-%m-%d %H:%M}"


def _scores(scores: Mapping[str, Any]) -> str:
    probs = [f"{label} {p:.2f}" for label, p in (scores.get("probs") or {}).items()]
    return " · ".join([*probs, *(f"{n} {scores[n]:.2f}" for n in _NUMBERS if n in scores)])


def _flat(value: object) -> str:
    """Return data in words: what is empty is left out."""
    if isinstance(value, Mapping):
        pairs: Iterable[tuple[Any, str]] = ((key, _flat(one)) for key, one in value.items())
        return ", ".join(f"{key}: {one}" for key, one in pairs if one)
    if isinstance(value, list | tuple):
        return "; ".join(filter(None, map(_flat, value)))
    if value is None or value is False:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)
