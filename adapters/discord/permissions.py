"""What somebody may do in a server or a channel, worked out as Discord's documentation says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

ADMINISTRATOR = 1 << 3
MANAGE_CHANNELS = 1 << 4
MANAGE_SERVER = 1 << 5
VIEW = 1 << 10
SEND = 1 << 11
MANAGE_MESSAGES = 1 << 13
MANAGE_THREADS = 1 << 34
SEND_IN_THREADS = 1 << 38
MODERATE_MEMBERS = 1 << 40
BYPASS_SLOW_MODE = 1 << 52

EVERYTHING = -1  # has every bit

_MANAGERS = ADMINISTRATOR | MANAGE_SERVER | MODERATE_MEMBERS


def manages(held: int) -> bool:
    """Say whether somebody with these permissions runs the server, or keeps order in it."""
    return bool(held & _MANAGERS)


def permissions(
    server: Mapping[str, Any],
    roles: Iterable[str],
    overwrites: Iterable[Mapping[str, Any]],
    user: str,
) -> int:
    """Return the permission bits of somebody in a channel; without overwrites, in the server.

    `server` is the payload of a server with its owner and roles. Raises what a payload of the
    wrong shape raises.
    """
    if str(server.get("owner_id")) == user:
        return EVERYTHING
    everyone = str(server["id"])
    mine = {str(role) for role in roles} | {everyone}
    held = 0
    for role in server["roles"]:
        if str(role["id"]) in mine:
            held |= int(role["permissions"])
    if held & ADMINISTRATOR:
        return EVERYTHING
    by_id = {str(one["id"]): one for one in overwrites}
    steps = ([everyone], sorted(mine - {everyone}), [user])  # each goes over the one before
    for step in steps:
        found = [by_id[one] for one in step if one in by_id]
        for one in found:
            held &= ~int(one["deny"])
        for one in found:
            held |= int(one["allow"])
    return held
