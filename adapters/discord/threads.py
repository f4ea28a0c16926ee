"""A case's thread: made in a channel or a forum, and brought up to date with the case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal
from weakref import WeakValueDictionary

import discord
from discord.http import handle_message_parameters

from adapters.discord.recent import Recent
from core.message import Post, Receipt

_NAME = 100  # characters
_WEEK: Literal[10080] = 10080  # minutes
_FORUMS = frozenset({15, 16})
_TAGGED = 1 << 4  # a forum that takes no post without a tag
_PLACEHOLDER = "…"  # a forum's post needs a first message before the card is drawn
_NO_RIGHT = 50013
_TAGS: Mapping[str, frozenset[str]] = {  # what an operator may call the tag of a state
    "queued": frozenset({"queued", "waiting"}),
    "human": frozenset({"human", "claimed"}),
    "snoozed": frozenset({"snoozed"}),
    "watch": frozenset({"watch"}),
    "resolved": frozenset({"resolved"}),
}
_ALL_TAGS = frozenset().union(*_TAGS.values())
_MOST_TAGS = 5


class Threads:
    """Makes and changes threads; raises what the library raises.

    One at a time opens or closes a thread: a card is drawn beside the posts of its case, and would
    close what these opened meanwhile.
    """

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._named: Recent[str] = Recent(1000)  # the name last given: two changes in 10 minutes

    async def make(self, client: discord.Client, post: Post) -> Receipt:
        """Make a thread in a text channel, or a post in a forum."""
        parent: Mapping[str, Any] = await client.http.get_channel(int(post.place.chat))
        name = _name(post.text) or "case"
        made: Mapping[str, Any]
        if parent["type"] in _FORUMS:
            tags = _tagged(parent, (), post.state)
            if not tags and parent.get("flags", 0) & _TAGGED:
                tags = [str(one["id"]) for one in parent["available_tags"][:1]]
            head = {"name": name, "auto_archive_duration": _WEEK, "applied_tags": tags}
            silent = discord.AllowedMentions.none()
            with handle_message_parameters(
                _PLACEHOLDER, allowed_mentions=silent, channel_payload=head
            ) as params:
                made = await client.http.start_thread_in_forum(int(parent["id"]), params=params)
        else:
            made = await client.http.start_thread_without_message(
                int(post.place.chat),
                name=name,
                auto_archive_duration=_WEEK,
                type=discord.ChannelType.public_thread.value,
            )
        thread = str(made["id"])
        self._named.put(thread, name)
        return Receipt(message_id=thread, thread=thread)

    async def update(self, client: discord.Client, post: Post) -> Receipt:
        """Bring name, tag and openness up to date; nothing to change is a success."""
        thread = str(post.message_id)
        async with self._turn(thread):
            now: Mapping[str, Any] = await client.http.get_channel(int(thread))
            changes = await self._changes(client, now, post)
            shut = now["thread_metadata"]["archived"]
            if shut and changes.get("archived", True) and {"name", "applied_tags"} & changes.keys():
                await client.http.edit_channel(int(thread), archived=False)  # or nothing changes
                changes["archived"] = True
            if changes:
                await _edit(client, thread, changes)
        if "name" in changes:
            self._named.put(thread, changes["name"])
        return Receipt(message_id=thread, thread=thread)

    @asynccontextmanager
    async def ajar(self, client: discord.Client, thread: str) -> AsyncIterator[None]:
        """Hold a shut thread open for a change in it: a message there cannot be edited.

        One that turns out to be open, because its case woke meanwhile, stays open.
        """
        async with self._turn(thread):
            now: Mapping[str, Any] = await client.http.get_channel(int(thread))
            shut = now["thread_metadata"]["archived"]
            if shut:
                await client.http.edit_channel(int(thread), archived=False)
            try:
                yield
            finally:
                if shut:
                    await client.http.edit_channel(int(thread), archived=True)

    def _turn(self, thread: str) -> asyncio.Lock:
        return self._turns.setdefault(thread, asyncio.Lock())

    async def _changes(
        self, client: discord.Client, now: Mapping[str, Any], post: Post
    ) -> dict[str, Any]:
        """Say what differs between a thread and what it should be."""
        meta = now["thread_metadata"]
        wanted = {
            "archived": (bool(meta["archived"]), post.state in {"resolved", "snoozed"}),
            "locked": (bool(meta.get("locked")), post.state == "resolved"),
        }
        changes: dict[str, Any] = {
            key: to for key, (is_now, to) in wanted.items() if is_now is not to
        }
        name = _name(post.text)
        if name and name not in {now["name"], self._named.get(str(now["id"]))}:
            changes["name"] = name
        if "applied_tags" in now and post.state:
            parent: Mapping[str, Any] = await client.http.get_channel(int(now["parent_id"]))
            before = [str(one) for one in now["applied_tags"]]
            tags = _tagged(parent, before, post.state)
            if tags != before and parent["type"] in _FORUMS:
                changes["applied_tags"] = tags
        return changes


async def _edit(client: discord.Client, thread: str, changes: Mapping[str, Any]) -> None:
    """Change a thread; who may not lock may still close, if the thread is theirs."""
    try:
        await client.http.edit_channel(int(thread), **changes)
    except discord.Forbidden as error:
        rest = {key: value for key, value in changes.items() if key != "locked"}
        if error.code != _NO_RIGHT or not rest or len(rest) == len(changes):
            raise
        await client.http.edit_channel(int(thread), **rest)


def _name(text: str) -> str:
    return " ".join(text.split())[:_NAME]


def _tagged(forum: Mapping[str, Any], before: Sequence[str], state: str) -> list[str]:
    """Return the tags of a post: staff's own, and the one that the state has in this forum."""
    names = {
        str(one["id"]): str(one["name"]).strip().casefold()
        for one in forum.get("available_tags") or ()
    }
    others = [one for one in before if names.get(one) not in _ALL_TAGS]
    wanted = _TAGS.get(state, frozenset())
    ours = [one for one, name in names.items() if name in wanted][:1]
    return [*others[: _MOST_TAGS - len(ours)], *ours]
