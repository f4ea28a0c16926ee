"""`heed run` as a child process: a real SQLite file, the embedded default, a free port."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]


class Program:
    """One installation in one folder. It may be started, stopped and started again."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.url = ""
        self._port = "0"
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it; return when it has said where it is. The port stays the same ever after."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HEED_")}  # noqa: TID251
        settings = {
            "PYTHONPATH": str(ROOT),
            "HEED_MODEL__NAME": "embedded",
            "HEED_HTTP__PORT": self._port,
            "HF_ENDPOINT": "http://127.0.0.1:9",  # nobody is there: this machine is offline
            **self._settings,
        }
        with (self.folder / "heed.log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bot", "run"],
                cwd=self.folder,
                env=clean | settings,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        hung = threading.Timer(PATIENCE, self._process.kill)
        hung.start()
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("Heed is at "):
                self.url = line.split()[-1]
                self._port = self.url.rsplit(":", 1)[1]
                break
        hung.cancel()
        assert self.url, (self.folder / "heed.log").read_text()

    def stop(self) -> None:
        """End it as Ctrl-C does, by its process id."""
        if self._process is not None:
            self._process.terminate()
            status = self._process.wait(PATIENCE)
            self._process.stdout.close()
            self._process = None
            assert status == 0, (self.folder / "heed.log").read_text()

    def change(self, *statements: str) -> None:
        """Change the database from outside, as a restored backup or another tool would."""
        with closing(sqlite3.connect(self.folder / "data" / "heed.db", timeout=10)) as database:
            for statement in statements:
                database.execute(statement)
            database.commit()

    def empty(self) -> None:
        """Take everything that was ever said out of the database; nothing may be under way."""
        with closing(sqlite3.connect(self.folder / "data" / "heed.db")) as database:
            found = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = [name for (name,) in found if not name.startswith(("sqlite_", "alembic_"))]
        self.change("PRAGMA foreign_keys = OFF", *(f"DELETE FROM {name}" for name in tables))  # noqa: S608
