"""The Telegram adapter: wires the loop or the webhook, the sender and the health together."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

import telegram
from telegram.request import HTTPXRequest

from adapters.telegram.groups import Groups
from adapters.telegram.intake import arrival, unreadable
from adapters.telegram.line import Line, trust
from adapters.telegram.media import Carrier
from adapters.telegram.menus import Commands, Menus
from adapters.telegram.normalize import ALLOWED, Account
from adapters.telegram.outcome import REJECTED, TokenRejected, hide
from adapters.telegram.poll import SLACK, Backoff, Poll, Pulse
from adapters.telegram.send import Sender
from adapters.telegram.topics import link_to
from core.errors import DeliveryError, RetryAfter, SetupError, StoreError, Unreachable
from core.message import Arrival, File, Media, Place, Post, Receipt, TextLimit
from core.ports import Clock, Door, Gate, Health, Remember, Sketch

API_BASE = "https://api.telegram.org/bot"
FILE_BASE = "https://api.telegram.org/file/bot"
SECRET_HEADER = "x-telegram-bot-api-secret-token"  # noqa: S105 - a header's name
_CHANGES = frozenset({"reply", "edit", "redraw", "delete", "mark", "react"})
_WEBHOOK_CHECK = 60.0  # seconds between two looks at what Telegram knows of our webhook
_CONNECTIONS = 20  # requests that Telegram may make to it at once; all wait for one database

log = logging.getLogger(__name__)

T = TypeVar("T")


def _nobody(_problem: str) -> None:
    """Hear no alarm."""


class TelegramAdapter:
    """One bot account on Telegram. See core.ports.Adapter for what each method promises.

    Its pace and health are told by `steady`, whatever is done to the `clock` of the machine.
    """

    platform = "telegram"
    limit = TextLimit(size=4096, utf16=True)

    def __init__(  # noqa: PLR0913 - every argument is one setting of the operator
        self,
        door: Door,
        *,
        token: str,
        clock: Clock,
        steady: Clock = time.monotonic,
        api_base: str = API_BASE,
        file_base: str = FILE_BASE,
        desk_chats: frozenset[str] = frozenset(),
        watch: frozenset[str] = frozenset(),
        repeat: frozenset[str] = frozenset(),
        mode: Literal["polling", "webhook"] = "polling",
        webhook_url: str = "",
        webhook_secret: str = "",
        poll_timeout: float = 25.0,
        commands: Commands | None = None,
        group_commands: Commands | None = None,
        admin_commands: Commands | None = None,
        staff_commands: Commands | None = None,
        on_alarm: Callable[[str], None] = _nobody,
        call_timeout: float = 15.0,
        backoff: Backoff = Backoff(),  # noqa: B008 - frozen
    ) -> None:
        _check_settings(token, api_base, mode, webhook_url, webhook_secret)
        hide(token)
        self.bot = token.partition(":")[0]
        self._door, self._clock, self._mode = door, clock, mode
        self._desk_chats, self._watch, self._repeat = desk_chats, watch, repeat
        self._webhook_url, self._secret = webhook_url, webhook_secret
        self._backoff = backoff
        self._account: Account | None = None  # known once Telegram has told our name
        tls = trust(api_base, file_base)
        self._poll_transport = HTTPXRequest(
            connection_pool_size=2,
            read_timeout=poll_timeout + SLACK,
            connect_timeout=10.0,
            httpx_kwargs=tls,
        )
        self._transport = HTTPXRequest(
            connection_pool_size=64,
            read_timeout=call_timeout,
            write_timeout=call_timeout,
            httpx_kwargs=tls,
        )
        self._bot = telegram.Bot(
            token,
            base_url=api_base,
            base_file_url=file_base,
            request=self._transport,
            get_updates_request=self._poll_transport,
        )
        self._poll = Poll(self._poll_transport, f"{api_base}{token}", poll_timeout)
        window = 3 * (poll_timeout if mode == "polling" else _WEBHOOK_CHECK)
        self._pulse = Pulse(steady, window, on_alarm)
        self._line = Line(steady)
        self._sender = Sender(self._bot, self._line)
        self._carrier = Carrier(self._bot, self._line)
        self._loose: set[asyncio.Task[None]] = set()  # calls that nobody waits for
        self._menus = Menus(
            self._bot,
            self._line,
            people=commands or {},
            groups=group_commands or {},
            admins=admin_commands or {},
            staff=staff_commands or {},
        )
        self._groups = Groups(self._bot, self._line, steady, self._task)

    async def run(self) -> None:
        """Serve until cancelled. Survives every fault of the platform; never returns early."""
        await asyncio.gather(self._transport.initialize(), self._poll_transport.initialize())
        self._line.open()
        try:
            await self._learn_moves()
            await self._learn_name()
            self._start(self._menus.offer(self._desk_chats))
            self._groups.learn(self._desk_chats | self._watch)
            for pause in self._backoff:
                await self._listen()
                await asyncio.sleep(pause)
        finally:
            await self.close()

    async def _listen(self) -> None:
        """Take in what Telegram tells, until cancelled; returns only where that broke."""
        try:
            if self._mode == "webhook":
                await self._keep_webhook()
            else:
                await self._insist(self._bot.delete_webhook)  # else every poll is a conflict
                await self._poll.run(self._store, self._pulse, self._backoff)
        # A bot that looks healthy and hears nothing is the worst that can happen: whatever it was
        # that broke, it is told and the listening starts anew.
        except Exception as error:  # noqa: BLE001
            where = traceback.extract_tb(error.__traceback__)[-1]
            broke = f"{type(error).__name__} in {where.name}"  # its words may be somebody's
            self._pulse.bad(f"listening was broken off by {broke} and starts anew")

    async def check(self) -> None:
        """Ask Telegram who we are. Raises SetupError for a token that it refuses.

        Raises another DeliveryError when Telegram cannot be reached: `run` gets over that.
        """
        await self._transport.initialize()
        try:
            await self._line.call(self._bot.get_me)
        except TokenRejected as error:
            raise SetupError(f"{REJECTED}.") from error

    async def close(self) -> None:
        """End connections; `run` does it by itself, and may be called again afterwards."""
        self._line.close()
        await self._sender.close()
        for task in tuple(self._loose):
            task.cancel()
        await asyncio.gather(*self._loose, return_exceptions=True)
        await asyncio.gather(self._transport.shutdown(), self._poll_transport.shutdown())

    async def deliver(self, post: Post, remember: Remember) -> Receipt:
        """Send or edit one post. Raises DeliveryError."""
        if self._groups.put_out(post.place):
            raise Unreachable("the bot was removed from this group: somebody has to add it again")
        return await self._sender.deliver(post, remember)

    def repeatable(self, post: Post) -> bool:
        """Say what shows once however often it is done: changes of a message that is there.

        A reply is one, an edit of its placeholder. A post with files that has ids is half sent.
        Other kinds may be repeated where the operator would rather have them seen twice than lost.
        """
        if post.kind in _CHANGES or post.kind in self._repeat:
            return True
        carried = post.kind != "picture" and (post.media or post.files)
        return post.message_id is not None and not carried

    async def fetch(self, media: Media) -> File:
        """Download a file, up to 20 MB. Raises TooLarge, Refused (gone), RetryAfter, NotSent."""
        return await self._carrier.fetch(media)

    async def typing(self, place: Place) -> None:
        """Show that somebody is thinking."""
        await self._sender.typing(place)

    def previews(self, place: Place) -> bool:
        """Say whether a reply shows while it is written: where the chat is not too busy."""
        return self._sender.previews(place)

    async def preview(self, place: Place, sketch: Sketch, remember: Remember) -> None:
        """Show a reply while it is written."""
        await self._sender.preview(place, sketch, remember)

    async def gates(self, place: Place) -> list[Gate]:
        """Ask what lets messages of a group through to us. Raises DeliveryError."""
        if not place.chat.startswith("-"):
            return []
        heard = place.chat in self._desk_chats or place.chat in self._watch
        return await self._groups.gates(place, updates=await self._told(), heard=heard)

    async def _told(self) -> Gate:
        """Say whether Telegram tells us of all that we ask for: a poll does so by itself."""
        missing: set[str] = set()
        if self._mode == "webhook":
            info = await self._line.call(self._bot.get_webhook_info)
            missing = set(ALLOWED).difference(info.allowed_updates or ())
        values = {"missing": ", ".join(sorted(missing))}
        return Gate(name="telegram_updates", open=not missing, values=values)

    def link(self, place: Place, message_id: str) -> str:
        """Return the address of a message in a supergroup; other chats have none."""
        return link_to(place, message_id)

    def health(self) -> Health:
        """Say how the connection is, by the age of the last good poll."""
        return self._pulse.health(f"@{self._account.username}" if self._account else "")

    def knows(self, headers: Mapping[str, str]) -> bool:
        """Say whether a webhook request brings our secret; without one nobody does."""
        given = {name.lower(): value for name, value in headers.items()}.get(SECRET_HEADER, "")
        right = hmac.compare_digest(given.encode("utf-8", "replace"), self._secret.encode())
        return right and self._secret != ""

    async def webhook(self, headers: Mapping[str, str], body: bytes) -> int:
        """Take one webhook request in and return the status to answer.

        200 only after the commit, also for poison: Telegram would offer it again for ever. 401
        for a missing or wrong secret, 503 while nothing can be stored.
        """
        if not self.knows(headers):
            return 401
        if self._account is None:
            return 503
        try:
            update = json.loads(body)
        except (ValueError, RecursionError) as error:
            came = unreadable(body, self._account, f"{type(error).__name__}: {error}"[:500])
        else:
            came = self._read(update)
        try:
            await self._take_in([came], None)
        except StoreError as error:
            self._pulse.bad(str(error))
            return 503
        self._pulse.good()
        return 200

    async def _store(self, updates: list[Any], offset: int) -> None:
        """Commit a batch with the offset that may then confirm it."""
        arrivals = [self._read(update) for update in updates]
        await self._take_in(arrivals, (f"telegram/{self.bot}/offset", str(offset)))

    def _read(self, update: Any) -> Arrival:  # noqa: ANN401 - raw JSON
        """Return what an update is; what follows a move in one batch is read by the new id."""
        if self._account is None:  # run() learns the name before it polls
            raise StoreError("the bot does not know its own name yet")
        if isinstance(update, bytes):
            return unreadable(update, self._account, "no JSON that can be read")
        came = arrival(update, self._account, now=self._clock())
        self._groups.hear(update)
        if came.message is None and (callback := _callback(update)):
            self._start(self._sender.answer(callback))  # not ours, and yet a button spins
        if came.message is not None and came.message.kind == "moved":
            self._follow(came.message.key.chat, came.message.data)
        return came

    async def _take_in(self, arrivals: list[Arrival], cursor: tuple[str, str] | None) -> None:
        arrivals = await self._groups.sign(arrivals)
        await self._door.take_in(arrivals, cursor=cursor)
        for message in (each.message for each in arrivals if each.message is not None):
            if message.kind == "pressed":
                self._start(self._sender.answer(message.event_id))
            elif message.kind == "moved":
                await self._door.take_in([], cursor=(self._moves + message.key.chat, message.data))

    @property
    def _moves(self) -> str:
        """The name of the cursors that hold where a group went, without the group's old id."""
        return f"telegram/{self.bot}/moved/"

    def _follow(self, old: str, new: str) -> None:
        """Let what the settings say of a group hold for the supergroup that it became."""
        if old in self._desk_chats:
            self._desk_chats = self._desk_chats | {new}
        if old in self._watch:
            self._watch = self._watch | {new}
        if self._account is not None:
            self._account = replace(self._account, desk_chats=self._desk_chats, watch=self._watch)

    async def _learn_moves(self) -> None:
        """Read where the groups of the settings went while an earlier process ran."""
        for pause in self._backoff:
            try:
                moves = await self._door.cursors(self._moves)
            except StoreError as error:
                self._pulse.bad(str(error))
                await asyncio.sleep(pause)
            else:
                for name, new in moves.items():
                    self._follow(name.removeprefix(self._moves), new)
                return

    async def _learn_name(self) -> None:
        """Ask until Telegram tells our own name: without it no mention can be recognized."""
        me = await self._insist(self._bot.get_me)
        self._account = Account(
            bot=self.bot,
            username=me.username or "",
            desk_chats=self._desk_chats,
            watch=self._watch,
        )

    async def _insist(self, make: Callable[[], Awaitable[T]]) -> T:
        """Make a call until it succeeds, with growing pauses."""
        for pause in self._backoff:
            try:
                return await self._line.call(make)
            except DeliveryError as error:
                self._pulse.bad(str(error), rejected=isinstance(error, TokenRejected))
                asked = error.seconds if isinstance(error, RetryAfter) else 0.0
            await asyncio.sleep(max(pause, asked))
        raise AssertionError("a back-off never ends")

    async def _keep_webhook(self) -> None:
        """Tell Telegram our address, and look every minute whether it still knows it.

        At the start it is told in any case: the secret may be a new one, and nobody can ask
        Telegram which one it knows.
        """
        told = False
        while True:
            info = await self._insist(self._bot.get_webhook_info)
            asked = set(info.allowed_updates or ()) >= set(ALLOWED)
            if not told or info.url != self._webhook_url or not asked:
                await self._insist(
                    lambda: self._bot.set_webhook(
                        self._webhook_url,
                        secret_token=self._secret,
                        allowed_updates=ALLOWED,
                        max_connections=_CONNECTIONS,
                        drop_pending_updates=False,
                    )
                )
                told = True
            failed = info.last_error_date
            if failed and self._clock() - failed.timestamp() < _WEBHOOK_CHECK:
                self._pulse.bad(f"cannot deliver to the webhook: {info.last_error_message}")
            else:
                self._pulse.good()
            await asyncio.sleep(_WEBHOOK_CHECK)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what nobody waits for."""
        _ = self._task(work)

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._loose.add(task)
        task.add_done_callback(self._loose.discard)
        return task


def _callback(update: Any) -> str:  # noqa: ANN401 - raw JSON
    """Return the id of the press that an update is, empty where it is none."""
    query = update.get("callback_query") if isinstance(update, dict) else None
    number = query.get("id") if isinstance(query, dict) else None
    return number if isinstance(number, str) else ""


def _check_settings(token: str, api_base: str, mode: str, url: str, secret: str) -> None:
    """Raise SetupError for settings that can never work."""
    if not re.fullmatch(r"\d+:[\w-]+", token):
        raise SetupError(
            "telegram.token does not look like a token: copy the whole line that @BotFather gave, "
            "digits, a colon and letters."
        )
    if not re.fullmatch(r"https?://[^\s/]+/\S*", api_base):
        raise SetupError("telegram.api_base must be an http(s) address that ends in /bot.")
    if mode == "webhook" and not url.startswith("https://"):
        raise SetupError("Set telegram.webhook_url to the public https address of this server.")
    if mode == "webhook" and not re.fullmatch(r"[\w-]{1,256}", secret, re.ASCII):
        raise SetupError(
            "Set telegram.webhook_secret to 1-256 letters, digits, '_' or '-': without it anybody "
            "could forge messages."
        )
