"""`heed run` and `heed chat`: one process from its first line to its last."""

from __future__ import annotations

import asyncio
import signal
import sys
from functools import partial
from typing import Any

from bot import database, models, sealing
from bot.accounts import FIRST, text_of
from bot.app import App
from bot.backup import Exchange, tell
from bot.control import Verb, listening, verbs_of
from bot.heap import settle
from bot.lease import lease
from bot.settings import Settings
from core.errors import DeliveryError, PromptError, SetupError
from core.ports import Probe, no_probe


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def serve(settings: Settings, *, probe: Probe = no_probe) -> None:
    """Run Heed with its page until a signal ends it. Raises SetupError with what to do.

    A restore ends one life and begins the next: the database stays held, the leases too.
    """
    models.choose(settings)  # a model that is not there ends the start before anything begins
    url = settings.database.url
    database.prepare(url)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    exchange, verbs = Exchange(url), dict[str, Verb]()
    with database.hold(url), lease(settings):
        async with listening(url, verbs):
            try:
                while True:
                    life = _live(settings, probe, exchange, verbs)
                    await _until_signal(stop, asyncio.create_task(life))
                    if stop.is_set():
                        break
                    _say("Heed puts a backup in place.")
                    await exchange.carry_out()
            finally:
                exchange.ended()


async def _until_signal(stop: asyncio.Event, life: asyncio.Task[None]) -> None:
    """Wait for the end of a life, or bring it about in order at a signal. Raises what ended it."""
    signalled = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({life, signalled}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (signalled, life):
            task.cancel()  # one that has ended by itself stays as it is
        await asyncio.wait({life})
    if not life.cancelled():
        life.result()


async def _live(
    settings: Settings, probe: Probe, exchange: Exchange, verbs: dict[str, Verb]
) -> None:
    """Run from the opened database to the closed one, until a restore or until cancelled."""
    await asyncio.to_thread(database.upgrade, settings.database.url)
    app = App(settings, probe=probe)
    try:
        await asyncio.to_thread(sealing.agree, app.store)
        _say(f"Database ready: {database.file_of(settings.database.url)}")
        app.connect()
        web = _web(app)
        await web.check()
        await _check(app)
        app.add(web)
        _say(f"Model: {app.speaker.view()['words']}")
        if not _is_loopback(settings.http.host):
            _say(_beyond(settings))
        await tell(app)
        verbs |= {**verbs_of(app), "restore": exchange.restore}
        await _until_restore(app, web, exchange)
    finally:
        verbs.clear()
        await app.close()


def _web(app: App) -> Any:  # noqa: ANN401 - WebAdapter, which is imported only where it is needed
    from adapters.web import WebAdapter

    settings = app.settings
    return WebAdapter(
        app.room,
        clock=app.clock,
        host=settings.http.host,
        port=settings.http.port,
        token=text_of(settings.http.token),
        per_minute=settings.limits.per_user_minute,
        ready=app.speaker.why_not_ready,
        standing=app.watch.why_not_ready,
        refused=app.room.refused,
        metrics=app.room.metrics,
        webhooks=_webhooks(app),
    )


def _is_loopback(host: str) -> bool:
    from adapters.web.guard import is_loopback

    return is_loopback(host)


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
            found["" if name == FIRST else name] = app.adapters["telegram", bot.number]
    return found


async def _until_restore(app: App, web: Any, exchange: Exchange) -> None:  # noqa: ANN401
    """Let everything run until somebody wants a backup in place."""
    running = asyncio.create_task(app.run(partial(settle, app.mind)))
    wanted = asyncio.create_task(exchange.wanted.wait())
    _say(f"Heed is at {web.url}")
    exchange.begun()
    try:
        await asyncio.wait({running, wanted}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (wanted, running):
            task.cancel()
        await asyncio.wait({running})
    if not running.cancelled():
        _raise_first(running)


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


async def _not_beside_a_chat(file: str) -> str:  # noqa: ARG001
    raise SetupError("Somebody talks to this Heed in a terminal: end that, then try again.")


async def chat(settings: Settings) -> None:
    """Talk to Heed in this terminal; the same database, the same walk."""
    from adapters.terminal import TerminalAdapter

    database.prepare(settings.database.url)
    with database.hold(settings.database.url):
        await asyncio.to_thread(database.upgrade, settings.database.url)
        await asyncio.to_thread(sealing.insist, settings)
        app = App(settings)
        terminal = TerminalAdapter(app.room, app.clock, sys.stdin, sys.stdout)
        app.add(terminal)
        if sys.stdin.isatty():
            _say("Write to Heed. /help lists what it understands, Ctrl-D ends.")
        running = asyncio.create_task(app.run())
        ended = asyncio.create_task(terminal.ended.wait())
        try:
            verbs = {**verbs_of(app), "restore": _not_beside_a_chat}
            async with listening(settings.database.url, verbs):
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
