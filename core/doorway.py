"""Why the bot answers somewhere and why it does not: /why, /here, and its first words in a group.

A message passes the platform's gates first, which the adapter knows, then Heed's own. The first
shut one is named, with where to click. Nothing that says how somebody feels is shown in public.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from core.allowance import HOUR
from core.errors import DeliveryError, Refused, Unreachable
from core.message import Message, Place
from core.ports import Gate, desk_message
from core.store import Connection, digests, doors, pairs, people, record, spent, traces, turns
from core.store.outbox import Lane
from core.store.traces import Trace
from core.store.turns import Heard, Plan, Start
from core.texts import STAFF
from core.turn import Walk

DAY = 24 * HOUR
HEARING = frozenset({"privacy", "heard", "mode", "intent"})  # gates of what is said to others
READING = HEARING | {"updates", "slow"}  # gates that keep nobody from writing; by their last word


class Doorway:
    """Answers what is asked about the bot's own hearing."""

    def __init__(
        self,
        walk: Walk,
        *,
        watched: Callable[[Place], bool],
        missing: Callable[[Place], Awaitable[Sequence[str]]],
    ) -> None:
        """`watched`: every message of a chat is heard. `missing`: what a desk's chat still lacks.

        The latter as sentences that say where to click.
        """
        self._walk = walk
        self._watched = watched
        self._missing = missing

    # --- /here --------------------------------------------------------------------------------

    async def here(self, start: Start) -> None:
        """Tell a place's ids as the settings want them, to whom they concern."""
        message = start.rows[0].message
        if not self._may_ask(start, message):
            await self._close(start)
            return
        say, lang = self._walk.rooms.texts.say, self._lang(start)
        key = message.key
        chat = f"{key.platform}:{key.chat}"
        if start.private:
            words = [say("here_you", lang, name=f"{key.platform}:{key.user}")]
        else:
            beside = [f"thread {key.thread}"] if key.thread else []
            beside += [f"server {key.platform}:{message.server}"] if message.server else []
            words = [say("here_place", lang, name=", ".join([chat, *beside]))]
            words.append(say("here_desk", lang, name=chat))
            listed = f'{key.platform}.watch = ["{key.chat}"]'
            words.append(say("here_watch", lang, text=listed))
            if not self._walk.rooms.access.lets_place(key.place, message.server):
                words.append(say("gate_access_shut", lang, name=chat))
        await self._answer(start, "\n".join(words))

    # --- /why ---------------------------------------------------------------------------------

    async def why(self, start: Start) -> None:
        """Tell what was made of a message, or which gate stopped it."""
        message = start.rows[0].message
        if not self._may_ask(start, message):
            await self._close(start)
            return
        rooms, wanted = self._walk.rooms, message.reply_to or _number(message.argument)
        if wanted:
            look = partial(traces.trace_of, place=start.key.place, message_id=wanted)
            found = await rooms.store.read(look)
        else:
            last = partial(traces.last_trace, conversation_id=start.conversation_id)
            found = await rooms.store.read(last)
        if start.private and found is not None and found.key != start.key:
            found = None  # in a direct chat everybody asks about their own words alone
        if found is None:
            await self._answer(start, await self._stopped(start, message))
            return
        lang, aside = self._lang(start), start.private or _whispers(message)
        felt, who = await self._felt(found, lang), await self._who(start, found, lang)
        if aside:
            await self._answer(start, "\n".join(filter(None, [felt, who])))
            return
        told = bool(felt) and await self._tell_aside(start, f"{felt}\n{who}")
        more = "" if not felt else rooms.texts.say("why_told" if told else "why_ask_me", lang)
        await self._answer(start, "\n".join(filter(None, [who, more])))

    async def _felt(self, found: Trace, lang: str) -> str:
        """Return how a message was heard; empty where it was not."""
        rooms, say = self._walk.rooms, self._walk.rooms.texts.say
        key = found.key
        look = partial(people.opted_out, platform=key.platform, user=key.user)
        if await rooms.store.read(look) is not None:
            return say("why_unread", lang)
        if not found.judged:
            return ""
        name = "why_heard" if found.label else "why_unscored"
        rule = found.rule or "-"
        mood = f"{found.mood:+.2f}"
        level = say(f"level_{found.level}", lang)
        return say(name, lang, name=found.label, n=mood, state=level, rule=rule)

    async def _who(self, start: Start, found: Trace, lang: str) -> str:
        """Return who answers it, or why nobody does."""
        say = self._walk.rooms.texts.say
        if found.state != "done":
            return say(f"why_{found.state}", lang)
        if found.urgent == doors.SHUT:
            return say("gate_access_shut", lang, name=f"{found.key.platform}:{found.key.user}")
        if not found.addressed and found.owner == "bot":
            return say("why_to_others", lang)
        own = await self._own_gates(start, found.key.user)
        shut = next((gate for gate in own if not gate.open), None)
        return say("why_bot", lang) if shut is None else self._told(shut, lang)

    async def _stopped(self, start: Start, message: Message) -> str:
        """Return the first shut gate in words.

        Nobody knows any more whether the message was said to the bot, so a gate of what is said
        to others may not have stopped it: then the first shut one behind them is told, too.
        """
        lang, told = self._lang(start), list[str]()
        own = await self._own_gates(start, message.reply_to_author)
        for gate in [*await self._gates(start.key.place), *own]:
            words = "" if gate.open else self._told(gate, lang)
            if words and not (told and _last(gate) in HEARING):
                told.append(words)
            if words and _last(gate) not in HEARING:
                break
        return "\n".join(told) or self._walk.rooms.texts.say("why_all_open", lang)

    def _told(self, gate: Gate, lang: str) -> str:
        texts, name = self._walk.rooms.texts, f"gate_{gate.name}_{'open' if gate.open else 'shut'}"
        return texts.say(name, lang, **gate.values) if name in texts.names else ""

    async def _gates(self, place: Place) -> list[Gate]:
        """Return the platform's gates; none where it does not tell."""
        adapter = self._walk.rooms.adapters.get((place.platform, place.bot))
        if adapter is None:
            return []
        try:
            return await adapter.gates(place)
        except DeliveryError:
            return []

    async def _own_gates(self, start: Start, user: str) -> list[Gate]:
        """Return Heed's own gates for one person of a place; for nobody in particular: of it."""
        rooms, message = self._walk.rooms, start.rows[0].message
        key = replace(start.key, user=user or start.key.user)
        name = f"{key.platform}:{key.chat}"
        lets = start.private or rooms.access.lets_place(key.place, message.server)
        if lets and user and not rooms.access.lets_user(key.platform, user):
            lets, name = False, f"{key.platform}:{user}"
        gates = [Gate(name="access", open=lets, values={"name": name})]
        if not user:
            return gates
        allowance, now = rooms.planner.allowance, rooms.clock()

        def look(connection: Connection) -> list[Gate]:
            works = people.is_colleague(connection, key.platform, user)
            known = pairs.conversation_of(connection, key)
            row = None if known is None else record.person_row(connection, known)
            given = spent.spent(connection, key, allowance, now, private=start.private)
            manages = user == message.author.id and message.author.admin and not start.private
            over = bool(allowance.over(given))
            return [
                Gate(name="owner", open=row is None or row.owner == "bot"),
                Gate(name="admin", open=not (works or manages)),
                Gate(name="limit", open=not over, values={"n": str(allowance.hours_left(now))}),
            ]

        return [*gates, *await rooms.store.read(look)]

    async def _tell_aside(self, start: Start, words: str) -> bool:
        """Tell whoever asks in their own chat with the bot; False: there is none."""
        rooms = self._walk.rooms
        user = replace(start.key.place, chat=start.key.user, thread="")

        def tell(connection: Connection) -> list[Lane]:
            return digests.to_user(connection, user, words, rooms.clock())

        lanes = await rooms.store.write(tell)
        rooms.deliver(lanes)
        return bool(lanes)

    # --- in a group for the first time --------------------------------------------------------

    async def joined(self, start: Start) -> None:
        """Say once, in a group that the bot was let into, what it hears there."""
        rooms, message = self._walk.rooms, start.rows[0].message
        place, now = start.key.place, rooms.clock()
        what = f"joined {place.platform} {place.bot} {place.chat}"
        first = await rooms.store.write(partial(doors.once, what=what, since=now - DAY, now=now))
        if not first:
            await self._close(start)
            return
        say, lang = rooms.texts.say, self._lang(start)
        name = f"{place.platform}:{place.chat}"
        if desk_message(message, rooms.desks):
            lacks = list(await self._missing(place))
            words = [say("joined_desk_lacks" if lacks else "joined_desk", STAFF), *lacks]
        elif not rooms.access.lets_place(place, message.server):
            words = [say("joined_shut", lang, name=name)]
        else:
            watched = self._watched(place)
            words = [say("joined_watched" if watched else "joined", lang)]
            needed = [
                gate
                for gate in await self._gates(place)
                if not gate.open and (watched or _last(gate) not in HEARING)
            ]
            words += [told for gate in needed if (told := self._told(gate, lang))]
        await self._answer(start, "\n".join(words), openly=True)

    async def barred(self, place: Place, error: str) -> None:
        """Tell the operator, once a day and chat, that the bot may not write in a group."""
        rooms = self._walk.rooms
        adapter = rooms.adapters.get((place.platform, place.bot))
        if adapter is None:
            return
        try:
            shut = [gate for gate in await adapter.gates(place) if not gate.open]
        except (Refused, Unreachable) as refused:
            shut, error = [], str(refused) or error
        except DeliveryError:
            return  # the platform does not tell now; the next post that fails asks again
        else:
            shut = [gate for gate in shut if _last(gate) not in READING]
            if not shut:
                return  # it may write: the post was refused for what it said
        told = [words for gate in shut if (words := self._told(gate, STAFF))]
        now, name = rooms.clock(), f"{place.platform}:{place.chat}"
        what = f"barred {name} {place.thread}".strip()
        once = partial(doors.once, what=what, since=now - DAY, now=now)
        if await rooms.store.write(once):
            reason = told[0] if told else error
            rooms.alarm(rooms.texts.say("barred", STAFF, name=name, reason=reason))

    # --- small steps --------------------------------------------------------------------------

    def _may_ask(self, start: Start, message: Message) -> bool:
        access = self._walk.rooms.access
        operator = f"{message.key.platform}:{message.key.user}" == access.operator
        at_desk = desk_message(message, self._walk.rooms.desks)
        return start.private or start.staff or message.author.admin or operator or at_desk

    def _lang(self, start: Start) -> str:
        if desk_message(start.rows[0].message, self._walk.rooms.desks):
            return STAFF
        return self._walk.rooms.ear.language(start, None)

    async def _answer(self, start: Start, words: str, *, openly: bool = False) -> None:
        """Answer with a fixed text that is no part of anybody's history."""
        message = start.rows[0].message
        whisper = message.message_id if _whispers(message) and not openly else ""
        answers = "" if start.private or whisper or openly else message.message_id
        plan = Plan(
            heard=(Heard(row=start.rows[0], kept=False),),
            notices=(words,),
            notice_to=answers,
            whisper=whisper,
            unkept=True,
        )
        await self._walk.finish(start, plan)

    async def _close(self, start: Start) -> None:
        rooms = self._walk.rooms
        ids = [row.id for row in start.rows]
        await rooms.store.write(partial(turns.done, ids=ids, now=rooms.clock()))
        self._walk.report.closed(start)


def _last(gate: Gate) -> str:
    return gate.name.rpartition("_")[2]


def _whispers(message: Message) -> bool:
    """Say whether an answer to a command can be for its sender's eyes alone."""
    return message.kind == "command" and message.key.platform == "discord"


def _number(argument: str) -> str:
    """Return the message id that a command names, perhaps as the end of a link; else nothing."""
    last = argument.strip().rpartition("/")[2]
    return last if last.isascii() and last.isdecimal() else ""
