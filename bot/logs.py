"""Logs: structlog over the standard library's handlers, to stderr, with nobody's secrets or data.

Redaction happens at the very end, on the finished text, so it covers our own events, those of
every library, exception messages and tracebacks alike.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import urllib.parse
from collections.abc import Iterable
from types import TracebackType
from typing import TextIO

import structlog

from bot.faults import FAULTS
from bot.settings import Settings
from core.journal import NAME as WALK
from core.personal import conceal

_CHATTY = (
    "httpx",
    "httpcore",
    "httpx2",
    "httpcore2",
    "telegram",
    "discord",
    "uvicorn",
    "asyncio",
    "alembic",
)
_NOTHING = "[secret]"


def _spellings(text: str) -> set[str]:
    """Return how a text looks raw, in an address, in a repr and inside a JSON string."""
    return {
        text,
        urllib.parse.quote(text, safe=""),
        repr(text)[1:-1],
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
    }


class Redaction:
    """Replaces every spelling of a secret in a line of text, and personal data of anybody."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # Twice, because a JSON line may quote a repr.
        once = {spelling for secret in secrets if secret for spelling in _spellings(secret)}
        twice = {spelling for text in once for spelling in _spellings(text)}
        self._spellings = sorted(twice, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return `text` without any secret, and without an address, a phone number and so on."""
        for spelling in self._spellings:
            text = text.replace(spelling, _NOTHING)
        return conceal(text)


class _Formatter(structlog.stdlib.ProcessorFormatter):
    redact: Redaction

    def format(self, record: logging.LogRecord) -> str:  # type: ignore[explicit-override]
        line = super().format(record)
        # Those of the walk are numbers and words of ours, one or two for every message: nothing is
        # searched for in them, and no number is taken for somebody's.
        return line if record.name == WALK else self.redact(line)


def set_up(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream` (stderr), redacted, in the chosen format."""
    stream = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    formatter = _Formatter(foreign_pre_chain=shared, processors=_last_steps(settings, stream))
    formatter.redact = Redaction(settings.secrets())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler, FAULTS]
    root.setLevel(settings.log.level.upper())
    # One line for every request would bury what matters; at their lowest level the libraries
    # write down whole requests and answers, and with them what people said.
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.INFO if _debugging(settings) else logging.WARNING)
    logging.raiseExceptions = False  # its report of a broken log call would print the arguments
    _redact_crashes()


def _debugging(settings: Settings) -> bool:
    return settings.log.level == "debug"


def _last_steps(settings: Settings, stream: TextIO) -> list[structlog.typing.Processor]:
    """Render without local variables: they may hold what people wrote."""
    drop_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if settings.log.format == "json":
        return [
            drop_meta,
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    return [
        drop_meta,
        structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        ),
    ]


def _redact_crashes() -> None:
    """Let exceptions that nobody caught end in the log too, instead of raw on stderr."""
    log = logging.getLogger("heed")

    def crashed(kind: type[BaseException], err: BaseException, trace: TracebackType | None) -> None:
        log.critical("stopped by an error nobody expected", exc_info=(kind, err, trace))

    def thread_crashed(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and args.exc_type is not SystemExit:
            crashed(args.exc_type, args.exc_value, args.exc_traceback)

    sys.excepthook = crashed
    threading.excepthook = thread_crashed
