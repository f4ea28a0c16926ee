from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from adapters.web import WebAdapter
from bot.app import App
from bot.cli import heed as heed_command
from bot.evaluating.hindsight import replay_stored
from bot.expecting import Outcome, expect, figures, verdict
from bot.replay import first_decision, policies, read_dialogue, replay
from bot.settings import Desk, Escalation, Model, Mood, Settings
from core.errors import SetupError
from core.escalation import Policy
from core.janitor import Janitor
from core.mood import MoodPolicy
from tests.prepared import prepare
from tests.walk.house import House, settings_for

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


# -- what the database holds ---------------------------------------------------------------------

NOON = 1_790_000_000.0 // 86_400 * 86_400 + 43_200


class Now:
    """The clock of a whole Heed, moved by hand."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> float:
        return self.time


class Lived:
    """A Heed that talks with people, for its database's sake."""

    def __init__(self, house: House, now: Now) -> None:
        self.house, self.now = house, now

    async def say(self, user: str, *texts: str, gap: float = 20.0, **changes: object) -> None:
        for text in texts:
            self.now.time += gap
            await self.house.say(text, user=user, **changes)

    async def close(self, case: int, verb: str = "resolve", verdict: str = "") -> None:
        self.now.time += 300
        await self.house.act(case, verb)
        if verdict:
            await self.house.act(case, "verdict", text=verdict)
        await self.house.idle()


@asynccontextmanager
async def lived(settings: Settings) -> AsyncIterator[Lived]:
    prepare(settings.database.url)
    now = Now()
    app = App(settings, clock=now)
    web = {"host": "127.0.0.1", "port": 0, "ready": app.speaker.why_not_ready}
    app.add(WebAdapter(app.room, clock=now, metrics=app.room.metrics, **web))
    running = asyncio.create_task(app.run())
    try:
        yield Lived(House(app), now)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await app.close()


def here(tmp_path: Path, **sections: object) -> Settings:
    return settings_for(tmp_path, model=EMBEDDED, **sections)


def hindsight(
    settings: Settings,
    other: Settings | None,
    tmp_path: Path,
    *,
    since: float = NOON,
    texts: bool = False,
) -> tuple[dict, str]:
    """Replay as the command does, where no loop runs."""
    out, where = io.StringIO(), tmp_path / "hindsight.json"
    ask = partial(replay_stored, texts=texts, json_out=where, stdout=out)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ask, settings, other, since).result() == 0
    return json.loads(where.read_text("utf-8")), out.getvalue()


def sides(report: dict) -> list[tuple[str | None, str | None]]:
    return [
        tuple(None if call[side] is None else call[side]["rule"] for side in ("old", "new"))
        for call in report["calls"]
    ]


ANGRY = "I hate you, you stupid useless idiots!!!"
LESS = Escalation(spike_p_neg=1.0, sure_p_neg=1.0, sure_strength=1.0, trouble=9)
CALM = {"mood": Mood(upset_enter=-0.99), "escalation": LESS}


async def a_day(heed: Lived) -> None:
    """Every way to a case, and cases that end in each way; who is calm is not called."""
    await heed.say("ann", "hello", FURIOUS, "this is still terrible!!!", "I hate this so much!!")
    await heed.close(1, verdict="right")
    await heed.say("ann", FURIOUS, "thank you")  # mood rests
    await heed.say("bob", "where is my parcel", "where is my parcel", "where is my parcel")
    await heed.close(2, "notneeded")
    await heed.say("cid", "hello", "I want to talk to a human")
    await heed.say("dan", "how do I change my address?", "thanks!")
    await heed.say("eve", "this is bad", "this is really bad", "awful, nothing works", "terrible!!")
    heed.now.time += 7200
    await heed.say("ann", FURIOUS)  # no longer


async def test_the_same_settings_call_the_same_people_at_the_same_time(tmp_path: Path) -> None:
    settings = here(tmp_path)
    async with lived(settings) as heed:
        await a_day(heed)
    report, out = hindsight(settings, settings, tmp_path)
    assert report["old"] == report["new"] == report["both"] >= 4
    assert [old for old, new in sides(report) if old != new] == []
    assert all(call["old"]["at"] == call["new"]["at"] for call in report["calls"])
    assert {one["rule"] for one in report["rules"]} >= {"spike", "request", "failure"}
    assert "only before: 0; only now: 0" in out


async def test_other_settings_show_who_is_no_longer_called_and_what_staff_said(
    tmp_path: Path,
) -> None:
    settings = here(tmp_path)
    async with lived(settings) as heed:
        await heed.say("ann", ANGRY)
        await heed.close(1, verdict="right")
        await heed.say("bob", ANGRY)
        await heed.close(2, "notneeded")
        await heed.say("cid", "talk to a human please")
    file = (tmp_path / "heed.db").read_bytes()
    report, out = hindsight(settings, here(tmp_path, **CALM), tmp_path)
    assert sides(report) == [("spike", None), ("spike", None), ("request", "request")]
    assert report["no_longer"] == {"right": 1, "not needed": 1}
    assert "only before: 2" in out
    assert "1 not needed, 1 right" in out
    assert (tmp_path / "heed.db").read_bytes() == file  # nothing is written, so nothing is sent


async def test_a_call_that_moves_within_a_case_is_told_as_later(tmp_path: Path) -> None:
    settings = here(tmp_path)
    async with lived(settings) as heed:
        await heed.say("ann", ANGRY, "talk to a human", gap=120.0)
    report, out = hindsight(settings, here(tmp_path, **CALM), tmp_path)
    assert sides(report) == [("spike", "request")]
    assert "2.0 min later" in out


async def test_settings_that_call_more_people_show_them_as_added(tmp_path: Path) -> None:
    settings = here(tmp_path)
    async with lived(settings) as heed:
        await heed.say("ann", "hello", "where is my voucher", "and my voucher number two")
    more = here(tmp_path, escalation=Escalation(money_words=("voucher",)))
    report, out = hindsight(settings, more, tmp_path)
    assert sides(report) == [(None, "money")]  # one case, not one a message
    assert "added" in out


async def test_what_a_dry_run_held_back_counts_as_called(tmp_path: Path) -> None:
    settings = here(tmp_path, desk=Desk(dry_run=True))
    async with lived(settings) as heed:
        await heed.say("ann", ANGRY, ANGRY, "you are all useless, I hate you!!!")
    report, _ = hindsight(settings, settings, tmp_path)
    assert sides(report) == [("spike", "spike")]
    assert hindsight(settings, here(tmp_path, **CALM), tmp_path)[0]["new"] == 0


async def test_words_are_shown_only_where_they_are_asked_for(tmp_path: Path) -> None:
    settings = here(tmp_path)
    async with lived(settings) as heed:
        await heed.say("annabel", "my zebra is gone, talk to a human")
    for texts in (False, True):
        report, out = hindsight(settings, settings, tmp_path, texts=texts)
        told = json.dumps(report) + out
        assert ("zebra" in told) is texts
        assert ("talk to a human" in told) is texts
        assert "annabel" not in told.lower()
        assert "#1" in out


async def test_without_their_words_messages_are_judged_by_their_stored_trace(
    tmp_path: Path,
) -> None:
    settings = here(tmp_path)
    async with lived(settings) as heed:
        await a_day(heed)
        keep = {"text_days": lambda: 1, "score_days": lambda: 365}
        janitor = Janitor(heed.house.app.store, lambda: heed.now.time + 3 * 86_400, **keep)
        await janitor.let_go()
    report, out = hindsight(settings, settings, tmp_path)
    assert report["without_words"] == report["messages"]
    assert [old for old, new in sides(report) if old != new] == []
    assert "are without their words" in out


async def test_an_edit_is_heard_in_the_place_of_what_it_changes(tmp_path: Path) -> None:
    settings = here(tmp_path)
    async with lived(settings) as heed:
        await heed.say("ann", "this is bad", message_id="1")
        heed.now.time += 5
        edit = {"message_id": "1", "event_id": "e1", "kind": "edited"}
        await heed.house.say(ANGRY, user="ann", **edit)
    report, _ = hindsight(settings, settings, tmp_path)
    assert sides(report) == [("spike", "spike")]


async def test_without_other_settings_those_of_the_page_are_replayed(tmp_path: Path) -> None:
    settings = here(tmp_path)
    async with lived(settings) as heed:
        await heed.say("ann", "hello", "where is my voucher")
        changes = {"escalation.money_words": "voucher"}
        await heed.house.room.change_settings(changes, "Kim")
    assert sides(hindsight(settings, None, tmp_path)[0]) == [(None, "money")]
    assert sides(hindsight(settings, settings, tmp_path)[0]) == []


async def test_a_case_that_lies_before_the_range_still_rests_moods_in_it(tmp_path: Path) -> None:
    settings = here(tmp_path)
    async with lived(settings) as heed:
        await heed.say("ann", ANGRY)
        await heed.close(1, "notneeded")
        since = heed.now.time + 1
        await heed.say("ann", ANGRY)
    report, _ = hindsight(settings, settings, tmp_path, since=since)
    assert (report["messages"], report["old"], report["new"]) == (1, 0, 0)
    restless = Escalation(not_needed_minutes=0)
    assert sides(
        hindsight(settings, here(tmp_path, escalation=restless), tmp_path, since=since)[0]
    ) == [(None, "spike")]


async def test_only_what_was_said_since_then_is_told(tmp_path: Path) -> None:
    settings = here(tmp_path)
    async with lived(settings) as heed:
        await heed.say("ann", ANGRY)
        heed.now.time += 3600
        later = heed.now.time
        await heed.say("bob", "hello")
    report, out = hindsight(settings, settings, tmp_path, since=later)
    assert (report["messages"], report["old"], report["new"]) == (1, 0, 0)
    assert "1 message of 1 conversation since" in out
    with pytest.raises(SetupError, match="name an earlier date"):
        hindsight(settings, settings, tmp_path, since=later + 86_400)


async def test_the_command_takes_a_date_and_another_file(tmp_path: Path) -> None:
    settings = here(tmp_path)
    async with lived(settings) as heed:
        await heed.say("ann", ANGRY)
    url = settings.database.url
    old, new = tmp_path / "heed.toml", tmp_path / "new.toml"
    old.write_text(f'[model]\nname = "embedded"\n[database]\nurl = "{url}"\n', "utf-8")
    new.write_text(
        "[mood]\nupset_enter = -0.99\n"
        "[escalation]\nspike_p_neg = 1.0\nsure_p_neg = 1.0\nsure_strength = 1.0\n",
        "utf-8",
    )
    day = datetime.fromtimestamp(NOON, UTC).strftime("%Y-%m-%d")
    ask = ["--config", str(old), "replay", "--since", day]
    done = await asyncio.to_thread(CliRunner().invoke, heed_command, [*ask, "--config", str(new)])
    assert done.exit_code == 0, done.output
    assert "by the stored rules: 1; by these settings: 0" in done.output
    same = await asyncio.to_thread(CliRunner().invoke, heed_command, ask)
    assert "by the stored rules: 1; by these settings: 1" in same.output
    for wrong in ([*ask, "dialogues.jsonl"], ["replay"], ["replay", "x.jsonl", "--texts"]):
        refused = await asyncio.to_thread(CliRunner().invoke, heed_command, wrong)
        assert refused.exit_code == 2
