from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from bot.expecting import Outcome, expect, figures, verdict
from bot.replay import first_decision, policies, read_dialogue, replay
from bot.settings import Escalation, Model, Mood, Settings
from core.errors import SetupError
from core.escalation import Policy
from core.mood import MoodPolicy

EMBEDDED = Model(name="embedded")
DIALOGUES = Path(__file__).parents[1] / "dialogues"
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
        b'{"id": "x", "turns": [{"after": -1, "text": "a"}]}\n',
        b'{"id": "x", "turns": [{"t": 0, "text": "a"}], "call": [0, 1]}\n',
        b'{"id": "x", "turns": [{"t": 0, "text": "a"}], "call": [true, 0]}\n',
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


def test_seconds_may_be_counted_from_the_turn_before(tmp_path: Path) -> None:
    turns = [{"text": "hi"}, {"after": 30, "text": "so"}, {"after": 15.5, "text": "well"}]
    turns[0]["after"] = 5
    line = json.dumps({"id": "x", "turns": turns}).encode() + b"\n"
    _, [row] = run(tmp_path, line)
    assert [turn["t"] for turn in row["trace"]] == [5.0, 35.0, 50.5]


def test_one_message_is_judged_as_the_first_of_its_conversation() -> None:
    ladder, policy = policies(Settings(), {})
    assert first_decision("talk to a human", None, ladder, policy).rule == "request"
    assert not first_decision("hello", None, ladder, policy).open


# -- what was expected ---------------------------------------------------------------------------


def expected(name: str, call: object, *texts: str, kind: str = "spike", lang: str = "en") -> bytes:
    turns = [{"after": 20, "text": text} for text in texts]
    row = {"id": name, "kind": kind, "lang": lang, "turns": turns, "call": call}
    return json.dumps(row).encode() + b"\n"


def score(tmp_path: Path, *lines: bytes, **more: object) -> tuple[int, str, str, dict]:
    path, out, err = tmp_path / "dialogues.jsonl", io.StringIO(), io.StringIO()
    path.write_bytes(b"".join(lines))
    where = tmp_path / "figures.json"
    settings = Settings(model=EMBEDDED)
    code = expect(settings, path, json_out=where, stdout=out, stderr=err, **more)
    return code, out.getvalue(), err.getvalue(), json.loads(where.read_text("utf-8"))


@pytest.mark.parametrize(
    ("call", "opened", "said"),
    [
        ((1, 2), 1, "caught"),
        ((1, 2), 2, "caught"),
        ((1, 2), 0, "early"),
        ((1, 2), 3, "late"),
        ((1, 2), None, "missed"),
        (None, 0, "false alarm"),
        (None, None, "quiet"),
    ],
)
def test_the_first_turn_that_opens_a_case_is_judged_by_the_window(
    call: tuple[int, int] | None, opened: int | None, said: str
) -> None:
    assert verdict(call, opened) == said


def test_shares_are_of_what_could_have_been_right_and_come_with_their_interval() -> None:
    many = [Outcome(id=i, kind="a", lang="en", call=(0, 0), opened=0) for i in range(9)]
    many += [Outcome(id=9, kind="a", lang="en", call=(0, 0), opened=None)]
    found = figures(many)
    assert (found["caught"]["hits"], found["caught"]["of"], found["caught"]["share"]) == (
        9,
        10,
        0.9,
    )
    assert found["caught"]["low"] == pytest.approx(0.596, abs=1e-3)  # Wilson's, by hand
    assert found["caught"]["high"] == pytest.approx(0.982, abs=1e-3)
    assert found["false_alarms"] == {"hits": 0, "of": 0, "share": None, "low": None, "high": None}


SIX = (
    expected("in", [1, 1], "hello there", "talk to a human"),
    expected("early", [1, 1], "转人工", "你好", lang="zh"),
    expected("late", [0, 0], "hello there", "talk to a human"),
    expected("missed", [0, 1], "hello there", "thank you"),
    expected("false", None, "talk to a human", kind="calm"),
    expected("quiet", None, "hello there", kind="calm"),
)


def test_every_kind_and_language_is_counted_and_each_failure_named(tmp_path: Path) -> None:
    code, out, err, told = score(tmp_path, *SIX)
    assert (code, err) == (0, "")
    total = told["total"]
    assert (total["dialogues"], total["calls"], total["calm"]) == (6, 4, 2)
    assert [total[n]["hits"] for n in ("caught", "early", "late", "missed")] == [1, 1, 1, 1]
    assert total["false_alarms"]["hits"] == 1
    assert told["languages"]["zh"]["early"]["hits"] == 1
    assert told["kinds"]["calm"]["false_alarms"]["of"] == 2
    assert set(told["kinds_by_language"]) == {"calm en", "spike en", "spike zh"}
    assert [one["verdict"] for one in told["outcomes"]] == [
        "caught", "early", "late", "missed", "false alarm", "quiet",
    ]  # fmt: skip
    failed = out.split("not as expected:\n")[1].splitlines()
    assert failed == [
        "  early  spike  expected turn 1 to 1, fired turn 0 by request: early",
        "  late  spike  expected turn 0 to 0, fired turn 1 by request: late",
        "  missed  spike  expected turn 0 to 1, fired nothing: missed",
        "  false  calm  expected nobody, fired turn 0 by request: false alarm",
    ]


@pytest.mark.parametrize(
    ("bars", "code"),
    [
        ({"least_caught": 0.5, "most_false": 0.5}, 0),
        ({"least_caught": 0.51}, 1),
        ({"most_false": 0.49}, 1),
    ],
)
def test_a_bar_that_is_not_met_ends_with_1(tmp_path: Path, bars: dict, code: int) -> None:
    lines = (SIX[0], SIX[3], SIX[4], SIX[5])
    done, out, _, told = score(tmp_path, *lines, **bars)
    assert done == code
    assert ("NOT MET" in out) == bool(code)
    assert len(told["bars"]) == len(bars)


def test_a_bar_on_nothing_is_not_met(tmp_path: Path) -> None:
    code, out, _, _ = score(tmp_path, SIX[5], least_caught=0.9, most_false=0.05)
    assert code == 1
    assert "caught at least 90 %: nothing to judge by" in out


def test_a_dialogue_that_expects_nothing_said_is_told_and_not_scored(tmp_path: Path) -> None:
    code, _, err, told = score(tmp_path, SIX[5], dialogue("hi", name="silent"), b"nonsense\n")
    assert code == 1
    assert err.splitlines()[0].startswith("silent: ")
    assert err.splitlines()[1] == "3: line 3 is not valid JSON"
    assert (told["total"]["dialogues"], told["bad_lines"]) == (1, 2)


def test_nothing_to_score_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="has no dialogues"):
        score(tmp_path, b"\n")
    with pytest.raises(SetupError, match="cannot be read"):
        expect(Settings(model=EMBEDDED), tmp_path / "none.jsonl")
    with pytest.raises(SetupError, match="folder that exists"):
        expect(Settings(model=EMBEDDED), tmp_path / "x", json_out=tmp_path / "no" / "x.json")


def test_every_dialogue_of_the_project_can_be_read() -> None:
    files = sorted(DIALOGUES.glob("*.jsonl"))
    assert files
    for file in files:
        lines = file.read_bytes().splitlines()
        read = [read_dialogue(line, number) for number, line in enumerate(lines, start=1)]
        assert all(one.told and one.kind and one.lang for one in read)
