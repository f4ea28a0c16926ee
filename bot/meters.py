"""The figures of a running Heed, in Prometheus' text format.

Every figure is declared here with what it means; a name or a label that is not is a mistake of
ours and raises KeyError. No label has a value that a person, a chat or a message chose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version as installed
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # a commit
HUMAN = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 90.0, 300.0)  # a wait

COUNTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "messages": (
        "What arrived, by platform and by what became of it: stored, duplicate, parked, ignored.",
        ("platform", "outcome"),
    ),
    "turns": ("Turns of a conversation, by what came of them.", ("outcome",)),
    "escalations": ("Cases that were opened for a person, by the rule that did.", ("rule",)),
    "posts": (
        "Tries to deliver a post, by what came of them: sent, later, uncertain, failed, ...",
        ("platform", "kind", "outcome"),
    ),
    "engine_failures": ("Calls that the model failed, by step: hear, reply.", ("step",)),
    "stand_ins": ("Messages that the table heard in the model's place.", ()),
    "log_ins_refused": ("Log-ins with a wrong name or password, or too many of them.", ()),
    "http_refusals": ("Requests that were answered with an error, by status.", ("status",)),
    "alarms": ("Alarms to staff and operator, by what stood still.", ("what",)),
}
TIMES: Mapping[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    "intake_commit": ("From the arrival of an update to its commit.", (), QUICK),
    "turn_wait": ("From a message's commit to the begin of its turn.", (), HUMAN),
    "hear": ("Tagging a burst of messages and deciding.", (), HUMAN),
    "first_text": ("From a message's commit to the first words of its answer.", (), HUMAN),
    "write": ("Writing a whole reply.", (), HUMAN),
    "reply": ("From a message's commit to the commit of its whole answer.", (), HUMAN),
    "finish_commit": ("Committing a whole turn.", (), QUICK),
    "delivery_call": ("Calling the platform to deliver a post.", ("platform",), HUMAN),
    "sent_commit": ("Committing that a post has arrived.", (), QUICK),
}


class Gauge(NamedTuple):
    """One figure of this moment."""

    name: str  # without heed_
    meaning: str
    value: float
    labels: Mapping[str, str] = {}
    counts: bool = False  # a counter that somebody else keeps


class Meters:
    """The meter (core.journal.Meter) of one running Heed."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._moment: Iterable[Gauge] = ()
        self._counters = {
            name: Counter(f"heed_{name}", meaning, labels, registry=self._registry)
            for name, (meaning, labels) in COUNTS.items()
        }
        self._times = {
            name: Histogram(
                f"heed_{name}_seconds", meaning, labels, buckets=buckets, registry=self._registry
            )
            for name, (meaning, labels, buckets) in TIMES.items()
        }
        self._found: dict[tuple[str, ...], Counter] = {}
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def count(self, name: str, /, **labels: str) -> None:
        """Count one more."""
        key = (name, *labels.values())
        found = self._found.get(key)
        if found is None:  # looked up once: the library's own way takes a lock each time
            counter = self._counters[name]
            found = self._found[key] = counter.labels(**labels) if labels else counter
        found.inc()

    def observe(self, name: str, seconds: float, /, **labels: str) -> None:
        """Note how long one took."""
        timed = self._times[name]
        (timed.labels(**labels) if labels else timed).observe(seconds)

    def text(self, moment: Iterable[Gauge] = ()) -> bytes:
        """Return every figure, and those of this moment."""
        self._moment = moment
        try:
            return generate_latest(self._registry)
        finally:
            self._moment = ()

    def collect(self) -> Iterable[Metric]:
        """Hand the figures of this moment to the library."""
        families: dict[str, Metric] = {}
        for one in self._moment:
            made = CounterMetricFamily if one.counts else GaugeMetricFamily
            family = families.setdefault(
                one.name, made(f"heed_{one.name}", one.meaning, labels=[*one.labels])
            )
            family.add_metric([*one.labels.values()], one.value)  # type: ignore[attr-defined]
        return families.values()


def version() -> str:
    """Return which Heed this is."""
    try:
        return installed("heed")
    except PackageNotFoundError:
        return "unknown"
