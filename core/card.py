"""A case as staff see it in a chat: who, why, the mood, what moved it, what can be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.message import Button
from core.store.desk import Card
from core.texts import Texts

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, kw_only=True)
class Cards:
    """Draws cards, in the language staff read."""

    texts: Texts
    language: str = "en"

    def draw(self, view: Mapping[str, Any], platform: str = "") -> Card:
        """Draw a case for a staff chat on `platform`. `view` is core.store.views.case_view."""
        say = self.texts.say
        tongue = self.language
        name = view["claimed_by"] or view.get("resolved_by") or ""
        title = say("card_title", tongue, case=view["id"], who=view["who"])
        rows = [
            f"{title} · {view['platform']} · {view['lang'] or '?'}",
            say(f"card_state_{view['state']}", tongue, name=name or "Heed"),
            f"{say('card_why', tongue)}: {view['why']}",
            f"{say('card_mood', tongue)}: {view['mood']:+.2f} ({view['level']})",
        ]
        if view["moved_by"]:
            rows.append(f"{say('card_moved_by', tongue)}:")
            rows += [f"• {_short(m['text'])}\n  {_numbers(m)}" for m in view["moved_by"]]
        versions = " · ".join(f"{k} {v}" for k, v in view["versions"].items() if v)
        if versions:
            rows.append(versions)
        rows.append(say("card_hint_discord" if platform == "discord" else "card_hint", tongue))
        return Card(
            title=f"#{view['id']} {view['who']}"[:100],
            text="\n".join(rows)[:1900],
            buttons=self._buttons(view),
        )

    def _buttons(self, view: Mapping[str, Any]) -> tuple[Button, ...]:
        verbs: dict[str, Sequence[str]] = {
            "queued": ("cl", "rs", "nn"),
            "human": ("re", "rs", "nn", "bb"),
            "watch": ("cl", "rs"),
            "resolved": (),
        }
        names = {
            "cl": "button_claim",
            "re": "button_release",
            "rs": "button_resolve",
            "nn": "button_notneeded",
            "bb": "button_botback",
        }
        return tuple(
            Button(
                label=self.texts.say(names[code], self.language),
                data=f"h:{base36(view['id'])}:{code}:{base36(view['version'])}",
            )
            for code in verbs[view["state"]]
        )


def _short(text: str, most: int = 200) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _numbers(moved: Mapping[str, Any]) -> str:
    probs = " ".join(f"{label[:3]} {p:.2f}" for label, p in moved["probs"].items())
    return f"{probs} · intensity {moved['intensity']:+.2f} · confidence {moved['confidence']:.2f}"


def base36(number: int) -> str:
    """Return a number in base 36, as button data keeps it. `number` >= 0."""
    digits = ""
    while True:
        number, rest = divmod(number, 36)
        digits = _DIGITS[rest] + digits
        if not number:
            return digits
