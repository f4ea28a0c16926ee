"""`heed run` and `heed chat`: one process from its first line to its last."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from typing import Any

from bot import database, models
from bot.accounts import FIRST, text_of
from bot.app import App
from bot.lease import lease
from bot.settings import Settings
from core.errors import DeliveryError, PromptError, SetupError
from core.ports import Probe, no_probe


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def serve(settings: Settings, *, probe: Probe = no_probe) -> None:
    """Run Heed with its page until a signal ends it. Raises SetupError with what to do."""
    from adapters.web import WebAdapter
    from adapters.web.guard import is_loopback

    models.choose(settings)  # a model that is not there ends the start before anything begins
    database.prepare(settings.database.url)
    with database.hold(settings.database.url), lease(settings):
        await asyncio.to_thread(database.upgrade, settings.database.url)
        _say(f"Database ready: {database.file_of(settings.database.url)}")
        app = App(settings, probe=probe)
        app.connect()
        web = WebAdapter(
            app.room,
            clock=app.clock,
            host=settings.http.host,
            port=settings.http.port,
            token=text_of(settings.http.token),
            per_minute=settings.limits.per_user_minute,
            ready=app.speaker.why_not_ready,
            metrics=app.room.metrics,
            webhooks=_webhooks(app),
        )
        try:
            await web.check()
            await _check(app)
            app.add(web)
            _say(f"Model: {app.speaker.view()['words']}")
            if not is_loopback(settings.http.host):
                _say(_beyond(settings))
            await _until_signal(app, web)
        finally:
            await app.close()


def _beyond(settings: Settings) -> str:
    """Say what callers find where Heed listens to more than this machine."""
    closed = f"The page is closed while http.host is {settings.http.host}"
    if settings.http.token is None:
        return f"{closed}, and so is the API: set HEED_HTTP__TOKEN, or HEED_HTTP__HOST=127.0.0.1."
    return f"{closed}; the API answers callers that send the token."


async def _check(app: App) -> None:
    """Ask every platform whether its token is good, one line each."""
    for adapter in app.adapters.values():
        name = adapter.platform.capitalize()
        try:
            await adapter.check()
        except SetupError as error:
            alone = sum(one.platform == adapter.platform for one in app.adapters.values()) == 1
            raise error if alone else SetupError(f"{name}, bot {adapter.bot}: {error}") from error
        except DeliveryError as error:
            _say(f"{name}: {str(error).rstrip('.')}. Heed goes on trying.")
        else:
            _say(f"{name}: {adapter.health().name or 'token accepted'}")


def _webhooks(app: App) -> dict[str, Any]:
    """Return what takes the updates that Telegram pushes, by the path's last part; "": none."""
    found: dict[str, Any] = {}
    for name, bot in app.settings.telegram.bots().items():
        if bot.mode == "webhook":
            adapter: Any = app.adapters["telegram", bot.number]
            found["" if name == FIRST else name] = adapter.webhook
    return found


async def _until_signal(app: App, web: Any) -> None:  # noqa: ANN401 - WebAdapter
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(app.run())
    waiting = asyncio.create_task(stop.wait())
    _say(f"Heed is at {web.url}")
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        _raise_first(running)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def _raise_first(running: asyncio.Task[None]) -> None:
    """Raise the sentence for the operator out of a group of errors, or whatever ended it."""
    error = running.exception()
    for found in _leaves(error):
        if isinstance(found, SetupError | PromptError):
            raise found
    if error is not None:
        raise error


def _leaves(error: BaseException | None) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [] if error is None else [error]


async def chat(settings: Settings) -> None:
    """Talk to Heed in this terminal; the same database, the same walk."""
    from adapters.terminal import TerminalAdapter

    database.prepare(settings.database.url)
    with database.hold(settings.database.url):
        await asyncio.to_thread(database.upgrade, settings.database.url)
        app = App(settings)
        terminal = TerminalAdapter(app.room, app.clock, sys.stdin, sys.stdout)
        app.add(terminal)
        if sys.stdin.isatty():
            _say("Write to Heed. /help lists what it understands, Ctrl-D ends.")
        running = asyncio.create_task(app.run())
        ended = asyncio.create_task(terminal.ended.wait())
        try:
            await asyncio.wait({running, ended}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                _raise_first(running)
            await app.turns.idle()
            await app.posts.idle()
        finally:
            ended.cancel()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await app.close()
