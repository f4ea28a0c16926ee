from __future__ import annotations

import io
import json
import logging
import sys
import threading

import pytest
import structlog

from bot.logs import Redaction, set_up
from bot.settings import Database, Http, Log, Settings, Telegram

TOKEN = "123456:AA-planted/token"
PASSWORD = 'ж"p\\ass'


@pytest.fixture
def stream() -> io.StringIO:
    """What the log holds; the test sets it up."""
    return io.StringIO()


def _settings(form: str) -> Settings:
    return Settings(
        telegram=Telegram(token=TOKEN),
        http=Http(token=PASSWORD),
        database=Database(url="postgresql://heed:data-pass@db/heed"),
        log=Log(format=form, level="info"),
    )


def _fail() -> None:
    raise ValueError(f"GET /bot{TOKEN}/getMe {PASSWORD}")


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_secret_reaches_any_line(form: str, stream: io.StringIO) -> None:
    set_up(_settings(form), stream)
    structlog.get_logger("heed.ours").info("polling", url=f"/bot{TOKEN}/", password=PASSWORD)
    logging.getLogger("somebody.else").warning("url %s", "/bot123456%3AAA-planted%2Ftoken/")
    logging.getLogger("engine").info("settings are %r", {"password": PASSWORD})
    logging.getLogger("engine").error("cannot reach %s", "postgresql://heed:data-pass@db/heed")
    try:
        _fail()
    except ValueError as err:
        structlog.get_logger().exception("failed")
        logging.getLogger("lib").warning("failed too", exc_info=err)
        sys.excepthook(type(err), err, err.__traceback__)
    thread = threading.Thread(target=_fail)
    thread.start()
    thread.join()
    text = stream.getvalue()
    for part in ("planted", "ж", "\\u0436", "data-pass"):
        assert part not in text
    assert text.count("ValueError: GET /bot[secret]/getMe [secret]") == 4
    assert text.count("[secret]") >= 10


def test_json_lines_are_json(stream: io.StringIO) -> None:
    set_up(_settings("json"), stream)
    with structlog.contextvars.bound_contextvars(inbox=7):
        structlog.get_logger("heed").info("taken in", rows=2)
        logging.getLogger("lib").warning("slow %d", 3)
    ours, theirs = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (ours["message"], ours["rows"], ours["inbox"]) == ("taken in", 2, 7)
    assert (ours["level"], ours["logger"]) == ("info", "heed")
    assert (theirs["message"], theirs["inbox"], theirs["level"]) == ("slow 3", 7, "warning")


def test_the_level_is_kept_and_chatty_libraries_are_quiet(stream: io.StringIO) -> None:
    set_up(_settings("console"), stream)
    logging.getLogger("heed").debug("detail")
    logging.getLogger("httpx").info("HTTP Request: GET")
    assert stream.getvalue() == ""


def test_even_at_debug_libraries_write_down_no_whole_requests(stream: io.StringIO) -> None:
    set_up(_settings("console").model_copy(update={"log": Log(level="debug")}), stream)
    logging.getLogger("heed").debug("detail")
    for name in ("telegram.Bot", "discord.http", "httpcore.http11"):
        logging.getLogger(name).debug("calling with %s", {"text": "planted words"})
    assert "detail" in stream.getvalue()
    assert "planted" not in stream.getvalue()


def test_a_broken_log_call_does_not_print_its_arguments(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up(_settings("console"), stream)
    logging.getLogger("lib").warning("%d", TOKEN)
    assert "planted" not in capsys.readouterr().err + stream.getvalue()


def test_the_longer_secret_goes_first() -> None:
    assert Redaction(["abc", "abcdef", ""])("x abcdef abc") == "x [secret] [secret]"
