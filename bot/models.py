"""Which model speaks, and the files of models, for the command line, the doctor and the page.

`model.name` may be `auto`, `embedded`, a folder, the name of a model on this machine, or the URL
of a server; `model.tag` and `model.reply` may name another one for half of the work. What is
resolved here is what `bot.engines` makes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from bot.settings import Settings
from core.engine import files
from core.errors import SetupError

if TYPE_CHECKING:
    from core.engine.hub import OnProgress


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What the settings come to. `source` is a URL, a folder or a hub id; never shown."""

    kind: Literal["embedded", "local", "remote", "routed"]
    name: str  # as shown
    why: str
    source: str = ""
    demo: bool = False
    halves: tuple[Choice, ...] = ()  # of a routed one: who tags, who writes


def chosen(settings: Settings) -> tuple[str, str]:
    """Return the model that will speak, and why it is that one. Raises SetupError."""
    choice = choose(settings)
    return choice.name, choice.why


def choose(settings: Settings) -> Choice:
    """Resolve the model settings without loading or asking anything. Raises SetupError."""
    tags, replies = choose_half(settings, "tag"), choose_half(settings, "reply")
    if (tags.kind, tags.source) == (replies.kind, replies.source):
        return replies
    return Choice(
        kind="routed",
        name=f"{tags.name} + {replies.name}",
        why=f"{tags.name} tags: {tags.why}; {replies.name} writes: {replies.why}",
        demo=tags.demo or replies.demo,
        halves=(tags, replies),
    )


def choose_half(settings: Settings, half: Literal["tag", "reply"]) -> Choice:
    """Resolve who tags, or who writes. Raises SetupError."""
    ours = settings.model
    own = (ours.tag if half == "tag" else ours.reply).strip()
    return _resolve(own, f"model.{half}") if own else _resolve(ours.name.strip(), "model.name")


def _resolve(name: str, key: str) -> Choice:
    """Resolve the value of one setting; `key` names it where it is wrong."""
    if name == "auto":
        return _auto()
    if name == "embedded":
        return Choice(kind="embedded", name="embedded", why=f"{key} says so")
    if name.startswith(("http://", "https://")):
        return _remote(name, key)
    choice = _local(name, key)
    if not _can_load():
        raise SetupError(
            f"{key} is {name}, and a local model needs torch and transformers: install "
            f"heed[local], or set {key} to embedded or to a server's URL."
        )
    return choice


def _auto() -> Choice:
    found = files.auto_choice()
    if found is None:
        why = "no model on this machine yet; `heed model pull qwen2.5-0.5b` fetches one"
        return Choice(kind="embedded", name="embedded", why=why)
    if not _can_load():
        why = f"{found.name} is on this machine, but torch and transformers are not installed"
        return Choice(kind="embedded", name="embedded", why=why)
    why = "found on this machine"
    return Choice(kind="local", name=found.name, why=why, source=found.source)


def _remote(url: str, key: str) -> Choice:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise SetupError(f"{key} is no usable URL: write http://host:port/v1.")
    name = f"{host}:{port}" if port else host
    return Choice(kind="remote", name=name, why="a server with the OpenAI interface", source=url)


def _local(name: str, key: str) -> Choice:
    folder = Path(name).expanduser()
    if folder.is_dir():
        if (why := files.problem(folder)) is not None:
            raise SetupError(f"{key}: {why}.")
        shown, demo = folder.resolve().name, files.is_demo(folder)
        why = "a demo: shows the mechanism, its words mean nothing" if demo else f"from {folder}"
        return Choice(kind="local", name=shown, why=why, source=str(folder), demo=demo)
    if name.startswith((".", "~")) or folder.is_absolute() or name.count("/") > 1:
        raise SetupError(f"{key} is the folder {name}, which does not exist; mend the path.")
    found = files.find(name)
    if found is None and "/" not in files.full_name(name):
        raise SetupError(
            f"{key} {name} is no model: write auto, embedded, owner/model, a folder "
            "or a server's URL."
        )
    if found is None:
        raise SetupError(
            f"The model {name} is not on this machine: `heed model pull {name}` fetches it, "
            f"`heed model import DIR|ZIP` takes in a copy, and {key} may also be embedded "
            "or a server's URL."
        )
    demo = files.is_demo(found.folder)
    return Choice(
        kind="local", name=found.name, why="found on this machine", source=found.source, demo=demo
    )


def _can_load() -> bool:
    """Say whether a local model could be loaded, without importing what loads it."""
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def pull(settings: Settings, name: str, on_progress: OnProgress) -> None:
    """Fetch a model; blocks. `on_progress` is told bytes here and bytes in all."""
    del settings  # the files lie beside the working folder's data, whatever is set
    from core.engine import hub

    hub.pull(name, on_progress)


def import_(settings: Settings, path: Path) -> str:
    """Take in a model folder or a zip, and return what to tell the operator."""
    found = files.import_(path)
    if settings.model.name in ("auto", found.name) and choose(settings).source == found.source:
        return f"{found.name} is imported and will be used from the next start."
    return f"{found.name} is imported. To use it set model.name to {found.source}."


def list_() -> Iterable[str]:
    """Return one line for each model on this machine."""
    return list(files.list_()) or [
        "No model is on this machine yet; `heed model pull qwen2.5-0.5b` fetches one."
    ]
