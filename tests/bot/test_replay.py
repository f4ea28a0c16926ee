from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from bot.replay import policies, replay
from bot.settings import Escalation, Model, Mood, Settings
from core.errors import SetupError
from core.escalation import Policy
from core.mood import MoodPolicy

EMBEDDED = Model(name="embedded")
FURIOUS = (
    "unbelievable, you charged me twice AGAIN and nobody answers, I am furious, "
    "this is the worst service ever"
)


def dialogue(*texts: str, gap: float = 20.0, name: object = "d") -> bytes:
    turns = [{"t": i * gap, "text": text} for i, text in enumerate(texts)]
    return json.dumps({"id": name, "turns": turns}).encode() + b"\n"


def run(tmp_path: Path, *lines: bytes, settings: Settings | None = None) -> tuple[int, list[dict]]:
    path = tmp_path / "dialogues.jsonl"
    path.write_bytes(b"".join(lines))
    out = io.StringIO()
    code = replay(settings or Settings(model=EMBEDDED), path, stdout=out, stderr=io.StringIO())
    return code, [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_dialogue_is_escalated_at_the_turn_that_does_it(tmp_path: Path) -> None:
    code, [row] = run(tmp_path, dialogue("hello", FURIOUS, "thanks, all is good now"))
    assert code == 0
    assert (row["id"], row["escalated_turn"], row["rule"]) == ("d", 1, "spike")
    assert [turn["turn"] for turn in row["trace"]] == [0, 1, 2]
    assert [turn["fired"] for turn in row["trace"]] == [False, True, False]
    assert row["trace"][1]["p_neg"] > 0.9
    assert row["trace"][1]["why"]
    assert {rule["rule"] for rule in row["trace"][1]["rules"]} >= {"spike", "slide", "crisis"}


def test_after_the_escalation_turns_are_traced_but_open_nothing_more(tmp_path: Path) -> None:
    _, [row] = run(tmp_path, dialogue(FURIOUS, "talk to a human", FURIOUS))
    assert row["escalated_turn"] == 0
    assert [turn["fired"] for turn in row["trace"]] == [True, False, False]
    assert row["trace"][1]["rule"] == "request"


def test_a_calm_dialogue_is_not_escalated(tmp_path: Path) -> None:
    _, [row] = run(tmp_path, dialogue("hello", "how do I change my address?", "thank you!"))
    assert (row["escalated_turn"], row["rule"]) == (None, None)
    assert {turn["level"] for turn in row["trace"]} == {"calm"}


@pytest.mark.parametrize(
    ("texts", "turn", "rule"),
    [
        (("hi", "I don't want to live anymore"), 1, "crisis"),
        (("转人工",), 0, "request"),
        (("where is my parcel",) * 3, 2, "failure"),
        (("hi", "I need a lawyer for this"), 1, "money"),
    ],
)
def test_each_rule_is_run_as_in_the_walk(
    tmp_path: Path, texts: tuple[str, ...], turn: int, rule: str
) -> None:
    _, [row] = run(tmp_path, dialogue(*texts))
    assert (row["escalated_turn"], row["rule"]) == (turn, rule)


def test_the_clock_is_that_of_the_dialogue(tmp_path: Path) -> None:
    bad = "this is bad and I am annoyed"
    _, [soon, late] = run(tmp_path, dialogue(bad, bad), dialogue(bad, bad, gap=86_400.0))
    assert soon["trace"][1]["mood"] < late["trace"][1]["mood"]


def test_a_changed_policy_changes_the_outcome(tmp_path: Path) -> None:
    strict = Settings(
        model=EMBEDDED, escalation=Escalation(spike_p_neg=1.0, sure_p_neg=1.0, sure_strength=1.0)
    )
    text = "this is terrible, I am so angry, absolutely furious!!!!"
    _, [before] = run(tmp_path, dialogue(text))
    _, [after] = run(tmp_path, dialogue(text), settings=strict)
    assert before["rule"] == "spike"
    assert after["rule"] != "spike"


def test_the_operators_money_words_are_used(tmp_path: Path) -> None:
    own = Settings(model=EMBEDDED, escalation=Escalation(money_words=("voucher",)))
    _, [row] = run(tmp_path, dialogue("where is my voucher"), settings=own)
    assert row["rule"] == "money"


def test_the_same_dialogue_gives_the_same_trace(tmp_path: Path) -> None:
    line = dialogue("hello", "this is slow", FURIOUS)
    _, [one, two] = run(tmp_path, line, line)
    assert one == two


@pytest.mark.parametrize(
    "bad",
    [
        b"nonsense\n",
        b"[1]\n",
        b'{"id": "x"}\n',
        b'{"id": "x", "turns": [{"t": 0}]}\n',
        b'{"id": "x", "turns": [{"t": "0", "text": "a"}]}\n',
        b'{"id": "x", "turns": [{"t": NaN, "text": "a"}]}\n',
        b'{"id": "x", "turns": ["a"]}\n',
        b"\xff\n",
        b'{"a":' * 20_000 + b"\n",
    ],
)
def test_a_bad_line_is_told_and_the_rest_is_replayed(tmp_path: Path, bad: bytes) -> None:
    code, rows = run(tmp_path, dialogue("hi"), bad, dialogue("hi", name=3))
    assert code == 1
    assert list(rows[1]) == ["id", "error"]
    assert rows[1]["id"] in {"x", 2}
    assert rows[2]["id"] == 3


def test_a_dialogue_without_turns_or_words_is_no_error(tmp_path: Path) -> None:
    code, [empty, silent] = run(tmp_path, dialogue(), b"\n", dialogue("", " "))
    assert code == 0
    assert empty["trace"] == []
    assert [turn["label"] for turn in silent["trace"]] == [None, None]


def test_a_missing_file_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be read"):
        replay(Settings(model=EMBEDDED), tmp_path / "none.jsonl", stdout=io.StringIO())


def test_default_settings_are_the_rules_own_defaults() -> None:
    ladder, policy = policies(Settings(escalation=Escalation(money_words=())), {})
    assert ladder == MoodPolicy()
    assert policy == Policy()
    changed, _ = policies(Settings(mood=Mood(half_life=60.0)), {})
    assert changed.half_life == 60.0
