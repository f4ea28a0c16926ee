"""A whole case to keep: as JSON, and as one page that stands alone and prints well.

For staff it holds everything; for the person only what was said to them and by them, under the
team's name where staff answered without theirs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from html import escape
from typing import Any

from core.sheet import sheet
from core.texts import Texts

View = Mapping[str, Any]
_SPOKEN = frozenset({"user", "bot", "staff"})
_STYLE = """
body{max-width:44rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif;
color:#1c2026;background:#fff}
h1{font-size:1.4rem;margin:0}
.facts,footer,small{color:#59626f}
ol{list-style:none;padding:0}
li{margin:.7rem 0;padding:.5rem .8rem;border-left:4px solid #b9c1cc;break-inside:avoid}
li.user{border-color:#3b73c4}
li.staff{border-color:#2c8a57}
li.note{background:#fff6da;border-color:#c99a1c}
li.marker{border:0;text-align:center;color:#59626f}
p{margin:.1rem 0;white-space:pre-wrap;overflow-wrap:anywhere}
.erased{font-style:italic;color:#59626f}
@media(prefers-color-scheme:dark){@media screen{body{color:#dfe4ea;background:#181b20}
.facts,footer,small,.erased,li.marker{color:#9aa5b3}li.note{background:#37301a}}}
"""


def as_json(view: View, *, for_person: bool = False) -> bytes:
    """Return a case as UTF-8 JSON. `view` is core.ports.Desk.transcript's dictionary.

    `for_person` leaves out notes, scores, decisions and everything that staff noted; a staff
    name is kept unless the case's staff answer without theirs. An erased line keeps its time,
    and `deleted` is true.
    """
    whole: dict[str, Any] = (
        {
            "id": view["id"],
            "opened_at": view.get("opened_at"),
            "resolved_at": view.get("resolved_at"),
            "lines": [_for_person(line, view) for line in view["lines"] if _theirs(line)],
        }
        if for_person
        else {**view, "lines": [_kept(line) for line in view["lines"]]}
    )
    return json.dumps(whole, ensure_ascii=False, indent=1).encode("utf-8", "replace")


def as_page(
    view: View, texts: Texts, lang: str, *, for_person: bool = False, zone: tzinfo = UTC
) -> bytes:
    """Return a case as one HTML file without scripts or anything fetched; times in `zone`."""
    title = texts.say("transcript_title", lang, case=view["id"])
    lines = [line for line in view["lines"] if not for_person or _theirs(line)]
    items = "\n".join(
        _item(line, view, (texts, lang), zone, for_person=for_person) for line in lines
    )
    facts = "" if for_person else _facts(view, texts, lang)
    times = texts.say("transcript_times", lang, name=str(zone))
    return sheet(lang, title, _STYLE, f"{facts}<ol>\n{items}\n</ol>", times)


def _facts(view: View, texts: Texts, lang: str) -> str:
    """Return the line above the talk: who, where, why, how bad it was, and the verdict."""
    why = f"{texts.say('card_why', lang)}: {view.get('why') or '-'}"
    mood = f"{texts.say('card_mood', lang)}: {view.get('mood') or 0:+.2f}"
    facts = (view.get("who"), view.get("platform"), why, mood, view.get("verdict"))
    return f'<p class="facts" dir="auto">{escape(" · ".join(str(f) for f in facts if f))}</p>\n'


def _item(
    line: View, view: View, said_in: tuple[Texts, str], zone: tzinfo, *, for_person: bool
) -> str:
    texts, lang = said_in
    at = datetime.fromtimestamp(line["at"], zone)
    when = f'<time datetime="{at.isoformat(timespec="seconds")}">{at:%Y-%m-%d %H:%M}</time>'
    if line["role"] == "marker":
        return f'<li class="marker" dir="auto">{escape(_text(line))} · {when}</li>'
    who = escape(_name(line, view, texts, lang, for_person=for_person))
    edited = f" · {escape(texts.say('transcript_edited', lang))}" if line.get("was") else ""
    if _erased(line):
        body = f'<p class="erased">{escape(texts.say("transcript_erased", lang))}</p>'
    else:
        body = f'<p dir="auto">{escape(_text(line))}</p>' if _text(line) else ""
        body += "".join(f'<p dir="auto">{escape(_file(file))}</p>' for file in _files(line))
        if line.get("tag") and not for_person:
            body += f"<small>{escape(_heard(line['tag']))}</small>"
    role = line["role"] if line["role"] in _SPOKEN else "note"
    return f'<li class="{role}"><small>{who} · {when}{edited}</small>{body}</li>'


def _name(line: View, view: View, texts: Texts, lang: str, *, for_person: bool) -> str:
    """Return who said a line; staff by the team's name where the person never saw their own."""
    team = texts.say("transcript_team", lang)
    name = str(line.get("name") or "")
    if line["role"] == "user":
        return name or str(view.get("who") or "")
    if line["role"] == "bot":
        return texts.say("transcript_bot", lang)
    if line["role"] not in _SPOKEN:  # a note, or an answer that was held back
        return f"{texts.say('transcript_note', lang)} · {name or team}"
    return team if for_person and view.get("anonymous") else name or team


def _theirs(line: View) -> bool:
    return line["role"] in _SPOKEN


def _for_person(line: View, view: View) -> dict[str, Any]:
    """Return what a person may read of one line."""
    hidden = line["role"] != "staff" or bool(view.get("anonymous"))
    return {
        "id": line["id"],
        "role": line["role"],
        "at": line["at"],
        "name": "" if hidden and line["role"] != "user" else line.get("name") or "",
        "text": "(erased)" if _erased(line) else _text(line),
        "files": [] if _erased(line) else [dict(file) for file in _files(line)],
        "deleted": _erased(line),
    }


def _kept(line: View) -> dict[str, Any]:
    """Return a line for staff; of an erased one nothing that was said, also not before an edit."""
    if not _erased(line):
        return dict(line)
    return {**line, "text": "(erased)", "was": "", "files": [], "deleted": True}


def _erased(line: View) -> bool:
    return bool(line.get("deleted")) or not (_text(line) or _files(line))


def _text(line: View) -> str:
    return str(line.get("text") or "")


def _files(line: View) -> list[View]:
    return list(line.get("files") or ())


def _file(file: View) -> str:
    """Return a file in words: it stays on its platform."""
    size = f"{file['size'] / 1024:.0f} KB" if file.get("size") else ""
    parts = (file.get("name") or file.get("kind"), size, file.get("words"))
    return "📎 " + " · ".join(str(part) for part in parts if part)


def _heard(tag: View) -> str:
    """Return how one message was heard, in numbers."""
    probs = " ".join(f"{label} {p:.2f}" for label, p in (tag.get("probs") or {}).items())
    numbers = [f"{k} {tag[k]:.2f}" for k in ("intensity", "confidence") if k in tag]
    return " · ".join(filter(None, (probs, *numbers)))
