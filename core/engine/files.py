"""Model files on this machine: find them, fetch them, take in a copy, and list what is there.

A model lies in one of two places: in Heed's own folder, data/models/<name>, or in the cache that
it shares with other programs that load from the hub (HF_HOME). Nothing here loads a model, and
nothing is fetched: that is core.engine.hub. A download is kept apart until every file is whole and
its checksum is right, so what is found is never half a model.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from core.errors import SetupError

MODELS: Final = Path("data/models")
SHORT: Final[Mapping[str, str]] = {
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B-Instruct",
    "qwen1.5-0.5b": "Qwen/Qwen1.5-0.5B-Chat",
    "qwen3-0.6b": "Qwen/Qwen3-0.6B",
}
AUTO: Final = SHORT["qwen2.5-0.5b"]

PARTS: Final = ".parts"  # inside the models folder: what is not whole yet
NEEDED: Final = re.compile(r"[^/]+\.(?:safetensors|json|jinja|model|txt)")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
CHUNK: Final = 2**20
_TELLING: Final = ("config.json", "tokenizer_config.json", "chat_template.jinja")
_SAMPLES, _SAMPLE = 256, 2**14  # places of a tensor file that are looked at, bytes of each


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A whole model of this machine. `source` is what the local engine is given."""

    name: str
    source: str
    folder: Path


# ---- what is here --------------------------------------------------------------------------


def full_name(name: str) -> str:
    """Return the hub id that a short name stands for; any other name as it is."""
    return SHORT.get(name.lower(), name)


def auto_choice(home: Path | None = None) -> Found | None:
    """Return the model that `auto` speaks with, when all of it is on this machine."""
    return find(AUTO, home)


def find(name: str, folder: Path | None = None) -> Found | None:
    """Return a whole model by hub id, short name or the name it was imported under."""
    name, folder = full_name(name), folder or MODELS
    if not is_name(name):
        return None
    for place in (folder / name, folder / name.rpartition("/")[2]):
        if place.is_dir() and problem(place) is None:
            return Found(name=name, source=str(place), folder=place)
    cached = _cached(name)
    if cached is not None and problem(cached) is None:
        return Found(name=name, source=name, folder=cached)
    return None


def is_name(name: str) -> bool:
    """Say whether this may name a model: owner/model, or one word."""
    parts = name.split("/")
    return len(parts) <= 2 and all(_NAME.fullmatch(part) for part in parts)


def _hub_cache() -> Path | None:
    """Return the shared cache, wherever HF_HOME and its kin put it; None without the library."""
    try:
        from huggingface_hub import constants
    except ImportError:
        return None
    return Path(constants.HF_HUB_CACHE)


def _cached(name: str) -> Path | None:
    """Return the folder of a model in the shared cache, whole or not."""
    cache = _hub_cache()
    if cache is None or not (cache / f"models--{name.replace('/', '--')}").is_dir():
        return None  # looked at first because the next import takes half a second
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json", cache_dir=cache)
    return Path(config).parent if isinstance(config, str) else None


def problem(folder: Path) -> str | None:
    """Say in one sentence why a folder is no usable chat model; None when it looks whole."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kinds = config.get("architectures") or []
        if not config.get("model_type"):
            return f"{folder}: config.json names no model_type, so it is not a model's"
        if kinds and not any(str(kind).endswith("ForCausalLM") for kind in kinds):
            return f"{folder} holds a {kinds[0]}, which writes no text: choose a causal LM"
        return _weights_problem(folder) or _tokenizer_problem(folder)
    except FileNotFoundError as fault:
        return f"{folder}: {Path(str(fault.filename)).name} is missing; copy the whole model folder"
    except OSError as fault:
        return f"{folder} cannot be read: {fault.strerror}"
    except (ValueError, KeyError, AttributeError, TypeError):
        return f"{folder}: a JSON file of it is damaged; copy the model again"


def _weights_problem(folder: Path) -> str | None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        files = [folder / Path(shard).name for shard in sorted(set(shards))]
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        return f"{folder} holds no weights: Heed reads *.safetensors and nothing else"
    for file in files:
        if not _whole(file):
            return f"{folder}: {file.name} is cut short or is no safetensors file; copy it again"
    return None


def _whole(file: Path) -> bool:
    """Say whether a safetensors file is as long as its own header says."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= size - 8:
            return False
        header = json.loads(stream.read(length))
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    return size == 8 + length + max(ends, default=0)


def _tokenizer_problem(folder: Path) -> str | None:
    choices = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("tokenizer.model",))
    if any(all((folder / name).is_file() for name in names) for names in choices):
        return None
    return f"{folder} holds no tokenizer: copy tokenizer.json beside config.json"


def is_demo(folder: Path) -> bool:
    """Say whether this checkpoint only shows the mechanism, and its words mean nothing."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("heed_demo") is True


def fingerprint(folder: Path) -> str:
    """Return what tells a model folder from every other, in hexadecimal digits.

    A digest of configuration, template, and of each tensor file its name, size, header and some
    of its bytes, evenly spread: gigabytes take milliseconds. Raises SetupError.
    """
    digest = hashlib.sha256()
    try:
        for name in _TELLING:
            if (folder / name).is_file():
                digest.update(name.encode() + (folder / name).read_bytes())
        for file in sorted(folder.glob("*.safetensors")):
            size = file.stat().st_size
            digest.update(f"\n{file.name} {size}\n".encode())
            with file.open("rb") as stream:
                length = min(size, 8 + int.from_bytes(stream.read(8), "little"))
                for at in (0, *range(length, size, max(_SAMPLE, (size - length) // _SAMPLES))):
                    stream.seek(at)
                    digest.update(stream.read(_SAMPLE if at else length))
    except OSError as fault:
        raise SetupError(f"{folder} cannot be read: {fault.strerror or fault}.") from fault
    return digest.hexdigest()


def list_(folder: Path | None = None) -> Iterator[str]:
    """Yield one line for each model of this machine, and for each download that was broken off."""
    folder, cache = folder or MODELS, _hub_cache()
    for config in sorted([*folder.glob("*/config.json"), *folder.glob("*/*/config.json")]):
        place = config.parent
        name = place.relative_to(folder).as_posix()
        if not name.startswith(PARTS):
            yield _line(name, place, str(folder))
    for place in sorted(cache.glob("models--*")) if cache is not None else ():
        name = place.name.removeprefix("models--").replace("--", "/", 1)
        found = find(name, folder) if is_name(name) else None
        if found is not None and found.source == name:
            yield _line(name, found.folder, "shared cache")
    for place in sorted(folder.glob(f"{PARTS}/*--*")):
        name = place.name.replace("--", "/", 1)
        yield f"{name}  broken off: `heed model pull {name}` goes on where it stopped"


def _line(name: str, folder: Path, where: str) -> str:
    if (why := problem(folder)) is not None:
        return f"{name}  cannot be used: {why}"
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    note = ", a demo: its words mean nothing" if is_demo(folder) else ""
    return f"{name}  {size / 1e6:.0f} MB, {where}{note}"


# ---- taking in a copy ----------------------------------------------------------------------


def import_(path: Path, folder: Path | None = None) -> Found:
    """Take in a model folder, or a zip of one, under its own name; the old one is replaced.

    Raises SetupError, and then nothing has changed.
    """
    path, folder = path.expanduser(), folder or MODELS
    name = _import_name(path)
    new = folder / PARTS / f"{name}.new"
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        if path.is_dir():
            _copy_folder(path, new)
        else:
            _unpack(path, new)
        if (why := problem(new)) is not None:
            raise SetupError(f"{why.replace(str(new), str(path))}.")
        put(new, folder / name)
    except OSError as fault:
        raise SetupError(f"{path} cannot be imported: {fault.strerror or fault}.") from fault
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return Found(name=name, source=str(folder / name), folder=folder / name)


def _import_name(path: Path) -> str:
    """Return what an imported model is called: as its folder, its zip, or its cache entry."""
    if not path.exists():
        raise SetupError(f"{path} does not exist; give a model folder or a zip of one.")
    whole = path.resolve()
    cached = [part for part in whole.parts if part.startswith("models--")]
    name = cached[-1].rpartition("--")[2] if cached else whole.name
    name = name if path.is_dir() else name.removesuffix(".zip")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


def _copy_folder(path: Path, new: Path) -> None:
    for file in sorted(path.iterdir()):
        if file.is_file() and NEEDED.fullmatch(file.name):
            shutil.copyfile(file, new / file.name)  # what a link points to: caches hold links


def _unpack(path: Path, new: Path) -> None:
    """Unpack the model files of a zip, by their bare names: no entry can leave the folder."""
    try:
        with zipfile.ZipFile(path) as packed:
            configs = [
                PurePosixPath(entry.filename)
                for entry in packed.infolist()
                if PurePosixPath(entry.filename).name == "config.json"
            ]
            if not configs:
                raise SetupError(f"{path} holds no config.json; zip the whole model folder.")
            root = min(configs, key=lambda config: len(config.parts)).parent
            wanted = [
                entry
                for entry in packed.infolist()
                if PurePosixPath(entry.filename).parent == root
                and NEEDED.fullmatch(PurePosixPath(entry.filename).name)
            ]
            if sum(entry.file_size for entry in wanted) > shutil.disk_usage(new).free:
                raise SetupError(f"There is not enough room on the disk to unpack {path}.")
            for entry in wanted:
                with (
                    packed.open(entry) as source,
                    (new / PurePosixPath(entry.filename).name).open("wb") as target,
                ):
                    shutil.copyfileobj(source, target, CHUNK)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as fault:
        raise SetupError(f"{path} cannot be unpacked ({fault}); zip the folder again.") from fault


def put(new: Path, target: Path) -> None:
    """Put a whole model in its place; the one before stays until the new one stands there."""
    old = new.with_name(f"{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
