"""`heed calibrate`: what is found on rows, what is kept of it, and who tags by it afterwards."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import core.prompts
from bot import doctor
from bot.calibrating import calibrate
from bot.engines import make_book, make_engine
from bot.instruments import ROWS, held_out
from bot.settings import Model, Prompts, Settings
from bot.tagging import open_ears
from core.engine.calibrations import CALIBRATIONS, CalibrationBook
from core.engine.local import LocalEngine
from core.engine.mind import Mind
from core.engine.ports import ReplyRequest
from core.engine.scripted import ScriptedEngine
from core.errors import PromptError, SetupError
from core.message import ConversationKey, Tagging
from tests.checkpoints import make_checkpoint
from tests.fakes.openai import OpenAIFake

PACKAGED = Path(core.prompts.__file__).parent
LABELS = ("negative", "neutral", "positive")
WORDS = {
    "negative": ("late", "angry", "upset", "slow", "broken", "太慢", "生气"),
    "neutral": ("where", "order", "parcel", "today", "订单", "message"),
    "positive": ("thank", "kind", "happy", "quick", "谢谢", "满意"),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("models") / "tiny-chat")


@pytest.fixture
def settings(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return Settings(
        model=Model(name=str(checkpoint), threads=1, precision="fp32", reply_seconds=20)
    )


def sentence(rng: random.Random, label: str) -> str:
    words = [rng.choice((*WORDS[label], "the", "is", "my", "it")) for _ in range(6)]
    return " ".join(words)


def rows(count: int = 120, labels: Sequence[str] = LABELS, seed: int = 1) -> list[dict[str, Any]]:
    rng = random.Random(seed)  # noqa: S311
    return [
        {"id": f"r{at}", "text": sentence(rng, LABELS[at % 3]), "label": labels[at % len(labels)]}
        for at in range(count)
    ]


def data(some: Sequence[Mapping[str, Any]], name: str = "rows.jsonl") -> Path:
    path = Path(name)
    path.write_text("\n".join(json.dumps(row) for row in some), encoding="utf-8")
    return path


def run(settings: Settings, path: Path | None, **options: Any) -> str:
    told: list[str] = []
    assert calibrate(settings, path, told.append, clock=lambda: 1_700_000_000.0, **options) == 0
    return "\n".join(told)


def kept() -> dict[str, dict[str, Any]]:
    """Return the entries of the one file there is, by instrument."""
    [path] = CALIBRATIONS.glob("*.json")
    return {row["instrument"]: row for row in json.loads(path.read_text("utf-8"))["calibrations"]}


async def tags(settings: Settings, texts: Sequence[str]) -> list[Tagging]:
    async with open_ears(settings) as ears:
        return [tag for _, tag in await ears.hear(texts) if tag is not None]


async def branch(settings: Settings, text: str) -> Tagging:
    engine = make_engine(settings, make_book(settings))
    assert isinstance(engine, LocalEngine)
    mind = Mind(ScriptedEngine(), engine)
    try:
        await engine.warm_up()
        key = ConversationKey(platform="web", bot="heed", chat="1", user="ada")
        heard = await mind.tag_and_start(ReplyRequest(key=key, history=(), messages=(text,)))
        assert heard.started is not None
        await engine.cancel(heard.started)
    finally:
        await engine.close()
    assert heard.tagging is not None
    return heard.tagging


def leaning(probs: Sequence[Mapping[str, float]]) -> float:
    """Return how far the mean of the probabilities is from saying each label as often."""
    mean = np.array([[one[label] for label in LABELS] for one in probs]).mean(axis=0)
    return float(np.abs(mean - 1 / 3).max())


# -- a model of this machine ---------------------------------------------------------------------


def test_a_model_that_leans_to_one_label_does_so_no_more(settings: Settings) -> None:
    raw = asyncio.run(tags(settings, [row["text"] for row in rows(60, seed=9)]))
    assert all("calibrated" not in tag.made for tag in raw)
    told = run(settings, data(rows()))
    assert "tiny-chat, task sentiment@" in told
    assert "#alone" in told
    assert "→" in told
    assert "used from the next start" in told
    now = asyncio.run(tags(settings, [row["text"] for row in rows(60, seed=9)]))
    assert leaning([tag.probs for tag in raw]) > 0.3
    assert leaning([tag.probs for tag in now]) < 0.12
    for before, after in zip(raw, now, strict=True):
        assert after.instrument == "tiny-chat#bulk"
        assert after.made["raw_probs"] == pytest.approx(before.probs, abs=1e-5)
        assert after.doubt == pytest.approx(before.doubt, abs=1e-5)


def test_each_instrument_is_calibrated_by_itself_and_for_everybody(settings: Settings) -> None:
    run(settings, data(rows()))
    found = kept()
    assert list(found) == ["alone", "branch", "bulk"]
    assert found["branch"]["temperature"] != pytest.approx(found["alone"]["temperature"], rel=0.05)
    assert found["bulk"]["temperature"] == pytest.approx(found["alone"]["temperature"], rel=0.01)
    [path] = CALIBRATIONS.glob("*.json")
    whole = json.loads(path.read_text("utf-8"))
    for entry in whole["calibrations"]:
        entry["temperature"] = {"alone": 11.0, "bulk": 12.0, "branch": 13.0}[entry["instrument"]]
    path.write_text(json.dumps(whole), "utf-8")
    [alone] = asyncio.run(tags(settings, ["hello"]))
    assert alone.made["calibrated"]["temperature"] == 11.0
    bulk = asyncio.run(tags(settings, ["hello", "hello"]))
    assert {tag.made["calibrated"]["temperature"] for tag in bulk} == {12.0}
    talked = asyncio.run(branch(settings, "hello"))
    assert talked.instrument == "tiny-chat#branch"
    assert talked.made["calibrated"]["temperature"] == 13.0
    assert talked.made["label_logprobs"].keys() == talked.probs.keys()


def test_figures_are_of_rows_that_the_fit_has_not_seen(settings: Settings) -> None:
    some = rows(150)
    run(settings, data(some))
    entry = kept()["bulk"]
    assert entry["rows"] == sum(not held_out(row["id"]) for row in some)
    assert entry["after"]["log_loss"] < entry["before"]["log_loss"]
    assert entry["made"] == "2023-11-14T22:13:20+00:00"


def test_what_does_not_help_is_not_kept_and_takes_the_old_away(settings: Settings) -> None:
    run(settings, data(rows()))
    assert kept()
    some = rows(160)
    raw = asyncio.run(_raw(settings, [row["text"] for row in some]))
    for at, (row, tag) in enumerate(zip(some, raw, strict=True)):
        said = LABELS.index(max(tag.probs, key=lambda label: tag.probs[label]))
        other = at % 8 == 0  # a few of every label in both halves
        row["label"] = LABELS[at // 8 % 3 if other else said if held_out(row["id"]) else said - 1]
    told = run(settings, data(some))
    assert "#alone: no better on rows that judge, so its scores stay as they are." in told
    assert "alone" not in kept()


async def _raw(settings: Settings, texts: Sequence[str]) -> list[Tagging]:
    engine = LocalEngine(settings.model.name, make_book(settings), precision="fp32", threads=1)
    await engine.warm_up()
    try:
        return await engine.tag_many(texts)
    finally:
        await engine.close()


def test_another_prompt_is_not_told_by_it(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    run(settings, data(rows()))
    assert "sentiment@" in doctor.calibrated(settings)
    own = Path("prompts")
    own.mkdir()
    shutil.copy(PACKAGED / "sentiment.toml", own)
    with (own / "sentiment.toml").open("a", encoding="utf-8") as file:
        file.write("# another version\n")
    other = settings.model_copy(update={"prompts": Prompts(dir=own)})
    with caplog.at_level(logging.WARNING, logger="core.engine.calibrations"):
        found = asyncio.run(tags(other, ["hello", "thank you", "too late"]))
    assert all("calibrated" not in tag.made for tag in found)
    stale = [
        line for line in caplog.messages if "is for another prompt; run heed calibrate" in line
    ]
    assert len(stale) == 1
    with pytest.raises(SetupError, match="is for another prompt; run heed calibrate"):
        doctor.calibrated(other)
    run(other, Path("rows.jsonl"))
    assert "#branch" in doctor.calibrated(other)
    assert "#branch" in doctor.calibrated(settings)  # both versions have their own


def test_other_weights_under_the_same_name_are_not_told_by_it(
    settings: Settings, tmp_path: Path
) -> None:
    run(settings, data(rows(60)))
    other = make_checkpoint(tmp_path / "tiny-chat", seed=5)
    changed = settings.model_copy(update={"model": Model(name=str(other), threads=1)})
    assert all("calibrated" not in tag.made for tag in asyncio.run(tags(changed, ["hello"])))
    with pytest.raises(SetupError, match="for other files than it has now; run heed calibrate"):
        doctor.calibrated(changed)


def test_empty_messages_alone_are_a_beginning(settings: Settings) -> None:
    told = run(settings, None, contextual=True)
    assert "on empty messages alone" in told
    assert {row["temperature"] for row in kept().values()} == {1.0}
    texts = ["", "N/A", "…"]
    raw = asyncio.run(_raw(settings, texts))
    now = asyncio.run(tags(settings, texts))
    assert leaning([tag.probs for tag in now]) < 0.1 < leaning([tag.probs for tag in raw])


def test_a_task_with_a_prompt_of_its_own_has_no_branch(settings: Settings) -> None:
    told = run(settings, None, contextual=True, task="emotion")
    assert "task emotion@" in told
    assert list(kept()) == ["alone", "bulk"]
    assert set(kept()["bulk"]["bias"]) == set(make_book(settings).task("emotion").labels)


def test_dry_keeps_nothing(settings: Settings) -> None:
    assert "Nothing was kept: --dry." in run(settings, data(rows(60)), dry=True)
    assert not CALIBRATIONS.exists()


def test_a_limit_takes_rows_from_the_whole_file(settings: Settings) -> None:
    told = run(settings, data(rows(200)), limit=90, dry=True)
    numbers = [int(word) for word in told.partition("\n")[0].split() if word.isdigit()]
    assert sum(numbers) == 90


def test_a_damaged_file_stops_the_start_with_one_sentence(settings: Settings) -> None:
    run(settings, None, contextual=True)
    [path] = CALIBRATIONS.glob("*.json")
    path.write_text("{", "utf-8")
    with pytest.raises(SetupError, match="delete it, then run `heed calibrate` again"):
        asyncio.run(tags(settings, ["hello"]))


# -- the probe -----------------------------------------------------------------------------------


@pytest.mark.proof
def test_a_probe_is_used_where_it_won(settings: Settings) -> None:
    some = rows(240, seed=3)
    for at, row in enumerate(some):
        row["strong"] = int(
            row["label"] == "neutral"
        )  # as these operators mean it, and nobody else
        row["wants_human"] = int(at % 5 == 0)  # not in the text at all
    told = run(settings, data(some), probe=True)
    assert "#bulk: the probe for label is used in the place of what is told without it." in told
    assert "#bulk: the probe for strong is used in the place of the table's." in told
    assert "probe" in kept()["bulk"]
    unseen = rows(90, seed=11)
    now = asyncio.run(tags(settings, [row["text"] for row in unseen]))
    right = [
        max(t.probs, key=lambda label: t.probs[label]) == row["label"]
        for t, row in zip(now, unseen, strict=True)
    ]
    assert np.mean(right) > 0.5
    assert all(tag.strong is not None and tag.crisis is None for tag in now)
    assert all("state" not in tag.made for tag in now)
    strong = [tag.strong for tag, row in zip(now, unseen, strict=True) if row["label"] == "neutral"]
    assert np.mean(strong) > np.mean([tag.strong for tag in now]) + 0.05
    run(settings, data(some))  # without the probe again: the figures stay, the probe goes
    assert "probe" not in kept()["bulk"]
    assert not list(CALIBRATIONS.glob("*.npz"))


def test_a_model_that_the_library_runs_is_calibrated_without_a_probe(
    settings: Settings, tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path / "sliding", sliding=8)
    other = settings.model_copy(update={"model": Model(name=str(folder), threads=1)})
    path = data(rows(60))
    with pytest.raises(SetupError, match="hidden states of others cannot be seen here"):
        run(other, path, probe=True)
    assert not CALIBRATIONS.exists()
    run(other, path)
    assert list(kept()) == ["alone", "branch", "bulk"]


# -- a server ------------------------------------------------------------------------------------


def swayed(text: str) -> Mapping[str, float]:
    """Hear some of the words, and lean heavily to the negative."""
    heard = {label: 0.5 + sum(word in text for word in WORDS[label]) for label in LABELS}
    heard["negative"] *= 9
    whole = sum(heard.values()) / 0.9
    return {label: p / whole for label, p in heard.items()} | {"well": 0.1}


@pytest.mark.parametrize("logprobs", ["yes", "refused"])
async def test_a_server_is_calibrated_too(settings: Settings, logprobs: Any) -> None:
    path = data(rows())
    async with OpenAIFake(label=swayed, logprobs=logprobs) as fake:
        there = settings.model_copy(update={"model": Model(name=fake.url, reply_seconds=20)})
        raw = await tags(there, [row["text"] for row in rows(45, seed=9)])
        told = await asyncio.to_thread(run, there, path)
        now = await tags(there, [row["text"] for row in rows(45, seed=9)])
        assert "#remote" in told
        assert list(kept()) == ["remote"]
        assert leaning([tag.probs for tag in raw]) > 0.3
        assert leaning([tag.probs for tag in now]) < 0.12
        assert f"127.0.0.1:{fake.port}" in next(CALIBRATIONS.glob("*.json")).read_text("utf-8")
        assert "#remote" in await asyncio.to_thread(doctor.calibrated, there)
    async with OpenAIFake(label=swayed, models=["another"]) as fake:
        there = settings.model_copy(update={"model": Model(name=fake.url)})
        assert all("calibrated" not in tag.made for tag in await tags(there, ["hello", "late"]))


async def test_a_row_that_a_server_cannot_read_spoils_itself_alone(settings: Settings) -> None:
    some = rows(80)
    some[7]["text"] = "this one"

    def label(text: str) -> Mapping[str, float]:
        return {"well": 1.0} if text == "this one" else swayed(text)

    async with OpenAIFake(label=label) as fake:
        there = settings.model_copy(update={"model": Model(name=fake.url, reply_seconds=20)})
        path = data(some)
        await asyncio.to_thread(run, there, path)
    assert kept()["remote"]["rows"] in {
        sum(not held_out(r["id"]) for r in some) - n for n in (0, 1)
    }


# -- what cannot be done -------------------------------------------------------------------------


def test_without_a_model_there_is_nothing_to_calibrate(settings: Settings) -> None:
    path = data(rows())
    with pytest.raises(SetupError, match="the embedded table is calibrated when it is made"):
        run(settings, path, model="embedded")
    plain = settings.model_copy(update={"model": Model(name="embedded")})
    assert doctor.calibrated(plain) == "the table is calibrated when it is made"


@pytest.mark.parametrize(
    ("some", "sentence"),
    [
        (rows(ROWS - 1), f"rows.jsonl has {ROWS - 1} rows with a label of sentiment"),
        (rows(90, ("negative", "positive")), "rows.jsonl has 0 rows labelled neutral, too few"),
        (
            [*rows(60, ("negative", "positive")), {**rows(1)[0], "label": "neutral"}],
            "rows.jsonl has 1 rows labelled neutral, too few",
        ),
    ],
    ids=["too few", "a label missing", "a label once"],
)
def test_rows_that_cannot_tell_are_refused(
    settings: Settings, some: list[dict[str, Any]], sentence: str
) -> None:
    with pytest.raises(SetupError, match=sentence):
        run(settings, data(some))
    assert not CALIBRATIONS.exists()


def test_labels_of_another_task_are_refused(settings: Settings) -> None:
    with pytest.raises(SetupError, match="has the label negative, and the task emotion knows joy"):
        run(settings, data(rows(40)), task="emotion")
    with pytest.raises(PromptError, match="there is no task mood"):
        run(settings, data(rows(40)), task="mood")


def test_options_that_exclude_each_other_are_told(settings: Settings) -> None:
    with pytest.raises(SetupError, match="or --contextual without one"):
        run(settings, None)
    with pytest.raises(SetupError, match="or --contextual without one"):
        run(settings, data(rows()), contextual=True)
    with pytest.raises(SetupError, match="give it a file"):
        run(settings, None, contextual=True, probe=True)
    with pytest.raises(SetupError, match="a server has none"):
        run(settings, Path("rows.jsonl"), model="http://127.0.0.1:9/v1", probe=True)


def test_a_model_never_calibrated_is_no_problem(settings: Settings) -> None:
    assert doctor.calibrated(settings).startswith("no: `heed calibrate")
    assert list(CalibrationBook().marks()) == []
