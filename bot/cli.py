"""The command line. Imports click alone, as bot.command says: each command imports its own world.

Whatever the operator can mend ends here as one plain sentence on stderr and exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bot import care, measures
from bot.command import Group, settings_of
from core.errors import HeedError, PromptError, SetupError

if TYPE_CHECKING:
    pass


def _show_version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:  # noqa: FBT001
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"heed {version('heed')}")
        except PackageNotFoundError:
            click.echo("heed (not installed: run `make setup`)")
        ctx.exit()


@click.group("heed", cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
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


@heed.command()
@click.pass_context
def run(ctx: click.Context) -> None:  # noqa: D103  # the table has the line
    import asyncio

    settings = settings_of(ctx)
    from bot.program import serve

    asyncio.run(serve(settings))


@heed.command()
@click.pass_context
def chat(ctx: click.Context) -> None:  # noqa: D103
    import asyncio

    settings = settings_of(ctx)
    from bot.program import chat as talk

    asyncio.run(talk(settings))


@heed.command()
@click.option("--live", is_flag=True, help="Ask the Heed that is running how it is.")
@click.option("--json", "as_json", is_flag=True, help="With --live: as one JSON object.")
@click.pass_context
def doctor(ctx: click.Context, live: bool, as_json: bool) -> None:  # noqa: D103, FBT001
    if live:
        settings = settings_of(ctx)
        from bot.live import show

        ctx.exit(show(settings, click.echo, as_json=as_json))
    if as_json:
        raise click.UsageError("--json goes with --live.")
    from bot.doctor import examine

    ctx.exit(examine(ctx.obj, click.echo))


@heed.command()
@click.pass_context
def init(ctx: click.Context) -> None:  # noqa: D103
    from bot.setup import write_settings

    write_settings(ctx.obj)


@heed.group(cls=Group)
def model() -> None:  # noqa: D103
    pass


@model.command("pull")
@click.argument("name")
@click.pass_context
def model_pull(ctx: click.Context, name: str) -> None:
    """Download a model, e.g. qwen2.5-0.5b; an interrupted download goes on where it stopped."""
    settings = settings_of(ctx)
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
    settings = settings_of(ctx)
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
    settings_of(ctx)
    from core.engine.demo import make_demo

    click.echo(make_demo(folder, seconds=60 * minutes, tell=click.echo))


@model.command("check")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON line each.")
@click.pass_context
def model_check(ctx: click.Context, name: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Run 20 fixed lines, English and Chinese, through both prompts of a model."""
    settings = settings_of(ctx)
    from bot.checking import check

    ctx.exit(check(settings, name, click.echo, as_json=as_json))


for _command in (
    *(measures.tag, measures.evaluate, measures.calibrate, measures.replay, measures.bench),
    *(care.db, care.export, care.forget, care.backup, care.restore, care.staff),
):
    heed.add_command(_command)


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
    except OSError as err:
        if err.filename is None:  # no file that the operator named, or whose rights they can mend
            raise
        click.echo(f"{err.filename} cannot be used ({err.strerror}); name another.", err=True)
        return 2
    return code if isinstance(code, int) else 0


def main() -> None:
    """Be the program `heed`."""
    sys.exit(guarded(lambda: heed.main(prog_name="heed", standalone_mode=False)))
