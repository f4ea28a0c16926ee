"""A case as staff see it in a chat: who, why, the mood, what moved it, what can be done.

Other people's words stand on one line each behind a mark, without direction controls, and with
nothing in them that pings or formats; so no line that looks like the card's own is theirs. What
does not fit is cut, the least important first; the first lines and the last one always stay.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from core import durations, picture
from core.message import Button, TextLimit
from core.quoting import clip, harmless, one_line, plain, without_pings
from core.split import measure, split
from core.store.desk import Card
from core.store.rows import base36
from core.texts import STAFF, Texts

View = Mapping[str, Any]
CALM_AFTER = 20 * 60.0  # seconds without a new person, and single pings return
_LIMITS = {"discord": TextLimit(size=2000)}
_LIMIT = TextLimit(size=4096, utf16=True)
_SNOOZES = {"za": 3600, "zb": 4 * 3600, "zc": 86400}
_VERDICTS = {"vr": "right", "vn": "not needed", "vl": "too late"}
_NAMES = {
    "st": "steal", "kp": "keep",
    "cl": "claim", "re": "release", "rp": "reply", "dr": "draft", "rs": "resolve",
    "nn": "notneeded", "bb": "botback", "mo": "more", "wk": "wake", "ro": "reopen",
    "vr": "right", "vn": "notneeded", "vl": "late", "ds": "send", "de": "edit", "dd": "drop",
    "sy": "send_anyway", "kn": "keep_note", "ia": "answer_all", "io": "open_each",
    "ms": "send", "md": "drop",
}  # fmt: skip
_BUTTONS = {
    "queued": ("cl", "rp", "dr", "za", "zb", "zc", "rs", "nn", "mo"),
    "human": ("re", "rp", "dr", "za", "zb", "zc", "rs", "nn", "bb", "mo"),
    "snoozed": ("wk", "rs"),
    "watch": ("cl", "rs"),
    "resolved": ("vr", "vn", "vl", "ro"),
}
_ONLY_DISCORD = frozenset({"rp", "de"})  # they open a form; elsewhere one simply writes


@dataclass(frozen=True, slots=True)
class _Block:
    """Lines that stay or go together; the highest `rank` goes first, rank 0 never goes."""

    rank: int
    lines: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Cards:
    """Draws cards, in the language staff read. `view` is core.ports.Desk's dictionary of a case.

    `platform` is where staff read it: "discord" has forms, markdown and 2000 characters.
    """

    texts: Texts
    language: str = STAFF
    zone: tzinfo = UTC  # of the times on a card; Discord shows each reader's own

    def draw(self, view: View, platform: str = "", *, auto_reply: bool | None = None) -> Card:
        """Draw a case. `auto_reply`: a plain message goes to the person (None: as the platform)."""
        goes_out = platform != "discord" if auto_reply is None else auto_reply
        hint = self._say("card_hint" if goes_out else "card_hint_discord")

        def blocks(most: int) -> list[_Block]:
            return [
                _Block(0, self._head(view, platform, most)),
                _Block(1, self._standing(view, platform)),
                _Block(5, self._past(view, platform, most)),
                _Block(4, self._remarks(view, platform, most)),
                _Block(2, self._evidence(view, platform, most)),
                _Block(6, self._said(view, platform, most)),
                _Block(3, self._suggestion(view, platform, most)),
                _Block(7, [_versions(view, platform)]),
                _Block(0, [hint]),
            ]

        codes = _BUTTONS[view["state"]]
        return Card(
            title=_title(view),
            text=_fit(blocks, _LIMITS.get(platform, _LIMIT)),
            buttons=self._buttons(view["id"], codes, view.get("version", 0), platform, view),
        )

    def more(self, view: View, platform: str = "") -> str:
        """Return what stands behind More: every rule and its numbers, deeds, cases, commands."""

        def blocks(most: int) -> list[_Block]:
            return [
                _Block(0, [f"{self._say('card_trace')}:"]),
                _Block(1, [self._rule(row, platform) for row in view.get("trace") or ()]),
                _Block(2, self._done(view, platform)),
                _Block(2, [self._label("card_versions", _versions(view, platform))]),
                _Block(4, self._past(view, platform, most)),
                _Block(3, self._say("more_commands").split("\n")),
            ]

        return _fit(blocks, _LIMITS.get(platform, _LIMIT))

    def draft(self, view: View, platform: str = "") -> Card:
        """Draw a suggested reply: who wrote it, then its words as they would be sent.

        One that is too long for a card is shown cut, and cannot be edited there.
        """
        by = plain(view.get("draft_by") or "", 60, platform)
        first = self._say("card_draft_by" if by else "card_draft", name=by)
        limit = _LIMITS.get(platform, _LIMIT)
        room = TextLimit(size=limit.size - measure(first, limit) - 2, utf16=limit.utf16)
        lines = (view.get("draft") or "").expandtabs(4).splitlines()
        words = "\n".join(harmless(line) for line in lines)
        if platform != "discord":  # there no post of ours pings, and the form begins with these
            words = without_pings(words)
        parts = split(words, room) or [""]
        whole = len(parts) == 1
        return Card(
            title=_title(view),
            text=f"{first}\n{words if whole else parts[0] + '…'}",
            buttons=self._buttons(
                view["id"],
                ("ds", "de", "dd") if whole else ("ds", "dd"),
                view.get("version", 0),
                platform,
            ),
        )

    def held(self, who: str, wait_words: str, case: int, line_id: int) -> Card:
        """Draw what a second member of staff is asked; `line_id` is the line that is held."""
        return Card(
            title=f"#{case}",
            text=self._say("held_claimed", who=plain(who, 60, ""), when=wait_words),
            buttons=self._buttons(case, ("sy", "kn"), line_id),
        )

    def steal(self, view: View) -> tuple[Button, ...]:
        """Return the button for whoever meets a case that somebody else has."""
        return self._buttons(view["id"], ("st",), view.get("version", 0))

    def undelivered(self, view: View, n: int, platform: str = "") -> Card:
        """Draw the question what becomes of `n` posts that waited for somebody to come back."""
        return Card(
            title=_title(view),
            text=self._say("undelivered", who=plain(view["who"], 60, platform), n=n),
            buttons=self._buttons(view["id"], ("ms", "md"), view.get("version", 0)),
        )

    def incident(self, view: View, now: float, platform: str = "") -> Card:
        """Draw an incident. `view` is one of core.ports.Desk.incidents."""
        minutes = max(1, math.ceil((view["last_at"] - view["opened_at"]) / 60))
        title = self._say("incident", n=view["users"], m=minutes)
        muted = (view.get("muted_until") or 0) > now
        lines = [title]
        for name, found in (("incident_words", "words"), ("incident_where", "places")):
            if words := ", ".join(plain(w, 40, platform) for w in (view.get(found) or ())[:8]):
                lines.append(self._say(name, text=words))
        if now - view["last_at"] >= CALM_AFTER:
            lines.append(self._say("incident_quiet", n=int(now - view["last_at"]) // 60))
        if muted:
            when = self._when(view["muted_until"], platform)
            lines.append(self._say("incident_muted", when=when))
        codes = ("ia", "io") if muted else ("ia", "io", "im")
        return Card(title=title, text="\n".join(lines), buttons=self._buttons(view["id"], codes, 0))

    def _head(self, view: View, platform: str, most: int) -> list[str]:
        """Return the lines that are never cut: who, where it stands, why, and the mood."""
        say, who = self._say, plain(view["who"], 60, platform)
        where = say("card_private" if view.get("private", True) else "card_group")
        resolved = view["state"] == "resolved"
        name = self._ender(view, view) if resolved else view.get("claimed_by")
        name = name or say("transcript_team")
        until = self._when(view.get("snooze_until"), platform)
        state = say(f"card_state_{view['state']}", name=plain(name, 60, platform), when=until)
        if view["state"] == "queued" and (since := view.get("waiting_since", view["opened_at"])):
            state += " · " + say("card_waiting", when=self._when(since, platform))
        title = say("card_title", case=view["id"], who=who or "?")
        level = say(f"level_{view['level']}")
        trace = picture.blocks(view.get("mood_points") or ())
        return [
            f"{title} · {view['platform']} · {plain(view['lang'] or '?', 12, platform)} · {where}",
            state,
            f"{say('card_why')}: {plain(view['why'], min(most, 300), platform)}",
            f"{say('card_mood')}: {view['mood']:+.2f} ({level}) {trace}".rstrip(),
        ]

    def _standing(self, view: View, platform: str) -> list[str]:
        """Return the facts that change what staff do: reach, blocks, what is planned."""
        lines = [self._say("card_cause", text=view["link"])] if view.get("link") else []
        if not view.get("reachable", True):
            lines.append(self._say("card_unreachable", n=view.get("held") or 0))
        for key, name in (("blocked_until", "card_blocked"), ("resolve_at", "card_resolves")):
            if view.get(key):
                lines.append(self._say(name, when=self._when(view[key], platform)))
        if view.get("opted_out"):
            lines.append(self._say("card_opted_out"))
        if view.get("priority"):
            lines.append(self._say("card_priority", n=view["priority"]))
        if view.get("anonymous"):
            lines.append(self._say("card_anonymous"))
        if view.get("helped") in {True, False, "yes", "no"}:
            good = view["helped"] in {True, "yes"}
            lines.append(self._say("card_helped_yes" if good else "card_helped_no"))
        return lines

    def _past(self, view: View, platform: str, most: int) -> list[str]:
        """Return the person's earlier cases and how they ended, and their other accounts."""
        lines = []
        for row in (view.get("earlier") or ())[: -most // 50 - 1 : -1]:  # the newest first
            parts = [f"#{row['id']}", plain(row.get("rule") or "", 30, platform)]
            if by := plain(self._ender(row, view), 40, platform):
                parts.append(self._say("card_resolved_by", name=by))
            codes = [code for code, verdict in _VERDICTS.items() if verdict == row.get("verdict")]
            parts += [self._button_name(code) for code in codes]
            lines.append("• " + " · ".join(filter(None, parts)))
        lines = [f"{self._say('card_earlier')}:", *lines] if lines else []
        others = [
            f"{plain(row['platform'], 20, platform)} {plain(row.get('name') or '', 40, platform)}"
            + (f" #{row['case']}" if row.get("case") else "")
            for row in view.get("elsewhere") or ()
        ]
        return [*lines, f"{self._say('card_elsewhere')}: {', '.join(others)}"] if others else lines

    def _ender(self, row: View, view: View) -> str:
        """Return who ended a case; "user" stands for the person."""
        by = str(row.get("resolved_by") or "")
        return str(view["who"]) if by == "user" else by

    def _remarks(self, view: View, platform: str, most: int) -> list[str]:
        rows = [
            f"{plain(row['who'], 40, platform)}: {plain(row['text'], most, platform)}"
            for row in (view.get("remarks") or ())[-3:]
        ]
        return self._list("card_remarks", rows)

    def _evidence(self, view: View, platform: str, most: int) -> list[str]:
        """Return up to three messages of the person, each with its numbers below it."""
        lines = []
        for moved in (view.get("moved_by") or ())[:3]:
            lines.append("• " + plain(moved["text"], most, platform))
            probs = " ".join(
                f"{plain(label, 3, platform)} {_short(p)}" for label, p in moved["probs"].items()
            )
            heard = {"n": _short(moved["intensity"]), "m": _short(moved["confidence"])}
            lines.append(f"  {probs} · {self._say('card_numbers', **heard)}")
        return [f"{self._say('card_moved_by')}:", *lines] if lines else []

    def _said(self, view: View, platform: str, most: int) -> list[str]:
        rows = [plain(text, min(most, 300), platform) for text in (view.get("said") or ())[-2:]]
        return self._list("card_said", rows)

    def _suggestion(self, view: View, platform: str, most: int) -> list[str]:
        if not view.get("draft"):
            return []
        by = plain(view.get("draft_by") or "", 60, platform)
        first = self._say("card_draft_by" if by else "card_draft", name=by)
        return [f"{first}:", "• " + plain(view["draft"], most, platform)]

    def _list(self, name: str, rows: Iterable[str]) -> list[str]:
        lines = ["• " + row for row in rows if row]
        return [f"{self._say(name)}:", *lines] if lines else []

    def _done(self, view: View, platform: str) -> list[str]:
        """Return what was done with the case and when, as far as there are words for it."""
        rows = []
        for row in view.get("audit") or ():
            name = "did_" + row["what"].replace(" ", "_")
            if name in self.texts.names:
                told = (self._when(row["at"], platform), self._say(name))
                rows.append(" · ".join(filter(None, (*told, plain(row["who"], 60, platform)))))
        return self._list("card_done", rows)

    def _label(self, name: str, words: str) -> str:
        return f"{self._say(name)}: {words}" if words else ""

    def _rule(self, row: Mapping[str, Any], platform: str) -> str:
        """Return one rule of the trace: its value, its threshold, what came of it."""
        fired = bool(row.get("fired"))
        value = f"{row['rule']} {row.get('value', 0):.2f}"
        words = self._say("trace_row", text=value, n=f"{row.get('threshold', 0):.2f}")
        result = self._say("trace_fired" if fired else "trace_quiet")
        note = plain(row.get("note") or "", 80, platform)
        return f"{'●' if fired else '○'} {words}: {result}" + (f" · {note}" if note else "")

    def _when(self, at: float | None, platform: str) -> str:
        if at is None:
            return ""
        if platform == "discord":
            return f"<t:{int(at)}:f>"
        return f"{datetime.fromtimestamp(at, self.zone):%Y-%m-%d %H:%M %Z}"

    def _buttons(
        self,
        number: int,
        codes: Sequence[str],
        last: int,
        platform: str = "",
        view: View | None = None,
    ) -> tuple[Button, ...]:
        """Return the buttons for `codes`; those of the verdict show which one was pressed."""
        verdict = (view or {}).get("verdict")
        return tuple(
            Button(
                label=("● " if verdict and _VERDICTS.get(code) == verdict else "")
                + self._button_name(code),
                data=f"h:{base36(number)}:{code}:{base36(last)}",
            )
            for code in codes
            if platform == "discord" or code not in _ONLY_DISCORD
        )

    def _button_name(self, code: str) -> str:
        if code == "im" or code in _SNOOZES:
            wait = durations.words(_SNOOZES.get(code, 3600), self.language, self.texts)
            wait = wait if code != "zc" else self._say("wait_d", n=1)
            return self._say("button_mute" if code == "im" else "button_snooze", when=wait)
        return self._say(f"button_{_NAMES[code]}")

    def _say(self, name: str, /, **values: str | int) -> str:
        return self.texts.say(name, self.language, **values)


def _title(view: View) -> str:
    return f"#{view['id']} {clip(one_line(view['who']), 80)}".strip()


def _versions(view: View, platform: str) -> str:
    found = (view.get("versions") or {}).items()
    return " · ".join(f"{name} {plain(str(v), 60, platform)}" for name, v in found if v)


def _short(number: float) -> str:
    """Return .91, -.84 or 1.00: two places, no leading zero."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{number:.2f}")


def _fit(blocks: Callable[[int], Sequence[_Block]], limit: TextLimit) -> str:
    """Return the blocks as one text within `limit`: first shorter quotes, then fewer blocks."""
    kept: Sequence[_Block] = ()
    for most in (600, 300, 150):
        kept = blocks(most)
        if measure(_joined(kept), limit) <= limit.size:
            return _joined(kept)
    for rank in sorted({block.rank for block in kept} - {0}, reverse=True):
        kept = [block for block in kept if block.rank != rank]
        if measure(_joined(kept), limit) <= limit.size:
            break
    return _joined(kept)


def _joined(blocks: Iterable[_Block]) -> str:
    return "\n".join(line for block in blocks for line in block.lines if line)
