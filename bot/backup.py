"""`heed backup` and `heed restore`: the database as one file, made and put back while Heed runs.

A backup is a copy of one moment, checked before it appears under its name. The command reads the
file itself: a reader is in nobody's way, and it works where the running Heed hangs, or may not
write where the backup is to be. A restore is prepared
beside the database (copied, checked, brought to the newest revision, what was under way in it set
aside), so that whatever is wrong with it is known before anything is touched. Then the running
Heed stops its rooms, exchanges the files by one rename, and starts again in the same process; the
database that was there stays beside it under another name.

Discord is asked for what was missed since the place that it was read to. That place comes from the
database that is replaced, not from the backup: what came in between was heard, and answered, then.
"""

from __future__ import annotations

import asyncio
import glob
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from bot import database, sealing
from bot.control import ask
from bot.settings import Settings
from core.errors import HeedError, SetupError
from core.store import intake, snapshot
from core.texts import STAFF

if TYPE_CHECKING:
    from bot.app import App

log = structlog.get_logger(__name__)

RESTORED = "heed/restored"  # the cursor that tells the next start what to say to staff
STAGED = ".restoring-"  # in the name of a backup that is ready to be put in place
BEGUN = "its answer had begun when a backup was restored"
WHY = "it was under way when the backup was made, and may have been dealt with since"


def backup(settings: Settings, target: Path, *, force: bool = False) -> str:
    """Copy the database into `target`, whether Heed runs or not; return what was made.

    Raises SetupError: there is no database, the file is there already, the disk is full.
    """
    source = database.file_of(settings.database.url)
    if not source.exists():
        raise SetupError(f"There is no database at {source} yet: there is nothing to back up.")
    if target.is_dir():
        raise SetupError(f"{target} is a folder; name a file in it.")
    if target.exists() and not target.is_file():
        raise SetupError(f"{target} is no ordinary file; name another.")
    if target.exists() and (target.samefile(source) or not force):
        words = "is the database itself" if target.samefile(source) else "is there already"
        raise SetupError(f"{target} {words}; name another file{'' if force else ', or --force'}.")
    with _draft(target) as draft:
        snapshot.copy(source, draft)
        found = snapshot.revision(draft)
        if force:
            draft.replace(target)
        else:
            _put(draft, target)
    _sync(target.parent)
    return f"{target}: {_size(target)}, revision {found}, checked."


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """Make an empty file beside `target`, for this user alone; remove what is left of it."""
    folder, name = target.absolute().parent, f".{target.name}.part-"
    try:
        _bury(folder, name)
        draft = _fresh(folder / f"{name}{os.getpid()}")
    except OSError as error:
        raise SetupError(f"Nothing can be written in {folder} ({error.strerror}).") from None
    try:
        yield draft
    except OSError as error:
        raise SetupError(f"{target} cannot be written ({error.strerror}).") from None
    finally:
        _discard(draft)


def _fresh(file: Path) -> Path:
    """Make an empty file that only this user can read."""
    _discard(file)
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return file


def _bury(folder: Path, name: str) -> None:
    """Remove what commands that were killed have left: files whose name ends in their process."""
    for file in folder.glob(f"{glob.escape(name)}*"):
        number = file.name.removeprefix(name).partition("-")[0]
        if number.isdecimal() and not _lives(int(number)):
            _discard(file)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


def _put(draft: Path, target: Path) -> None:
    """Give a file its name unless somebody has it by now."""
    try:
        target.hardlink_to(draft)
    except FileExistsError:
        raise SetupError(f"{target} is there already; name another file, or --force.") from None
    except OSError:  # a file system without hard links
        draft.replace(target)


def _size(file: Path) -> str:
    size = file.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


# --- putting back ---------------------------------------------------------------------------


def restore(settings: Settings, source: Path) -> str:
    """Put a backup in the database's place, through the running Heed where there is one.

    Raises SetupError; then the database is as it was.
    """
    url = settings.database.url
    database.prepare(url)
    if not source.is_file():
        raise SetupError(f"There is no file {source}.")
    staged = _stage(settings, source)
    try:
        told = ask(url, "restore", file=staged.name)
        if told is not None:
            return str(told)
        with database.hold(url):
            return put_in_place(url, staged.name)
    finally:
        _discard(staged)


def _stage(settings: Settings, source: Path) -> Path:
    """Make a copy of a backup, beside the database, that needs only its name."""
    home = database.file_of(settings.database.url)
    if home.exists() and home.samefile(source):
        raise SetupError(f"{source} is the database itself; name a backup of it.")
    _bury(home.absolute().parent, f"{home.name}{STAGED}")
    staged = _fresh(home.with_name(f"{home.name}{STAGED}{os.getpid()}"))
    try:
        _give(staged, home)
        snapshot.copy(source, staged)
        snapshot.revision(source)
        _bring_up_to_date(staged, source)
        sealing.insist(settings, url=f"sqlite:///{staged.absolute()}")
        found = snapshot.set_aside(staged, WHY)
        snapshot.note(staged, RESTORED, f"{found.posts} {found.messages}")
        snapshot.fold(staged)
    except BaseException as error:  # a cancel too: no half-made file stays
        _discard(staged)
        if isinstance(error, OSError):
            raise SetupError(f"{staged} cannot be written ({error.strerror}).") from None
        raise
    return staged


def _give(staged: Path, home: Path) -> None:
    """Give a file to whose database it becomes: root may restore for the user that Heed runs as."""
    owner = home.stat() if home.exists() else home.absolute().parent.stat()
    if owner.st_uid != os.getuid():
        os.chown(staged, owner.st_uid, owner.st_gid)


def put_in_place(url: str, name: str) -> str:
    """Exchange the database, which is held and which nobody uses, for a staged one by a rename.

    Until that rename the database is the old one, after it the new one, whatever ends us.
    """
    home = database.file_of(url)
    staged = home.with_name(name)
    if not name.startswith(f"{home.name}{STAGED}") or "/" in name or not staged.is_file():
        raise SetupError(f"{name} is no backup that stands ready.")
    kept = ""
    posts, messages = map(int, _numbers(staged).split())
    along = snapshot.Along(0, 0, readable=True)
    if home.exists():
        along = snapshot.bring_along(staged, home, BEGUN)
        kept = _keep(home)
    told = f"{posts} {messages + along.begun}"
    snapshot.note(staged, RESTORED, told)
    snapshot.fold(staged)
    staged.replace(home)
    _sync(home.absolute().parent)
    return _report(home, told, along, kept)


def _numbers(staged: Path) -> str:
    with snapshot.opened(staged) as connection:
        row = connection.execute("SELECT value FROM cursor WHERE name = ?", (RESTORED,)).fetchone()
    return str(row[0]) if row else "0 0"


def _keep(home: Path) -> str:
    """Give the present database a second name. One that is damaged is kept with its log."""
    kept = _free_name(home)
    try:
        snapshot.fold(home)
    except SetupError as error:
        if "locked" in str(error):
            raise SetupError(
                f"{home} is in use by another program; end it, then try again."
            ) from None
        for rest in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{home}{rest}").rename(f"{kept}{rest}")
    try:
        kept.hardlink_to(home)
    except OSError:  # a file system without hard links
        shutil.copy2(home, kept)
    return kept.name


def _free_name(home: Path) -> Path:
    """Return a name that nothing has yet: two restores may fall into one second."""
    now = datetime.fromtimestamp(time.time(), UTC)
    first = f"{home.name}.before-restore-{now:%Y%m%d-%H%M%S}"
    names = chain([first], (f"{first}-{n}" for n in count(2)))
    return next(file for name in names if not (file := home.with_name(name)).exists())


def _report(home: Path, told: str, along: snapshot.Along, kept: str) -> str:
    posts, messages = told.split()
    words = [
        f"The backup is in place: {_size(home)}, revision {snapshot.revision(home)}.",
        f"Set aside, as they may have been dealt with since: {posts} posts, {messages} messages.",
    ]
    if along.waiting:
        words.append(f"{along.waiting} messages that waited for an answer are answered now.")
    if not along.readable:
        words.append("Of the database that was there nothing could be read.")
    if kept:
        words.append(f"It is kept as {kept}: remove it when you no longer need it.")
    words.append("Whoever was forgotten since the backup is in it again: erase them anew.")
    return " ".join(words)


def _discard(file: Path) -> None:
    for rest in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            Path(f"{file}{rest}").unlink()


def _bring_up_to_date(staged: Path, source: Path) -> None:
    try:
        database.upgrade(f"sqlite:///{staged.absolute()}")
    except SetupError as error:
        raise SetupError(
            f"{source} cannot be brought up to date: restore it with the Heed that made it."
        ) from error


class Exchange:
    """How a running Heed is asked for a restore, carries it out between two lives, and answers."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._name = ""
        self._answer: asyncio.Future[str] | None = None
        self._words: str | HeedError = ""
        self.wanted = asyncio.Event()  # the rooms are to be stopped

    async def restore(self, file: str) -> str:
        """Be the verb `restore`: answer when the new life has begun."""
        if self._answer is not None:
            raise SetupError("A backup is being restored already.")
        self._name, self._words = file, ""
        self._answer = asyncio.get_running_loop().create_future()
        self.wanted.set()
        return await self._answer

    async def carry_out(self) -> None:
        """Put the backup in place, while nothing runs. What goes wrong is told by `begun`."""
        self.wanted.clear()
        try:
            self._words = await asyncio.to_thread(put_in_place, self._url, self._name)
        except HeedError as error:
            self._words = error
        except OSError as error:
            self._words = SetupError(f"The backup cannot be put in place ({error.strerror}).")

    def begun(self) -> None:
        """Answer whoever asked, as everything runs again."""
        answer, self._answer = self._answer, None
        if answer is None or answer.done():
            return
        if isinstance(self._words, HeedError):
            answer.set_exception(self._words)
        else:
            answer.set_result(self._words)

    def ended(self) -> None:
        """Answer whoever still waits, as nothing will run again."""
        if self._words == "":
            self._words = SetupError("Nothing was changed: Heed has stopped, its log says why.")
        elif isinstance(self._words, str):
            self._words = f"{self._words} Heed has stopped since; its log says why."
        self.begun()


async def tell(app: App) -> None:
    """Tell staff, at the first start after a restore, that what was under way is set aside."""
    found: str | None = await app.room.read_cursor(RESTORED)
    if not found:
        return
    posts, messages = found.split()
    log.warning("a backup was restored", posts=posts, messages=messages)
    words = app.texts.say("restored", STAFF, n=posts, m=messages)
    await app.clockwork.tell_operator(words)
    clear: Any = partial(intake.set_cursor, name=RESTORED, value="")
    await app.store.write(clear)
