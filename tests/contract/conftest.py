"""Every dialogue is played on every stage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import pytest

from bot.engines import make_phrases
from bot.settings import Answers, Settings
from core.engine.embedded.phrasebook import PhraseWriter
from core.engine.embedded.table import Table
from core.texts import Texts
from tests.contract.script import ANSWERS, STAGES
from tests.contract.stage import Stage
from tests.walk.platforms import hurry

_TABLE = Table.load()  # both are read once: they hold nothing between turns
_TEXTS = cache(Texts.load)


@pytest.fixture(scope="session")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> PhraseWriter:
    """Return the phrase book with the operator's own answers, read once for all dialogues."""
    file = tmp_path_factory.mktemp("operator") / "answers.toml"
    file.write_text(ANSWERS, "utf-8")
    return make_phrases(Settings(answers=Answers(file=file)))


@pytest.fixture(params=STAGES, ids=[one.name for one in STAGES])
async def stage(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    phrases: PhraseWriter,
) -> AsyncIterator[Stage]:
    """Put up a stage, unless the platform lacks what the dialogue needs."""
    platform: type[Stage] = request.param
    for capability in getattr(request.function, "needs", ()):
        if capability in platform.lacks:
            pytest.skip(f"{platform.name} lacks {capability}: {platform.lacks[capability]}")
    hurry(monkeypatch)
    monkeypatch.setattr(Table, "load", lambda: _TABLE)
    monkeypatch.setattr(Texts, "load", _TEXTS)
    monkeypatch.setattr("bot.app.make_phrases", lambda _settings: phrases)
    async with platform(tmp_path) as alive:
        yield alive
