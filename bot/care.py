"""The commands that care for the database, for what is kept of people, and for staff."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bot.command import Group, settings_of
from core.errors import SetupError


@click.group(cls=Group)
def db() -> None:  # noqa: D103
    pass


@db.command("upgrade")
@click.pass_context
def db_upgrade(ctx: click.Context) -> None:
    """Bring the database to the form this version of Heed needs."""
    url = settings_of(ctx).database.url
    from bot.database import upgrade

    upgrade(url)
    click.echo("The database is up to date.")


@db.command("check")
@click.pass_context
def db_check(ctx: click.Context) -> None:
    """Say whether the database is whole and up to date."""
    url = settings_of(ctx).database.url
    from bot.database import check

    check(url)
    click.echo("The database is whole and up to date.")


@db.command("key")
def db_key() -> None:
    """Print a new key for HEED_PRIVACY__KEY."""
    from core.store.seal import new_key

    click.echo(new_key())


@db.command("seal")
@click.option("--undo", is_flag=True, help="Open them all again.")
@click.pass_context
def db_seal(ctx: click.Context, undo: bool) -> None:  # noqa: FBT001
    """Seal every text in the database with the first key of HEED_PRIVACY__KEY."""
    settings = settings_of(ctx)
    from bot.sealing import seal

    click.echo(seal(settings, undo=undo))


@click.command()
@click.argument("userref", metavar="PLATFORM:USER")
@click.option("--page", type=click.Path(path_type=Path), help="Write a page to read instead.")
@click.pass_context
def export(ctx: click.Context, userref: str, page: Path | None) -> None:  # noqa: D103
    settings = settings_of(ctx)
    from bot import person

    click.echo(person.handed_over(settings, userref, page))


@click.command()
@click.argument("userref", metavar="PLATFORM:USER")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def forget(ctx: click.Context, userref: str, yes: bool) -> None:  # noqa: D103, FBT001
    settings = settings_of(ctx)
    if not yes and not _agreed(f"Erase everything kept about {userref}? It cannot be undone."):
        click.echo("Nothing was erased.")
        return
    from bot.person import forget as forget_person

    click.echo(forget_person(settings, userref))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@click.pass_context
def backup(ctx: click.Context, file: Path, force: bool) -> None:  # noqa: D103, FBT001
    settings = settings_of(ctx)
    from bot.backup import backup as make_backup

    click.echo(make_backup(settings, file, force=force))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def restore(ctx: click.Context, file: Path, yes: bool) -> None:  # noqa: D103, FBT001
    settings = settings_of(ctx)
    if not yes and not _agreed(f"Put {file} in the database's place? The present one is kept."):
        click.echo("Nothing was changed.")
        return
    from bot.backup import restore as put_back

    click.echo(put_back(settings, file))


def _agreed(question: str) -> bool:
    """Ask a yes-or-no question. Raises SetupError where the input ends without an answer."""
    try:
        return click.confirm(question)
    except click.Abort:
        if sys.stdin.isatty():  # Ctrl-C, not the end of a pipe
            raise
    click.echo()  # the sentence below the question, not behind it
    raise SetupError("Nobody answered, so nothing was done: use --yes where nobody is asked.")


@click.group(cls=Group)
def staff() -> None:  # noqa: D103
    pass


@staff.command("add")
@click.argument("name")
@click.option("--admin", is_flag=True, help="May change settings and remove others.")
@click.option("--password-stdin", is_flag=True, help="Read the password from stdin.")
@click.pass_context
def staff_add(ctx: click.Context, name: str, admin: bool, password_stdin: bool) -> None:  # noqa: FBT001
    """Add somebody who may answer on the web page."""
    settings = settings_of(ctx)
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        raise SetupError("There is no terminal to ask for a password: use --password-stdin.")
    if not password:
        raise SetupError("The password is empty; give one of at least one character.")
    from bot.staff import add

    add(settings, name, password, admin=admin)
    click.echo(f"{name} may log in.")


@staff.command("list")
@click.pass_context
def staff_list(ctx: click.Context) -> None:
    """List who may answer on the web page."""
    settings = settings_of(ctx)
    from bot.staff import names

    for line in names(settings):
        click.echo(line)


@staff.command("remove")
@click.argument("name")
@click.pass_context
def staff_remove(ctx: click.Context, name: str) -> None:
    """Take somebody's access away, at once."""
    settings = settings_of(ctx)
    from bot.staff import remove

    remove(settings, name)
    click.echo(f"{name} may no longer log in.")
