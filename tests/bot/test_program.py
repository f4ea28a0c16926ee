"""What a newcomer reads while Heed starts."""

from __future__ import annotations

import pytest

from bot.program import _beyond
from bot.settings import Http, Settings


@pytest.mark.parametrize(
    ("token", "words"),
    [(None, "and so is the API: set HEED_HTTP__TOKEN"), ("geheim", "callers that send the token.")],
)
def test_an_address_beyond_this_machine_is_explained(token: str | None, words: str) -> None:
    http = Http.model_validate({"host": "0.0.0.0", "token": token})
    told = _beyond(Settings(http=http))
    assert told.startswith("The page is closed while http.host is 0.0.0.0")
    assert "geheim" not in told
    assert words in told
