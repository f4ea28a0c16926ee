"""What stands in a prompt file, read strictly: a word we do not know is refused, never ignored."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from core.errors import PromptError
from core.message import Level
from core.prompts.safe import safe

LEVELS: tuple[Level, ...] = ("calm", "tense", "upset")
_TASK_KEYS = ("stands", "instruction", "opening", "labels", "polarity", "examples")
_REPLY_KEYS = ("system", "header", "sampling")
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 5),
    "top_k": (0, 1_000_000),
    "top_p": (0, 1),
    "repetition": (0.5, 5),
    "max_tokens": (1, 8192),
    "seed": (0, 2**31 - 1),
}
_WHOLE = ("top_k", "max_tokens", "seed")
_templates = ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One message with the label it should get."""

    text: str
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What is asked about a message, and the words that may answer."""

    name: str
    labels: tuple[str, ...]
    polarity: Mapping[str, float]  # label -> -1..1; empty: this task says nothing about the mood
    stands: Literal["system", "suffix"]
    instruction: str
    opening: str  # what the answer begins with, before the label
    examples: tuple[Example, ...]  # used where the task has a prompt of its own
    version: str  # name@hash


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How the next token is drawn; every setting here is one that the engines obey."""

    temperature: float = 0.7
    top_k: int = 20
    top_p: float = 0.9
    repetition: float = 1.0
    max_tokens: int = 256
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplyPrompt:
    """How a reply is asked for."""

    system: str  # the template's source
    header: Mapping[Level, str]  # told straight before the answer, by mood level
    sampling: Sampling
    version: str  # reply@hash

    @property
    def told(self) -> str:
        """Everything that a model is told here and no reply may repeat."""
        return "\n".join([self.system, *self.header.values()])

    def render(self, name: str = "", lang: str = "und") -> str:
        """Return the system prompt for one person. Raises PromptError."""
        try:
            return (
                _template(self.system)
                .render(name=safe(" ".join(name.split()))[:64], lang=lang)
                .strip()
            )
        except jinja2.TemplateError as fault:
            raise PromptError(f"reply.toml: the system template fails: {fault}") from fault


@lru_cache(maxsize=16)  # one reply after another is asked for by the same
def _template(source: str) -> jinja2.Template:
    return _templates.from_string(source)


def read_task(name: str, raw: bytes) -> Task:
    """Read a task file. Raises PromptError with one sentence that says what to write instead."""
    file = f"{name}.toml"
    table = _table(file, raw, _TASK_KEYS)
    labels = _labels(file, table.get("labels"))
    stands = table.get("stands", "suffix")
    if stands not in ("system", "suffix"):
        raise PromptError(f'{file}: stands must be "system" or "suffix"')
    return Task(
        name=name,
        labels=labels,
        polarity=_polarity(file, table.get("polarity", {}), labels),
        stands=cast(Literal["system", "suffix"], stands),
        instruction=_text(file, table, "instruction"),
        opening=_text(file, table, "opening", default="", stripped=False),
        examples=_examples(file, table.get("examples", []), labels),
        version=_version(name, raw),
    )


def read_reply(raw: bytes) -> ReplyPrompt:
    """Read the reply file. Raises PromptError with one sentence that says what to write instead."""
    file = "reply.toml"
    table = _table(file, raw, _REPLY_KEYS)
    header = table.get("header", {})
    if not isinstance(header, dict):
        raise PromptError(f"{file}: [header] must be a table with calm, tense and upset")
    _known(file, "[header]", header, LEVELS)
    prompt = ReplyPrompt(
        system=_text(file, table, "system"),
        header={level: _text(file, header, level, default="") for level in LEVELS},
        sampling=_sampling(file, table.get("sampling", {})),
        version=_version("reply", raw),
    )
    prompt.render(name="Ada", lang="en")
    prompt.render()
    return prompt


def _version(name: str, raw: bytes) -> str:
    return f"{name}@{hashlib.sha256(raw).hexdigest()[:12]}"


def _table(file: str, raw: bytes, known: Iterable[str]) -> dict[str, Any]:
    try:
        table = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as fault:
        raise PromptError(f"{file}: save it as UTF-8 text") from fault
    except tomllib.TOMLDecodeError as fault:
        raise PromptError(f"{file}: not TOML: {fault}") from fault
    _known(file, "the file", table, known)
    return table


def _known(file: str, where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    known = tuple(known)
    for word in table:
        if word not in known:
            raise PromptError(
                f"{file}: {where} has `{word}`, which means nothing here; "
                f"what may stand there is {', '.join(known)}"
            )


def _text(
    file: str,
    table: Mapping[str, Any],
    key: str,
    *,
    default: str | None = None,
    stripped: bool = True,
) -> str:
    text = table.get(key, default)
    if not isinstance(text, str):
        raise PromptError(f"{file}: `{key}` must be a text in quotes")
    if default is None and not text.strip():
        raise PromptError(f"{file}: `{key}` is empty; say what the model is to do")
    return text.strip() if stripped else text


def _labels(file: str, found: object) -> tuple[str, ...]:
    if not isinstance(found, list) or len(found) < 2:
        raise PromptError(f"{file}: `labels` must be a list of at least two words")
    for label in found:
        if not isinstance(label, str) or not label or label != label.strip():
            raise PromptError(f"{file}: `labels` must be words without spaces around them")
    if len(set(found)) != len(found):
        raise PromptError(f"{file}: `labels` names one label twice")
    return tuple(found)


def _polarity(file: str, found: object, labels: tuple[str, ...]) -> Mapping[str, float]:
    if not isinstance(found, dict):
        raise PromptError(f"{file}: [polarity] must be a table of label = number")
    if found and set(found) != set(labels):
        raise PromptError(f"{file}: [polarity] must name each label once: {', '.join(labels)}")
    for label, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1 <= value <= 1:
            raise PromptError(f"{file}: the polarity of {label} must be a number from -1 to 1")
    return {label: float(found[label]) for label in labels} if found else {}


def _examples(file: str, found: object, labels: tuple[str, ...]) -> tuple[Example, ...]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise PromptError(f"{file}: write each example as [[examples]] with text and label")
    examples = []
    for one in found:
        _known(file, "[[examples]]", one, ("text", "label"))
        label = _text(file, one, "label")
        if label not in labels:
            raise PromptError(f"{file}: an example has the label {label}, which is no label here")
        examples.append(Example(text=_text(file, one, "text"), label=label))
    return tuple(examples)


def _sampling(file: str, found: object) -> Sampling:
    if not isinstance(found, dict):
        raise PromptError(f"{file}: [sampling] must be a table of settings")
    _known(file, "[sampling]", found, _BOUNDS)
    for word, value in found.items():
        low, high = _BOUNDS[word]
        kinds: Any = int if word in _WHOLE else int | float
        if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
            whole = "a whole number" if word in _WHOLE else "a number"
            raise PromptError(f"{file}: `{word}` must be {whole} from {low:g} to {high:g}")
    return Sampling(**found)
