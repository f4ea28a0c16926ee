"""The commands that tag, measure and replay."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import Any

import click

from bot.command import Group, settings_of


@click.command()
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
        settings = settings_of(ctx)
        from bot.tagging import tag as tag_lines

        ctx.exit(tag_lines(settings, **options))
    if options.pop("explain"):
        raise click.UsageError("--explain goes with lines, not with --csv.")
    settings = settings_of(ctx)
    from bot.feedback import tag_csv

    source, target = places
    ctx.exit(tag_csv(settings, source, target, **options, **of_csv))


@click.command("eval")
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
    settings = settings_of(ctx)
    from bot.evaluating import evaluate as measure

    names = [name for given in models for name in given.split(",")]
    ctx.exit(measure(settings, file, click.echo, models=names, **options))


@click.command()
@click.argument("file", metavar="DATA", required=False, type=click.Path(path_type=Path))
@click.option("--model", default="", help="Another model than the configured one.")
@click.option("--task", default="", help="Another task than the configured one.")
@click.option("--limit", type=click.IntRange(1), help="So many rows, spread over the file.")
@click.option("--probe", is_flag=True, help="Try a linear probe on the hidden state too.")
@click.option("--contextual", is_flag=True, help="Instead of DATA: by empty messages alone.")
@click.option("--dry", is_flag=True, help="Print the figures and keep nothing.")
@click.pass_context
def calibrate(ctx: click.Context, /, file: Path | None, **options: Any) -> None:  # noqa: D103
    settings = settings_of(ctx)
    from bot.calibrating import calibrate as find_calibration

    ctx.exit(find_calibration(settings, file, click.echo, **options))


@click.command()
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
    settings = settings_of(ctx)
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


@click.group(cls=Group, invoke_without_command=True)
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
