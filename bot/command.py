"""What every command of the command line shares: the table of their help, and the settings.

Imports click and nothing else, as do the modules of the commands: each imports its own world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

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
    "backup": "Copy the database into one checked file, while Heed runs or not.",
    "restore": "Put a backup in the database's place, while Heed runs or not.",
    "model": "Fetch, import, list and check models.",
    "bench": "Measure the engine, the program and the walk on this machine.",
    "staff": "Say who may answer on the web page.",
}


class Group(click.Group):
    """A group that keeps the order of its table and takes each line of help from it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # type: ignore[explicit-override]  # noqa: ARG002
        """Return the names in the order of the table."""
        return [name for name in HELP if name in self.commands] or list(self.commands)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:  # type: ignore[explicit-override]
        """Take a command in, with its line of the table."""
        cmd.help = cmd.short_help = cmd.help or HELP.get(cmd.name or "")
        super().add_command(cmd, name)


def settings_of(ctx: click.Context) -> Settings:
    """Read the settings and set the logs up, for the commands that do something."""
    from bot.config import load

    settings = load(ctx.obj)
    from bot.logs import set_up

    set_up(settings)
    return settings
