"""The model card of a table: what it is, what it is not, and its figures, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.engine.embedded import measure
from core.engine.embedded.reader import Floats
from core.engine.embedded.rows import Row, emotion
from core.engine.embedded.table import (
    CLASSES,
    EMOTION,
    EMOTIONS,
    HEADS,
    Table,
    columns,
)
from core.message import Tagging

if TYPE_CHECKING:
    from core.engine.embedded.train import Corpus

Dev = dict[str, list[Row]]

_HEAD = """# The embedded table

{instrument}, made by `python -m core.engine.embedded.train`; every figure below was measured in
the run that made it.

## What it is
The mean of two small models, numpy only: a linear layer over hashed character and word n-grams,
{slots} places of eight bytes; and a reader of {numbers} numbers that goes by the order of words
(subword embeddings, two convolutions, one hidden layer). It gives three class probabilities, a
signed intensity from five steps, four yes/no scores (strong, wants_human, threat_to_leave,
crisis), and one of six emotions. Thresholds: {thresholds}.

## What it is not
It understands nothing. It misses sarcasm, long-range negation and most of what lies between the
lines, and it was graded by few people. It must not decide anything about a person alone: a
person is called by rules that ask for two signals, or by words that ask for one. `crisis` is
evidence beside fixed phrases, never a diagnosis. English and Chinese are measured with care,
Spanish and Russian were written for in small, other languages come from film subtitles alone.

## Where it learnt
{trained} rows of public sources, and {written} messages and {words} words and phrases written for
this project (`written/`).

| source | licence |
|---|---|
| VADER gold data: tweets, product, film and news snippets (Hutto & Gilbert, ICWSM 2014) | MIT |
| XED, film subtitles in 14 languages (Helsinki-NLP) | CC BY 4.0 |
| GoEmotions, Reddit comments (copy of monologg/GoEmotions-pytorch) | Apache-2.0 |
| CPED, Chinese television dialogue (scutcyr) | Apache-2.0 |
| Bitext customer support intents (copy of mohamedmgh/Chatbot_BERT_Intent_classifaction-) | \
CDLA-Sharing-1.0, as the maker's later repository has it |
| churn intent, English and German (swisscom/churn-intent-DE) | CC BY-SA 3.0 |
| `written/` | MIT, as this project |
"""
_FIGURES = """
## Figures
Percent. F3 and F2: macro-F1 over three classes, and over two on the rows that are not neutral.
"Seen": rows of the same source were trained on (never these rows). The size of both models, the
pace and the weight of each source were chosen by these very dev figures; how sharp classes and
`strong` are, by dev rows for three quarters: expect a little less on other messages.
The peers were tuned on none of them; thresholds on written rows alone, in
folds that had not seen them.

| source | rows | seen | F3 / F2 | peer F3 / F2 |
|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Point:
    """Figures of a table that learnt from so many written rows; percent."""

    rows: int
    figures: tuple[float, ...]


_CURVE = "| written rows | en F3 / F2 | en strong | zh F3 / F2 | zh strong | kept F3 | "
_CURVE += "wants_human | threat_to_leave | crisis |\n" + "|---" * 9 + "|\n"


def point(rows: int, raw: Floats, asked: Sequence[Row]) -> Point:
    """Measure raw columns (rows, 14): without calibration, which moves none of these figures much.

    Heads: the best F1 of any threshold on the kept tenth.
    """
    ones, nothing = np.ones(raw.shape[1], np.float32), np.zeros(raw.shape[1], np.float32)
    classes, _, heads, _ = columns(raw, ones, nothing)
    kept = np.array(["strength" in row for row in asked])
    found: list[float] = []
    for lang in ("en", "zh"):
        of = np.array([row["lang"] == lang for row in asked]) & ~kept
        some = [i for i in np.flatnonzero(of).tolist() if asked[i]["label"]]
        found += measure.two_f1(
            measure.labels([asked[i] for i in some]), classes[some].astype(float)
        )
        some = [i for i in np.flatnonzero(of).tolist() if asked[i]["strong"] is not None]
        truth = np.array([asked[i]["strong"] for i in some])
        found.append(measure.average_precision(truth, heads[some, 0].astype(float)))
    some = np.flatnonzero(kept).tolist()
    rows_kept = [asked[i] for i in some]
    found.append(measure.two_f1(measure.labels(rows_kept), classes[some].astype(float))[0])
    for j, head in enumerate(HEADS[1:], start=1):
        truth = np.array([row[head] for row in rows_kept])
        found.append(measure.best_f1(truth, heads[some, j].astype(float)))
    return Point(rows, tuple(found))


def _curve(points: Sequence[Point]) -> str:
    lines = []
    for one in sorted(points, key=lambda p: p.rows):
        f = one.figures
        lines.append(
            f"| {one.rows} | {f[0]:.1f} / {f[1]:.1f} | {f[2]:.1f} | {f[3]:.1f} / {f[4]:.1f} | "
            f"{f[5]:.1f} | {f[6]:.1f} | {f[7]:.1f} | {f[8]:.1f} | {f[9]:.1f} |"
        )
    return (
        "\n### The learning curve\n"
        "All public rows, and so many of the written ones. Heads: best F1 on the kept tenth.\n\n"
        + _CURVE
        + "\n".join(lines)
        + "\n"
    )


def write(table: Table, corpus: Corpus, points: Sequence[Point]) -> str:
    """Measure a table and return its card."""
    rows = {s: [r for r in found if r["label"]] for s, found in corpus.dev.items()}
    rows = {s: found for s, found in rows.items() if found}
    tags = {source: table.score([r["text"] for r in found]) for source, found in rows.items()}
    words = sum(row["listed"] for row in corpus.written)
    reader = table.weights.reader
    lines = _HEAD.format(
        instrument=table.instrument,
        slots=table.weights.matrix.shape[1],
        numbers=sum(a.size for n, a in reader.arrays().items() if "live" not in n) if reader else 0,
        thresholds=", ".join(f"{k} {v}" for k, v in table.thresholds.items()),
        trained=len(corpus.train),
        written=len(corpus.written) - words,
        words=words,
    )
    return (
        lines
        + _FIGURES
        + _classes(rows, tags)
        + _strong(rows, tags)
        + _written(table, corpus.kept)
        + _requests(table, corpus.dev)
        + _emotions(table, corpus.dev)
        + (_curve(points) if points else "")
    )


def _emotions(table: Table, dev: Dev) -> str:
    lines = [
        "\n### Emotions, on rows that show one of the six",
        "\n| source | rows | right | macro-F1 | ECE |\n|---|---|---|---|---|",
    ]
    for source in ("goemotions", "xed_en", "cped", "xed_es", "xed_ru"):
        some = [row for row in dev.get(source, ()) if emotion(row) >= 0]
        if not some:
            continue
        truth = np.array([emotion(row) for row in some])
        tags = table.score([row["text"] for row in some], EMOTION)
        probs = np.array([[tag.probs[name] for name in EMOTIONS] for tag in tags])
        right = 100.0 * float(np.mean(probs.argmax(axis=1) == truth))
        f1 = measure.macro_f1(truth, probs.argmax(axis=1), sorted(set(truth.tolist())))
        error = measure.calibration_error(truth, probs)
        lines.append(f"| {source} | {len(some)} | {right:.1f} | {f1:.1f} | {error:.1f} |")
    return "\n".join(lines) + "\n"


def probs_of(tags: Sequence[Tagging]) -> measure.Array:
    """Return the class probabilities of tags, (rows, 3)."""
    return np.array([[tag.probs[c] for c in CLASSES] for tag in tags], np.float64)


def _classes(rows: Dev, tags: dict[str, list[Tagging]]) -> str:
    peers = measure.peers()
    ours = {source: probs_of(found) for source, found in tags.items()}
    theirs = {
        source: np.array([peers[found[0]["lang"]][1](r["text"]) for r in found])
        for source, found in rows.items()
        if found[0]["lang"] in peers
    }
    lines = [
        _class_line(source, [source], rows, ours, theirs)
        for source in sorted(rows, key=lambda s: (rows[s][0]["lang"], s))
    ]
    lines.append("")
    lines.append("| pooled | rows | | F3 / F2 | peer F3 / F2 |\n|---|---|---|---|---|")
    for lang in ("en", "zh"):
        of = [s for s in rows if rows[s][0]["lang"] == lang]
        seen = [s for s in of if measure.seen_in_training(s)]
        peer = peers[lang][0] if lang in peers else "no peer"
        for name, group in (
            (f"{lang}, all (peer: {peer})", of),
            (f"{lang}, seen in training", seen),
            (f"{lang}, unseen", [s for s in of if s not in seen]),
        ):
            lines.append(_class_line(name, group, rows, ours, theirs))
        truth = np.concatenate([measure.labels(rows[s]) for s in of])
        error = measure.calibration_error(truth, np.concatenate([ours[s] for s in of]))
        lines.append(f"| {lang}, calibration error (ECE) | | | {error:.1f} | |")
    return "\n".join(lines) + "\n"


def _class_line(
    name: str,
    group: Sequence[str],
    rows: Dev,
    ours: dict[str, measure.Array],
    theirs: dict[str, measure.Array],
) -> str:
    truth = np.concatenate([measure.labels(rows[s]) for s in group])
    three, two = measure.two_f1(truth, np.concatenate([ours[s] for s in group]))
    neutral = bool(np.any(truth == 1))
    mark = "yes" if measure.seen_in_training(group[0]) and len(group) == 1 else ""
    peer = ""
    if all(s in theirs for s in group):
        a, b = measure.two_f1(truth, np.concatenate([theirs[s] for s in group]))
        peer = f"{a:.1f} / {b:.1f}" if neutral else f"- / {b:.1f}"
    own = f"{three:.1f} / {two:.1f}" if neutral else f"- / {two:.1f}"
    return f"| {name} | {len(truth)} | {mark} | {own} | {peer} |"


def _strong(rows: Dev, tags: dict[str, list[Tagging]]) -> str:
    lines = [
        "\n### Strong: average precision",
        "\n| language | rows | strong | AP by `strong` | AP by P(negative) | ECE |",
        "|---|---|---|---|---|---|",
    ]
    for lang in ("en", "zh"):
        pairs = [
            (row["strong"], tag)
            for source, found in rows.items()
            for row, tag in zip(found, tags[source], strict=True)
            if row["lang"] == lang and row["strong"] is not None
        ]
        truth = np.array([strong for strong, _ in pairs])
        own = np.array([tag.strong or 0.0 for _, tag in pairs])
        negative = np.array([tag.probs["negative"] for _, tag in pairs])
        lines.append(
            f"| {lang} | {len(truth)} | {int(truth.sum())} "
            f"| {measure.average_precision(truth, own):.1f} "
            f"| {measure.average_precision(truth, negative):.1f} "
            f"| {measure.gap(truth, own):.1f} |"
        )
    return "\n".join(lines) + "\n"


def spiked(table: Table, tag: Tagging) -> bool:
    """Say whether a message alone would be held for a spike of anger."""
    negative, sure = tag.probs["negative"], max(tag.probs.values()) * (1 - tag.doubt)
    loud = (tag.strong or 0.0) >= table.thresholds["strong"] and negative >= 0.7
    low = negative >= 0.9 and abs(tag.intensity or 0.0) >= 0.8
    return sure >= 0.75 and (loud or low)


def _written(table: Table, kept: list[Row]) -> str:
    tags = table.score([row["text"] for row in kept])
    lines = [
        "\n### The kept tenth of the written messages",
        "Written by one hand, as the trained part was: read these as an upper bound.",
        "\n| language | rows | F3 / F2 | ECE |\n|---|---|---|---|",
    ]
    for lang in ("en", "zh", "es", "ru"):
        some = [i for i, row in enumerate(kept) if row["lang"] == lang]
        truth, probs = measure.labels([kept[i] for i in some]), probs_of([tags[i] for i in some])
        three, two = measure.two_f1(truth, probs)
        error = measure.calibration_error(truth, probs)
        lines.append(f"| {lang} | {len(some)} | {three:.1f} / {two:.1f} | {error:.1f} |")
    lines.append(
        "\n| head | yes | threshold | precision | recall | F1 |\n|---|---|---|---|---|---|"
    )
    for head in HEADS:
        truth = np.array([row[head] for row in kept])
        score = np.array([getattr(tag, head) or 0.0 for tag in tags])
        cut = table.thresholds.get(head, 0.5)
        p, r, f = measure.head_scores(truth, score, cut)
        lines.append(f"| {head} | {int(truth.sum())} | {cut} | {p:.1f} | {r:.1f} | {f:.1f} |")
    lines.append("\nOf these messages, a spike (strong and negative, or very negative, and sure):")
    lines.append("\n| messages | rows | spike |\n|---|---|---|")
    for name, chosen in (
        ("furious", [i for i, r in enumerate(kept) if r["strong"]]),
        ("very negative, no fury", [i for i, r in enumerate(kept) if _plainly(r, 1)]),
        ("complaint", [i for i, r in enumerate(kept) if _plainly(r, 2)]),
        ("neutral or positive", [i for i, r in enumerate(kept) if r["strength"] > 2]),
    ):
        share = 100.0 * float(np.mean([spiked(table, tags[i]) for i in chosen])) if chosen else 0.0
        lines.append(f"| {name} | {len(chosen)} | {share:.1f} |")
    return "\n".join(lines) + "\n"


def _plainly(row: Row, strength: int) -> bool:
    return bool(row["strength"] == strength and not row["strong"])


def _requests(table: Table, dev: Dev) -> str:
    lines = [
        "\n### Requests for a person and threats to leave, in foreign rows",
        "\n| source, label | rows | yes | precision | recall | F1 |\n|---|---|---|---|---|---|",
    ]
    for field, head in (("handoff", "wants_human"), ("churn", "threat_to_leave")):
        for source, found in dev.items():
            if field not in found[0]:
                continue
            truth = np.array([row[field] for row in found])
            tags = table.score([row["text"] for row in found])
            score = np.array([getattr(tag, head) or 0.0 for tag in tags])
            p, r, f = measure.head_scores(truth, score, table.thresholds[head])
            lines.append(
                f"| {source}, {field} | {len(truth)} | {int(truth.sum())} "
                f"| {p:.1f} | {r:.1f} | {f:.1f} |"
            )
    return "\n".join(lines) + "\n"
