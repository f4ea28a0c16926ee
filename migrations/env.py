"""Alembic's entry: takes its connection from `config.attributes`, knows no file of its own."""

from __future__ import annotations

from alembic import context

from core.tables import metadata


def run() -> None:
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=True, compare_type=True
    )
    with context.begin_transaction():
        context.run_migrations()


run()
