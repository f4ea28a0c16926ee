"""The command line. Imports click and nothing else: each command imports its own world.

Whatever the operator can mend ends here as one plain sentence on stderr and exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.errors import HeedError, PromptError, SetupError

if TYPE_CHECKING:
    from bot.settings import Settings

# Every command with its line of help, in the order in which `heed --help` lists them.
HELP = {
    "run": "Start Heed: the page, and every platform that has a token.",
    "chat": "Talk to Heed in this terminal.",
    "tag": "Tag lines from stdin, or a feedback export; by any label task.",
    "eval": "Measure tags and alarms on labelled rows, or on staff's verdicts.",
    "calibrate": "Make a model's tags as sure as they are right, on labelled rows.",
    "replay": "Run dialogues, or what the database holds, through the rules; nothing is sent.",
    "doctor": "Check the whole installation and say how to mend it.",
    "init": "Write heed.toml by asking a few questions.",
    "db": "Care for the database.",
    "export": "Print everything kept about one person, as JSON.",
    "forget": "Erase everything kept about one person.",
    "model": "Fetch, import, list and check models.",
    "bench": "Measure the engine, the program and the walk on this machine.",
    "staff": "Say who may answer on the web page.",
}


class _Group(click.Group):
    """A group that keeps the order of its table and takes each line of help from it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # type: ignore[explicit-override]  # noqa: ARG002
        return [name for name in HELP if name in self.commands] or list(self.commands)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:  # type: ignore[explicit-override]
        cmd.help = cmd.short_help = cmd.help or HELP.get(cmd.name or "")
        super().add_command(cmd, name)


def _show_version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:  # noqa: FBT001
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"heed {version('heed')}")
        except PackageNotFoundError:
            click.echo("heed (not installed: run `make setup`)")
        ctx.exit()


@click.group("heed", cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Settings file; otherwise HEED_CONFIG, otherwise ./heed.toml.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Print the version.",
)
@click.pass_context
def heed(ctx: click.Context, config: Path | None) -> None:
    """Heed answers people on Telegram, Discord and the web, and brings a human in when needed."""
    ctx.obj = config


def _settings(ctx: click.Context) -> Settings:
    """Read the settings and set the logs up, for the commands that do something."""
    from bot.config import load

    settings = load(ctx.obj)
    from bot.logs import set_up

    set_up(settings)
    return settings


@heed.command()
@click.pass_context
def run(ctx: click.Context) -> None:  # noqa: D103  # the table has the line
    import asyncio

    settings = _settings(ctx)
    from bot.program import serve

    asyncio.run(serve(settings))


@heed.command()
@click.pass_context
def chat(ctx: click.Context) -> None:  # noqa: D103
    import asyncio

    settings = _settings(ctx)
    from bot.program import chat as talk

    asyncio.run(talk(settings))


@heed.command()
@click.option("--batch", type=click.IntRange(1, 4096), default=32, show_default=True)
@click.option("--explain", is_flag=True, help="Add how each tag was made.")
@click.option("--task", default="", metavar="NAME|FILE.toml", help="Another task than sentiment.")
@click.option(
    "--csv",
    "places",
    type=(click.Path(allow_dash=True, path_type=Path), click.Path(path_type=Path)),
    metavar="IN OUT",
    help="Instead of lines: append tags to a feedback export, who needs a person first.",
)
@click.option("--column", help="With --csv: the column that holds the text.")
@click.option("--encoding", help="With --csv: e.g. gb18030; otherwise UTF-8 or UTF-16.")
@click.option("--force", is_flag=True, help="With --csv: overwrite OUT.")
@click.pass_context
def tag(ctx: click.Context, /, places: tuple[Path, Path] | None, **options: Any) -> None:  # noqa: D103
    of_csv = {name: options.pop(name) for name in ("column", "encoding", "force")}
    if places is None:
        if any(of_csv.values()):
            raise click.UsageError("--column, --encoding and --force go with --csv IN OUT.")
        settings = _settings(ctx)
        from bot.tagging import tag as tag_lines

        ctx.exit(tag_lines(settings, **options))
    if options.pop("explain"):
        raise click.UsageError("--explain goes with lines, not with --csv.")
    settings = _settings(ctx)
    from bot.feedback import tag_csv

    source, target = places
    ctx.exit(tag_csv(settings, source, target, **options, **of_csv))


@heed.command("eval")
@click.argument("file", metavar="DATA", required=False, type=click.Path(path_type=Path))
@click.option(
    "--model", "models", multiple=True, help="embedded, vader, a folder ...: side by side."
)
@click.option("--task", default="", help="Another task than the configured one.")
@click.option(
    "--json", "json_out", type=click.Path(path_type=Path), help="Write every figure here."
)
@click.option("--html", "html_out", type=click.Path(path_type=Path), help="Write a report here.")
@click.option("--limit", type=click.IntRange(1), help="So many rows, spread over the file.")
@click.option("--verdicts", is_flag=True, help="Instead of DATA: what staff said of their cases.")
@click.option("--budget", type=click.FloatRange(0), help="Alerts a day that staff can take.")
@click.pass_context
def evaluate(  # noqa: D103
    ctx: click.Context,
    /,
    file: Path | None,
    models: tuple[str, ...],
    **options: Any,
) -> None:
    settings = _settings(ctx)
    from bot.evaluating import evaluate as measure

    names = [name for given in models for name in given.split(",")]
    ctx.exit(measure(settings, file, click.echo, models=names, **options))


@heed.command()
@click.argument("file", metavar="DATA", required=False, type=click.Path(path_type=Path))
@click.option("--model", default="", help="Another model than the configured one.")
@click.option("--task", default="", help="Another task than the configured one.")
@click.option("--limit", type=click.IntRange(1), help="So many rows, spread over the file.")
@click.option("--probe", is_flag=True, help="Try a linear probe on the hidden state too.")
@click.option("--contextual", is_flag=True, help="Instead of DATA: by empty messages alone.")
@click.option("--dry", is_flag=True, help="Print the figures and keep nothing.")
@click.pass_context
def calibrate(ctx: click.Context, /, file: Path | None, **options: Any) -> None:  # noqa: D103
    settings = _settings(ctx)
    from bot.calibrating import calibrate as find_calibration

    ctx.exit(find_calibration(settings, file, click.echo, **options))


@heed.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--expect", is_flag=True, help="Score by each dialogue's `call` instead.")
@click.option("--least-caught", type=click.FloatRange(0, 1), help="With --expect: else exit 1.")
@click.option("--most-false", type=click.FloatRange(0, 1), help="With --expect: else exit 1.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="The database's from then, UTC.")
@click.option("--config", "other", type=click.Path(path_type=Path), help="With --since: its rules.")
@click.option("--texts", is_flag=True, help="With --since: show the words, too.")
@click.option(
    "--json", "json_out", type=click.Path(path_type=Path), help="Write every figure here."
)
@click.pass_context
def replay(ctx: click.Context, /, file: Path | None, since: Any, **options: Any) -> None:  # noqa: D103
    other, texts, expect = (options.pop(name) for name in ("other", "texts", "expect"))
    bars = [options[name] for name in ("least_caught", "most_false")]
    if (since is None) == (file is None) or (since is not None and expect):
        raise click.UsageError("Give either a FILE of dialogues, or --since without one.")
    if since is None and (other is not None or texts):
        raise click.UsageError("--texts and --config after the word replay go with --since.")
    if not expect and (bars != [None, None] or (since is None and options["json_out"])):
        raise click.UsageError("--least-caught, --most-false and --json go with --expect.")
    settings = _settings(ctx)
    if file is None:
        from bot.config import load
        from bot.evaluating.hindsight import replay_stored

        rules = None if other is None else load(other)
        at = since.replace(tzinfo=UTC).timestamp()
        ctx.exit(replay_stored(settings, rules, at, texts=texts, json_out=options["json_out"]))
    if expect:
        from bot.expecting import expect as score_file

        ctx.exit(score_file(settings, file, **options))
    from bot.replay import replay as replay_file

    ctx.exit(replay_file(settings, file))


@heed.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:  # noqa: D103
    from bot.doctor import examine

    ctx.exit(examine(ctx.obj, click.echo))


@heed.command()
@click.pass_context
def init(ctx: click.Context) -> None:  # noqa: D103
    from bot.setup import write_settings

    write_settings(ctx.obj)


@heed.group(cls=_Group)
def db() -> None:  # noqa: D103
    pass


@db.command("upgrade")
@click.pass_context
def db_upgrade(ctx: click.Context) -> None:
    """Bring the database to the form this version of Heed needs."""
    url = _settings(ctx).database.url
    from bot.database import upgrade

    upgrade(url)
    click.echo("The database is up to date.")


@db.command("check")
@click.pass_context
def db_check(ctx: click.Context) -> None:
    """Say whether the database is whole and up to date."""
    url = _settings(ctx).database.url
    from bot.database import check

    check(url)
    click.echo("The database is whole and up to date.")


@heed.command()
@click.argument("userref", metavar="PLATFORM:USER")
@click.pass_context
def export(ctx: click.Context, userref: str) -> None:  # noqa: D103
    import json

    settings = _settings(ctx)
    from bot.database import export as export_person

    click.echo(json.dumps(export_person(settings, userref), ensure_ascii=False, indent=2))


@heed.command()
@click.argument("userref", metavar="PLATFORM:USER")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def forget(ctx: click.Context, userref: str, yes: bool) -> None:  # noqa: D103, FBT001
    settings = _settings(ctx)
    if not yes and not _agreed(f"Erase everything kept about {userref}? It cannot be undone."):
        click.echo("Nothing was erased.")
        return
    from bot.database import forget as forget_person

    click.echo(forget_person(settings, userref))


def _agreed(question: str) -> bool:
    """Ask a yes-or-no question; the end of the input is a no."""
    try:
        return click.confirm(question)
    except click.Abort:
        if sys.stdin.isatty():  # Ctrl-C, not the end of a pipe
            raise
        return False


@heed.group(cls=_Group)
def model() -> None:  # noqa: D103
    pass


@model.command("pull")
@click.argument("name")
@click.pass_context
def model_pull(ctx: click.Context, name: str) -> None:
    """Download a model, e.g. qwen2.5-0.5b; an interrupted download goes on where it stopped."""
    settings = _settings(ctx)
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from bot.models import pull

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None)

        def on_progress(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None)

        pull(settings, name, on_progress)
    click.echo(f"{name} is on this machine.")


@model.command("import")
@click.argument("path", metavar="DIR|ZIP", type=click.Path(path_type=Path))
@click.pass_context
def model_import(ctx: click.Context, path: Path) -> None:
    """Take in a model that was copied here by hand."""
    settings = _settings(ctx)
    from bot.models import import_

    click.echo(import_(settings, path))


@model.command("list")
def model_list() -> None:
    """List the models on this machine."""
    from bot.models import list_

    for line in list_():
        click.echo(line)


@model.command("demo")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--minutes", type=click.FloatRange(0.05, 60), default=4.0, show_default=True)
@click.pass_context
def model_demo(ctx: click.Context, folder: Path, minutes: float) -> None:
    """Train a tiny chat model in DIR: it shows the mechanism, its words mean nothing."""
    _settings(ctx)
    from core.engine.demo import make_demo

    click.echo(make_demo(folder, seconds=60 * minutes, tell=click.echo))


@model.command("check")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON line each.")
@click.pass_context
def model_check(ctx: click.Context, name: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Run 20 fixed lines, English and Chinese, through both prompts of a model."""
    settings = _settings(ctx)
    from bot.checking import check

    ctx.exit(check(settings, name, click.echo, as_json=as_json))


@heed.group(cls=_Group, invoke_without_command=True)
@click.option("--model", default="qwen1.5-0.5b", show_default=True, help="Whose shape to measure.")
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option("--precision", default="", help="Measure only this one beside the baseline.")
@click.option("--peer", type=click.Choice(["llama.cpp"]), help="Measure another engine too.")
@click.option("--quick", is_flag=True, help="A small shape and few turns: shows that it runs.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write every figure here.")
@click.pass_context
def bench(ctx: click.Context, /, out: Path | None, **options: Any) -> None:  # noqa: D103
    if ctx.invoked_subcommand is None:
        from bot.bench.engine import measure

        ctx.exit(measure(click.echo, out, **options))


@bench.command("chat")
@click.option("--model", default="qwen1.5-0.5b", show_default=True, help="Whose shape to measure.")
@click.option("--precision", default="auto", show_default=True)
@click.option("--quick", is_flag=True, help="A small shape and few turns: shows that it runs.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write every figure here.")
@click.pass_context
def bench_chat(ctx: click.Context, /, out: Path | None, **options: Any) -> None:
    """Start the real program with a model of that shape and measure POST /chat."""
    from bot.bench.chat import measure

    ctx.exit(measure(click.echo, out, **options))


@bench.command("pipeline")
@click.option("--seconds", type=click.FloatRange(0.5, 600), default=5.0, show_default=True)
@click.option("--quick", is_flag=True, help="Few conversations: shows that it runs.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write every figure here.")
@click.pass_context
def bench_pipeline(ctx: click.Context, /, out: Path | None, **options: Any) -> None:
    """Measure the walk without a model against the disk and a bare sqlite3 writer."""
    from bot.bench.pipeline import measure

    ctx.exit(measure(click.echo, out, **options))


@heed.group(cls=_Group)
def staff() -> None:  # noqa: D103
    pass


@staff.command("add")
@click.argument("name")
@click.option("--admin", is_flag=True, help="May change settings and remove others.")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@click.pass_context
def staff_add(ctx: click.Context, name: str, admin: bool, password_stdin: bool) -> None:  # noqa: FBT001
    """Add somebody who may answer on the web page."""
    settings = _settings(ctx)
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        raise SetupError("There is no terminal to ask for a password: use --password-stdin.")
    if not password:
        raise SetupError("The password is empty; give one of at least one character.")
    from bot.database import add_staff

    add_staff(settings, name, password, admin)
    click.echo(f"{name} may log in.")


@staff.command("list")
@click.pass_context
def staff_list(ctx: click.Context) -> None:
    """List who may answer on the web page."""
    settings = _settings(ctx)
    from bot.database import list_staff

    for line in list_staff(settings):
        click.echo(line)


@staff.command("remove")
@click.argument("name")
@click.pass_context
def staff_remove(ctx: click.Context, name: str) -> None:
    """Take somebody's access away, at once."""
    settings = _settings(ctx)
    from bot.database import remove_staff

    remove_staff(settings, name)
    click.echo(f"{name} may no longer log in.")


def guarded(command: Callable[[], Any]) -> int:
    """Run `command` and return the exit code of the process; say what went wrong in a sentence."""
    try:
        code = command()
    except click.ClickException as err:
        err.show()
        return err.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except HeedError as err:
        click.echo(str(err), err=True)
        return 2 if isinstance(err, SetupError | PromptError) else 1
    return code if isinstance(code, int) else 0


def main() -> None:
    """Be the program `heed`."""
    sys.exit(guarded(lambda: heed.main(prog_name="heed", standalone_mode=False)))
