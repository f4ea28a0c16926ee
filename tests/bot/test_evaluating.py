"""`heed eval`: reading rows, judging tools side by side, verdicts, and the report."""

from __future__ import annotations

import asyncio
import gzip
import importlib.util
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bot import database
from bot.evaluating import evaluate
from bot.evaluating.figures import against
from bot.evaluating.hearing import make_tool
from bot.evaluating.rows import Row, read
from bot.settings import Database, Model, Settings
from core.errors import EngineError, PromptError, SetupError
from core.store import Inline, Store
from core.tables import case, conversation, decision
from tests.checkpoints import make_checkpoint
from tests.fakes.openai import OpenAIFake

TABLE = Settings(model=Model(name="embedded"))
SAID = [
    ("en", "this is wonderful, thank you so much", "positive", 0, 0),
    ("en", "I love it, great work", "positive", 0, 0),
    ("en", "the parcel comes on Tuesday", "neutral", 0, 0),
    ("en", "how do I change the language", "neutral", 0, 0),
    ("en", "this is terrible, nothing works", "negative", 0, 0),
    ("en", "I hate you, you stupid useless idiots!!!", "negative", 1, 0),
    ("en", "talk to a human please", "neutral", 0, 1),
    ("en", "are you human?", "neutral", 0, 0),
    ("zh", "太好了，谢谢", "positive", 0, 0),
    ("zh", "我要转人工", "neutral", 0, 1),
    ("zh", "气死我了，垃圾客服！", "negative", 1, 0),
    ("zh", "几点开门", "neutral", 0, 0),
]


def line(said: tuple[str, str, str, int, int], number: int) -> dict[str, Any]:
    lang, text, label, strong, wants = said
    return {
        "id": f"r{number}",
        "lang": lang,
        "text": text,
        "label": label,
        "strong": strong,
        "wants_human": wants,
        "source": f"chat_{lang}",
    }


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "rows.jsonl", [line(said, i) for i, said in enumerate(SAID)])


def judged(data: Path, *models: str, settings: Settings = TABLE, **more: Any) -> dict[str, Any]:
    out = data.with_name("out.json")
    told: list[str] = []
    assert evaluate(settings, data, told.append, models=models, json_out=out, **more) == 0
    assert told
    return json.loads(out.read_text(encoding="utf-8"))


# -- rows ----------------------------------------------------------------------------------------


def test_every_form_of_a_file_holds_the_same_rows(tmp_path: Path) -> None:
    row = {"id": "a", "text": 'well, "so"\nwhat', "label": "Negative", "handoff": 1, "lang": "en"}
    files = [jsonl(tmp_path / "a.jsonl", [row]), tmp_path / "a.jsonl.gz", tmp_path / "a.csv"]
    files += [tmp_path / "b.csv", tmp_path / "b.csv.gz"]
    files[1].write_bytes(gzip.compress(files[0].read_bytes()))
    csv = 'id,text,label,handoff,lang\na,"well, ""so""\nwhat",Negative,1,en\n'
    files[2].write_text(f"\ufeff{csv}", encoding="utf-8", newline="")
    files[3].write_text(csv.replace(",N", ";N").replace("e,1", "e;1").replace(",en", ";en")
        .replace("id,text,label,handoff,lang", "id;text;label;handoff;lang").replace("a,", "a;"),
        encoding="utf-8", newline="")  # fmt: skip
    files[4].write_bytes(gzip.compress(csv.encode()))
    expected = Row(id="a", text=row["text"], lang="en", label="negative", flags={"wants_human": 1})
    assert [read(file).rows for file in files] == [(expected,)] * 5


def test_what_is_missing_is_found_out_or_left_open(tmp_path: Path) -> None:
    sheet = read(
        jsonl(
            tmp_path / "x.jsonl",
            [
                {"text": "谢谢你们的帮助", "label": "positive", "strong": None, "churn": False},
                {"text": "no word of feeling", "label": None},
                {"text": "graded", "label": None, "intensity": -0.5},
            ],
        )
    )
    assert (sheet.found, sheet.unlabelled, len(sheet.rows)) == (3, 1, 2)
    first, graded = sheet.rows
    assert (first.id, first.lang, first.source) == ("1", "zh", "")
    assert first.flags == {"threat_to_leave": 0}
    assert (graded.label, graded.intensity) == (None, -0.5)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        (
            "x.jsonl",
            '{"text": "a", "label": "positive"}\n{"text": ',
            r"x\.jsonl, line 2 is no JSON",
        ),
        ("x.jsonl", "[1, 2]\n", "line 1 is no JSON object"),
        ("x.jsonl", "\n\n" + '{"label": "positive"}', "line 3 has no `text`"),
        ("x.jsonl", '{"text": 7, "label": "positive"}', "line 1 has no `text`"),
        ("x.jsonl", '{"text": "a", "mood": 1}', "line 1 has no label"),
        ("x.jsonl", '{"text": "a", "label": "angry"}', "line 1 has the label 'angry': write neg"),
        ("x.jsonl", '{"text": "a", "label": 3}', "line 1 has a label that is no text"),
        ("x.jsonl", '{"text": "a", "strong": "maybe"}', "line 1 has 'maybe' in `strong`"),
        ("x.jsonl", '{"text": "a", "intensity": 7}', "line 1 has an `intensity`"),
        ("x.jsonl", '{"text": "a", "intensity": NaN}', "line 1 has an `intensity`"),
        ("x.jsonl", '{"text": "a", "label": null}', "labels nothing"),
        ("x.jsonl", "", "has no rows"),
        ("x.csv", "words,label\na,positive\n", "no column `text`"),
        ("x.csv", "text,label\na,positive,more\n", "line 2 has more fields"),
        ("x.csv", "text,label\na,positive\nb,cheerful\n", "line 3 has the label 'cheerful'"),
        ("x.csv", 'text,label\n"a" b,positive\n', "line 2 is no CSV"),
        ("x.csv", "text\na\n", "line 2 has no label"),
    ],
)
def test_a_bad_line_is_named_and_mended_by_one_sentence(
    tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(SetupError, match=complaint) as raised:
        read(tmp_path / name)
    assert str(raised.value).endswith(".")
    assert "\n" not in str(raised.value)


def test_bytes_that_are_no_text_and_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "a", "strong": 1}\n\xff\xfe\n')
    with pytest.raises(SetupError, match="line 2 is not UTF-8"):
        read(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl.gz").write_bytes(b"plain text")
    for name in ("x.jsonl.gz", "nothing.jsonl", "."):
        with pytest.raises(SetupError, match="cannot be read"):
            read(tmp_path / name)


def test_a_limit_takes_rows_from_the_whole_file(tmp_path: Path) -> None:
    rows = [{"id": i, "text": f"row {i}", "strong": i % 2} for i in range(1, 101)]
    sheet = read(jsonl(tmp_path / "x.jsonl", rows), limit=5)
    assert [row.id for row in sheet.rows] == ["1", "21", "41", "61", "81"]
    assert sheet.found == 100


# -- figures -------------------------------------------------------------------------------------


def test_tools_stand_side_by_side_on_the_same_rows(data: Path) -> None:
    report = judged(data, "embedded", "vader", "snownlp")
    assert [model["model"] for model in report["models"]] == ["embedded", "vader", "snownlp"]
    for model in report["models"]:
        whole, *parts = model["groups"]
        assert whole["rows"] == 12
        assert sum(map(sum, whole["confusion"])) == 12
        names = [(part["kind"], part["name"], part["rows"]) for part in parts]
        assert names == [
            *(("lang", "en", 8), ("lang", "zh", 4)),
            *(("source", "chat_en", 8), ("source", "chat_zh", 4)),
        ]
        added = [[sum(cell) for cell in zip(*pair, strict=True)] for pair in
                 zip(parts[0]["confusion"], parts[1]["confusion"], strict=True)]  # fmt: skip
        assert added == whole["confusion"]
        assert whole["accuracy"]["low"] <= whole["accuracy"]["value"] <= whole["accuracy"]["high"]
        assert min(model["ms"].values()) >= 0
    table, vader, _ = report["models"]
    assert table["groups"][0]["f1"]["value"] > 0.7
    assert vader["groups"][0]["ece"]["value"] is None  # a lexicon has no probabilities
    assert vader["reliability"] is None
    assert vader["heads"]["strong"]["by"] == "negative"
    assert "wants_human" not in vader["heads"]


def test_a_difference_is_told_on_the_same_rows(data: Path) -> None:
    table, vader = judged(data, "embedded", "vader")["models"]
    assert table["against_first"] is None
    gap = vader["against_first"]["f1"]
    scores = [model["groups"][0]["f1"]["value"] for model in (table, vader)]
    assert gap["value"] == pytest.approx(scores[1] - scores[0], abs=1e-5)
    assert gap["low"] <= gap["value"] <= gap["high"]
    rows = read(data).rows
    heard = asyncio.run(make_tool(TABLE, "embedded", "sentiment").hear(rows, lambda _done: None))
    assert against(rows, heard, heard)["f1"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_alarms_are_judged_as_scores_and_as_the_rules_that_fire(data: Path) -> None:
    [model] = judged(data, "embedded")["models"]
    wants = model["heads"]["wants_human"]
    assert wants["groups"][0]["ap"]["value"] == 1.0
    assert wants["groups"][0]["recall_at_1%"]["value"] == 1.0
    assert wants["rule"]["name"] == "request"
    assert wants["rule"]["fired"] == 2  # not "are you human?"
    assert wants["rule"]["recall"]["value"] == wants["rule"]["precision"]["value"] == 1.0
    assert wants["rule"]["recall"]["low"] < 0.5  # two of two prove little
    assert wants["curve"][-1][0] == 1.0
    assert wants["best_f1"]["value"] == 1.0
    assert 0 < wants["best_f1"]["threshold"] <= 1
    strong = model["heads"]["strong"]["groups"]
    assert [(g["name"], g["yes"], g["rows"]) for g in strong[:3]] == [
        ("all", 2, 12),
        ("en", 1, 8),
        ("zh", 1, 4),
    ]
    assert strong[0]["auroc"]["value"] > 0.9


def test_the_same_rows_give_the_same_figures(data: Path) -> None:
    first, second = judged(data, "embedded"), judged(data, "embedded")
    for report in (first, second):
        report["models"][0].pop("ms")
    assert first == second


def test_two_classes_count_only_rows_that_take_a_side(tmp_path: Path) -> None:
    rows = [line(said, i) for i, said in enumerate(SAID) if said[2] != "neutral"]
    [model] = judged(jsonl(tmp_path / "x.jsonl", rows), "embedded")["models"]
    whole = model["groups"][0]
    assert whole["f1"]["value"] is None  # no neutral row: nothing to average over three
    assert whole["f1_two"]["value"] == 1.0


def test_rows_without_classes_are_still_judged_by_their_flags(tmp_path: Path) -> None:
    rows = [{"text": said[1], "wants_human": said[4]} for said in SAID]
    [model] = judged(jsonl(tmp_path / "x.jsonl", rows), "embedded")["models"]
    assert model["groups"] == []
    assert model["heads"]["wants_human"]["groups"][0]["auroc"]["value"] == 1.0


def test_intensity_is_held_against_its_grades(tmp_path: Path) -> None:
    grades = {"positive": 0.8, "neutral": 0.0, "negative": -0.8}
    rows = [{"text": said[1], "intensity": grades[said[2]]} for said in SAID]
    [model] = judged(jsonl(tmp_path / "x.jsonl", rows), "embedded")["models"]
    assert model["intensity"]["rows"] == 12
    assert model["intensity"]["correlation"] > 0.7
    assert 0 < model["intensity"]["mean_gap"] < 0.6


def test_a_folder_is_judged_beside_the_table_and_by_tasks_of_its_own(
    data: Path, tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path / "tiny")
    settings = Settings(model=Model(name="embedded", precision="fp32", threads=1))
    report = judged(data, str(folder), "embedded", settings=settings, limit=6)
    tiny, table = report["models"]
    assert (tiny["model"], table["model"]) == ("tiny", "embedded")
    assert tiny["rows"] == table["rows"] == 6
    assert tiny["reliability"]["bins"]
    rows = tmp_path / "intent.csv"
    rows.write_text("text,intent\nwhere is it?,question\nhelp me,help\nhello,chats\n", "utf-8")
    [model] = judged(rows, str(folder), settings=settings, task="intent")["models"]
    assert {"question", "help", "chats"} <= set(model["classes"])
    assert model["groups"][0]["f1_two"]["value"] is None
    assert sum(map(sum, model["groups"][0]["confusion"])) == 3


def but_not_on_tuesday(text: str) -> dict[str, float]:
    if "Tuesday" in text:
        raise ValueError(text)
    return {"neutral": 0.9, "negative": 0.1}


async def test_rows_that_a_server_fails_on_are_counted_and_left_out(data: Path) -> None:
    async with OpenAIFake() as fake:
        settings = Settings(model=Model(name=fake.url))
        report = await asyncio.to_thread(judged, data, settings=settings)
        [model] = report["models"]
        assert (model["rows"], model["failed"]) == (12, 0)
        assert model["model"] == f"127.0.0.1:{fake.port}"
        fake.label = but_not_on_tuesday
        [model] = (await asyncio.to_thread(judged, data, settings=settings))["models"]
        assert (model["rows"], model["failed"]) == (11, 1)
        assert sum(map(sum, model["groups"][0]["confusion"])) == 11
        fake.fail("status", count=999)
        with pytest.raises(EngineError):
            await asyncio.to_thread(judged, data, settings=settings)


def test_what_a_tool_cannot_do_is_said_before_anything_runs(data: Path, tmp_path: Path) -> None:
    def ask(file: Path | None = data, **more: Any) -> None:
        evaluate(TABLE, file, lambda _line: None, **more)

    with pytest.raises(SetupError, match="vader knows sentiment alone"):
        ask(models=["vader"], task="emotion")
    with pytest.raises(PromptError, match="embedded table"):
        ask(models=["embedded"], task="intent")
    with pytest.raises(SetupError, match="does not exist"):
        ask(models=["./nowhere"])
    with pytest.raises(SetupError, match="either a file"):
        ask(None)
    with pytest.raises(SetupError, match="either a file"):
        ask(verdicts=True)
    with pytest.raises(SetupError, match="--budget"):
        ask(budget=3.0)
    with pytest.raises(SetupError, match="cannot be written"):
        ask(json_out=tmp_path / "no" / "such.json")
    if importlib.util.find_spec("textblob") is None:
        with pytest.raises(SetupError, match="textblob is not installed"):
            ask(models=["textblob"])


def test_the_terminal_shows_short_tables_that_line_up(data: Path) -> None:
    told: list[str] = []
    evaluate(TABLE, data, told.append, models=["embedded", "vader"])
    text = "\n".join(told)
    assert "12 rows of rows.jsonl, task sentiment." in text
    assert "Wants a human" in text
    assert "embedded: request on wants a human" in text
    at = next(i for i, row in enumerate(told) if row.startswith("All rows together"))
    head, *rows = told[at + 1 : at + 4]
    assert head.split()[:3] == ["model", "rows", "accuracy"]
    assert [row.split()[0] for row in rows] == ["embedded", "vader"]
    assert len({row.index(" 12 ") for row in rows}) == 1


# -- the report ----------------------------------------------------------------------------------


class _Page(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def test_the_report_is_one_page_that_needs_nothing_else(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    evaluate(TABLE, data, lambda _line: None, models=["embedded", "vader"], html_out=out)
    text = out.read_text(encoding="utf-8")
    page = _Page(text)
    assert page.open == []
    assert page.count("script") == page.count("link") == page.count("img") == 0
    assert not re.search(r"https?:|url\(|@import|\son\w+=", text)
    assert "prefers-color-scheme: dark" in text
    assert page.count("caption") == page.count("table") > 5
    assert all(found.get("scope") in {"col", "row"} for tag, found in page.tags if tag == "th")
    pictures = [found for tag, found in page.tags if tag == "svg" and "role" in found]
    assert len(pictures) >= 4  # reliability, its heads, precision over recall, sources
    assert all(found["role"] == "img" and found["aria-label"] for found in pictures)
    assert all("nan" not in (found.get("points") or "") for tag, found in page.tags)
    assert "By source" in "".join(page.words)


def test_names_in_the_data_stay_words_in_the_report(tmp_path: Path) -> None:
    rows = [line(said, i) for i, said in enumerate(SAID)]
    for row in rows:
        row["source"] = "<script>alert(1)</script>\ud800"
    out = tmp_path / "report.html"
    evaluate(TABLE, jsonl(tmp_path / "x.jsonl", rows), print, html_out=out)
    text = out.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text


# -- verdicts ------------------------------------------------------------------------------------

DAY = 86400.0


def scores(strong: float, negative: float = 0.8, confidence: float = 0.9) -> dict[str, Any]:
    return {
        "label": "negative",
        "probs": {"negative": negative, "neutral": 0.0, "positive": 1 - negative},
        "p_negative": negative,
        "p_positive": 1 - negative,
        "intensity": -0.5,
        "confidence": confidence,
        "strong": strong,
        "wants_human": 0.0,
        "threat_to_leave": 0.0,
        "crisis": 0.0,
        "lang": "en",
        "instrument": "embedded@1",
    }


class Desk:
    """A database with judged messages and cases, written row by row."""

    def __init__(self, url: str) -> None:
        database.upgrade(url)
        self.store = Store(url, Inline)
        self.heard = 0

    def person(self, number: int) -> None:
        self._add(conversation, id=number, user=f"u{number}", opened_at=0.0, touched_at=0.0)

    def hear(self, person: int, at: float, said: dict[str, Any] | None, **more: Any) -> None:
        self.heard += 1
        values = {"opened": False, "trace": [], "mood": 0.0, "versions": {}, **more}
        ids = {"id": self.heard, "inbox_id": self.heard, "conversation_id": person}
        self._add(decision, **ids, at=at, scores=said, **values)

    def close(self, number: int, person: int, rule: str, verdict: str | None, at: float) -> None:
        """Add a case; `verdict` None leaves it open."""
        closed = {"resolved_at": at + 600, "resolved_by": "kim", "verdict": verdict}
        state = {"state": "queued"} if verdict is None else {"state": "resolved", **closed}
        self._add(case, id=number, conversation_id=person, rule=rule, opened_at=at, **state)

    def _add(self, table: Any, **values: Any) -> None:
        self.store.write_now(lambda c: c.execute(table.insert().values(**values)))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'heed.db'}"


def verdicts(url: str, tmp_path: Path, budget: float | None = None) -> tuple[dict, str]:
    told: list[str] = []
    settings = Settings(model=Model(name="embedded"), database=Database(url=url))
    out, page = tmp_path / "v.json", tmp_path / "v.html"
    evaluate(
        *(settings, None, told.append),
        verdicts=True,
        budget=budget,
        json_out=out,
        html_out=page,
    )
    assert "<svg" in page.read_text("utf-8")
    return json.loads(out.read_text("utf-8")), "\n".join(told)


@pytest.fixture
def desk(url: str) -> Any:
    """Ten days: four spikes (three needed), a request (needed), an open case, calm messages."""
    made = Desk(url)
    for number in range(1, 9):
        made.person(number)
    for number, strong in enumerate((0.95, 0.9, 0.85, 0.8), start=1):
        at = number * DAY
        made.hear(number, at, scores(strong), opened=True, rule="spike", case_id=number)
        made.close(number, number, "spike", "" if number != 4 else "not needed", at)
    made.hear(5, 5 * DAY, scores(0.1), opened=True, rule="request", case_id=5)
    made.close(5, 5, "request", "", 5 * DAY)
    made.hear(6, 6 * DAY, scores(0.9), opened=True, rule="spike", case_id=6)
    made.close(6, 6, "spike", None, 6 * DAY)
    for number in range(4):
        made.hear(7, 7 * DAY + number, scores(0.4))
    made.hear(8, 0.0, scores(0.99, negative=0.2))  # loud, but not negative: never a spike
    made.hear(8, 10 * DAY, None)
    made.hear(8, 10 * DAY, scores(0.0, negative=0.1))
    yield made
    made.store.close()


@pytest.mark.usefixtures("desk")
def test_verdicts_give_the_precision_of_each_rule(url: str, tmp_path: Path) -> None:
    report, told = verdicts(url, tmp_path)
    assert (report["messages"], report["cases"]) == (13, 6)
    assert (report["precision"]["needed"], report["precision"]["judged"]) == (4, 5)
    assert report["precision"]["value"] == 0.8
    rules = {found["rule"]: (found["needed"], found["judged"]) for found in report["rules"]}
    assert rules == {"request": (1, 1), "spike": (3, 4)}
    assert "5 of them judged" in told


@pytest.mark.usefixtures("desk")
def test_alerts_a_day_fall_as_the_threshold_rises(url: str, tmp_path: Path) -> None:
    report, _ = verdicts(url, tmp_path)
    assert report["days"] == 10
    assert report["others_a_day"] == 0.1
    steps = {step["threshold"]: step for step in report["steps"]}
    assert steps[0.05]["alerts_a_day"] == 0.7  # seven people, one alert each
    assert steps[0.4]["alerts_a_day"] == 0.6  # four messages in four seconds are one alert
    assert steps[0.45]["alerts_a_day"] == 0.5
    assert steps[0.9]["alerts_a_day"] == 0.3
    assert (steps[0.9]["needed"], steps[0.9]["judged"]) == (2, 2)
    judged_from = min(t for t, step in steps.items() if step["judged"])
    assert judged_from == report["in_force"]  # nothing is known of what was never alerted


@pytest.mark.usefixtures("desk")
def test_a_budget_finds_its_threshold_or_says_that_there_is_none(url: str, tmp_path: Path) -> None:
    report, told = verdicts(url, tmp_path, budget=0.4)
    assert report["budget"] == {"alerts_a_day": 0.4, "threshold": 0.86, "gives": 0.4}
    assert "the threshold of strong is 0.86" in told
    report, told = verdicts(url, tmp_path, budget=0.05)
    assert report["budget"]["threshold"] is None
    assert "No threshold of strong keeps within 0.05 alerts a day" in told


def test_without_verdicts_the_alerts_are_told_all_the_same(url: str, tmp_path: Path) -> None:
    desk = Desk(url)
    desk.person(1)
    desk.hear(1, 0.0, scores(0.7))
    desk.store.close()
    report, told = verdicts(url, tmp_path)
    assert report["precision"]["value"] is None
    assert report["steps"][0]["alerts_a_day"] == 1.0
    assert "No case was judged yet" in told


def test_a_case_that_erasing_closed_is_no_verdict(url: str, tmp_path: Path) -> None:
    desk = Desk(url)
    desk.person(1)
    desk.hear(1, 0.0, scores(0.7))
    desk.store.write_now(
        lambda c: c.execute(
            case.insert().values(id=1, conversation_id=1, state="resolved", opened_at=0.0)
        )
    )
    desk.store.close()
    assert verdicts(url, tmp_path)[0]["precision"]["judged"] == 0


def test_a_database_that_is_not_there_or_empty_is_said_so(url: str, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="heed db upgrade"):
        verdicts(url, tmp_path)
    database.upgrade(url)
    with pytest.raises(SetupError, match="no judged message and no verdict yet"):
        verdicts(url, tmp_path)
