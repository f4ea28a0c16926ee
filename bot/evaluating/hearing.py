"""What each tool hears in the same rows: Heed's own engines, and ordinary tools beside them.

An engine is heard as Heed would use it: its tag joined with the table's, phrases beside the
scores, and the rules that a single message would set off. An ordinary tool gives one number
between negative and positive; it has neither probabilities nor triggers.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bot.evaluating.rows import Row
from bot.models import choose_half
from bot.replay import first_decision, policies
from bot.tagging import Ears, open_ears
from core.engine.embedded.table import CLASSES, TASK
from core.errors import EngineError, SetupError
from core.evaluation import Array, Floats, Ints
from core.message import Scores
from core.triggers import match

if TYPE_CHECKING:
    from bot.settings import Settings

BATCH = 64
ALONE = 20  # rows that are heard one by one as well, for the time
RULES = {  # what a label means: the rule that should fire on it
    "strong": "spike",
    "wants_human": "request",
    "threat_to_leave": "threat",
    "crisis": "crisis",
}
_CERTAIN = 0.99  # what a matched phrase is worth beside a score, as in `heed tag`

Valence = Callable[[str], float]
OnRows = Callable[[int], object]


@dataclass(kw_only=True, slots=True, eq=False)
class Heard:
    """What one tool heard in n rows, in their order."""

    name: str
    why: str  # which model this is
    classes: tuple[str, ...]
    kept: Ints  # (kept,) which rows could be heard; all arrays below are of these
    said: Ints  # (kept,) class
    two: Ints  # (kept,) 0 negative, 1 positive: where neutral is no choice
    sure: Floats | None  # (kept,) probability of the class; None: the tool has none
    intensity: Floats  # (kept,) -1..1
    heads: dict[str, Floats]  # name -> score (kept,)
    by: dict[str, str] = field(default_factory=dict)  # name -> what stands in for that head
    fired: dict[str, Array] = field(default_factory=dict)  # rule -> whether it fired (kept,)
    cpu_ms: float = 0.0  # CPU time a message in batches
    wall_ms: float = 0.0  # the same by the clock: what a server takes is no CPU time here
    alone_ms: float = 0.0  # CPU time of one message by itself, median


class Tool(Protocol):
    """One thing that hears texts."""

    name: str
    why: str

    async def hear(self, rows: Sequence[Row], on_rows: OnRows) -> Heard:
        """Hear every row, in batches. Raises EngineError when none can be heard."""
        ...


@dataclass(slots=True)
class _Watch:
    """Adds up the time that was spent hearing."""

    cpu: float = 0.0
    wall: float = 0.0

    async def time(self, work: Any) -> Any:  # noqa: ANN401 - whatever it returns
        """Wait for `work` and count the time."""
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            return await work
        finally:
            self.cpu += time.process_time() - cpu
            self.wall += time.perf_counter() - wall


def make_tool(settings: Settings, name: str, task: str) -> Tool:
    """Return the tool of a name: vader, snownlp, textblob, or any value of model.name.

    An empty name is the configured tagger. Raises SetupError.
    """
    if name.lower() in _PEERS:
        if task != TASK:
            raise SetupError(f"{name} knows {TASK} alone: leave it out of --model for {task}.")
        return _Peer(name.lower())
    model = settings.model.model_copy(update={"name": name, "tag": ""} if name else {})
    prompts = settings.prompts.model_copy(update={"tag": task})
    settings = settings.model_copy(update={"model": model, "prompts": prompts})
    return _Engine(settings, task)


# -- engines -------------------------------------------------------------------------------------


class _Engine:
    def __init__(self, settings: Settings, task: str) -> None:
        choice = choose_half(settings, "tag")
        own = choice.kind == "embedded" and settings.model.name == "embedded"
        self.name, self.why = choice.name, "the table that comes with Heed" if own else choice.why
        self._settings, self._task = settings, task

    async def hear(self, rows: Sequence[Row], on_rows: OnRows) -> Heard:
        """Load the model, hear the rows, and let go of it."""
        watch, alone = _Watch(), list[float]()
        async with open_ears(self._settings) as ears:
            found: list[Scores | None] = []
            for start in range(0, len(rows), BATCH):
                texts = [row.text for row in rows[start : start + BATCH]]
                found += await _patiently(ears, texts, watch)
                on_rows(len(texts))
            if not any(found):
                raise EngineError(f"{self.name} could hear none of the rows.")
            for row in rows[:: max(1, len(rows) // ALONE)][:ALONE]:
                one = _Watch()
                await _patiently(ears, [row.text], one)
                alone.append(one.cpu)
            thresholds = dict(ears.table.table.thresholds)
        heard = self._heard(rows, found, thresholds)
        heard.cpu_ms, heard.wall_ms = 1e3 * watch.cpu / len(rows), 1e3 * watch.wall / len(rows)
        heard.alone_ms = 1e3 * float(np.median(alone))
        return heard

    def _heard(
        self, rows: Sequence[Row], found: Sequence[Scores | None], thresholds: dict[str, float]
    ) -> Heard:
        known = [(row, scores) for row, scores in zip(rows, found, strict=True) if scores]
        classes: tuple[str, ...] = CLASSES
        if self._task != TASK:
            names = {row.label for row in rows} | {name for _, s in known for name in s.probs}
            classes = tuple(sorted(name for name in names if name))
        probs = np.array([[s.probs.get(c, 0.0) for c in classes] for _, s in known])
        phrases = [match(row.text) for row, _ in known]
        heads = {
            "strong": _column(s.strong for _, s in known),
            "wants_human": _column(s.wants_human for _, s in known),
            "threat_to_leave": _column(s.threat_to_leave for _, s in known),
            "crisis": _column(s.crisis for _, s in known),
            "distress": _column(s.p_negative for _, s in known),
        }
        for head, matched in (
            ("wants_human", [bool(p.request) for p in phrases]),
            ("crisis", [bool(p.crisis) for p in phrases]),
        ):
            heads[head] = np.where(matched, np.maximum(heads[head], _CERTAIN), heads[head])
        negative, positive = heads["distress"], _column(s.p_positive for _, s in known)
        return Heard(
            name=self.name,
            why=self.why,
            classes=classes,
            kept=np.array([i for i, s in enumerate(found) if s], np.int64),
            said=probs.argmax(axis=1).astype(np.int64),
            two=np.where(negative > positive, 0, 1).astype(np.int64),
            sure=probs.max(axis=1),
            intensity=_column(s.intensity for _, s in known),
            heads=heads,
            by={"distress": "negative"},
            fired=self._fired(known, thresholds),
        )

    def _fired(
        self, known: Sequence[tuple[Row, Scores]], thresholds: dict[str, float]
    ) -> dict[str, Array]:
        """Say which rules each message alone would set off, as the first of its conversation."""
        ladder, policy = policies(self._settings, thresholds)
        fired = {rule: np.zeros(len(known), bool) for rule in RULES.values()}
        for i, (row, scores) in enumerate(known):
            for result in first_decision(row.text, scores, ladder, policy).trace:
                if result.fired and result.rule in fired:
                    fired[result.rule][i] = True
        return fired


async def _patiently(ears: Ears, texts: list[str], watch: _Watch) -> list[Scores | None]:
    """Hear texts together; when the engine fails, each alone, to spare the others."""
    try:
        return [scores for scores, _ in await watch.time(ears.hear(texts))]
    except EngineError:
        if len(texts) == 1:
            return [None]
    return [one for text in texts for one in await _patiently(ears, [text], watch)]


def _column(values: Any) -> Floats:  # noqa: ANN401 - any iterable of numbers
    return np.fromiter(values, np.float64)


# -- ordinary tools ------------------------------------------------------------------------------


def _vader() -> Valence:
    lexicon = importlib.import_module("vaderSentiment.vaderSentiment")
    polarity = lexicon.SentimentIntensityAnalyzer().polarity_scores
    return lambda text: float(polarity(text)["compound"])


def _snownlp() -> Valence:
    reader = importlib.import_module("snownlp").SnowNLP
    return lambda text: 2.0 * float(reader(text if text.strip() else "。").sentiments) - 1.0


def _textblob() -> Valence:
    reader = importlib.import_module("textblob").TextBlob
    return lambda text: float(reader(text).sentiment.polarity)


# Name: how to load it, the package, and the widest neutral band around zero: VADER's own is 0.05,
# SnowNLP's here 0.4 to 0.6 of its 0 to 1, TextBlob's nothing but zero itself.
_PEERS: dict[str, tuple[Callable[[], Valence], str, float]] = {
    "vader": (_vader, "vaderSentiment", 0.05),
    "snownlp": (_snownlp, "snownlp", 0.2),
    "textblob": (_textblob, "textblob", 0.0),
}


class _Peer:
    def __init__(self, name: str) -> None:
        load, package, self._band = _PEERS[name]
        self.name, self.why = name, "an ordinary tool, as a peer"
        try:
            self._valence = load()
        except ImportError:
            raise SetupError(
                f"{name} is not installed: install {package}, or leave {name} out of --model."
            ) from None

    async def hear(self, rows: Sequence[Row], on_rows: OnRows) -> Heard:
        """Hear the rows one by one: these tools know no batches."""
        watch = _Watch()
        values = np.zeros(len(rows))
        for i, row in enumerate(rows):
            values[i] = await watch.time(self._one(row.text))
            if i % BATCH == BATCH - 1 or i == len(rows) - 1:
                on_rows(i % BATCH + 1)
        ms = 1e3 * watch.cpu / len(rows)
        return Heard(
            name=self.name,
            why=self.why,
            classes=CLASSES,
            kept=np.arange(len(rows)),
            said=self._classes(values),
            two=np.where(values < 0, 0, 1).astype(np.int64),  # nothing found counts as positive
            sure=None,
            intensity=values,
            heads={"strong": -values, "distress": -values},
            by={"strong": "negative", "distress": "negative"},
            cpu_ms=ms,
            wall_ms=1e3 * watch.wall / len(rows),
            alone_ms=ms,
        )

    async def _one(self, text: str) -> float:
        return self._valence(text)

    def _classes(self, values: Floats) -> Ints:
        clear = np.abs(values) >= self._band if self._band else values != 0
        return np.where(clear, np.sign(values) + 1, 1).astype(np.int64)
