"""A chat platform whose behaviour is drawn by a seed, and the adapter that speaks to it.

`Platform` is what stands on the platform's own machines: it outlives every Heed. `SimAdapter` is
the adapter of one life of a Heed. A platform is of one style: `nonce` knows a post again (Discord),
`placeholder` takes a reply in two steps (Telegram), `plain` does neither.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adapters.sketches import Sheet, Sketches
from core.errors import (
    DeliveryError,
    NotSent,
    OutcomeUnknown,
    Refused,
    RetryAfter,
    StoreError,
    ThreadGone,
    Unreachable,
)
from core.message import Arrival, File, Media, Message, Place, Post, Receipt, TextLimit
from core.ports import Gate, Health, Remember, Sketch

if TYPE_CHECKING:
    from tests.sim.world import Life, World

PLACEHOLDER = "…"
TRUSTED = 90.0  # seconds in which the adapter trusts a nonce to be known again,
HANGS = 60.0  # and that a call may take before it is carried out:
NONCE_LIVES = TRUSTED + HANGS + 10.0  # as long as a nonce is known
CHANGES = ("edit", "redraw", "delete", "mark", "react")


@dataclass(kw_only=True)
class Shown:
    """A message of the bot's, as people see it."""

    id: int
    place: Place
    text: str
    post: int  # the outbox row that it came from,
    nonce: str  # and its nonce: a row that was erased may have left its number to another
    begun: bool = False  # it shows no more than the beginning of a reply
    gone: bool = False


class Platform:
    """Chats, messages, and the updates that wait for the bot."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.numbers = itertools.count(1)
        self.shown: dict[tuple[str, int], Shown] = {}  # by chat and id
        self.nonces: dict[tuple[Place, str], tuple[int, float]] = {}
        self.threads: set[str] = set()
        self.updates: deque[tuple[int, Message]] = deque()  # until they are confirmed
        self.news = asyncio.Event()
        self.blocked: set[str] = set()  # chats in which the bot can say nothing
        self.drafts: list[tuple[str, str]] = []

    def tell(self, message: Message) -> None:
        """Let an update wait for the bot."""
        self.updates.append((next(self.numbers), message))
        self.news.set()

    def send(self, post: Post, text: str, now: float, *, nonce: bool, begun: bool = False) -> int:
        """Show something new; return its id."""
        if nonce:
            known = self.nonces.get((post.place, post.nonce))
            if known is not None and now - known[1] < NONCE_LIVES:
                return known[0]
        number = next(self.numbers)
        self.shown[post.place.chat, number] = Shown(
            id=number, place=post.place, text=text, post=post.id, nonce=post.nonce, begun=begun
        )
        if nonce:
            self.nonces[post.place, post.nonce] = (number, now)
        return number

    def edit(self, post: Post, number: int, text: str, *, begun: bool = False) -> bool:
        """Change a message; False: it is not there."""
        found = self.shown.get((post.place.chat, number))
        if found is None or found.gone:
            return False
        found.text, found.begun = text, begun
        return True

    def delete(self, post: Post, now: float) -> None:
        """Take a message away, by its id or by its nonce."""
        number = int(post.message_id or 0)
        known = self.nonces.get((post.place, post.nonce))
        if not number and known is not None and now - known[1] < NONCE_LIVES:
            number = known[0]
        found = self.shown.get((post.place.chat, number))
        if found is not None:
            found.gone = True


class SimAdapter:
    """The adapter of one life."""

    limit = TextLimit(size=2000)

    def __init__(self, life: Life) -> None:
        self.life, self.world = life, life.world
        self.there = self.world.platform
        self.platform, self.bot = self.world.weather.account
        self.style = self.world.weather.style
        self._sketches = Sketches(1.5)

    # --- in -----------------------------------------------------------------------------------

    async def check(self) -> None:
        """Nobody refuses us."""

    async def run(self) -> None:
        """Fetch what waits, take it in, confirm it: in this order."""
        try:
            while True:
                if not self.there.updates:
                    self.there.news.clear()
                    await self.there.news.wait()
                await self.world.pause("poll", self.world.weather.network)
                batch = self._batch()
                try:
                    taken = await self.life.app.room.take_in(
                        [self._arrival(number, message) for number, message in batch],
                        cursor=("sim/offset", str(max(number for number, _ in batch))),
                    )
                except StoreError:
                    await asyncio.sleep(1.0)
                    continue
                self.life.trace("taken", [number for number, _ in batch], taken)
                self._confirm(batch)
        finally:
            await self._sketches.close()

    def _batch(self) -> list[tuple[int, Message]]:
        """Return what the platform hands out: usually in order, each usually once."""
        dice, weather = self.world.dice["updates"], self.world.weather
        size = dice.randint(1, 100)
        batch = list(itertools.islice(self.there.updates, size))
        if weather.disorder and dice.random() < weather.disorder:
            dice.shuffle(batch)
            batch = batch[: dice.randint(1, len(batch))]
        if weather.disorder and dice.random() < weather.disorder:
            batch.append(dice.choice(batch))
            self.world.count("duplicates")
        if self.world.past and dice.random() < weather.disorder:
            batch.append(dice.choice(self.world.past))
            self.world.count("late repeats")
        return batch

    def _confirm(self, batch: list[tuple[int, Message]]) -> None:
        done = {number for number, _ in batch}
        for one in [one for one in self.there.updates if one[0] in done]:
            self.there.updates.remove(one)
            self.world.confirmed(*one)

    def _arrival(self, number: int, message: Message) -> Arrival:
        return Arrival(
            platform=self.platform,
            bot=self.bot,
            source_id=str(number),
            raw=f'{{"update": {number}}}',
            message=message,
        )

    # --- out ----------------------------------------------------------------------------------

    async def deliver(self, post: Post, remember: Remember) -> Receipt:
        begun = await self._sketches.settle(post)
        if begun is not None and post.message_id is None:
            post = replace(post, message_id=begun)
        if post.place.chat in self.there.blocked:
            await self._call("blocked", post, lambda: None)
            self.world.unreachable.add(post.place.chat)
            raise Unreachable("they have blocked the bot")
        if post.kind == "thread":
            return await self._thread(post)
        if post.place.thread and post.place.thread not in self.there.threads:
            await self._call("no thread", post, lambda: None)
            raise ThreadGone("the thread is not there")
        if post.kind in ("mark", "react"):
            return await self._changed(post, lambda: None)
        if post.kind == "delete":
            return await self._changed(post, lambda: self.there.delete(post, self._now()))
        if post.kind == "reply" and self.style == "placeholder":
            return await self._in_two_steps(post, remember)
        if post.message_id is not None:
            number = int(post.message_id)
            if not await self._call("edit", post, lambda: self.there.edit(post, number, post.text)):
                raise Refused("there is no such message")
            return Receipt(message_id=post.message_id)
        return Receipt(message_id=await self._send(post, post.text))

    async def _changed(self, post: Post, act: Any) -> Receipt:
        await self._call(post.kind, post, act)
        return Receipt(message_id=post.message_id or "")

    async def _thread(self, post: Post) -> Receipt:
        def make() -> str:
            number = post.message_id or str(next(self.there.numbers))
            self.there.threads.add(number)
            return number

        made = await self._call("thread", post, make)
        return Receipt(message_id=made, thread=made)

    async def _in_two_steps(self, post: Post, remember: Remember) -> Receipt:
        number = post.message_id
        for _ in range(2):
            if number is None:
                number = await self._send(post, PLACEHOLDER)
                await remember(number)
            there = int(number)
            if await self._call("edit", post, lambda: self.there.edit(post, there, post.text)):  # noqa: B023
                return Receipt(message_id=number)
            number = None
        raise Refused("the placeholder is gone")

    async def _send(self, post: Post, text: str, *, begun: bool = False) -> str:
        by_nonce = self.style == "nonce"
        made = await self._call(
            "send",
            post,
            lambda: self.there.send(post, text, self._now(), nonce=by_nonce, begun=begun),
        )
        if by_nonce and not begun:  # a preview may have shown its beginning by this nonce
            self.there.edit(post, made, text)
        return str(made)

    async def _call(self, what: str, post: Post, act: Any) -> Any:
        """Make one call of the platform, which may fail before or after it was carried out."""
        life, world = self.life, self.world
        fate = world.fate_of_call()
        await world.pause("network", world.weather.network)
        if fate == "hangs":
            await asyncio.sleep(HANGS)
        if life.over:
            raise asyncio.CancelledError
        if fate == "killed before":
            life.end("before a call")
            raise asyncio.CancelledError
        life.trace("call", what, post.kind, post.id, post.place.chat, post.nonce, fate)
        if fate == "flood":
            raise RetryAfter(world.dice["fates"].choice((1.0, 3.0, 20.0, 90.0)))
        if fate == "reset before":
            raise NotSent("the connection was reset")
        if fate == "lost":
            world.doubt(post)
            raise OutcomeUnknown("the connection was reset")
        done = act()
        if fate == "killed after":
            life.end("after a call")
            raise asyncio.CancelledError
        await world.pause("network", world.weather.network / 2)
        if life.over:
            raise asyncio.CancelledError
        if fate in ("reset after", "hangs"):
            world.doubt(post)
            raise OutcomeUnknown("no answer came")
        return done

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def repeatable(self, post: Post) -> bool:
        if post.kind in CHANGES or post.message_id is not None:
            return True
        if self.style == "nonce":
            return post.kind != "thread" and post.age < TRUSTED
        return self.style == "placeholder" and post.kind == "reply"

    # --- what is not finished -----------------------------------------------------------------

    async def typing(self, place: Place) -> None:
        """Nobody looks."""

    def previews(self, place: Place) -> bool:  # noqa: ARG002
        return self.world.weather.previews

    async def preview(self, place: Place, sketch: Sketch, remember: Remember) -> None:
        self.world.count("previews")
        if self.style == "placeholder":
            self.there.drafts.append((place.chat, sketch.text))
            self.life.trace("draft", place.chat, len(sketch.text))
            return
        await self._sketches.show(place, sketch, remember, self._grow)

    async def _grow(self, sheet: Sheet, sketch: Sketch, remember: Remember) -> None:
        post = Post(
            id=-sketch.draft, kind="reply", place=sheet.place, text=sketch.text, nonce=sketch.nonce
        )
        try:
            if post.place.chat in self.there.blocked:
                raise Unreachable("they have blocked the bot")
            if sheet.message_id is None:
                sheet.message_id = await self._send(post, sketch.text, begun=True)
                await remember(sheet.message_id)
            elif not sheet.over:
                number = int(sheet.message_id)
                await self._call(
                    "grow", post, lambda: self.there.edit(post, number, sketch.text, begun=True)
                )
            sheet.text = sketch.text
        except DeliveryError:
            sheet.over = sheet.message_id is None

    async def fetch(self, media: Media) -> File:
        raise Refused(f"there is no file {media.name!r}")

    async def gates(self, place: Place) -> list[Gate]:  # noqa: ARG002
        return []

    def link(self, place: Place, message_id: str) -> str:  # noqa: ARG002
        return ""

    def health(self) -> Health:
        return Health(state="ok", name="sim")
