"""Read the settings: heed.toml and the environment, once, checked whole.

The environment wins, key by key: `HEED_TELEGRAM__TOKEN` is `token` in `[telegram]`. Everything
wrong ends in SetupError with one plain sentence, and no sentence ever repeats a value, because the
value may be a secret. This is the only module that reads the environment.

A secret may stand in a file of its own, which HEED_TELEGRAM__TOKEN_FILE and the like name.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from bot import safekeeping
from bot.accounts import MORE, SEVERAL
from bot.safekeeping import SUFFIX
from bot.settings import Settings, StaffPlace, keys_of_bot, known_keys, secret_keys
from core.errors import SetupError

__all__ = [
    "Settings",
    "StaffPlace",
    "exposed",
    "in_environment",
    "load",
    "prepare_environment",
    "settings_file",
    "variable",
    "why_wrong",
]

DEFAULT_FILE: Final = Path("heed.toml")
_PREFIX: Final = "HEED_"
_FILE_VARIABLE: Final = "HEED_CONFIG"
_FURTHER: Final = frozenset((platform, MORE) for platform in SEVERAL)


def prepare_environment() -> None:
    """Set what a library reads from the environment while it is imported.

    python-telegram-bot warns about its own RetryAfter unless it may return timedeltas.
    """
    os.environ.setdefault("PTB_TIMEDELTA", "1")  # noqa: TID251


def settings_file(config: Path | None = None) -> Path:
    """Return the file that `load` reads: the argument, HEED_CONFIG, or ./heed.toml."""
    return config or Path(os.environ.get(_FILE_VARIABLE) or DEFAULT_FILE)  # noqa: TID251


def load(config: Path | None = None) -> Settings:
    """Read heed.toml and the environment. Raises SetupError with one plain sentence."""
    prepare_environment()
    path = settings_file(config)
    values = _read_file(path, must_exist=path != DEFAULT_FILE)
    _refuse_unknown(path, values)
    _refuse_key(path, values)
    _refuse_unknown_variables()
    for key, file in _in_files().items():
        safekeeping.put(values, key, safekeeping.read(file, variable(key) + SUFFIX))
    try:
        return Settings(**values)
    except ValidationError as err:
        raise SetupError(_sentence(path, err)) from None


def _read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if must_exist:
            raise SetupError(
                f"The settings file {path} does not exist; write it with `heed init`."
            ) from None
        return {}
    except OSError as err:
        raise SetupError(f"The settings file {path} cannot be read: {err.strerror}.") from None
    except UnicodeDecodeError:
        raise SetupError(f"The settings file {path} is not UTF-8 text; save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as err:
        raise SetupError(f"The settings file {path} is not valid TOML: {err}.") from None


def _refuse_key(path: Path, values: dict[str, Any]) -> None:
    """Refuse a key beside what it seals: whoever copies the folder would have both."""
    if values.get("privacy", {}).get("key"):
        raise SetupError(
            f"{path}: privacy.key does not belong into the settings file; "
            "set HEED_PRIVACY__KEY, or HEED_PRIVACY__KEY_FILE."
        )


def _refuse_unknown(path: Path, values: dict[str, Any]) -> None:
    sections = list(Settings.model_fields)
    for section, inner in values.items():
        if section not in sections:
            name = f"[{section}]" if isinstance(inner, dict) else section
            raise SetupError(f"{path}: {name} is no section of Heed{_hint(section, sections)}.")
        if not isinstance(inner, dict):
            raise SetupError(f"{path}: {section} is a section; write [{section}] and keys below.")
        own = {key: value for key, value in inner.items() if (section, key) not in _FURTHER}
        _refuse_unknown_keys(path, section, own)
        if len(own) < len(inner):
            _refuse_unknown_bots(path, section, inner[MORE])


def _refuse_unknown_bots(path: Path, platform: str, bots: Any) -> None:  # noqa: ANN401 - of a file
    for name, own in bots.items() if isinstance(bots, dict) else [("NAME", None)]:
        section = f"{platform}.{MORE}.{name}"
        if not isinstance(own, dict):
            raise SetupError(f"{path}: a further bot is a section; write [{section}], keys below.")
        _refuse_unknown_keys(path, section, own)


def _refuse_unknown_keys(path: Path, section: str, own: dict[str, Any]) -> None:
    platform, _, bot = section.partition(f".{MORE}.")
    known = keys_of_bot(platform, bot) if bot else known_keys()
    for key, value in own.items():
        if (full := f"{section}.{key}") not in known:
            raise SetupError(f"{path}: {full} is no setting of Heed{_hint(full, known)}.")
        if isinstance(value, bool) and not _is_switch(platform, key):  # would pass for 0 or 1
            raise SetupError(
                f"The setting {full} in {path} must not be true or false; "
                "heed.example.toml shows how it is written."
            )


def _is_switch(section: str, key: str) -> bool:
    fields = type(Settings.model_fields[section].default).model_fields
    return fields[key].annotation is bool


def _refuse_unknown_variables() -> None:
    for name in os.environ:  # noqa: TID251
        upper = name.upper()
        if not upper.startswith(_PREFIX) or upper == _FILE_VARIABLE:
            continue
        keys = [*known_keys(), *_keys_of_its_bot(upper)]
        known = [variable(key) for key in keys]
        known += [variable(key) + SUFFIX for key in secret_keys(keys)]
        if upper not in known:
            nearest = _hint(upper, [*known, _FILE_VARIABLE])
            raise SetupError(f"The environment variable {name} is no setting of Heed{nearest}.")


def _keys_of_its_bot(name: str) -> list[str]:
    """Return the settings of the further bot that a variable speaks of; most speak of none."""
    platform, more, bot, *_ = [*name.removeprefix(_PREFIX).lower().split("__"), "", "", ""]
    return keys_of_bot(platform, bot) if (platform, more) in _FURTHER and bot else []


def in_environment(key: str) -> bool:
    """Say whether a setting `section.key` is given by a variable, which wins over all else."""
    names = {variable(key)} | {variable(one) + SUFFIX for one in secret_keys([key])}
    return any(name.upper() in names and value for name, value in os.environ.items())  # noqa: TID251


def _in_files() -> dict[str, Path]:
    """Return the file of each secret that is kept in one of its own. Raises SetupError."""
    further = [key for name in os.environ for key in _keys_of_its_bot(name.upper())]  # noqa: TID251
    keys = secret_keys([*known_keys(), *further])
    return safekeeping.in_files(os.environ, {variable(key): key for key in keys})  # noqa: TID251


def exposed(config: Path | None = None) -> list[str]:
    """Return a sentence for each file with a secret that everybody on this machine can read."""
    files = {f"the file that {variable(k)}{SUFFIX} names": p for k, p in _in_files().items()}
    path = settings_file(config)
    values = _read_file(path, must_exist=False)
    if any(_holds(values, key) for key in secret_keys(_keys_in(values))):
        files[f"{path}, which holds a secret"] = path
    return list(safekeeping.exposed(files))


def _keys_in(values: dict[str, Any]) -> list[str]:
    more = [
        key
        for platform in SEVERAL
        for name in values.get(platform, {}).get(MORE, {})
        for key in keys_of_bot(platform, name)
    ]
    return [*known_keys(), *more]


def _holds(values: dict[str, Any], key: str) -> bool:
    found: Any = values
    for step in key.split("."):
        found = found.get(step, "") if isinstance(found, dict) else ""
    if key == "database.url":
        return "@" in str(found)
    return bool(found)


def _hint(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.65)
    return f"; the nearest one is {nearest[0]}" if nearest else "; remove it"


def variable(key: str) -> str:
    """Return the environment variable of a setting `section.key`."""
    return _PREFIX + key.upper().replace(".", "__")


_EXPECTED: Final = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "string_type": "must be a text in quotes",
    "string_too_short": "must not be empty",
    "tuple_type": "must be a list",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_too_long": "must have at most {max_length} letters",
    "path_type": "must be a path in quotes",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}


def why_wrong(err: ValidationError) -> tuple[tuple[str, ...], str]:
    """Return where the first wrong value stands, and what it must be; never the value itself."""
    first = err.errors(include_url=False, include_input=False)[0]
    what = _EXPECTED.get(first["type"], "has the wrong type").format(**first.get("ctx", {}))
    return tuple(str(part) for part in first["loc"]), what


def _sentence(path: Path, err: ValidationError) -> str:
    """Say what is wrong with the first wrong setting, and where it was set."""
    place, what = why_wrong(err)
    depth = 3 if tuple(place[:2]) in _FURTHER else 1  # telegram.more.NAME, else the section alone
    section, rest = ".".join(place[:depth]), place[depth:]
    if depth > 1 and rest[:1] == ("[key]",):
        return f"The section [{section}] {what}."
    if not rest:
        return f"The settings of [{section}] do not fit together: {what}."
    key = f"{section}.{rest[0]}"
    variables = {name.upper(): name for name in os.environ}  # noqa: TID251
    by_file = variables.get(variable(key) + SUFFIX, f"{key} in {path}")
    return f"The setting {variables.get(variable(key), by_file)} {what}."
