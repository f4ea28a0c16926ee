"""Settings that can be changed while Heed runs, from the page.

A value counts from the environment before the page, from the page before heed.toml. What the page
has changed lies in the database, survives a restart, and is checked like any other value. What a
change would mean is tried on the last messages first, by the judge of the walk itself.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, get_args

import structlog
from pydantic import SecretStr, ValidationError

from bot.config import in_environment, variable, why_wrong
from bot.replay import policies
from bot.section import Section
from bot.settings import Settings, keys_of, known_keys, section_with
from core.errors import DeskError, SetupError
from core.escalation import Past, judge
from core.ports import Clock
from core.store import Store, tuning
from core.store.tuning import HeardLine

log = structlog.get_logger(__name__)

TRIED: Final = 500  # messages that a preview judges
_MINUTE: Final = 60.0
_DESK: Final = (
    "dry_run",
    "alerts_per_day",
    "incident_users",
    "incident_minutes",
    "t1_minutes",
    "t2_minutes",
    "t3_minutes",
    "give_back",
    "hours",
    "timezone",
    "anonymous",
    "claimed_notice",
)
LIVE: Final = frozenset(
    key
    for key in known_keys()
    if key.startswith(("mood.", "escalation.", "access."))
    or (key.startswith("limits.") and key != "limits.message_chars")
    or key == "reply.scope"
    or (key.startswith("desk.") and key.removeprefix("desk.") in _DESK)
)


class Tuning:
    """The settings as they are now. `changed` is told of them after every change."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        clock: Clock,
        *,
        thresholds: Mapping[str, float] | None = None,
        changed: Callable[[Settings], None] = lambda _: None,
    ) -> None:
        """`thresholds`: the table's calibrated ones, as bot.replay.policies takes them."""
        self._given = settings
        self._now = settings
        self._rows: dict[str, str] = {}
        self._store = store
        self._clock = clock
        self._thresholds = dict(thresholds or {})
        self._changed = changed

    def current(self) -> Settings:
        """Return the settings with the page's changes on top."""
        return self._now

    async def load(self) -> None:
        """Read what was changed before the last start; call it once, before the first turn.

        Changes that no longer fit (heed.toml has changed since) are left out, section by section.
        """
        rows = await self._store.read(tuning.rows)
        rows = {key: value for key, value in rows.items() if key in LIVE}
        for section in dict.fromkeys(key.partition(".")[0] for key in rows):
            own = {k: v for k, v in rows.items() if k.startswith(f"{section}.")}
            try:
                self._now = self._with(self._now, own)
            except SetupError as error:
                log.warning("settings of the page do not fit; left out", problem=str(error))
            else:
                self._rows |= own
        self._changed(self._now)

    async def change(self, changes: Mapping[str, str], who: str) -> None:
        """Change settings by `section.key`. Raises DeskError, SetupError: nothing was changed.

        A value that says what heed.toml says takes the page's change back.
        """
        wanted = self._differing(changes)
        if not wanted:
            return
        now = self._with(self._given, self._rows | wanted)
        rows = {
            key: value
            for key, value in (self._rows | wanted).items()
            if _value(now, key) != _value(self._given, key)
        }
        written = {key: rows.get(key) for key in wanted}
        await self._store.write(partial(tuning.put, changes=written, who=who, now=self._clock()))
        self._rows, self._now = rows, now
        self._changed(now)

    async def preview(self, changes: Mapping[str, str]) -> dict[str, Any]:
        """Judge the last messages by the present and by changed settings.

        Returns {"now": cases, "then": cases, "messages"}. Raises DeskError, SetupError.
        """
        then = self._with(self._now, self._differing(changes))
        heard = await self._store.read(partial(tuning.heard, limit=TRIED))
        counts = [
            await asyncio.to_thread(cases, heard, settings, self._thresholds)
            for settings in (self._now, then)
        ]
        return {"now": counts[0], "then": counts[1], "messages": len(heard)}

    def view(self) -> list[dict[str, Any]]:
        """Return every setting as core.ports.Desk.settings says; `help` is its variable."""
        found = []
        for full in keys_of(self._now):
            section, _, key = full.rpartition(".")
            value = _value(self._now, full)
            secret = _is_secret(self._now, full, value)
            source = self._source(full)
            found.append(
                {
                    "section": section,
                    "key": key,
                    "value": ("set" if value else "") if secret else _text(value),
                    "source": source,
                    "secret": secret,
                    "live": full in LIVE and source != "environment",
                    "kind": _kind(self._now, full),
                    "help": variable(full),
                }
            )
        return found

    def _source(self, full: str) -> str:
        if in_environment(full):
            return "environment"
        if full in self._rows:
            return "page"
        own, key = section_with(self._given, full)
        return "file" if key in own.model_fields_set else "default"

    def _differing(self, changes: Mapping[str, str]) -> dict[str, str]:
        """Return the changes that change something. Raises DeskError for what cannot change."""
        differing = {}
        for full, value in changes.items():
            if full not in keys_of(self._now):
                raise DeskError(f"{full} is no setting of Heed.", name="setting_unknown", key=full)
            if value.strip() == _text(_value(self._now, full)):
                continue
            if full not in LIVE:
                raise DeskError(
                    f"{full} needs a restart: change it in heed.toml.",
                    name="setting_restart",
                    key=full,
                )
            if in_environment(full):
                raise DeskError(
                    f"{full} is set by {variable(full)}: change it there.",
                    name="setting_fixed",
                    key=full,
                    variable=variable(full),
                )
            differing[full] = value.strip()
        return differing

    def _with(self, base: Settings, rows: Mapping[str, str]) -> Settings:
        """Return `base` with values on top. Raises SetupError with one plain sentence."""
        sections: dict[str, Section] = {}
        for name in dict.fromkeys(full.partition(".")[0] for full in rows):
            own: Section = getattr(base, name)
            on_top = {
                full.partition(".")[2]: value
                for full, value in rows.items()
                if full.startswith(f"{name}.") and not in_environment(full)
            }
            given = {key: getattr(own, key) for key in own.model_fields_set}
            try:
                sections[name] = type(own).model_validate(given | on_top)
            except ValidationError as error:
                raise SetupError(_sentence(name, error)) from None
        return base.model_copy(update=sections)


def _sentence(section: str, error: ValidationError) -> str:
    place, what = why_wrong(error)
    if not place:
        return f"The settings of [{section}] do not fit together: {what}."
    return f"The setting {section}.{place[0]} {what}."


def _value(settings: Settings, full: str) -> Any:  # noqa: ANN401 - of any setting
    section, key = section_with(settings, full)
    return getattr(section, key)


def _text(value: object) -> str:
    """Return a value as it is written in a variable."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(str(one) for one in value)
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _is_secret(settings: Settings, full: str, value: object) -> bool:
    if isinstance(value, str):  # an address with a password in it
        return re.search(r"://[^/\s]*:[^/\s]+@", value) is not None
    section, key = section_with(settings, full)
    return SecretStr in get_args(type(section).model_fields[key].annotation)


def _kind(settings: Settings, full: str) -> str:
    """Say how a setting is written: switch, number, list or text."""
    section, key = section_with(settings, full)
    default = type(section).model_fields[key].default
    if isinstance(default, bool):
        return "switch"
    if isinstance(default, tuple):
        return "list"
    return "number" if isinstance(default, (int, float)) else "text"


def cases(heard: Sequence[HeardLine], settings: Settings, thresholds: Mapping[str, float]) -> int:
    """Return how many cases these messages would have opened, each case resolved at once."""
    ladder, policy = policies(settings, dict(thresholds))
    rest = settings.escalation.refractory_minutes * _MINUTE
    pasts: dict[int, Past] = {}
    quiet: dict[int, float] = {}  # until when a conversation's case counts as the same one
    opened = 0
    for line in heard:
        past = pasts.get(line.conversation_id, Past())
        judged = judge(
            past,
            line.text,
            line.scores,
            line.at,
            private=line.private,
            mood_policy=ladder,
            policy=policy,
        )
        past = judged.past
        if judged.decision.open and line.at >= quiet.get(line.conversation_id, 0.0):
            opened += 1
            quiet[line.conversation_id] = line.at + rest
            past = replace(past.opened(judged.decision, line.at), refractory_until=line.at + rest)
        pasts[line.conversation_id] = past
    return opened
