"""How much the Telegram server lets a bot send, and the pusher that calls its webhook."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.fakes.telegram_shapes import ApiError

_SEEN = ("send", "edit", "copy", "forward", "create")  # calls that show something in a chat
_UNSEEN = {"sendchataction", "sendmessagedraft"}


class Flood:
    """The flood rule, when `on`: so many messages and edits in so many seconds, then 429."""

    group = (20, 60.0)
    private = (30, 30.0)

    def __init__(self) -> None:
        self.on = False
        self.refused = 0
        self._sent: dict[str, list[float]] = {}

    def take(self, method: str, params: dict[str, Any], now: float) -> None:
        """Count a call; raise 429 with the seconds until the oldest one is forgotten."""
        name, chat = method.lower(), str(params.get("chat_id", ""))
        if not self.on or not chat or not name.startswith(_SEEN) or name in _UNSEEN:
            return
        most, seconds = self.group if chat.startswith("-") else self.private
        sent = [at for at in self._sent.get(chat, ()) if now - at < seconds]
        count = max(len(params.get("media") or ()), len(params.get("message_ids") or ()), 1)
        if name in {"editmessagemedia", "sendphoto"}:
            count = 1
        self._sent[chat] = sent
        if len(sent) + count > most:
            self.refused += 1
            wait = max(1, int(seconds - (now - sent[0])) + 1) if sent else 1
            raise ApiError(429, f"Too Many Requests: retry after {wait}", retry_after=wait)
        sent.extend([now] * count)


class Pusher:
    """Calls a webhook as Telegram does: with the secret, again and again until it says 2xx.

    `twice`: every update is offered in two requests at the same time.
    """

    def __init__(
        self, fake: Any, address: str, *, twice: bool = False, first: float = 0.02
    ) -> None:
        self.fake, self.address, self.twice, self.first = fake, address, twice, first
        self.answers: list[int] = []

    @asynccontextmanager
    async def pushing(self) -> AsyncIterator[Pusher]:
        """Push in the background."""
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as session:
            pause = self.first
            while True:
                if not self.fake.updates or not self.fake.webhook.get("url"):
                    await asyncio.sleep(0.01)
                    continue
                update = self.fake.updates[0]
                sent = [self._offer(session, update) for _ in range(2 if self.twice else 1)]
                statuses = await asyncio.gather(*sent)
                self.answers += statuses
                if all(200 <= each < 300 for each in statuses):
                    self.fake.updates.remove(update)
                    self.fake._stir()
                    pause = self.first
                else:
                    self.fake.pushes_failed(statuses[0])
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, 1.0)

    async def _offer(self, session: aiohttp.ClientSession, update: Any) -> int:
        secret = {"X-Telegram-Bot-Api-Secret-Token": self.fake.webhook["secret"]}
        try:
            async with session.post(self.address, json=update, headers=secret) as answer:
                return answer.status
        except aiohttp.ClientError:
            return 502
