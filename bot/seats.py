"""Where staff sit right now: the chats of the list, moved ones too, and who is known there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial

from bot.desk import by_health, desk_places, places_of
from bot.settings import Settings
from core.message import Message, Place
from core.ports import Adapter, Clock
from core.store import Store, people

ReadCursor = Callable[[str], Awaitable[str | None]]


class Seats:
    """The desk's chats of a running Heed. `places` is one list that grows: others hold it."""

    def __init__(self, settings: Settings, adapters: Mapping[tuple[str, str], Adapter]) -> None:
        self._settings = settings
        self._adapters = adapters
        self._moved: dict[Place, Place] = {}  # desks whose chat has another id by now
        self.places = desk_places(settings)  # every chat where staff speak, under each of its ids

    def now(self) -> tuple[Place, ...]:
        """Return where cases go now, the best first; nowhere: the page alone."""
        places = [self._moved.get(place, place) for place in desk_places(self._settings)]
        return by_health(places, self._adapters)

    def on_call(self) -> list[Place]:
        """Return where a case is called out a second time."""
        return places_of(self._settings, self._settings.desk.on_call_places)

    def operator(self) -> Place | None:
        """Return who is told what the operator must know, `chat` being their user id; or None."""
        own = self._settings.desk.operator_place
        return next(iter(places_of(self._settings, () if own is None else (own,))), None)

    def moved(self, message: Message) -> None:
        """A desk's group has become a supergroup: staff sit under its new id now."""
        for place in desk_places(self._settings):
            here = (place.platform, place.bot, place.chat)
            if here == (message.key.platform, message.key.bot, message.key.chat):
                self._move(place, message.data)

    async def know_moved(self, read_cursor: ReadCursor) -> None:
        """Remember which desks have moved before this start."""
        for place in desk_places(self._settings):
            chat = await read_cursor(f"{place.platform}/{place.bot}/moved/{place.chat}")
            if chat:
                self._move(place, chat)

    def _move(self, place: Place, chat: str) -> None:
        self._moved[place] = replace(place, chat=chat)
        self.places.append(self._moved[place])

    async def know_staff(self, store: Store, clock: Clock) -> None:
        """Whoever is named in the settings is staff before they have written at the desk."""
        named = [
            (platform, bot, user)
            for user in self._settings.desk.members
            for platform, bot in self._adapters
            if platform in ("telegram", "discord")
        ]
        for platform, bot, user in named:
            await store.write(
                partial(people.learn, platform=platform, bot=bot, user=user, name="", now=clock())
            )
