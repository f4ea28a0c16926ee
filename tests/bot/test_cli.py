from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bot.cli import guarded
from bot.command import HELP
from core.errors import PromptError, SetupError, StoreError

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "telegram", "discord", "sqlalchemy", "pydantic", "structlog"}


def _run(
    *args: str, cwd: Path = ROOT, code: str = "", stdin: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(["-c", code] if code else ["-m", "bot"]), *args]
    return subprocess.run(  # noqa: S603
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},  # noqa: TID251
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = _run(
        "--help",
        code="import sys\nfrom bot.cli import main\ntry:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print(*sorted(sys.modules), file=sys.stderr)",
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"heed --help: {cpu * 1000:.0f} ms of CPU")  # noqa: T201
    assert done.returncode == 0
    listed = re.findall(r"^  (\w+) ", done.stdout.partition("Commands:")[2], re.MULTILINE)
    assert listed == list(HELP)
    assert HEAVY.isdisjoint(done.stderr.split())


@pytest.mark.parametrize("name", [*HELP, "db upgrade", "model pull", "staff add"])
def test_every_command_explains_itself(name: str) -> None:
    from click.testing import CliRunner

    from bot.cli import heed

    done = CliRunner().invoke(heed, [*name.split(), "--help"])
    assert done.exit_code == 0
    assert HELP.get(name, "") in done.output


def test_version_is_printed() -> None:
    done = _run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("heed ")


@pytest.mark.parametrize("command", [["run"], ["tag"], ["db", "check"], ["forget", "web:x"]])
def test_wrong_settings_end_every_command_in_one_sentence(
    command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "heed.toml").write_text("[http]\nprot = 1\n", encoding="utf-8")
    done = _run(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "heed.toml: http.prot is no setting of Heed; the nearest one is http.port.\n"
    )


def test_a_wrong_variable_ends_in_one_sentence(tmp_path: Path) -> None:
    done = _run("run", cwd=tmp_path, HEED_HTTP__PORT="eighty")
    assert done.returncode == 2
    assert done.stderr == "The setting HEED_HTTP__PORT must be a whole number.\n"


@pytest.mark.parametrize("command", ["run", "chat", "export web:ann", "staff list", "db upgrade"])
def test_a_file_that_is_no_database_ends_every_command_in_one_sentence(
    command: str, tmp_path: Path
) -> None:
    (tmp_path / "heed.db").write_bytes(b"something else " * 1000)
    done = _run(*command.split(), cwd=tmp_path, HEED_DATABASE__URL="sqlite:///heed.db")
    assert done.returncode == 2
    assert done.stderr.startswith("The database cannot be used (file is not a database)")
    assert done.stderr.count("\n") == 1


def test_a_password_needs_a_terminal_or_the_option(tmp_path: Path) -> None:
    done = _run("staff", "add", "bea", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == ("There is no terminal to ask for a password: use --password-stdin.\n")


def test_an_unknown_command_is_told() -> None:
    done = _run("rnu")
    assert done.returncode == 2
    assert "No such command" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["forget web:somebody", "restore kept.db"])
def test_where_nobody_answers_nothing_is_done_and_the_script_that_asked_fails(
    command: str, tmp_path: Path
) -> None:
    done = _run(*command.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "Nobody answered, so nothing was done: use --yes where nobody is asked.\n"
    )
    assert [*tmp_path.iterdir()] == []
    no = _run(*command.split(), cwd=tmp_path, stdin="n\n")
    assert no.returncode == 0
    assert "Nothing was" in no.stdout


@pytest.mark.parametrize("command", ["backup {}", "restore --yes {}", "--config {} db check"])
def test_a_name_that_no_file_can_have_is_told_in_one_sentence(command: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'heed.db'}"
    assert _run("db", "upgrade", cwd=tmp_path, HEED_DATABASE__URL=url).returncode == 0
    done = _run(*command.format("x" * 300).split(), cwd=tmp_path, HEED_DATABASE__URL=url)
    assert done.returncode == 2
    assert "File name too long" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_fault_of_ours_is_no_sentence_for_the_operator() -> None:
    def fails() -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        guarded(fails)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (SetupError("Do this."), 2, "Do this.\n"),
        (PromptError("Write that."), 2, "Write that.\n"),
        (StoreError("The disk is full."), 1, "The disk is full.\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
    ],
)
def test_what_a_command_raises_becomes_a_sentence_and_an_exit_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise error

    assert guarded(fails) == code
    assert capsys.readouterr().err == said


def test_the_code_of_a_command_is_the_code_of_the_process() -> None:
    assert guarded(lambda: 1) == 1
    assert guarded(lambda: None) == 0
