"""Calibration: what a fit may do to scores, and files that are read back as they were written."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from core import calibration as cal
from core.calibration import Calibration, Figures
from core.engine import probe
from core.engine.calibrations import CalibrationBook, Entry, Mark, Sheet, mark_folder, mark_server
from core.engine.files import fingerprint
from core.errors import SetupError
from core.message import Tagging
from tests.checkpoints import make_checkpoint

LABELS = ("negative", "neutral", "positive")
MARK = Mark(name="tiny-chat", fingerprint="ab" * 32)
SCORE = st.floats(-30, 30)
SEEDS = st.integers(0, 2**32 - 1)


def tagged(probs: Mapping[str, float], **more: Any) -> Tagging:
    usual: dict[str, Any] = {"doubt": 0.2, "instrument": "tiny#bulk", "prompt": "sentiment@1"}
    return Tagging(probs=dict(probs), **{**usual, **more})


def found(temperature: float = 2.0, **bias: float) -> Calibration:
    whole = {"negative": -0.5, "neutral": 0.25, "positive": 0.25} | bias
    return Calibration(
        temperature=temperature,
        bias=whole,
        made_at=1_700_000_000.0,
        rows=40,
        before=Figures(log_loss=1.2, ece=0.3, accuracy=0.5, macro_f1=math.nan),
        after=Figures(log_loss=0.9, ece=0.1, accuracy=0.6, macro_f1=0.55),
    )


def loss(scores: np.ndarray, truth: np.ndarray, temperature: float, bias: np.ndarray) -> float:
    told = cal.probabilities(scores, temperature, bias)
    return float(-np.log(np.maximum(told[np.arange(len(truth)), truth], 1e-300)).sum())


def drawn(seed: int, n: int, kinds: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and labels that were drawn by just these."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, kinds)) * 2
    return logits, np.array([rng.choice(kinds, p=p) for p in cal.probabilities(logits, 1, 0)])


# -- the fit -------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, n=st.integers(1, 60), kinds=st.integers(2, 6), scale=st.floats(0.01, 40))
def test_on_the_rows_it_was_fitted_on_the_loss_is_never_worse(
    seed: int, n: int, kinds: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, kinds)) * scale
    truth = rng.integers(kinds, size=n)
    prior = rng.normal(size=kinds) * 5
    temperature, bias = cal.fit(scores, truth, prior)
    before, after = (
        loss(scores, truth, 1.0, np.zeros(kinds)),
        loss(scores, truth, temperature, bias),
    )
    assert after <= before + 1e-6 * (1 + before)
    assert cal.COLDEST <= temperature <= cal.HOTTEST
    assert abs(bias.sum()) < 1e-6


def test_temperature_and_bias_that_were_put_in_are_found_again() -> None:
    logits, truth = drawn(1, 6000)
    temperature, bias = cal.fit(3 * (logits + np.array([2.0, -1.0, 0.0])), truth)
    assert temperature == pytest.approx(3, rel=0.1)
    assert bias == pytest.approx([-5 / 3, 4 / 3, 1 / 3], abs=0.15)


def test_scores_that_are_right_already_are_left_nearly_alone() -> None:
    temperature, bias = cal.fit(*drawn(2, 6000))
    assert temperature == pytest.approx(1, rel=0.1)
    assert np.abs(bias).max() < 0.1


def test_fifty_rows_of_one_label_do_not_go_wild() -> None:
    scores = np.random.default_rng(3).normal(size=(50, 3))
    _, bias = cal.fit(scores, np.zeros(50, np.int64))
    assert np.abs(bias).max() < 4


def test_scores_that_point_the_wrong_way_are_made_to_say_nothing() -> None:
    scores = np.eye(3)[np.arange(90) % 3] * 5
    temperature, bias = cal.fit(scores, (np.arange(90) + 1) % 3)
    told = cal.probabilities(scores, temperature, bias)
    assert np.abs(told - 1 / 3).max() < 0.05


def test_a_prior_that_fits_the_rows_is_kept_to() -> None:
    logits, truth = drawn(4, 12)
    lean = np.array([6.0, -3.0, -3.0])
    _, with_it = cal.fit(logits - lean, truth, lean)
    _, without = cal.fit(logits - lean, truth)
    assert np.abs(with_it - lean).max() < np.abs(without - lean).max()


def test_empty_messages_lean_nowhere_with_the_bias_they_ask_for() -> None:
    empty = np.log([[0.8, 0.15, 0.05], [0.7, 0.2, 0.1]])
    told = cal.probabilities(empty.mean(axis=0, keepdims=True), 1.0, cal.leaning(empty))
    assert told == pytest.approx(np.full((1, 3), 1 / 3))


def test_a_trial_is_judged_on_rows_that_it_has_not_seen() -> None:
    logits, truth = drawn(5, 800)
    out = np.arange(800) % 2 == 1
    trial = cal.attempt(LABELS, 3 * logits, truth, out, np.zeros(3))
    assert trial.won
    assert trial.rows == 400
    assert trial.after.ece < 0.06 < trial.before.ece
    truth[out] = (truth[out] + 1) % 3  # another world than that of the fit
    lost = cal.attempt(LABELS, logits / 50, truth, out, np.zeros(3))
    assert not lost.won


# -- applied -------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(logs=st.tuples(SCORE, SCORE, SCORE), temperature=st.floats(0.05, 40))
def test_temperature_alone_keeps_the_order_of_the_labels(
    logs: tuple[float, float, float], temperature: float
) -> None:
    raw = cal.probabilities(np.array([logs]), 1.0, np.zeros(3))[0].tolist()
    tag = tagged(
        dict(zip(LABELS, raw, strict=True)),
        made={"label_logprobs": dict(zip(LABELS, logs, strict=True))},
    )
    told = found(temperature, negative=0.0, neutral=0.0, positive=0.0).apply(tag)
    assert sum(told.probs.values()) == pytest.approx(1)
    order = sorted(LABELS, key=lambda label: logs[LABELS.index(label)])
    assert [told.probs[label] for label in order] == sorted(told.probs.values())


def test_nothing_but_the_probabilities_changes_and_the_raw_ones_are_kept() -> None:
    tag = tagged({"negative": 0.7, "neutral": 0.2, "positive": 0.1}, strong=0.3, made={"ms": 1.0})
    told = found().apply(tag)
    want = cal.probabilities(np.log([[0.7, 0.2, 0.1]]), 2.0, [-0.5, 0.25, 0.25])[0]
    assert list(told.probs.values()) == pytest.approx(want.tolist())
    assert told.made["raw_probs"] == tag.probs
    assert told.made["calibrated"] == {"temperature": 2.0, "bias": found().bias}
    assert (told.doubt, told.strong, told.made["ms"]) == (0.2, 0.3, 1.0)


def test_a_label_that_a_server_left_out_counts_as_rare_not_as_impossible() -> None:
    tag = tagged(
        {"negative": 1.0, "neutral": 0.0, "positive": 0.0},
        made={"label_logprobs": {"negative": -0.1, "neutral": None, "positive": None}},
    )
    assert cal.evidence(tag) == {"negative": 0.0, "neutral": cal.FLOOR, "positive": cal.FLOOR}
    assert 0 < found(6.0).apply(tag).probs["neutral"] < 0.5


# -- the book ------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    temperature=st.floats(0.02, 50),
    bias=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), SCORE),
    at=st.integers(0, 2**32),
)
def test_what_is_kept_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, temperature: float, bias: dict[str, float], at: int
) -> None:
    book = CalibrationBook(tmp_path_factory.mktemp("book") / "calibration")
    kept = Calibration(temperature=temperature, bias=bias, made_at=float(at))
    book.keep(MARK, {("sentiment@1", "alone"): Entry(calibration=kept)})
    assert book.sheet(MARK).entries["sentiment@1", "alone"].calibration == kept


def test_entries_live_beside_each_other_and_go_one_by_one(tmp_path: Path) -> None:
    book = CalibrationBook(tmp_path)
    book.keep(MARK, {("sentiment@1", "alone"): Entry(calibration=found(2.0))})
    heads = {"strong": np.arange(8.0).reshape(4, 2)}
    path = book.keep(MARK, {("sentiment@1", "branch"): Entry(calibration=found(3.0), heads=heads)})
    sheet = book.sheet(MARK)
    assert sheet.entries["sentiment@1", "alone"].calibration.temperature == 2.0
    branch = sheet.entries["sentiment@1", "branch"]
    assert branch.calibration.temperature == 3.0
    assert branch.heads["strong"].tolist() == heads["strong"].tolist()
    assert branch.calibration.before is not None
    assert math.isnan(branch.calibration.before.macro_f1)
    assert list(book.marks()) == [MARK]
    book.keep(MARK, {("sentiment@1", "branch"): None})
    assert list(book.sheet(MARK).entries) == [("sentiment@1", "alone")]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # the probe is gone too


def test_an_entry_is_used_for_its_instrument_and_prompt_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    book = CalibrationBook(tmp_path)
    book.keep(MARK, {("sentiment@1", "bulk"): Entry(calibration=found())})
    sheet = book.sheet(MARK)
    tag = tagged({"negative": 0.7, "neutral": 0.2, "positive": 0.1})
    assert "calibrated" in sheet.apply(tag).made
    with caplog.at_level(logging.WARNING):
        for other in ({"instrument": "tiny#branch"}, {"prompt": "intent@1"}):
            assert sheet.apply(tagged(tag.probs, **other)) == tagged(tag.probs, **other)
        assert caplog.messages == []
        newer = tagged(tag.probs, prompt="sentiment@2")
        assert [sheet.apply(newer) for _ in range(3)] == [newer] * 3
    assert caplog.messages == [
        "tiny: calibration of sentiment@1 is for another prompt; run heed calibrate"
    ]


def test_other_files_under_the_same_name_are_not_calibrated_by_the_old(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    book = CalibrationBook(tmp_path)
    book.keep(MARK, {("sentiment@1", "bulk"): Entry(calibration=found())})
    with caplog.at_level(logging.WARNING):
        sheet = book.sheet(Mark(name=MARK.name, fingerprint="cd" * 32))
    assert sheet.entries == {}
    assert "is for other files than it has now; run heed calibrate" in caplog.text
    assert book.sheet(Mark(name="another", fingerprint="ef" * 32)).problem == ""
    assert book.sheet(mark_server("host:1", MARK.name)).problem == ""


def test_without_a_file_nothing_changes(tmp_path: Path) -> None:
    tag = tagged({"negative": 0.7, "neutral": 0.2, "positive": 0.1})
    assert CalibrationBook(tmp_path / "nowhere").sheet(MARK).apply(tag) == tag
    assert not (tmp_path / "nowhere").exists()


def _damaged(change: Any) -> Any:
    def write(path: Path) -> None:
        whole = json.loads(path.read_text("utf-8"))
        change(whole)
        path.write_text(json.dumps(whole), "utf-8")

    return write


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("{", "utf-8"),
        lambda path: path.write_text("[]", "utf-8"),
        lambda path: path.write_bytes(b"\xff\xfe\x00"),
        lambda path: path.with_suffix(".npz").write_bytes(b"PK"),
        lambda path: path.with_suffix(".npz").unlink(),
        _damaged(lambda whole: whole.pop("calibrations")),
        _damaged(lambda whole: whole["calibrations"][0].update(temperature=0)),
        _damaged(lambda whole: whole["calibrations"][0].update(temperature=float("nan"))),
        _damaged(lambda whole: whole["calibrations"][0].update(bias={"negative": "much"})),
        _damaged(lambda whole: whole["calibrations"][0].update(made="yesterday")),
        _damaged(lambda whole: whole["calibrations"][0].update(probe=["strong", "weak"])),
    ],
    ids=[
        *("cut", "a list", "no text", "half a probe", "no probe", "no entries", "zero", "nan"),
        *("a word for a number", "no date", "a head too many"),
    ],
)
def test_a_file_that_is_wrong_is_named_in_one_sentence(tmp_path: Path, damage: Any) -> None:
    book = CalibrationBook(tmp_path)
    heads = {"strong": np.zeros((4, 2))}
    path = book.keep(MARK, {("sentiment@1", "bulk"): Entry(calibration=found(), heads=heads)})
    damage(path)
    with pytest.raises(SetupError, match=path.stem) as told:
        book.sheet(MARK)
    assert "\n" not in str(told.value)
    assert list(book.marks()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(SetupError, match="cannot be written"):
        CalibrationBook(tmp_path / "file").keep(MARK, {})


# -- which model it is ---------------------------------------------------------------------------


def test_a_fingerprint_is_of_what_is_in_the_files(tmp_path: Path) -> None:
    first = make_checkpoint(tmp_path / "first")
    copied = Path(shutil.copytree(first, tmp_path / "copied"))
    assert fingerprint(first) == fingerprint(copied)
    seen = {fingerprint(first)}
    for file, change in (
        ("config.json", lambda raw: raw.replace(b"8192", b"4096")),
        ("model.safetensors", lambda raw: raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:]),
        ("chat_template.jinja", lambda raw: raw + b" "),
    ):
        path = copied / file
        path.write_bytes(change(path.read_bytes()))
        seen.add(fingerprint(copied))
    assert len(seen) == 4
    assert mark_folder("m", first).fingerprint != mark_folder("m", first, "a/lora").fingerprint
    marks = {mark_server("a:1", "m"), mark_server("a:2", "m"), mark_server("a:1", "n")}
    assert len({mark.fingerprint for mark in marks}) == 3


# -- the probe -----------------------------------------------------------------------------------


def test_a_probe_learns_what_lies_in_the_state_and_says_how_sure_it_is() -> None:
    rng = np.random.default_rng(7)
    states = rng.normal(size=(1200, 24)) * 5 + 3
    z = np.stack([states[:, 0] - 3, 3 - states[:, 0], np.zeros(1200)], axis=1) / 2
    truth = np.array([rng.choice(3, p=p) for p in cal.probabilities(z, 1, 0)])
    weights = probe.fit(states[:600], truth[:600], 3)
    told = cal.judge(probe.read(weights, states[600:]), truth[600:])
    best = cal.judge(cal.probabilities(z[600:], 1, 0), truth[600:])
    assert told.log_loss < best.log_loss + 0.05
    assert told.ece < 0.08


def test_a_probe_of_more_weights_than_rows_holds_back() -> None:
    rng = np.random.default_rng(8)
    states, truth = rng.normal(size=(80, 400)), rng.integers(3, size=80)
    weights = probe.fit(states, truth, 3)
    told = cal.judge(probe.read(weights, rng.normal(size=(500, 400))), rng.integers(3, size=500))
    assert told.log_loss < math.log(3) + 0.25


def test_a_probe_tells_the_label_and_the_heads_it_has() -> None:
    heads = {
        "label": np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]),
        "strong": np.array([[1.0, -1.0], [0.0, 0.0]]),
    }
    entry = Entry(calibration=found(), heads=heads)
    sheet = Sheet(MARK, {("sentiment@1", "bulk"): entry})
    tag = tagged({"negative": 0.7, "neutral": 0.2, "positive": 0.1}, crisis=0.5)
    told = sheet.apply(tag, np.array([-1.0]))
    assert max(told.probs, key=lambda label: told.probs[label]) == "positive"
    assert told.strong == pytest.approx(math.exp(1) / (math.exp(1) + math.exp(-1)))
    assert (told.wants_human, told.crisis) == (None, 0.5)
    assert told.made["probe"] == ["label", "strong"]
    assert told.made["raw_probs"] == tag.probs
    assert "probe" not in sheet.apply(tag).made  # an engine that cannot show its states
