"""Model files: what counts as whole, how a copy is taken in, and how one is fetched and resumed."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from core.engine import files, hub
from core.errors import SetupError
from tests.fakes.hub import COMMIT, QWEN, HubFake, model_files, weights, write_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the shared cache be an empty folder, and the working folder too."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "cache"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubFake]:
    with HubFake() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        yield running


def put_in_cache(cache: Path, name: str = QWEN) -> Path:
    """Lay a model out as the hub's own library does."""
    root = cache / f"models--{name.replace('/', '--')}"
    folder = write_model(root / "snapshots" / COMMIT)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    return folder


def ignore(_done: int, _total: int) -> None:
    pass


# ---- what counts as whole ------------------------------------------------------------------


def test_a_whole_model_has_no_problem(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    assert files.problem(folder) is None
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    assert "no tokenizer" in str(files.problem(folder))
    (folder / "merges.txt").write_text("", encoding="utf-8")
    assert files.problem(folder) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config.json": None}, "config.json is missing"),
        ({"config.json": b"{"}, "damaged"),
        ({"config.json": b"[]"}, "damaged"),
        ({"config.json": b"{}"}, "no model_type"),
        ({"config.json": b'{"model_type": "bert", "architectures": ["BertModel"]}'}, "BertModel"),
        ({"model.safetensors": None}, "no weights"),
        ({"model.safetensors": weights()[:-1]}, "cut short"),
        ({"model.safetensors": b"version https://git-lfs.github.com/spec/v1\n"}, "cut short"),
        ({"model.safetensors": b""}, "cut short"),
        ({"tokenizer.json": None}, "no tokenizer"),
        ({"model.safetensors.index.json": b"{}"}, "damaged|missing"),
        (
            {"model.safetensors.index.json": b'{"weight_map": {"w": "model-2.safetensors"}}'},
            "model-2.safetensors is missing",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_folder_is_told(
    tmp_path: Path, change: dict[str, bytes | None], words: str
) -> None:
    changed = {**model_files(), **change}
    whole = {name: data for name, data in changed.items() if data is not None}
    folder = write_model(tmp_path / "m", whole)
    told = files.problem(folder)
    assert told is not None
    assert any(word in told for word in words.split("|"))
    assert str(folder) in told


def test_a_demo_is_known_by_its_config(tmp_path: Path) -> None:
    assert files.is_demo(write_model(tmp_path / "a", model_files(heed_demo=True)))
    assert not files.is_demo(write_model(tmp_path / "b"))
    assert not files.is_demo(tmp_path / "missing")


# ---- what is here --------------------------------------------------------------------------


def test_auto_takes_the_model_only_when_all_of_it_is_here(cache: Path) -> None:
    assert files.auto_choice() is None
    folder = put_in_cache(cache)
    assert files.auto_choice() == files.Found(name=QWEN, source=QWEN, folder=folder)
    (folder / "model.safetensors").write_bytes(weights()[:100])
    assert files.auto_choice() is None


def test_auto_prefers_the_copy_in_heeds_own_folder(cache: Path) -> None:
    put_in_cache(cache)
    own = write_model(Path("data/models/Qwen2.5-0.5B-Instruct"))
    found = files.auto_choice()
    assert found is not None
    assert (found.name, found.source) == (QWEN, str(own))


@pytest.mark.parametrize("name", ["../x", "a/b/c", "", ".", "a/..", "a b", "http://x"])
def test_a_name_that_is_none_finds_nothing(name: str) -> None:
    write_model(Path("x"))
    assert files.find(name) is None


def test_models_are_listed_with_size_and_place(cache: Path) -> None:
    assert list(files.list_()) == []
    put_in_cache(cache, "Qwen/Qwen3-0.6B")
    write_model(Path("data/models/toy"), model_files(heed_demo=True))
    write_model(Path("data/models/Qwen/Qwen2.5-0.5B-Instruct"))
    write_model(Path("data/models/broken"), {"config.json": b"{}"})
    lines = list(files.list_())
    assert [line.split()[0] for line in lines] == [QWEN, "broken", "toy", "Qwen/Qwen3-0.6B"]
    assert "cannot be used" in lines[1]
    assert "a demo" in lines[2]
    assert "shared cache" in lines[3]


# ---- taking in a copy ----------------------------------------------------------------------


def test_a_folder_is_taken_in_whole_and_nothing_else_of_it(tmp_path: Path) -> None:
    source = write_model(
        tmp_path / "My Model", {**model_files(), "README.md": b"hi", "run.py": b""}
    )
    found = files.import_(source)
    assert found.folder == Path("data/models/My-Model")
    assert {file.name for file in found.folder.iterdir()} == set(model_files())
    assert files.find("My-Model") is not None
    assert not any(Path("data/models/.parts").iterdir())


def test_a_cache_entry_is_taken_in_under_the_models_name(tmp_path: Path) -> None:
    folder = put_in_cache(tmp_path / "stick")
    blob = tmp_path / "blob"
    (folder / "model.safetensors").rename(blob)
    (folder / "model.safetensors").symlink_to(blob)
    found = files.import_(folder)
    assert found.folder.name == "Qwen2.5-0.5B-Instruct"
    assert not (found.folder / "model.safetensors").is_symlink()
    assert files.auto_choice() is not None


@pytest.mark.parametrize("inside", ["", "Qwen/"])
def test_a_zip_is_taken_in(tmp_path: Path, inside: str) -> None:
    path = tmp_path / "qwen.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in model_files().items():
            packed.writestr(inside + name, data)
    assert files.import_(path).name == "qwen"
    assert files.problem(Path("data/models/qwen")) is None


def test_no_entry_of_a_zip_can_leave_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, data in model_files().items():
            packed.writestr(name, data)
        packed.writestr("../../../outside.json", b"{}")
        packed.writestr("/tmp/heed-outside.json", b"{}")
        link = zipfile.ZipInfo("link.json")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
    found = files.import_(path)
    outside = [file for file in tmp_path.rglob("*outside.json") if file.is_file()]
    assert outside == []
    assert not Path("/tmp/heed-outside.json").exists()
    assert not any(file.is_symlink() for file in found.folder.iterdir())


@pytest.mark.parametrize("kind", ["missing", "no zip", "cut zip", "empty zip", "half a model"])
def test_a_copy_that_cannot_be_used_changes_nothing(tmp_path: Path, kind: str) -> None:
    old = write_model(Path("data/models/qwen"), {**model_files(), "old.txt": b""})
    path = tmp_path / "qwen.zip"
    with zipfile.ZipFile(path, "w") as packed:
        if kind in ("half a model", "cut zip"):
            packed.writestr("config.json", model_files()["config.json"])
    if kind == "missing":
        path.unlink()
    elif kind == "no zip":
        path.write_bytes(b"hello")
    elif kind == "cut zip":
        path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(SetupError) as told:
        files.import_(path)
    assert "qwen.zip" in str(told.value)
    assert ".parts" not in str(told.value)
    assert (old / "old.txt").exists()


def test_a_second_import_replaces_the_first(tmp_path: Path) -> None:
    write_model(Path("data/models/qwen"), {**model_files(), "old.txt": b""})
    files.import_(write_model(tmp_path / "qwen"))
    assert not Path("data/models/qwen/old.txt").exists()
    assert files.find("qwen") is not None


# ---- fetching ------------------------------------------------------------------------------


def test_a_model_is_fetched_by_its_short_name_and_only_what_is_needed(fake: HubFake) -> None:
    told: list[tuple[int, int]] = []
    found = hub.pull("qwen2.5-0.5b", lambda done, total: told.append((done, total)))
    assert found.folder == Path(f"data/models/{QWEN}")
    assert sorted(fake.fetched()) == sorted(model_files())
    assert files.auto_choice() == found
    total = sum(map(len, model_files().values()))
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    fake.log.clear()
    assert hub.pull(QWEN, ignore) == found
    assert fake.log == []  # it is here: nobody is asked


def test_what_the_shared_cache_has_is_not_fetched(fake: HubFake, cache: Path) -> None:
    put_in_cache(cache)
    assert hub.pull("qwen2.5-0.5b", ignore).source == QWEN
    assert fake.log == []


def test_a_download_that_is_cut_goes_on_where_it_was(fake: HubFake) -> None:
    fake.cut_after = [1000, 500]
    hub.pull(QWEN, ignore)
    ranges = [asked for path, asked in fake.log if path.startswith("/cdn/")]
    assert ranges == ["", "bytes=1000-", "bytes=1500-"]


def test_a_download_broken_off_by_the_caller_goes_on_at_the_next_call(fake: HubFake) -> None:
    def stop(done: int, _total: int) -> None:
        if done > 2000:  # the weights are here, the tokenizer is not
            raise KeyboardInterrupt

    fake.cut_after = [1000]
    with pytest.raises(KeyboardInterrupt):
        hub.pull(QWEN, stop)
    assert files.auto_choice() is None
    assert "goes on" in next(iter(files.list_()))
    fake.log.clear()
    hub.pull(QWEN, ignore)
    assert files.auto_choice() is not None
    assert fake.fetched().count("config.json") == 0
    assert next(iter(files.list_())).startswith(f"{QWEN}  0 MB")


def test_what_was_begun_of_an_older_version_does_not_come_along(fake: HubFake) -> None:
    fake.cut_after = [100] * 5
    with pytest.raises(SetupError):
        hub.pull(QWEN, ignore)
    fake.files["model.safetensors"] = weights(5000)
    found = hub.pull(QWEN, ignore)
    assert {file.name for file in found.folder.iterdir()} == set(model_files())
    assert (found.folder / "model.safetensors").read_bytes() == weights(5000)


def test_a_network_that_stays_away_is_told_and_keeps_what_came(fake: HubFake) -> None:
    fake.cut_after = [100] * 5
    with pytest.raises(SetupError, match="heed model import"):
        hub.pull(QWEN, ignore)
    [part] = Path("data/models/.parts").glob("*/*.part")
    assert part.stat().st_size == 500


def test_a_damaged_file_is_fetched_again_and_never_kept(fake: HubFake) -> None:
    fake.damage = 1
    hub.pull(QWEN, ignore)
    assert Path(f"data/models/{QWEN}/model.safetensors").read_bytes() == weights()


def test_a_file_damaged_each_time_is_given_up(fake: HubFake) -> None:
    fake.damage = 99
    with pytest.raises(SetupError, match="damaged each time"):
        hub.pull(QWEN, ignore)
    assert files.auto_choice() is None


@pytest.mark.usefixtures("fake")
def test_a_model_that_the_hub_does_not_know() -> None:
    with pytest.raises(SetupError, match=r"knows no model nobody/nothing"):
        hub.pull("nobody/nothing", ignore)


def test_a_model_without_safetensors_is_refused(fake: HubFake) -> None:
    del fake.files["model.safetensors"]
    with pytest.raises(SetupError, match="safetensors"):
        hub.pull(QWEN, ignore)


@pytest.mark.parametrize("name", ["qwen", "../../etc", "a/b/c", "http://x/y"])
def test_what_is_no_name_is_refused_with_the_short_ones(fake: HubFake, name: str) -> None:
    with pytest.raises(SetupError, match=r"qwen2\.5-0\.5b"):
        hub.pull(name, ignore)
    assert fake.log == []


@pytest.mark.parametrize("how", ["offline", "refused", "down", "no hub"])
def test_without_a_hub_the_other_ways_in_are_named(
    fake: HubFake, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    elif how == "refused":
        monkeypatch.setattr(constants, "ENDPOINT", "http://ada:secret@127.0.0.1:1")
    elif how == "down":
        fake.status = 503
    else:
        monkeypatch.setattr(HubFake, "listing", lambda _: {"siblings": 5})
    with pytest.raises(SetupError) as told:
        hub.pull(QWEN, ignore)
    for way in ("heed model import DIR|ZIP", "HF_ENDPOINT", "HEED_MODEL__NAME=http"):
        assert way in str(told.value)
    assert "secret" not in str(told.value)
    assert ("HF_HUB_OFFLINE forbids" in str(told.value)) == (how == "offline")


@pytest.mark.usefixtures("fake")
def test_two_downloads_of_one_model_do_not_mix() -> None:
    refused: list[str] = []

    def again(_done: int, _total: int) -> None:
        if not refused:
            with pytest.raises(SetupError) as told:
                hub.pull(QWEN, ignore)
            refused.append(str(told.value))

    hub.pull(QWEN, again)
    assert "being fetched already" in refused[0]
    assert files.auto_choice() is not None


@pytest.mark.usefixtures("fake")
def test_a_folder_that_cannot_be_written_is_told() -> None:
    Path("data").write_text("a file", encoding="utf-8")
    with pytest.raises(SetupError, match="cannot be stored"):
        hub.pull(QWEN, ignore)
    with pytest.raises(SetupError, match="cannot be imported"):
        files.import_(write_model(Path("m")))


def test_a_split_model_is_whole_with_all_its_parts(tmp_path: Path) -> None:
    parts = {f"model-{n}.safetensors": weights() for n in (1, 2)}
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    split = {**model_files(), **parts, "model.safetensors.index.json": json.dumps(index).encode()}
    del split["model.safetensors"]
    folder = write_model(tmp_path / "m", split)
    assert files.problem(folder) is None
    os.truncate(folder / "model-2.safetensors", 50)
    assert "model-2.safetensors is cut short" in str(files.problem(folder))
