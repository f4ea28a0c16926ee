"""What a model, a person and staff formatted, as it is seen on the other end of a whole Heed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.engine.scripted import ScriptedEngine
from tests.walk.platforms import ANA, BOB, DESK, FURY, GROUP, MAYA, Heed, heed_on, hurry

ANSWER = """## How to print

Run **this** 😀 first:

```python
print("*hello*")
```

- one
  - two, by [the page](https://docs.example/how_to)
- ask @ana_team

| name | n |
|------|--:|
| 名前 | 1 |
| Ann  | 20 |
"""
BOLD = [{"type": "bold", "offset": 0, "length": 3}]


@pytest.fixture
async def heed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Heed]:
    hurry(monkeypatch)
    async with heed_on(tmp_path, on=("telegram", "discord"), staff="telegram") as alive:
        await alive.app.mind.swap(ScriptedEngine({"": ANSWER}))
        yield alive


async def test_a_reply_is_formatted_on_telegram(heed: Heed) -> None:
    await heed.says(MAYA, "how do I print?")
    line = heed.telegram.seen(MAYA)[-1]
    assert line.text.split("\n") == [
        "How to print", "",
        "Run this 😀 first:", "",
        'print("*hello*")', "",
        "• one",
        "  • two, by the page (https://docs.example/how_to)",
        "• ask @ana_team", "",
        "name |  n",
        "-----+---",
        "名前 |  1",
        "Ann  | 20",
    ]  # fmt: skip
    assert line.entities == ("bold", "bold", "pre", "pre")


async def test_a_reply_in_a_group_of_telegram_rings_nobody(heed: Heed) -> None:
    heed.telegram.group(GROUP)
    await heed.says(MAYA, "@HeedBot how do I print?", chat=GROUP)
    assert "• ask @\u2060ana_team" in heed.read(GROUP)[-1]


async def test_a_reply_is_formatted_on_discord(heed: Heed) -> None:
    await heed.writes("maya", "how do I print?")
    assert heed.heard(heed.discord.dm("maya"))[-1].split("\n") == [
        "## How to print", "",
        "Run **this** 😀 first:", "",
        "```python",
        'print("*hello*")',
        "```", "",
        "- one",
        "  - two, by the page (https://docs.example/how_to)",
        "- ask @ana_team", "",
        "```",
        "name |  n",
        "-----+---",
        "名前 |  1",
        "Ann  | 20",
        "```",
    ]  # fmt: skip


async def test_plain_words_of_staff_on_telegram_stay_plain_on_discord(heed: Heed) -> None:
    await heed.writes("maya", FURY)
    await heed.staff("2 * 3 * 4, snake_case_x and `x`")
    direct = heed.discord.dm("maya")
    assert heed.heard(direct)[-1].split("\n")[-1] == r"2 \* 3 \* 4, snake_case_x and \`x\`"
    await heed.staff("not 2 * 3", entities=BOLD)
    assert heed.heard(direct)[-1] == r"**not** 2 \* 3"


async def test_words_formatted_on_discord_are_formatted_for_staff_on_telegram(heed: Heed) -> None:
    await heed.writes("maya", FURY)
    await heed.writes("maya", "it is **not** snake_case_x")
    line = heed.shown("snake_case_x")
    assert (line.text, line.entities) == ("maya: it is not snake_case_x", ("bold",))


async def test_an_answer_held_back_keeps_its_formatting_when_sent_anyway(heed: Heed) -> None:
    await heed.writes("maya", FURY)
    await heed.press("Claim", ANA)
    await heed.staff("not this one", BOB, entities=BOLD)
    direct = heed.discord.dm("maya")
    assert "this one" not in heed.heard(direct)[-1]
    await heed.press("Send anyway", BOB, on="claimed this", chat=DESK)
    assert heed.heard(direct)[-1].split("\n")[-1] == "**not** this one"
