"""A conversation with the operator on stdin and stdout: questions, answers, and waiting for Enter.

Works at a terminal and from a pipe; the end of the input answers every further question with its
default.
"""

from __future__ import annotations

import asyncio
import getpass
import io
import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
Accept = Callable[[str], str]  # returns what is wrong with an answer, or nothing


def say(text: str) -> None:
    """Print one line."""
    print(text, flush=True)  # noqa: T201  # a conversation, not a log


def ask(
    question: str,
    default: str,
    wrong: Accept = lambda _answer: "",
    refused: str = "{why}",
    *,
    hidden: bool = False,
) -> str:
    """Ask until the answer can be used; an empty one, or the end of the input, is the default."""
    prompt = f"{question} [{default}]: " if default else f"{question}: "
    while True:
        if hidden and sys.stdin.isatty():
            answer = getpass.getpass(prompt).strip()
        else:
            print(prompt, end="", flush=True)  # noqa: T201
            line = _line()
            if not line:
                say("")
                return default
            answer = line.strip()
        if not answer:
            return default
        if not (why := wrong(answer)):
            return answer
        say(refused.format(why=why))


async def unless_enter(work: Coroutine[Any, Any, T]) -> T | None:
    """Return what comes of `work`; None as soon as a line, or the end of the input, comes first."""
    working = asyncio.ensure_future(work)
    entering = asyncio.ensure_future(_enter())
    try:
        await asyncio.wait({working, entering}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, entering):
            task.cancel()
        await asyncio.gather(working, entering, return_exceptions=True)


async def _enter() -> None:
    """Wait until a line can be read, and read it."""
    ready, loop = asyncio.Event(), asyncio.get_running_loop()
    number = _number()
    with suppress(PermissionError):  # of a file, which has whatever it holds at once
        if number is not None:
            loop.add_reader(number, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(number)
    _line()


def _line() -> str:
    """Read one line, and no letter more: what follows belongs to the next question."""
    number = _number()
    if number is None:
        return sys.stdin.readline()
    read = bytearray()
    while not read.endswith(b"\n") and (one := os.read(number, 1)):
        read += one
    return read.decode("utf-8", "replace")


def _number() -> int | None:
    try:
        return sys.stdin.fileno()
    except io.UnsupportedOperation:
        return None
