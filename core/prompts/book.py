"""The prompt files in force: the packaged ones, and the operator's over them by name.

Files are looked at whenever a prompt is asked for, by time and size only, and read again when one
has changed. A file that is wrong changes nothing: the last good one stays in force and `problems`
says what to mend. Safe to ask from any thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from core.errors import PromptError
from core.prompts.files import ReplyPrompt, Task, read_reply, read_task

_log = logging.getLogger(__name__)
_PACKAGED = Path(__file__).parent
_REPLY = "reply"
_LATELY = 1.0  # seconds

_Stamp = tuple[str, int, int]  # path, mtime in ns, size


class PromptBook:
    """Every task, and how a reply is written. `tag` names the task that tags each message.

    `clock` tells seconds, for `lately`; without one that looks at the files every time too.
    """

    def __init__(
        self,
        folder: Path | None = None,
        tag: str = "sentiment",
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.tag = tag
        self._folder = folder
        self._clock = clock
        self._looked = 0.0  # by the clock, when the files were looked at
        self._lock = threading.Lock()
        self._stamps: dict[str, _Stamp] = {}
        self._good: dict[str, Task | ReplyPrompt] = {}
        self._wrong: dict[str, str] = {}
        self._look()

    def task(self, name: str | None = None) -> Task:
        """Return a task as its file stands now; None: the tag task. Raises PromptError."""
        name = name or self.tag
        with self._lock:
            self._look()
            found = self._good.get(name)
            if isinstance(found, Task):
                return found
            if name in self._wrong:
                raise PromptError(self._wrong[name])
            known = ", ".join(sorted(set(self._good) - {_REPLY}))
            raise PromptError(
                f"there is no task {name}: choose one of {known}, or write {name}.toml"
            )

    def reply(self) -> ReplyPrompt:
        """Return how a reply is written, as its file stands now. Raises PromptError."""
        with self._lock:
            self._look()
            found = self._good.get(_REPLY)
            if isinstance(found, ReplyPrompt):
                return found
            raise PromptError(self._wrong.get(_REPLY, "reply.toml is missing from the package"))

    def lately(self) -> ReplyPrompt:
        """Return how a reply is written, as its file stood within the last second.

        For what is asked with every message and must not wait for the disk. Raises PromptError.
        """
        found = self._good.get(_REPLY)
        fresh = self._clock is not None and 0.0 <= self._clock() - self._looked < _LATELY
        return found if fresh and isinstance(found, ReplyPrompt) else self.reply()

    def names(self) -> tuple[str, ...]:
        """Return the names of every task that can be asked for."""
        with self._lock:
            self._look()
            return tuple(sorted(set(self._good) - {_REPLY}))

    def problems(self) -> list[str]:
        """Return one sentence for each file that is wrong now; [] when all is well."""
        with self._lock:
            self._look()
            return [self._wrong[name] for name in sorted(self._wrong)]

    def _look(self) -> None:
        """Read again whatever has changed; forget what is gone."""
        if self._clock is not None:
            self._looked = self._clock()
        files = {path.stem: path for path in sorted(_PACKAGED.glob("*.toml"))}
        packaged = dict(files)
        gone = self._folder is not None and not self._folder.is_dir()
        if self._folder is not None and not gone:
            files |= {path.stem: path for path in sorted(self._folder.glob("*.toml"))}
        for name in set(self._stamps) - set(files):
            self._forget(name)
        for name, path in files.items():
            self._read(name, path, packaged.get(name))
        if gone:
            self._wrong[""] = f"the prompt folder {self._folder} is missing: make it or unset it"
        else:
            self._wrong.pop("", None)

    def _forget(self, name: str) -> None:
        del self._stamps[name]
        if name == self.tag and name in self._good:  # every message is tagged by it
            self._wrong[name] = f"{name}.toml is gone, and it tags messages: put it back"
            _log.warning("%s; what stood there before stays in force", self._wrong[name])
            return
        self._good.pop(name, None)
        self._wrong.pop(name, None)

    def _read(self, name: str, path: Path, packaged: Path | None) -> None:
        """Put one file in force if it has changed and is right."""
        try:
            about = path.stat()
            stamp = (str(path), about.st_mtime_ns, about.st_size)
            if self._stamps.get(name) == stamp:
                return
            raw = path.read_bytes()
        except OSError as fault:
            self._wrong[name] = f"{path.name} cannot be read: {fault.strerror}"
            return
        self._stamps[name] = stamp
        try:
            self._good[name] = _parse(name, raw)
        except PromptError as fault:
            self._wrong[name] = str(fault)
            _log.warning("%s; what stood there before stays in force", fault)
            if name not in self._good and packaged is not None and packaged != path:
                self._good[name] = _parse(name, packaged.read_bytes())
        else:
            self._wrong.pop(name, None)


@lru_cache(maxsize=64)  # most files are the shipped ones, and the same at every start
def _parse(name: str, raw: bytes) -> Task | ReplyPrompt:
    return read_reply(raw) if name == _REPLY else read_task(name, raw)
