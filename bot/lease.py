"""One process for each bot: whoever holds a token's lease may hear what is written to that bot.

A kernel lock on a file named by a hash of the token: a crash frees it, and a file that is left
behind means nothing. The file lies beside the database, and in the user's own temporary folder,
so that two Heeds with two databases meet each other, too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bot.accounts import DiscordBot, TelegramBot, section_of, text_of
from bot.database import file_of
from bot.settings import Settings
from core.errors import SetupError


@contextmanager
def lease(settings: Settings) -> Iterator[None]:
    """Hold the lease of every bot of the settings. Raises SetupError if another process has one."""
    bots: list[tuple[str, TelegramBot | DiscordBot]] = [
        *((section_of("telegram", name), bot) for name, bot in settings.telegram.bots().items()),
        *((section_of("discord", name), bot) for name, bot in settings.discord.bots().items()),
    ]
    tokens = {section: text_of(bot.token) for section, bot in bots}
    with lease_tokens(tokens, file_of(settings.database.url).absolute().parent):
        yield


@contextmanager
def lease_tokens(tokens: Mapping[str, str], *folders: Path) -> Iterator[None]:
    """Hold the leases of tokens, each by the section that it stands in. Raises SetupError."""
    own = _own_folder()
    places = [*folders, *([] if own is None else [own])]
    with ExitStack() as held:
        for section, token in tokens.items():
            name = f"heed-{hashlib.sha256(token.encode()).hexdigest()[:16]}.lock"
            for file in dict.fromkeys(folder.resolve() / name for folder in places):
                held.enter_context(_locked(file, section))
        yield


@contextmanager
def _locked(file: Path, section: str) -> Iterator[None]:
    try:
        number = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SetupError(f"{file} cannot be written ({error.strerror}); remove it.") from None
    with os.fdopen(number, "r+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SetupError(
                f"Another Heed (process {lock.read().strip() or '?'}) is connected with the token "
                f"of [{section}]; stop it first, or give this Heed another bot."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _own_folder() -> Path | None:
    """Return this user's own folder among the temporary ones; None where somebody else has it."""
    folder = Path(tempfile.gettempdir()) / f"heed-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    return folder if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() else None
