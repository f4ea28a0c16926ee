"""What `heed calibrate` found out about models: one readable file for each.

A file belongs to a model's fingerprint, so that other weights under the same name are never told
by figures that are not theirs. In it each entry belongs to one prompt version and one instrument
(alone, bulk, branch, remote). Whatever has no entry is told as the model scored it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from core.calibration import Calibration, Figures
from core.engine import files
from core.engine.probe import Heads, probed
from core.errors import SetupError
from core.evaluation import Floats
from core.message import Tagging

CALIBRATIONS: Final = files.MODELS.with_name("calibration")
Key = tuple[str, str]  # prompt version, instrument

_log = logging.getLogger(__name__)
_FAULTS = (ValueError, KeyError, TypeError, AttributeError, OverflowError, zipfile.BadZipFile)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """Which model this is: its name as shown, and what tells it from every other."""

    name: str
    fingerprint: str
    host: str = ""  # of a server


def mark_folder(name: str, folder: Path, adapter: str | None = None) -> Mark:
    """Return the mark of the model files in a folder, with a LoRA adapter or without."""
    print_ = files.fingerprint(folder)
    if adapter:
        own = Path(adapter).expanduser()
        other = files.fingerprint(own) if own.is_dir() else adapter
        print_ = hashlib.sha256(f"{print_}\n{other}".encode()).hexdigest()
    return Mark(name=name, fingerprint=print_)


def mark_server(host: str, model: str) -> Mark:
    """Return the mark of a model that a server reports: its files cannot be looked at."""
    print_ = hashlib.sha256(f"{host}\n{model}".encode()).hexdigest()
    return Mark(name=model, fingerprint=print_, host=host)


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What is used for one prompt version and one instrument."""

    calibration: Calibration
    heads: Heads = field(default_factory=dict)  # of a probe; {}: there is none


class Sheet:
    """The entries of one model."""

    def __init__(
        self, mark: Mark, entries: Mapping[Key, Entry] | None = None, problem: str = ""
    ) -> None:
        self.mark = mark
        self.entries = dict(entries or {})
        self.problem = problem  # calibrated once, but these files are others
        self._said: set[str] = set()
        if problem:
            self._say(problem)

    def apply(self, tagging: Tagging, state: Floats | None = None) -> Tagging:
        """Return the tag as it is to be told; without an entry of its own it is as it was.

        `state` is the hidden state (size,) that the scores were read from, for a probe.
        """
        name, _, instrument = tagging.instrument.rpartition("#")
        entry = self.entries.get((tagging.prompt, instrument))
        if entry is None:
            if (stale := self.stale(tagging.prompt, instrument)) is not None:
                self._say(f"{name}: {stale}")
            return tagging
        tagging = entry.calibration.apply(tagging)
        return tagging if state is None else probed(tagging, entry.heads, state)

    def stale(self, prompt: str, instrument: str | None = None) -> str | None:
        """Say in a sentence that what there is was found with another version of this prompt."""
        task = prompt.partition("@")[0]
        of = [key for key in self.entries if instrument in (None, key[1])]
        old = [version for version, _ in of if version.partition("@")[0] == task]
        if not old or prompt in old:
            return None
        return f"calibration of {old[-1]} is for another prompt; run heed calibrate"

    def _say(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            _log.warning("%s", sentence)


class CalibrationBook:
    """The files in `folder`, which need not exist. Nothing is kept in memory."""

    def __init__(self, folder: Path = CALIBRATIONS) -> None:
        self.folder = folder

    def path(self, mark: Mark) -> Path:
        """Return where the entries of a model are, or would be."""
        return self.folder / f"{mark.fingerprint[:24]}.json"

    def sheet(self, mark: Mark) -> Sheet:
        """Return what is known of a model. Raises SetupError when its file cannot be used."""
        path = self.path(mark)
        if path.is_file():
            return Sheet(mark, _read(path)[1])
        others = [other for other in self.marks() if (other.name, other.host) == (mark.name, "")]
        if others and not mark.host:
            return Sheet(
                mark,
                problem=f"calibration of {mark.name} is for other files than it has now; "
                "run heed calibrate",
            )
        return Sheet(mark)

    def marks(self) -> Iterator[Mark]:
        """Yield every model that has a file here; one that cannot be read is passed over."""
        for path in sorted(self.folder.glob("*.json")):
            try:
                yield _read(path)[0]
            except SetupError as fault:
                _log.warning("%s", fault)

    def keep(self, mark: Mark, found: Mapping[Key, Entry | None]) -> Path:
        """Write entries, in the place of those before them; None takes one away.

        Returns the file. Raises SetupError.
        """
        path = self.path(mark)
        entries: dict[Key, Entry | None] = {**self.sheet(mark).entries, **found}
        kept = {key: entry for key, entry in sorted(entries.items()) if entry is not None}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(path, mark, kept)
        except OSError as fault:
            raise SetupError(f"{path} cannot be written: {fault.strerror or fault}.") from fault
        return path


# -- the files -----------------------------------------------------------------------------------


def _write(path: Path, mark: Mark, entries: Mapping[Key, Entry]) -> None:
    """Write both files whole and only then put them in their place, the probes first."""
    probes, arrays = path.with_suffix(".npz"), dict[str, Floats]()
    for key, entry in entries.items():
        arrays |= {"#".join((*key, head)): matrix for head, matrix in entry.heads.items()}
    if arrays:
        new = probes.with_name(f"{probes.stem}.new.npz")
        np.savez(new, allow_pickle=False, **{k: a.astype(np.float32) for k, a in arrays.items()})
        new.replace(probes)
    about = {"model": mark.name, "fingerprint": mark.fingerprint}
    whole = {
        **(about | {"server": mark.host} if mark.host else about),
        "calibrations": [_row(key, entry) for key, entry in entries.items()],
    }
    text = json.dumps(whole, ensure_ascii=False, indent=2, allow_nan=False)
    fresh = path.with_suffix(".new")
    fresh.write_text(f"{text}\n", encoding="utf-8")
    fresh.replace(path)
    if not arrays:
        probes.unlink(missing_ok=True)


def _row(key: Key, entry: Entry) -> dict[str, Any]:
    ours = entry.calibration
    made = datetime.fromtimestamp(ours.made_at, UTC).isoformat(timespec="seconds")
    row = {
        "prompt": key[0],
        "instrument": key[1],
        "temperature": ours.temperature,
        "bias": dict(ours.bias),
        "rows": ours.rows,
        "before": _figures(ours.before),
        "after": _figures(ours.after),
        "made": made,
    }
    return row | {"probe": list(entry.heads)} if entry.heads else row


def _figures(figures: Figures | None) -> dict[str, float | None] | None:
    if figures is None:
        return None
    return {name: v if math.isfinite(v) else None for name, v in asdict(figures).items()}


def _read(path: Path) -> tuple[Mark, dict[Key, Entry]]:
    """Read a file and its probes. Raises SetupError."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        mark = Mark(
            name=_word(whole["model"]),
            fingerprint=_word(whole["fingerprint"]),
            host=_word(whole.get("server", "")),
        )
        entries = dict(_entry(path, row) for row in whole["calibrations"])
    except OSError as fault:
        raise SetupError(f"{path} cannot be read: {fault.strerror or fault}.") from fault
    except _FAULTS as fault:
        why = re.sub(r"\s+", " ", str(fault))[:80]
        raise SetupError(
            f"{path} is no calibration of Heed ({type(fault).__name__}: {why}): delete it, then "
            "run `heed calibrate` again."
        ) from fault
    return mark, entries


def _entry(path: Path, row: Mapping[str, Any]) -> tuple[Key, Entry]:
    key = _word(row["prompt"]), _word(row["instrument"])
    temperature, rows = _number(row["temperature"]), int(row["rows"])
    if temperature <= 0:
        raise ValueError("a temperature must be more than 0")
    bias = {_word(label): _number(value) for label, value in row["bias"].items()}
    calibration = Calibration(
        temperature=temperature,
        bias=bias,
        made_at=datetime.fromisoformat(row["made"]).timestamp(),
        rows=rows,
        before=_told(row.get("before")),
        after=_told(row.get("after")),
    )
    names = [_word(name) for name in row.get("probe", ())]
    return key, Entry(calibration=calibration, heads=_heads(path, key, names))


def _heads(path: Path, key: Key, names: list[str]) -> dict[str, Floats]:
    if not names:
        return {}
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        return {name: arrays["#".join((*key, name))].astype(np.float64) for name in names}


def _told(row: Mapping[str, Any] | None) -> Figures | None:
    if row is None:
        return None
    return Figures(**{name: math.nan if v is None else _number(v) for name, v in row.items()})


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a name must be a text")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("a value is no number")
    return float(value)
