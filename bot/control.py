"""The way to a running Heed: a socket beside its database, for commands of the same user.

A caller sends one JSON line, {"verb": ..., "arguments": {...}}, and gets one back: {"result": ...}
or {"error": a sentence}. The socket is there while the database is held, so whoever finds none (or
one of a process that crashed: nobody answers there) may take the file itself, by the same lock.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from bot.database import file_of
from core.errors import HeedError, SetupError

if TYPE_CHECKING:
    from bot.app import App

log = structlog.get_logger(__name__)

Verb = Callable[..., Awaitable[Any]]  # takes JSON values by name, returns one

LINE = 65536  # bytes of a question
PATIENCE = 600.0  # seconds that an answer may take: a restore ends when all runs again
NAME = 100  # bytes of a path that every kernel takes as a socket's name


def verbs_of(app: App) -> dict[str, Verb]:
    """Return what a running Heed does for commands, by name."""
    from bot import live, person, staff

    return {
        "live": partial(live.live_of, app),
        "forget": partial(person.forget_in, app),
        "export": partial(person.export_from, app),
        "staff_add": partial(staff.add_in, app),
        "staff_remove": partial(staff.remove_in, app),
    }


@asynccontextmanager
async def listening(url: str, verbs: Mapping[str, Verb]) -> AsyncIterator[None]:
    """Answer commands while the block runs; `verbs` is looked up anew for each.

    The caller holds the database, so a socket that is there already is of a process that crashed.
    Where the folder takes no sockets Heed runs without one, and the log says so.
    """
    path = _path(url)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove(path)
        with _short(path) as name:
            door.bind(name)
        path.chmod(0o600)  # before it listens: nobody was let in until now
    except OSError as error:
        door.close()
        log.warning(
            "commands cannot reach this Heed", file=path.name, cause=error.strerror or str(error)
        )
        yield
        return
    at_work: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_answer(verbs, reader, writer))
        at_work.add(task)
        task.add_done_callback(at_work.discard)

    server = await asyncio.start_unix_server(begin, sock=door, limit=LINE)
    try:
        yield
    finally:
        server.close()
        _remove(path)
        if at_work:  # whoever has asked is answered
            _, late = await asyncio.wait(at_work, timeout=5.0)
            for task in late:
                task.cancel()


def ask(url: str, verb: str, /, patience: float = PATIENCE, **arguments: Any) -> Any | None:  # noqa: ANN401 - any JSON value
    """Ask the running Heed; None: none is running. Raises SetupError or HeedError as it says."""
    path = _path(url)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(patience)
        try:
            with _short(path) as name:
                caller.connect(name)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as error:
            if error.errno is None:  # no kernel takes such a name, so nobody listens there
                return None
            raise SetupError(
                f"The running Heed cannot be asked ({error.strerror} at {path}); "
                "run this command as the user that Heed runs as."
            ) from None
        question = json.dumps({"verb": verb, "arguments": arguments}) + "\n"
        try:
            caller.sendall(question.encode())
            with caller.makefile("rb") as answers:
                line = answers.readline()
        except OSError as error:
            raise HeedError(
                f"The running Heed has not answered ({error!s}); its log may say why."
            ) from None
    return _result(line)


def _result(line: bytes) -> Any:  # noqa: ANN401 - any JSON value
    if not line.endswith(b"\n"):
        raise HeedError("The running Heed ended without an answer; its log may say why.")
    answer = json.loads(line)
    if "error" in answer:
        raise (SetupError if answer.get("setup") else HeedError)(answer["error"])
    return answer["result"]


async def _answer(
    verbs: Mapping[str, Verb], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry out one command. What is no error of ours is left to the log; the caller hears EOF."""
    try:
        if not _is_ours(writer.get_extra_info("socket")):
            log.warning("a command of another user was refused")
            return
        try:
            verb, arguments = await _question(reader)
            answer = {"result": await _found(verbs, verb, arguments)()}
        except HeedError as error:
            answer = {"error": str(error), "setup": isinstance(error, SetupError)}
        writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
        with suppress(ConnectionError):  # whoever asked has gone; it is done all the same
            await writer.drain()
    finally:
        writer.close()


async def _question(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    """Read a question. Raises HeedError for what is none."""
    with suppress(ValueError, RecursionError):  # a line that is too long is a ValueError, too
        match json.loads(await reader.readline()):
            case {"verb": str(verb), "arguments": dict(arguments)}:
                return verb, arguments
            case _:
                pass
    raise HeedError("The command could not be read.")


def _found(verbs: Mapping[str, Verb], name: str, arguments: dict[str, Any]) -> Verb:
    """Return a verb with its arguments, ready to be called. Raises SetupError."""
    if not verbs:
        raise SetupError("Heed is starting or stopping; try again in a moment.")
    verb = verbs.get(name)
    if verb is not None:
        with suppress(TypeError):  # other arguments than this version's
            inspect.signature(verb).bind(**arguments)
            return partial(verb, **arguments)
    raise SetupError(
        f"The running Heed is of another version and does not know this {name!r}; restart it."
    )


def _is_ours(peer: socket.socket) -> bool:
    """Say whether a caller is of this user, or root; where the kernel does not tell, 0600 does."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True
    _pid, user, _group = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, option, 12))
    return user in (os.getuid(), 0)


def _path(url: str) -> Path:
    return Path(f"{file_of(url).absolute()}.sock")


def _remove(path: Path) -> None:
    """Remove a socket, and nothing that is not one."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Return a name of `path` that the kernel takes: a long one by way of its open folder."""
    if len(os.fsencode(path)) <= NAME or not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
