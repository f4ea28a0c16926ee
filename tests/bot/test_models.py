"""What `model.name` comes to, and the model commands as an operator types them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from bot import models
from bot.settings import Model, Settings
from core.errors import SetupError
from tests.fakes.hub import QWEN, HubFake, model_files, write_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def named(name: str) -> Settings:
    return Settings(model=Model(name=name))


def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else find(name)
    )


def test_auto_is_embedded_until_the_model_is_here() -> None:
    name, why = models.chosen(named("auto"))
    assert name == "embedded"
    assert "heed model pull qwen2.5-0.5b" in why
    write_model(Path("data/models/Qwen2.5-0.5B-Instruct"))
    assert models.chosen(named("auto")) == (QWEN, "found on this machine")


def test_auto_stays_embedded_where_no_model_could_be_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_model(Path("data/models/Qwen2.5-0.5B-Instruct"))
    without_torch(monkeypatch)
    name, why = models.chosen(named("auto"))
    assert name == "embedded"
    assert "torch" in why


def test_embedded_is_embedded_whatever_is_here() -> None:
    write_model(Path("data/models/Qwen2.5-0.5B-Instruct"))
    assert models.chosen(named("embedded"))[0] == "embedded"


def test_a_server_is_named_without_its_password() -> None:
    choice = models.choose(named("https://ada:secret@models.example:8443/v1#tiny"))
    assert (choice.kind, choice.name) == ("remote", "models.example:8443")
    assert "secret" not in "".join(models.chosen(named("https://ada:secret@h/v1")))


def test_a_folder_is_a_model_when_it_is_whole() -> None:
    folder = write_model(Path("my-model"))
    choice = models.choose(named("my-model"))
    assert (choice.kind, choice.name, choice.source, choice.demo) == (
        "local", "my-model", "my-model", False,
    )  # fmt: skip
    (folder / "config.json").unlink()
    with pytest.raises(SetupError, match=r"my-model: config\.json is missing"):
        models.chosen(named("my-model"))


def test_a_demo_says_that_it_is_one() -> None:
    write_model(Path("demo"), model_files(heed_demo=True))
    assert models.choose(named("./demo")).demo
    assert "its words mean nothing" in models.chosen(named("demo"))[1]


@pytest.mark.parametrize("name", ["qwen3-0.6b", "Qwen/Qwen3-0.6B", "Qwen3-0.6B"])
def test_a_model_on_this_machine_is_found_by_every_name_it_has(name: str) -> None:
    write_model(Path("data/models/Qwen3-0.6B"))
    choice = models.choose(named(name))
    assert (choice.kind, choice.source) == ("local", "data/models/Qwen3-0.6B")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Qwen/Qwen3-0.6B", "heed model pull Qwen/Qwen3-0.6B"),
        ("nonsense", "nonsense is no model: write auto"),
        ("./nowhere", "does not exist"),
        ("/no/such/folder", "does not exist"),
        ("a/b/c", "does not exist"),
        ("http://", "no usable URL"),
        ("http://[", "no usable URL"),
    ],
)
def test_a_model_that_is_not_here_says_what_to_do(name: str, words: str) -> None:
    with pytest.raises(SetupError, match=words):
        models.chosen(named(name))


def test_a_chosen_model_without_torch_is_a_matter_of_setup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_model(Path("my-model"))
    without_torch(monkeypatch)
    with pytest.raises(SetupError, match="install"):
        models.chosen(named("my-model"))


def test_two_halves_are_named_and_reasoned_for_both() -> None:
    write_model(Path("small"))
    settings = Settings(model=Model(tag="small", reply="http://ada:secret@h:8000/v1#large"))
    choice = models.choose(settings)
    assert (choice.kind, choice.name, choice.source) == ("routed", "small + h:8000", "")
    assert [half.kind for half in choice.halves] == ["local", "remote"]
    name, why = models.chosen(settings)
    assert name == "small + h:8000"
    assert why == "small tags: from small; h:8000 writes: a server with the OpenAI interface"


@pytest.mark.parametrize("more", [{"tag": "small"}, {"reply": "./small"}, {"tag": " small "}])
def test_two_names_of_one_model_are_no_halves(more: dict[str, str]) -> None:
    write_model(Path("small"))
    choice = models.choose(Settings(model=Model(name="small", **more)))
    assert (choice.kind, choice.halves) == ("local", ())


@pytest.mark.parametrize("key", ["tag", "reply"])
def test_a_half_that_is_not_here_is_told_by_its_own_setting(key: str) -> None:
    for name, words in (
        ("nonsense", f"model.{key} nonsense is no model"),
        ("./nowhere", f"model.{key} is the folder"),
        ("http://", f"model.{key} is no usable URL"),
    ):
        with pytest.raises(SetupError, match=words):
            models.choose(Settings(model=Model(**{key: name})))


def test_a_half_that_is_a_demo_makes_a_demo_of_the_whole() -> None:
    write_model(Path("demo"), model_files(heed_demo=True))
    assert models.choose(Settings(model=Model(name="http://h/v1", tag="demo"))).demo


def test_whether_a_model_is_asked_for() -> None:
    assert not Model().named
    assert not Model(name="embedded", tag="auto").named
    assert Model(name="small").named
    assert Model(reply="http://h/v1").named


def test_an_import_says_how_to_use_it(tmp_path: Path) -> None:
    source = write_model(tmp_path / "usb" / "toy")
    assert "set model.name to data/models/toy" in models.import_(named("auto"), source)
    source = write_model(tmp_path / "usb" / "Qwen2.5-0.5B-Instruct")
    assert "will be used from the next start" in models.import_(named("auto"), source)
    assert len(list(models.list_())) == 2


def test_an_empty_machine_lists_how_to_get_a_model() -> None:
    [line] = models.list_()
    assert "heed model pull" in line


def run(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}  # noqa: TID251
    env: dict[str, Any] = {**kept, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1", **more}
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "bot", *args],
        env=env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_pull_import_and_list_as_typed(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    with HubFake() as fake:
        pulled = run("model", "pull", "qwen2.5-0.5b", HF_ENDPOINT=fake.url, HF_HOME=home)
    assert (pulled.returncode, pulled.stdout) == (0, "qwen2.5-0.5b is on this machine.\n")
    write_model(tmp_path / "usb" / "toy")
    assert run("model", "import", str(tmp_path / "usb" / "toy"), HF_HOME=home).returncode == 0
    listed = run("model", "list", HF_HOME=home)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [QWEN, "toy"]


def test_pull_offline_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = run("model", "pull", "qwen2.5-0.5b", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "home"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for way in ("HF_HUB_OFFLINE", "heed model import", "HF_ENDPOINT", "HEED_MODEL__NAME=http"):
        assert way in done.stderr
