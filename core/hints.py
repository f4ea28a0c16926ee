"""What staff may mean while they type a command: saved replies, colleagues, common spans."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from core.store import Connection, Store, people, saved

SPANS = ("30m", "1h", "2h", "4h", "1d", "3d", "7d")
WAITS = ("in 30m", "in 2h", "in 1d")  # a resolving that waits for silence


@dataclass(frozen=True, kw_only=True, slots=True)
class Hints:
    """Answers by the command's name and what stands behind it so far."""

    store: Store

    async def __call__(self, command: str, typed: str) -> list[str]:
        """Return what may be meant, best first; nothing where there is nothing to propose."""
        known = await self.store.read(partial(_known, command=command))
        if command == "resolve" and typed.strip():
            known = [f"{typed.strip()} {wait}" for wait in ("", *WAITS)]
        wanted = typed.strip().casefold()
        found = [one.strip() for one in known if wanted in one.casefold()]
        return sorted(found, key=lambda one: not one.casefold().startswith(wanted))


def _known(connection: Connection, *, command: str) -> list[str]:
    match command:
        case "s":
            return [one["name"] for one in saved.every(connection)]
        case "assign":
            names = [name for _, _, _, name in people.colleagues(connection)]
            names += [row.name for row in people.all_staff(connection)]
            return list(dict.fromkeys(names))
        case "snooze":
            return list(SPANS)
        case "resolve":
            return list(WAITS)
        case _:
            return []
