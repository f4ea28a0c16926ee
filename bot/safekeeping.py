"""Secrets in files of their own: HEED_..._FILE names a file that holds what HEED_... would say.

Compose and systemd hand secrets over in this way. A file that everybody on the machine can read
keeps nothing safe, so `exposed` names those.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from core.errors import SetupError

SUFFIX: Final = "_FILE"
_MOST: Final = 64 * 1024  # bytes
_PATIENCE: Final = 3.0  # seconds in which somebody must have begun to write into a pipe


def in_files(environ: Mapping[str, str], keys: Mapping[str, str]) -> dict[str, Path]:
    """Return the file of each setting that is kept in one: `keys` are settings by variable.

    Raises SetupError where a setting is given both ways.
    """
    found = {}
    given = {name.upper(): value for name, value in environ.items()}
    for name, value in environ.items():
        key = keys.get(name.upper().removesuffix(SUFFIX))
        if key is None or not name.upper().endswith(SUFFIX) or not value:
            continue
        direct = name[: -len(SUFFIX)]
        if given.get(direct.upper()):
            raise SetupError(f"{direct} and {name} are both set; take one of them out.")
        found[key] = Path(value)
    return found


def read(path: Path, name: str) -> str:
    """Return the secret in a file. Raises SetupError, which names the variable `name` alone."""
    try:
        text = _content(path).decode().strip()
    except OSError as err:
        raise SetupError(f"The file that {name} names cannot be read: {err.strerror}.") from None
    except ValueError:  # no UTF-8, or a path with a NUL in it
        raise SetupError(f"The file that {name} names is not UTF-8 text.") from None
    if not text:
        raise SetupError(f"The file that {name} names is empty; put the secret into it.")
    if "\n" in text or len(text) > _MOST:
        raise SetupError(f"The file that {name} names holds more than one line.")
    return text


def _content(path: Path) -> bytes:
    """Read a file, or a pipe; one that nobody writes into is empty."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        select.select([file], [], [], _PATIENCE)
        os.set_blocking(file.fileno(), True)
        return file.read(_MOST + 1)


def put(values: dict[str, Any], key: str, value: str) -> None:
    """Put a value where `key` (section.key) stands in what a settings file says."""
    *path, last = key.split(".")
    for step in path:
        values = values.setdefault(step, {})
    values[last] = value


def exposed(files: Mapping[str, Path]) -> Iterator[str]:
    """Yield a sentence for each file of secrets that others can read; `files` by what they are."""
    for what, path in files.items():
        try:
            mode = path.stat().st_mode
        except OSError:
            continue  # whoever reads it says so
        if mode & stat.S_IROTH:
            yield f"everybody on this machine can read {what}: chmod 600 {path}"
