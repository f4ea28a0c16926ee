"""The gates between a message in a server and its answer, asked of Discord one by one.

In order: does the bot see the channel, does Discord hand over the text, is a message heard that
does not speak to the bot, may the bot write there, and does slow mode hold it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.discord.normalize import MALFORMED, Scope, where_of
from adapters.discord.permissions import (
    BYPASS_SLOW_MODE,
    MANAGE_CHANNELS,
    MANAGE_MESSAGES,
    MANAGE_THREADS,
    SEND,
    SEND_IN_THREADS,
    VIEW,
    permissions,
)
from adapters.discord.rest import Rest
from core.errors import OutcomeUnknown, Unreachable
from core.message import Place
from core.ports import Gate

CONTENT = (1 << 18) | (1 << 19)  # flags of an application that may read all text; of a small one

_UNHURRIED = MANAGE_MESSAGES | MANAGE_CHANNELS | MANAGE_THREADS | BYPASS_SLOW_MODE


async def gates(rest: Rest, scope: Scope, place: Place, *, watching: bool) -> list[Gate]:
    """Return the gates of a channel or thread, first gate first; none for a direct channel.

    `watching`: the operator asks for mode watch. Raises DeliveryError.
    """
    try:
        channel = await rest.channel(place.thread or place.chat)
    except Unreachable:
        return [Gate(name="discord_view", open=False, values={"channel": place.chat})]
    try:
        where = where_of(channel)
        if where.private:
            return []
        parent = await rest.channel(where.chat) if where.thread else channel
        server = await rest.server(where.server)
        application = await rest.application()
        me = await rest.me()
        member = await rest.member(where.server, me)
        held = permissions(server, member["roles"], parent.get("permission_overwrites") or (), me)
        seen = bool(held & VIEW)
        name = f"#{channel.get('name') or place.chat}"
        return [
            Gate(name="discord_view", open=seen, values={"channel": name}),
            _intent(int(application.get("flags") or 0), watching=watching),
            _heard(scope, where.chat, where.thread, name),
            _send(channel, held, name, thread=bool(where.thread)),
            _slow(channel, held, name),
        ]
    except MALFORMED as error:
        raise OutcomeUnknown(f"Discord's answer cannot be understood: {error!r}") from error


def _intent(flags: int, *, watching: bool) -> Gate:
    mode = "watch" if watching else "mention"
    granted = bool(flags & CONTENT)
    return Gate(name="discord_intent", open=granted or not watching, values={"mode": mode})


def _heard(scope: Scope, chat: str, thread: str, name: str) -> Gate:
    heard = bool({chat, thread} & (scope.watch | {scope.desk}) - {""})
    return Gate(name="discord_heard", open=heard, values={"channel": name, "id": chat})


def _send(channel: Mapping[str, Any], held: int, name: str, *, thread: bool) -> Gate:
    right, words = (
        (SEND_IN_THREADS, "Send Messages in Threads") if thread else (SEND, "Send Messages")
    )
    allowed = bool(held & right)
    locked = bool((channel.get("thread_metadata") or {}).get("locked"))
    if allowed and locked and not held & MANAGE_THREADS:
        allowed, words = False, "Manage Threads"  # whoever may unlock it may write in it
    return Gate(name="discord_send", open=allowed, values={"channel": name, "right": words})


def _slow(channel: Mapping[str, Any], held: int, name: str) -> Gate:
    seconds = int(channel.get("rate_limit_per_user") or 0)
    free = not seconds or bool(held & _UNHURRIED)
    values = {"channel": name, "seconds": str(seconds)}
    return Gate(name="discord_slow", open=free, values=values)
