"""The desk as the operator has set it up: its rules, its places, the files it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from bot.settings import Settings, StaffPlace
from core import crowd, dossier, picture, transcript
from core.engine.mind import Mind
from core.errors import Refused
from core.handoff import DeskPolicy, Rules
from core.hours import Hours
from core.message import File, Media, Place
from core.ports import Adapter, Clock
from core.rights import Facts
from core.store import Store, digests, kept, views
from core.store.alarms import Alarms
from core.store.places import YOURS
from core.texts import STAFF, Texts

MINUTE, HOUR = 60.0, 3600.0
_ON_OFF = {"on": True, "off": False}


def rules_of(settings: Settings) -> Rules:
    """Return what the desk goes by, from the settings of now."""
    own, mood = settings.desk, settings.escalation
    hours = Hours.read(own.hours, own.timezone)
    policy = DeskPolicy(
        reopen=own.reopen_hours * HOUR,
        refractory=mood.refractory_minutes * MINUTE,
        not_needed=mood.not_needed_minutes * MINUTE,
        t1=own.t1_minutes * MINUTE,
        t2=own.t2_minutes * MINUTE,
        t3=own.t3_minutes * MINUTE,
        delay=own.delay_minutes * MINUTE,
        inactive=own.inactive_hours * HOUR,
        give_back=own.give_back,
        hard_lock=own.lock == "hard",
        anonymous=own.anonymous,
        role=own.role_name,
        claimed_notice=own.claimed_notice,
        csat=own.csat,
        pictures=own.pictures,
        transcript_to_user=own.transcript_to_user,
        replies=_ON_OFF.get(own.auto_reply),
        roles=frozenset(own.roles),
        zone=hours.zone,
        after=hours.after,
        is_open=hours.is_open,
    )
    alarms = Alarms(
        per_day=own.alerts_per_day,
        users=own.incident_users,
        seconds=own.incident_minutes * MINUTE,
        words=crowd.common_words,
        next_hour=lambda now: _next_list(hours, now),
    )
    return Rules(policy=policy, alarms=alarms)


def _next_list(hours: Hours, now: float) -> float:
    """Return when the next list of those who wait is posted: on the hour, while staff are here."""
    at = now + HOUR - now % HOUR
    if hours.is_open(at):
        return at
    return hours.next_opening(at) or at


def places_of(settings: Settings, wanted: tuple[StaffPlace, ...]) -> list[Place]:
    """Return the staff chats among `wanted` whose platform has a token, without the page."""
    found = []
    for place in wanted:
        bot = _bot_of(settings, place)
        if bot is not None:
            found.append(Place(platform=place.platform, bot=bot, chat=place.chat))
    return found


def desk_places(settings: Settings) -> list[Place]:
    """Return the staff chats of the settings, in order of preference, without the web page."""
    return places_of(settings, settings.desk.places)


def _bot_of(settings: Settings, place: StaffPlace) -> str | None:
    """Return the bot that a place of staff belongs to: the first one there that has a token."""
    if place.platform == "telegram":
        return next((bot.number for bot in settings.telegram.bots().values()), None)
    if place.platform == "discord":
        return next(iter(settings.discord.bots()), None)
    return None


def by_health(
    places: list[Place], adapters: Mapping[tuple[str, str], Adapter]
) -> tuple[Place, ...]:
    """Return the places in order of preference, those whose platform is down last.

    None is left out: what waits for a platform that is down leaves when it is back.
    """

    def down(place: Place) -> bool:
        adapter = adapters.get((place.platform, place.bot))
        return adapter is None or adapter.health().state in ("off", "failing")

    connected = [p for p in places if (p.platform, p.bot) in adapters]
    return tuple(sorted(connected, key=down))


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Makes the files that Heed itself adds to a case: the mood's picture, the transcript."""

    store: Store
    texts: Texts
    settings: Callable[[], Settings]

    async def draw(self, media: Media) -> File:
        """Draw or write a file from the database as it is now. Raises Refused."""
        if media.name.startswith(kept.FILES):
            return await self._dossier(media)
        full = await self.store.read(partial(views.transcript, case_id=int(media.file_id)))
        if full is None:
            raise Refused("this case was erased")
        if media.kind == "photo":
            mood = self.settings().mood
            content = picture.mood_picture(
                full["mood_points"], tense=mood.tense_enter, upset=mood.upset_enter
            )
        elif media.name.endswith(".json"):
            content = transcript.as_json(full)
        else:
            zone = rules_of(self.settings()).policy.zone
            yours = media.name.startswith(YOURS)
            lang = full["lang"] if yours else STAFF
            content = transcript.as_page(full, self.texts, lang, for_person=yours, zone=zone)
        return File(name=media.name, kind=media.kind, content=content)

    async def _dossier(self, media: Media) -> File:
        """Write what is kept of a person, for them. Raises Refused."""
        found = await self.store.read(partial(kept.everywhere, conversation_id=int(media.file_id)))
        if not found:
            raise Refused("this person was erased")
        if media.name.endswith(".json"):
            content = dossier.as_json(found)
        else:
            zone = rules_of(self.settings()).policy.zone
            content = dossier.as_page(found, self.texts, found[0]["person"]["lang"], zone=zone)
        return File(name=media.name, kind=media.kind, content=content)


def facts_of(settings: Settings, mind: Mind) -> Facts:
    """Return what people are told of how this Heed keeps things."""
    own = settings.privacy
    return Facts(
        text_days=own.text_days,
        score_days=own.score_days,
        desks=tuple(dict.fromkeys(place.platform for place in settings.desk.places)),
        model="" if mind.engine is None else mind.name,  # one that only tags reads along, too
        writes=mind.speaks,
        hosts=mind.hosts,
        redacted=bool(getattr(own, "redact", False)),
        sealed=bool(getattr(own, "key", None)),
    )


@dataclass(kw_only=True)
class Waits:
    """What people are told about when somebody comes: the usual wait, and when staff are back."""

    store: Store
    texts: Texts
    clock: Clock
    settings: Callable[[], Settings]
    _minutes: str = ""

    def usual(self) -> str:
        """Return the usual wait in minutes; empty while fewer than five cases tell of it."""
        return self._minutes

    def closed(self, lang: str) -> str:
        """Return in words when staff are back; empty while they are here."""
        own = self.settings().desk
        hours, now = Hours.read(own.hours, own.timezone), self.clock()
        if hours.is_open(now):
            return ""
        at = hours.next_opening(now)
        return "" if at is None else hours.words(at, now, lang, self.texts)

    async def refresh(self) -> None:
        """Look at the last cases again."""
        median = crowd.median_wait(await self.store.read(digests.last_waits))
        self._minutes = "" if median is None else str(max(1, round(median / MINUTE)))
