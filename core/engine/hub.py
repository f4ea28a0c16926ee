"""Fetching a model from the hub or a mirror of it, and going on where that was broken off.

The library's own download begins a broken file again from its first byte, and a model is one file
of a gigabyte: so the bytes are fetched here, and the library says where, as whom, and what is
needed.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import httpx2

from core.engine.files import (
    CHUNK,
    MODELS,
    NEEDED,
    PARTS,
    SHORT,
    Found,
    find,
    full_name,
    is_name,
    problem,
    put,
)
from core.errors import SetupError

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

OnProgress = Callable[[int, int], None]  # bytes here, bytes in all

_TRIES: Final = 5


def pull(name: str, on_progress: OnProgress, folder: Path | None = None) -> Found:
    """Fetch a model by hub id or short name; goes on where an earlier call was broken off.

    Blocks; runs in any thread. An exception out of `on_progress` breaks off. Heeds HF_ENDPOINT,
    HF_HUB_OFFLINE and HF_TOKEN; what HF_HOME has already is not fetched. Raises SetupError.
    """
    name, folder = full_name(name), folder or MODELS
    if not is_name(name) or "/" not in name:
        raise SetupError(
            f"{name} is no model's name: write owner/model, or one of {', '.join(SHORT)}."
        )
    if (found := find(name, folder)) is not None:
        return found
    commit, wanted = _listing(name)
    part = folder / PARTS / name.replace("/", "--")
    try:
        part.mkdir(parents=True, exist_ok=True)
        with (part / ".lock").open("w") as lock:
            _hold(lock, name)
            _fetch_all(name, commit, wanted, part, on_progress)
            if (why := problem(part)) is not None:
                raise SetupError(f"{name} cannot be used: {why.replace(str(part), name)}.")
            put(part, folder / name)
    except httpx2.HTTPError as fault:
        raise SetupError(_unreachable(name, type(fault).__name__)) from None
    except OSError as fault:
        raise SetupError(f"{name} cannot be stored: {fault.strerror or fault}.") from fault
    return Found(name=name, source=str(folder / name), folder=folder / name)


def _fetch_all(
    name: str, commit: str, wanted: list[RepoSibling], part: Path, on_progress: OnProgress
) -> None:
    """Bring every file into `part`, and leave nothing else there."""
    total, done = sum(file.size or 0 for file in wanted), 0
    if shutil.disk_usage(part).free < total - sum(path.stat().st_size for path in part.iterdir()):
        raise SetupError(f"{name} needs {total / 1e6:.0f} MB on the disk; make room first.")
    for file in wanted:

        def tell(have: int, before: int = done) -> None:
            on_progress(before + have, total)

        _fetch(name, commit, file, part, tell)
        done += file.size or 0
    names = {file.rfilename for file in wanted}
    for path in part.iterdir():
        if path.name not in names:  # the lock, and what was begun of an older version
            path.unlink()
    on_progress(total, total)


def _listing(name: str) -> tuple[str, list[RepoSibling]]:
    """Ask the hub for the present commit of a model and for the files that are needed of it."""
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
    except ImportError as fault:
        raise SetupError(
            "Fetching a model needs the local extra: install heed[local], "
            "or set model.name to a server's URL."
        ) from fault
    try:
        about = HfApi().model_info(name, files_metadata=True, timeout=20)
    except GatedRepoError as fault:
        raise SetupError(
            f"{name} is given only to who has agreed to its terms: agree on its page, "
            "then set HF_TOKEN to a token of yours."
        ) from fault
    except RepositoryNotFoundError as fault:
        raise SetupError(
            f"The hub knows no model {name}: check the spelling; a private one needs HF_TOKEN."
        ) from fault
    except HfHubHTTPError as fault:
        raise SetupError(_unreachable(name, f"it answers {fault.response.status_code}")) from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as fault:
        raise SetupError(_unreachable(name, type(fault).__name__)) from None
    except (ValueError, KeyError, TypeError) as fault:
        raise SetupError(_unreachable(name, "it does not answer as a hub does")) from fault
    files = [file for file in about.siblings or () if NEEDED.fullmatch(file.rfilename)]
    if about.sha is None or not any(file.rfilename.endswith(".safetensors") for file in files):
        raise SetupError(f"{name} offers no *.safetensors, and Heed reads nothing else.")
    return about.sha, files


def _unreachable(name: str, why: str) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        why = "HF_HUB_OFFLINE forbids to ask it"
    host = urlsplit(constants.ENDPOINT).hostname or "the hub"
    return (
        f"{name} cannot be fetched from {host} ({why}). Other ways in: `heed model import DIR|ZIP` "
        "with a copy made elsewhere, a mirror by HF_ENDPOINT=https://..., or the URL of a server "
        "by HEED_MODEL__NAME=http://..."
    )


def _hold(lock: IO[str], name: str) -> None:
    """Keep a second download of the same model out; the lock goes when its process goes."""
    try:
        import fcntl
    except ImportError:  # a system without such locks
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SetupError(f"{name} is being fetched already; wait for it.") from None


def _fetch(
    name: str, commit: str, file: RepoSibling, folder: Path, tell: Callable[[int], None]
) -> None:
    """Fetch one file unless it is here, from where its part ends, and check it."""
    target = folder / file.rfilename
    checksum = file.lfs.sha256 if file.lfs is not None else file.blob_id or ""
    if target.is_file() and _right(target, file):
        tell(file.size or 0)
        return
    part = folder / f"{file.rfilename}.{checksum[:16]}.part"
    for left in reversed(range(_TRIES)):
        try:
            _receive(name, commit, file, part, tell)
        except httpx2.TransportError:  # cut off: what has come is kept
            if not left:
                raise
            continue
        if _right(part, file):
            part.rename(target)
            return
        part.unlink(missing_ok=True)
    raise SetupError(
        f"{file.rfilename} of {name} arrives damaged each time: try later or another mirror."
    )


def _receive(
    name: str, commit: str, file: RepoSibling, part: Path, tell: Callable[[int], None]
) -> None:
    """Append to `part` what is missing of it. Raises httpx2.HTTPError."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils._headers import build_hf_headers

    have = part.stat().st_size if part.exists() else 0
    if file.size is not None and have == file.size:
        return
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    url = f"{constants.ENDPOINT}/{name}/resolve/{commit}/{quote(file.rfilename)}"
    with get_session().stream("GET", url, headers=headers, timeout=30) as answer:
        if answer.status_code == 416:  # more is here than there: begin again
            part.unlink()
            return
        answer.raise_for_status()
        again = answer.status_code == 206
        have = have if again else 0
        with part.open("ab" if again else "wb") as target:
            told = have
            for chunk in answer.iter_bytes():  # as it comes, so that a cut loses nothing
                target.write(chunk)
                have += len(chunk)
                if have - told >= CHUNK or have == file.size:
                    told = have
                    tell(have)


def _right(path: Path, file: RepoSibling) -> bool:
    """Say whether a file is what the hub has listed."""
    size = path.stat().st_size if path.exists() else -1
    if file.size is not None and size != file.size:
        return False
    if file.lfs is not None:
        digest, expected = hashlib.sha256(), file.lfs.sha256
    elif file.blob_id:  # git's own name for these bytes
        digest, expected = hashlib.sha1(f"blob {size}\0".encode()), file.blob_id  # noqa: S324
    else:
        return size >= 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == expected
