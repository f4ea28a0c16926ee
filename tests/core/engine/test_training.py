from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.engine.embedded import fit as fitting, measure, teach as teaching
from core.engine.embedded.features import features
from core.engine.embedded.fit import gradient
from core.engine.embedded.reader import Reader, mark, places_of
from core.engine.embedded.rows import Sheet, emotion, sheet, steps
from core.engine.embedded.table import EMOTION, Table, Weights, sigmoid, squeeze
from core.engine.embedded.teach import teach
from core.engine.embedded.train import WIDTH, WRITTEN, Unseen, calibrate, platt, read_corpus
from core.errors import SetupError

FIELDS = {
    "id",
    "lang",
    "text",
    "label",
    "strength",
    "strong",
    "wants_human",
    "threat_to_leave",
    "crisis",
}


def written(text: str, strength: int, **heads: int) -> dict[str, object]:
    label = ("negative", "negative", "neutral", "positive", "positive")[strength - 1]
    row = {"id": text, "lang": "en", "text": text, "label": label, "strength": strength}
    return {**row, "strong": 0, "wants_human": 0, "threat_to_leave": 0, "crisis": 0, **heads}


ROWS = [
    written("lovely blue boat", 5),
    written("lovely green boat", 4),
    written("plain grey boat", 3),
    written("plain brown boat", 3),
    written("awful red boat", 2),
    written("awful pink boat", 1, strong=1),
    written("fetch a captain", 3, wants_human=1),
    written("fetch the captain", 3, wants_human=1),
]


def loss(logits: np.ndarray, cuts: np.ndarray, data: Sheet) -> float:
    """The loss whose slope `gradient` claims to be, written down independently."""
    total = 0.0
    below = sigmoid(cuts[None, :] - logits[:, 3:4]).astype(float)
    edges = np.hstack([np.zeros((len(logits), 1)), below, np.ones((len(logits), 1))])
    for i, row in enumerate(logits.astype(float)):
        weight = float(data.weight[i])
        if data.label[i] >= 0:
            total += weight * (np.log(np.exp(row[:3]).sum()) - row[data.label[i]])
        if data.low[i] > 0:
            total -= weight * np.log(edges[i, data.high[i]] - edges[i, data.low[i] - 1])
        for j in range(4):
            target, share = data.heads[i, j], data.head_weight[i, j]
            if target >= 0:
                sign = 1 if target else -1
                total += float(share) * np.log1p(np.exp(-sign * row[4 + j]))
    return float(total)


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    public = {
        "id": "goemotions-1", "lang": "en", "text": "who knows", "label": "negative",
        "intensity": None, "source": "goemotions", "strong": 1,
    }  # fmt: skip
    data = sheet([*ROWS, public])
    logits = np.random.default_rng(3).normal(size=(len(ROWS) + 1, 8)).astype(np.float32)
    cuts = np.array([-2.0, -0.5, 0.7, 2.1], np.float32)
    slope, cut_slope = gradient(logits, cuts, data, np.arange(len(logits)))
    step = 1e-2
    for i, j in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[i, j] += step
        down[i, j] -= step
        expected = (loss(up, cuts, data) - loss(down, cuts, data)) / (2 * step)
        assert slope[i, j] == pytest.approx(expected, abs=0.02)
    for j in range(4):
        up, down = cuts.copy(), cuts.copy()
        up[j] += step
        down[j] -= step
        expected = (loss(logits, up, data) - loss(logits, down, data)) / (2 * step)
        assert cut_slope[j] == pytest.approx(expected, abs=0.02)


def test_a_table_learns_what_its_rows_say_and_the_same_every_time() -> None:
    data = sheet(ROWS * 12)
    every = np.arange(len(data.label))
    first, second = fitting.fit(data, every), fitting.fit(data, every)
    assert np.array_equal(first.matrix, second.matrix)
    matrix, scale = squeeze(first.matrix)
    weights = Weights(
        matrix=matrix,
        scale=scale,
        bias=first.bias,
        cuts=np.tile(first.cuts, (2, 1)),
        sharpness=np.ones((2, WIDTH), np.float32),
        shift=np.zeros((2, WIDTH), np.float32),
        seen=first.seen,
        thresholds={"strong": 0.5},
    )
    table = Table(weights, "embedded@test")
    assert table.tasks == ("sentiment",)
    good, bad, request = table.score(["lovely boat", "awful boat", "fetch captain"])
    assert good.probs["positive"] > 0.5
    assert bad.probs["negative"] > 0.5
    assert (good.intensity or 0) > 0 > (bad.intensity or 0)
    assert (request.wants_human or 0) > 0.5 > (good.wants_human or 0)


@pytest.mark.proof
def test_a_reader_learns_the_order_of_words_and_the_same_every_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(teaching, "BATCH", 16)
    monkeypatch.setattr(teaching, "BITS", 12)
    monkeypatch.setattr(teaching, "_NOTHING", 1 << 12)
    monkeypatch.setattr(teaching, "EPOCHS", 10)
    rows = [
        {**written(f"the {a} ate the {b}", strength), "id": f"{a}{b}{n}"}
        for n in range(200)
        for a, b, strength in (("cat", "dog", 5), ("dog", "cat", 1))
    ]
    data = sheet(rows)
    first, second = (teach(data, np.arange(len(rows)), seed=3) for _ in range(2))
    assert np.array_equal(first.reader.embed, second.reader.embed)
    assert np.array_equal(first.cuts, second.cuts)
    texts = ["the cat ate the dog", "the dog ate the cat"]
    good, bad = first.reader.read([features(text) for text in texts])
    assert good[2] > good[0]
    assert bad[0] > bad[2]


def test_the_reader_reads_what_the_network_that_was_trained_reads() -> None:
    torch.manual_seed(5)
    net = teaching._Net().eval()
    with torch.no_grad():
        net.look.weight.normal_()
    texts = ["this is not good", "太好吃了！！ wow", "ok", "a " * 120, "😀 :) ..."]
    data = sheet([{**written(text, 3), "id": text} for text in texts])
    reader = teaching._packed(net, mark(data.pieces, 21))
    with torch.no_grad():
        net.embed.weight[:-1] = torch.from_numpy(reader.embed * reader.scale)
    some = teaching._some(data, places_of(data.pieces, teaching.BITS), np.arange(len(texts)))
    with torch.no_grad():
        expected = net(some).numpy()
    found = [features(text) for text in texts]
    assert reader.read(found) == pytest.approx(expected, abs=1e-4)
    alone = np.concatenate([reader.read([one]) for one in found])
    assert alone == pytest.approx(expected, abs=1e-4)
    stored = {name: np.asarray(array) for name, array in reader.arrays().items()}
    assert Reader.of(stored).read(found) == pytest.approx(expected, abs=0.02)


def test_a_word_that_training_has_not_met_twice_says_nothing_to_the_reader() -> None:
    data = sheet(ROWS * 3)
    reader = teach(data, np.arange(len(ROWS) * 3)).reader
    strange, stranger = (replace(features("q"), pieces=np.array([n], np.uint32),
                                 tokens=np.array([0])) for n in (11, 99))  # fmt: skip
    assert np.array_equal(reader.read([strange]), reader.read([stranger]))
    assert reader.read([]).shape == (0, WIDTH)


def test_calibration_makes_scores_as_sure_as_they_are_right() -> None:
    dice = np.random.default_rng(2)
    raw = dice.normal(0, 3, (3000, WIDTH)).astype(np.float32)
    chance = 1 / (1 + np.exp(-(0.5 * raw[:, 5] - 1.0)))  # wants_human: half as sharp, and rarer
    rows = [
        {**written(str(i), int(dice.integers(1, 6))), "wants_human": int(dice.random() < p)}
        for i, p in enumerate(chance)
    ]
    knobs = calibrate(Unseen(rows, raw, 1.0), [], np.array([-2, -1, 1, 2], np.float32))
    assert knobs.sharpness[5] == pytest.approx(0.5, abs=0.06)
    assert knobs.shift[5] == pytest.approx(-1.0, abs=0.15)
    assert knobs.sharpness[0] == knobs.sharpness[2]
    assert knobs.sharpness[0] < 0.4  # the labels were drawn by lot: nothing is sure


def test_a_head_is_calibrated_also_where_a_whole_step_would_lead_astray() -> None:
    x = np.concatenate([np.full(500, -18.0), np.linspace(-3, 9, 200), np.full(5, 19.0)])
    y = np.concatenate([np.zeros(500), (np.linspace(-3, 9, 200) > 2).astype(float), np.zeros(5)])
    slope, shift = platt(x, y, np.full(len(x), 1 / len(x)))
    p = 1 / (1 + np.exp(-(slope * x + shift)))
    assert p.mean() == pytest.approx(y.mean(), abs=0.01)
    assert slope > 0


def test_emotions_are_taken_where_one_is_given() -> None:
    assert emotion({"emotion": "grief"}) == 1
    assert emotion({"emotion": "anger,joy"}) == -1
    assert emotion({"emotion": None}) == emotion({"emotion": "curiosity"}) == -1


def test_the_shipped_table_tells_emotions_apart() -> None:
    table = Table.load()
    texts = ["I miss him so much, I can't stop crying", "get lost, you make me sick!!", ""]
    sad, angry, nothing = table.score(texts, EMOTION)
    assert max(sad.probs, key=sad.probs.__getitem__) == "sadness"
    assert max(angry.probs, key=angry.probs.__getitem__) == "anger"
    assert max(nothing.probs, key=nothing.probs.__getitem__) == "calm"
    assert sum(sad.probs.values()) == pytest.approx(1.0)


def test_small_weights_are_dropped_and_others_keep_their_size() -> None:
    wide = np.array([[2.0, -1.0, 0.5, 0.001]], np.float32)
    matrix, scale = squeeze(wide)
    restored = np.sign(matrix) * (matrix / 127.0) ** 2 * scale[:, None]
    assert restored[0, 3] == 0
    assert restored[0, :3] == pytest.approx(wide[0, :3], rel=0.15)
    assert len(np.unique(np.abs(squeeze(np.linspace(0.2, 2, 900, dtype=np.float32)[None])[0]))) < 17


def test_grades_become_steps() -> None:
    graded = {"source": "vader_tweets", "label": "negative"}
    assert steps({**graded, "intensity": -0.9}) == (1, 1)
    assert steps({**graded, "intensity": 0.0}) == (3, 3)
    assert steps({"source": "xed_en", "label": "positive", "intensity": None}) == (4, 5)
    assert steps({"source": "esc_bitext", "label": None, "intensity": None}) == (0, 0)


def test_figures_of_known_cases() -> None:
    truth = np.array([1, 0, 1, 0])
    assert measure.average_precision(truth, np.array([0.9, 0.8, 0.7, 0.1])) == pytest.approx(
        100 * (1 + 2 / 3) / 2
    )
    assert measure.head_scores(truth, np.array([0.9, 0.8, 0.2, 0.1]), 0.5) == pytest.approx(
        (50.0, 50.0, 50.0)
    )
    assert measure.macro_f1(np.array([0, 1, 2]), np.array([0, 1, 1]), (0, 1, 2)) == pytest.approx(
        100 * (1 + 2 / 3 + 0) / 3
    )
    sure = np.array([[0.0, 0.0, 1.0]] * 4)
    assert measure.calibration_error(np.array([2, 2, 0, 0]), sure) == pytest.approx(50.0)


def test_a_folder_without_data_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="has no train/ and dev/"):
        read_corpus(tmp_path)


def test_written_rows_are_whole_and_agree_with_themselves() -> None:
    by_file = {
        path.stem: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted(WRITTEN.glob("*.jsonl"))
    }
    rows = [row for found in by_file.values() for row in found]
    counts = {
        lang: sum(len(by_file[name]) for name in by_file if name.startswith(f"{lang}_")
                  and "_words" not in name)
        for lang in ("en", "zh", "es", "ru")
    }  # fmt: skip
    assert counts["en"] >= 8000
    assert counts["zh"] >= 12000
    assert min(counts["es"], counts["ru"]) >= 2000
    assert len({(row["lang"], row["text"]) for row in rows}) == len(rows)
    for row in rows:
        assert set(row) == FIELDS
        assert (
            row["label"]
            == ("negative", "negative", "neutral", "positive", "positive")[row["strength"] - 1]
        )
        assert row["strength"] <= 2 or not row["strong"]
        assert row["strength"] <= 3 or not row["crisis"]


def test_a_sheet_marks_what_has_no_label() -> None:
    data = sheet([{"id": "x", "text": "book a table", "label": None, "source": "esc_bitext",
                   "intensity": None, "strong": None, "handoff": 0}])  # fmt: skip
    assert data.label.tolist() == [-1]
    assert data.low.tolist() == [0]
    assert data.heads[0].tolist() == [-1.0, 0.0, 0.0, -1.0]
    assert replace(data, weight=data.weight * 2).weight[0] == pytest.approx(1.0)
