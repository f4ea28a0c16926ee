"""A reply that is written while a human takes over is thrown away, wherever the takeover falls.

One Heed takes the same turn again and again; each time the takeover is carried out one await
later: before and after every transaction, before every piece of the reply, before and after every
call of the platform. What holds afterwards holds for every place.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.engine.ports import Limits, ReplyRequest, Started
from core.engine.scripted import ScriptedEngine
from core.errors import NotSent, Refused
from core.message import (
    ConversationKey,
    File,
    Level,
    Media,
    Place,
    Post,
    Receipt,
    Tagging,
    TextLimit,
)
from core.ports import Gate, Health, Remember, Sketch
from core.store.outbox import Claim
from core.tables import case, history, inbox, outbox
from tests.core.ground import words_of
from tests.walk.house import House, arrival, living, settings_for

ANSWER = (
    "Open the first page of your account. There you find the list of all invoices. "
    "Choose the one that you mean. It opens in a new window."
)
QUESTION = "How do I see my invoice?"
WITHDRAWN = "I stopped this answer. Your conversation is with our team now."
BESIDE = ("timers", "figures", "digests", "privacy", "tuning", "cases")  # the clock's own work
PASSED = {  # probes that every turn with an answer passes
    "model start", "model end", "before stream row", "stream row opened", "text shown",
    "before done commit", "after done commit", "before send claim", "after send claim",
    "before sent commit", "after sent commit",
}  # fmt: skip

_inside: ContextVar[bool] = ContextVar("inside", default=False)  # the takeover's own awaits


@dataclass
class Points:
    """Every place at which a turn may be overtaken, counted; at one of them it is."""

    at: int = 0  # 0: nowhere
    event: Callable[[], Awaitable[None]] | None = None
    seen: list[str] = field(default_factory=list)
    order: list[tuple[str, Any]] = field(default_factory=list)  # transactions as they were done
    done: asyncio.Task[None] | None = None

    async def here(self, name: str) -> None:
        """Stand at an await: the takeover is over before it goes on."""
        if (task := self._reached(name)) is not None:
            await asyncio.shield(task)

    def probe(self, step: str) -> None:
        """Stand where nothing is awaited: the takeover begins at the next await."""
        self._reached(f"probe: {step}")

    def _reached(self, name: str) -> asyncio.Task[None] | None:
        if self.event is None or _inside.get():
            return None
        self.seen.append(name)
        if len(self.seen) != self.at:
            return None
        known = _inside.set(True)
        self.done = asyncio.ensure_future(self.event())
        _inside.reset(known)
        return self.done

    def watch(self, store: Any) -> None:
        """Stand before and after each of a store's transactions, and note their order."""
        write, read = store.write, store.read
        raw = store._writing.raw_connection()
        raw.driver_connection.execute("PRAGMA synchronous=OFF")  # this disk never fails
        raw.close()

        async def writes(operation: Any) -> Any:
            name = _name(operation)

            def noted(connection: Any) -> Any:
                result = operation(connection)
                self.order.append((name, result))
                return result

            return await self._around(name, lambda: write(noted))

        async def reads(operation: Any) -> Any:
            return await self._around(_name(operation), lambda: read(operation))

        store.write, store.read = writes, reads

    async def _around(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        if name.startswith(BESIDE):
            return await work()
        await self.here(f"before {name}")
        result = await work()
        await self.here(f"after {name}")
        return result


def _name(operation: Any) -> str:
    made = getattr(operation, "func", operation)
    return f"{made.__module__.rpartition('.')[2]}.{made.__qualname__.rpartition('.')[2]}"


class Slow(ScriptedEngine):
    """A scripted engine that can be overtaken before each of its words."""

    def __init__(self, points: Points) -> None:
        super().__init__({"good morning": "Good morning to you.", "": ANSWER}, slots=4)
        self._points = points

    async def tag_many(self, texts: Sequence[str], task: str | None = None) -> list[Tagging]:
        await self._points.here("before tag")
        return await super().tag_many(texts, task)

    async def start(self, request: ReplyRequest) -> Started:
        await self._points.here("before start")
        started = await super().start(request)
        await self._points.here("after start")
        return started

    async def cancel(self, started: Started) -> None:
        await self._points.here("before cancel")
        await super().cancel(started)

    async def settle(self, started: Started, *, kept: bool) -> None:
        await self._points.here("before settle")
        await super().settle(started, kept=kept)

    async def _stream(
        self, started: Started, limits: Limits, level: Level, until: float
    ) -> AsyncIterator[str]:
        async for piece in super()._stream(started, limits, level, until):
            await self._points.here("before a piece")
            yield piece


class Chats:
    """A platform of our own: every call can be overtaken, and what people see is kept."""

    platform, bot = "telegram", "t"
    limit = TextLimit(size=4096)

    def __init__(self, points: Points, *, fails: bool = False, grows: bool = False) -> None:
        self._points, self.fails = points, fails
        self.grows = grows  # what is unfinished shows as a message, and nonces are known
        self.numbers: dict[str, str] = {}  # nonce -> message id
        self.over: set[str] = set()  # nonces of replies of which nothing unfinished may come
        self.seen: dict[str, dict[str, str]] = {}  # chat -> message id -> text
        self.drafts: list[tuple[str, str]] = []  # (chat, text), as they were shown
        self.placeholders: set[str] = set()
        self._ids = itertools.count(1)

    async def check(self) -> None:
        """Always open."""

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def deliver(self, post: Post, remember: Remember) -> Receipt:
        await self._points.here(f"before deliver {post.kind}")
        shown = self.seen.setdefault(post.place.chat, {})
        number = post.message_id or self.numbers.get(post.nonce) or str(next(self._ids))
        self.over |= {nonce for nonce, one in self.numbers.items() if one == number}
        self.over.add(post.nonce)
        if self.grows:
            self.numbers[post.nonce] = number
        elif post.kind == "reply" and post.message_id is None:
            shown[number] = "…"
            self.placeholders.add(number)
            await remember(number)
            if self.fails:
                raise NotSent("the line is dead")
        if post.kind == "delete":
            shown.pop(number, None)
        else:
            shown[number] = post.text
        await self._points.here(f"after deliver {post.kind}")
        return Receipt(message_id=number)

    def repeatable(self, post: Post) -> bool:
        return post.kind == "reply"

    async def fetch(self, media: Media) -> File:
        raise Refused(f"{media.name} is not here")

    async def typing(self, place: Place) -> None:  # noqa: ARG002
        await self._points.here("typing")

    def previews(self, place: Place) -> bool:
        return self.grows or not place.chat.startswith("-")

    async def preview(self, place: Place, sketch: Sketch, remember: Remember) -> None:
        if self.grows:
            await self._grow(place, sketch, remember)
        elif self.previews(place):
            self.drafts.append((place.chat, sketch.text))
            self._points.order.append(("draft", sketch.text))
        await self._points.here("after preview")

    async def _grow(self, place: Place, sketch: Sketch, remember: Remember) -> None:
        if sketch.nonce in self.over:
            return
        shown, number = self.seen.setdefault(place.chat, {}), sketch.message_id
        if number is None:
            number = self.numbers.setdefault(sketch.nonce, str(next(self._ids)))
            shown[number] = sketch.text
            await self._points.here("after a post")
            await remember(number)
        elif number in shown:
            shown[number] = sketch.text
        if not place.chat.startswith("-"):
            self.drafts.append((place.chat, sketch.text))

    async def gates(self, place: Place) -> list[Gate]:  # noqa: ARG002
        return []

    def link(self, place: Place, message_id: str) -> str:  # noqa: ARG002
        return ""

    def health(self) -> Health:
        return Health(state="ok", name="t")


class Scene:
    """One Heed, and the same turn in it as often as there are places to overtake it."""

    def __init__(self, house: House, points: Points, chats: Chats, *, private: bool) -> None:
        self.house, self.points, self.chats, self.private = house, points, chats, private

    def key(self, user: str) -> ConversationKey:
        chat = user if self.private else f"-{user}"
        return ConversationKey(platform="telegram", bot="t", chat=chat, user=user)

    async def says(self, user: str, text: str, **more: Any) -> None:
        one = arrival(text, user, key=self.key(user), private=self.private, **more)
        await self.house.room.take_in([one])

    async def told(self, user: str, text: str, **more: Any) -> None:
        await self.says(user, text, **more)
        await self.house.idle()

    async def the_case(self, user: str) -> int:
        [person] = await self.rows(history.metadata.tables["conversation"], user=user)
        found = await self.rows(case, conversation_id=person.id)
        return int(found[-1].id)

    async def rows(self, table: Any, **where: Any) -> list[Any]:
        query = table.select()
        for name, value in where.items():
            query = query.where(words_of(table.c[name]) == value)
        return await self.house.app.store.read(
            lambda connection: list(connection.execute(query.order_by(table.c.id)).all())
        )

    async def take(self, user: str, at: int, event: Callable[[], Awaitable[None]]) -> bool:
        """Take the turn, overtaken at place `at`; False: the turn has fewer places."""
        points = self.points
        points.at, points.event, points.done = at, event, None
        points.seen, points.order = [], []
        self.chats.drafts = []
        await self.says(user, QUESTION)
        await self.house.idle()
        if points.done is not None:
            await points.done
            await self.house.idle()
        points.event = None
        return points.done is not None

    # --- what must hold ---------------------------------------------------------------------

    def after(self, taken: str) -> list[Any]:
        """Return the posts that were claimed for sending after the takeover was written."""
        names = [name for name, _ in self.points.order]
        cut = names.index(taken)
        return [
            result.post
            for name, result in self.points.order[cut:]
            if name == "outbox.claim" and isinstance(result, Claim)
        ]

    def before(self, taken: str) -> list[Any]:
        names = [name for name, _ in self.points.order]
        return [
            result.post
            for name, result in self.points.order[: names.index(taken)]
            if name == "outbox.claim" and isinstance(result, Claim)
        ]

    async def heard_once(self, user: str) -> None:
        """The person's message is one line of the history, and its turn is over."""
        [person] = await self.rows(history.metadata.tables["conversation"], user=user)
        lines = await self.rows(history, conversation_id=person.id, role="user", text=QUESTION)
        assert len(lines) == 1, self.where
        rows = await self.rows(inbox, conversation_id=person.id)
        assert {row.state for row in rows} == {"done"}, self.where
        open_rows = await self.rows(outbox, conversation_id=person.id)
        assert not [r for r in open_rows if r.state in ("streaming", "sending", "queued")]

    async def silent(self, user: str, taken: str) -> None:
        """No word of the machine's left after the takeover, and what it had shown is gone."""
        replies = [post for post in self.after(taken) if post.kind == "reply"]
        assert replies == [], self.where
        went = [post for post in self.before(taken) if post.kind == "reply"]
        shown = self.chats.seen.get(self.key(user).chat, {})
        texts = list(shown.values())
        stands = any(text in ANSWER for text in texts if len(text) > 1)
        assert stands <= bool(went), self.where
        if self.chats.drafts and not went:
            assert texts.count(WITHDRAWN) == 1, self.where
        names = [name for name, _ in self.points.order]
        cut = names.index(taken)
        begun = "streams.open_stream" in names[:cut] and not (went and not self.chats.fails)
        assert texts.count(WITHDRAWN) <= begun, self.where
        if "probe" not in self.where:  # a probe cannot wait: its takeover is a race
            assert "draft" not in names[cut:], self.where
        assert "…" not in texts, self.where

    @property
    def where(self) -> str:
        seen = self.points.seen
        return f"overtaken at {self.points.at}, {seen[self.points.at - 1 : self.points.at]}"


Prepare = Callable[[Scene, str], Awaitable[None]]


async def _watched(scene: Scene, user: str) -> None:
    """Bring a person to a case that the bot answers in, watched by staff."""
    await _held(scene, user)
    number = await scene.the_case(user)
    await scene.house.act(number, "botback")
    await scene.house.idle()


async def _held(scene: Scene, user: str) -> None:
    await scene.told(user, "/human", kind="command", command="human")
    await scene.house.act(await scene.the_case(user), "claim")
    await scene.house.idle()


async def _new(scene: Scene, user: str) -> None:
    await scene.told(user, "good morning")


async def _claims(scene: Scene, user: str) -> None:
    await scene.house.act(await scene.the_case(user), "claim")


async def _answers(scene: Scene, user: str) -> None:
    await scene.house.act(await scene.the_case(user), "reply", text="I am here.", confirm=True)


async def _asks_for_a_person(scene: Scene, user: str) -> None:
    await scene.says(user, "I want to talk to a real person")


async def _releases(scene: Scene, user: str) -> None:
    await scene.house.act(await scene.the_case(user), "release")


async def _resolves(scene: Scene, user: str) -> None:
    await scene.house.act(await scene.the_case(user), "resolve")


async def each_place(
    folder: Path, prepare: Prepare, event: Prepare, check: Prepare, **how: bool
) -> Points:
    """Let a turn be overtaken at every place there is; `check` looks at each outcome."""
    points = Points()
    private = how.get("private", True)
    chats = Chats(points, fails=how.get("fails", False), grows=how.get("grows", False))
    settings = settings_for(folder)
    async with living(
        settings,
        probe=points.probe,
        engine=Slow(points),
        adapters=[lambda _room, _clock: chats],
    ) as house:
        points.watch(house.app.store)
        scene = Scene(house, points, chats, private=private)
        for at in itertools.count(1):
            user = f"{at:03d}"
            await prepare(scene, user)
            reached = await scene.take(user, at, lambda user=user: event(scene, user))
            if not reached:
                assert at > 20, points.seen
                return points
            await check(scene, user)
    raise AssertionError("unreachable")


async def _silence_kept(scene: Scene, user: str) -> None:
    await scene.silent(user, "handoff.carry_out")
    await scene.heard_once(user)
    number = await scene.the_case(user)
    view = await scene.house.room.case(number)
    assert view is not None
    assert view["state"] == "human", scene.where
    if not scene.private:
        return
    await scene.house.act(number, "botback")
    await scene.told(user, "and where is the button?")
    texts = list(scene.chats.seen[user].values())
    assert texts[-1] == ANSWER, scene.where  # it speaks again, and with nothing left over


@pytest.mark.parametrize("event", [_claims, _answers])
async def test_a_takeover_at_any_await_silences_the_reply(tmp_path: Path, event: Prepare) -> None:
    points = await each_place(tmp_path, _watched, event, _silence_kept)
    assert {f"probe: {step}" for step in PASSED} <= set(points.seen)
    assert points.seen.count("before a piece") > 10


async def test_in_a_group_nothing_of_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.delivery.PAUSES", (0.01,))

    async def gone(scene: Scene, user: str) -> None:
        await _silence_kept(scene, user)
        texts = list(scene.chats.seen.get(f"-{user}", {}).values())
        assert WITHDRAWN not in texts, scene.where

    await each_place(tmp_path, _watched, _claims, gone, private=False, fails=True)


@pytest.mark.parametrize("private", [True, False])
async def test_a_message_that_grows_is_taken_back_at_any_await(
    tmp_path: Path,
    private: bool,  # noqa: FBT001
) -> None:
    async def taken_back(scene: Scene, user: str) -> None:
        await scene.silent(user, "handoff.carry_out")
        await scene.heard_once(user)
        texts = list(scene.chats.seen.get(scene.key(user).chat, {}).values())
        whole = [text for text in texts if text == ANSWER]
        assert not [t for t in texts if t in ANSWER and t not in whole], scene.where
        if not private:
            assert WITHDRAWN not in texts, scene.where

    points = await each_place(tmp_path, _watched, _claims, taken_back, private=private, grows=True)
    assert "after a post" in points.seen
    assert {"probe: before stream id commit", "probe: after stream id commit"} <= {*points.seen}


async def test_a_placeholder_that_stands_already_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.delivery.PAUSES", (0.01,))

    async def replaced(scene: Scene, user: str) -> None:
        await scene.silent(user, "handoff.carry_out")
        await scene.heard_once(user)

    await each_place(tmp_path, _watched, _claims, replaced, fails=True)


async def test_a_second_message_that_opens_a_case_silences_the_reply_to_the_first(
    tmp_path: Path,
) -> None:
    async def queued(scene: Scene, user: str) -> None:
        finished = [
            at
            for at, (name, result) in enumerate(scene.points.order)
            if name == "turns.finish" and result is not None and result.owner == "queue"
        ]
        scene.points.order[finished[0]] = ("opened", None)
        await scene.silent(user, "opened")
        await scene.heard_once(user)
        number = await scene.the_case(user)
        view = await scene.house.room.case(number)
        assert view is not None
        assert view["state"] == "queued", scene.where
        await scene.house.act(number, "claim")
        await scene.house.act(number, "botback")
        await scene.told(user, "and where is the button?")
        assert list(scene.chats.seen[user].values())[-1] == ANSWER, scene.where

    await each_place(tmp_path, _new, _asks_for_a_person, queued)


async def test_a_release_at_any_await_loses_nothing_and_lets_nothing_out(tmp_path: Path) -> None:
    async def waits(scene: Scene, user: str) -> None:
        assert not [p for _, p in scene.points.order if isinstance(p, Claim) and _machine(p)]
        await scene.heard_once(user)
        view = await scene.house.room.case(await scene.the_case(user))
        assert view is not None
        assert view["state"] == "queued", scene.where

    def _machine(claim: Claim) -> bool:
        return claim.post.kind == "reply"

    points = Points()
    chats = Chats(points)
    async with living(
        settings_for(tmp_path),
        probe=points.probe,
        engine=Slow(points),
        adapters=[lambda _room, _clock: chats],
    ) as house:
        points.watch(house.app.store)
        scene = Scene(house, points, chats, private=True)
        for at in itertools.count(1):
            user = f"{at:03d}"
            await _held(scene, user)
            if not await scene.take(user, at, lambda user=user: _releases(scene, user)):
                assert at > 5, points.seen
                break
            await waits(scene, user)


async def test_a_resolve_at_any_await_leaves_one_answer_or_a_case_reopened(tmp_path: Path) -> None:
    async def settled(scene: Scene, user: str) -> None:
        await scene.heard_once(user)
        [person] = await scene.rows(history.metadata.tables["conversation"], user=user)
        sent = await scene.rows(outbox, conversation_id=person.id, kind="reply", state="sent")
        view = await scene.house.room.case(await scene.the_case(user))
        assert view is not None
        reopened = view["state"] == "queued"
        assert len(sent) + reopened == 1, scene.where
        assert person.owner == ("queue" if reopened else "bot"), scene.where
        if reopened:
            texts = list(scene.chats.seen[user].values())
            assert not [text for text in texts if len(text) > 1 and text in ANSWER], scene.where

    await each_place(tmp_path, _watched, _resolves, settled)
