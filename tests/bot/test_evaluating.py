"""`heed eval`: reading rows, judging tools side by side, verdicts, and the report."""

from __future__ import annotations

import asyncio
import gzip
import importlib.util
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
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
from core.handoff import Action
from core.message import Scores
from core.store import desk as desk_rows, feedback, people, sample, tuning
from core.store.rows import insert_id
from core.store.turns import Heard, Plan
from core.tables import history
from tests.checkpoints import make_checkpoint
from tests.core.ground import DECISION, OPENING, Ground, said as message
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


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the file of a database without rows, as the program makes it."""
    path = tmp_path_factory.mktemp("empty") / "heed.db"
    database.upgrade(f"sqlite:///{path}")
    return path.read_bytes()


class Desk:
    """A database that the real store fills: people write, rules open, staff settle and judge."""

    def __init__(self, path: Path, empty: bytes) -> None:
        path.write_bytes(empty)
        self.ground = Ground(path)
        self.heard = 0

    def hear(
        self,
        user: str,
        at: float,
        said: dict[str, Any] | None,
        rule: str = "",
        *,
        dry: bool = False,
        lang: str = "en",
    ) -> int | None:
        """Take one message through a turn; a rule opens a case, but for a dry run."""
        self.heard += 1
        self.ground.now = at
        self.ground.take(message(self.heard, "words", user=user, sent_at=at))
        start = self.ground.begin(self.ground.conversation(user).id)
        assert start is not None
        facts = {**DECISION, "rule": rule, "opened": bool(rule) and not dry, "dry": dry}
        heard = Heard(
            row=start.rows[0],
            scores=None if said is None else Scores(**{**said, "lang": lang}),
            decision=facts,
        )
        opens = bool(rule) and not dry and start.case_id is None
        opening = replace(OPENING, rule=rule) if opens else None
        finished = self.ground.finish(start, Plan(heard=(heard,), opening=opening, lang=lang))
        assert finished is not None
        return finished.case_id

    async def act(self, case_id: int, verb: str, text: str = "") -> None:
        who = {"who": "Kim", "by": "web:Kim"}
        await self.ground.handoff.act(Action(case_id=case_id, verb=verb, text=text, **who))

    async def close(self, case_id: int, verdict: str = "") -> None:
        """Settle a case ten minutes later; staff may say what they think of it, or not."""
        self.ground.now += 600
        if verdict == "not needed":
            await self.act(case_id, "notneeded")
            return
        await self.act(case_id, "resolve")
        if verdict:
            await self.act(case_id, "verdict", verdict)

    def line_of(self, user: str) -> int:
        """Return the first line that somebody wrote."""
        of = self.ground.conversation(user).id
        return self.ground.rows(history, conversation_id=of, role="user")[0].id


@pytest.fixture
def desk(tmp_path: Path, migrated: bytes) -> Iterator[Desk]:
    made = Desk(tmp_path / "heed.db", migrated)
    yield made
    made.ground.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'heed.db'}"


def verdicts(url: str, tmp_path: Path, budget: float | None = None) -> tuple[dict, str]:
    """Judge as the command does, where no loop runs."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_verdicts, url, tmp_path, budget).result()


def _verdicts(url: str, tmp_path: Path, budget: float | None) -> tuple[dict, str]:
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
    whole = _Page(page.read_text("utf-8"))
    assert whole.open == []
    assert whole.count("svg") >= 1
    return json.loads(out.read_text("utf-8")), "\n".join(told)


async def ten_days(desk: Desk) -> None:
    """Four spikes (three needed), a request, a case that nobody judged, and calm messages."""
    for number, strong in enumerate((0.95, 0.9, 0.85, 0.8), start=1):
        case_id = desk.hear(f"u{number}", number * DAY, scores(strong), "spike")
        await desk.close(case_id, "right" if number != 4 else "not needed")
    await desk.close(desk.hear("u5", 5 * DAY, scores(0.1), "request"), "right")
    desk.hear("u6", 6 * DAY, scores(0.9), "spike")
    for second in range(4):
        desk.hear("u7", 7 * DAY + second, scores(0.4))
    desk.hear("u8", 0.0, scores(0.99, negative=0.2))  # loud, but not negative: never a spike
    desk.hear("u8", 10 * DAY, None)
    desk.hear("u8", 10 * DAY, scores(0.0, negative=0.1))


async def test_verdicts_give_the_precision_of_each_rule(
    desk: Desk, url: str, tmp_path: Path
) -> None:
    await ten_days(desk)
    report, told = verdicts(url, tmp_path)
    assert (report["messages"], report["cases"]) == (13, 6)
    assert (report["precision"]["needed"], report["precision"]["judged"]) == (4, 5)
    assert report["precision"]["value"] == 0.8
    assert report["precision"]["low"] == pytest.approx(0.3755, abs=1e-3)  # Wilson's, by hand
    rules = {found["rule"]: (found["needed"], found["judged"]) for found in report["rules"]}
    assert rules == {"request": (1, 1), "spike": (3, 4)}
    assert (report["mood"]["needed"], report["mood"]["judged"]) == (3, 4)
    assert "5 of them judged" in told


async def test_cases_without_a_verdict_are_shown_apart_and_are_never_right(
    desk: Desk, url: str, tmp_path: Path
) -> None:
    await desk.close(desk.hear("ann", DAY, scores(0.9), "spike"))  # settled, but not judged
    desk.hear("bob", 2 * DAY, scores(0.9), "spike")  # still open
    desk.hear("cid", 3 * DAY, scores(0.9), "slide", dry=True)
    report, told = verdicts(url, tmp_path)
    assert report["unjudged"] == {"cases": 2, "open": 1, "dry": 1}
    assert (report["precision"]["judged"], report["precision"]["value"]) == (0, None)
    assert report["precision"]["unjudged"] == 3
    assert report["reliability"] is None
    assert "Without a verdict, and counted neither as right nor as wrong: 2 cases (1 still" in told
    assert "Nothing was judged yet" in told
    await desk.act(1, "verdict", "right")
    report, _ = verdicts(url, tmp_path)
    assert (report["precision"]["judged"], report["precision"]["needed"]) == (1, 1)
    assert report["unjudged"]["cases"] == 1


async def test_precision_is_told_by_the_language_of_the_message(
    desk: Desk, url: str, tmp_path: Path
) -> None:
    for number, lang in enumerate(("en", "zh", "zh", "zh-TW")):
        case_id = desk.hear(f"u{number}", number * DAY, scores(0.9), "spike", lang=lang)
        await desk.close(case_id, "not needed" if number == 1 else "right")
    report, told = verdicts(url, tmp_path)
    langs = {found["lang"]: (found["needed"], found["judged"]) for found in report["languages"]}
    assert langs == {"en": (1, 1), "zh": (2, 3)}
    assert all(0 <= found["low"] <= found["high"] <= 1 for found in report["languages"])
    assert "by language" in told


async def test_recall_is_told_as_far_as_it_is_known(desk: Desk, url: str, tmp_path: Path) -> None:
    await desk.close(desk.hear("found", DAY, scores(0.9), "spike"), "right")
    desk.hear("late", 2 * DAY, scores(0.6))
    case_id = desk.hear("late", 2 * DAY + 300, scores(0.9), "slide")
    await desk.close(case_id, f"too late {desk.line_of('late')}")
    await desk.close(desk.hear("asked", 3 * DAY, scores(0.1), "request"), "right")
    await desk.close(desk.hear("unsaid", 4 * DAY, scores(0.1), "request"))  # asked all the same
    await desk.close(desk.hear("curious", 5 * DAY, scores(0.1), "request"), "not needed")
    desk.hear("seen", 6 * DAY, scores(0.9), "spike", dry=True)
    await desk.close(desk.hear("seen", 6 * DAY + 60, scores(0.1), "request"), "right")
    report, told = verdicts(url, tmp_path)
    recall = report["recall"]
    assert (recall["found"], recall["missed"]) == (1, 3)
    assert (recall["asked"], recall["too_late"], recall["preceded"]) == (2, 1, 1)
    assert recall["value"] == 0.25
    assert recall["low"] < 0.25 < recall["high"]
    [late] = report["late"]
    assert (late["case"], late["rule"], late["seconds"]) == (case_id, "slide", 300.0)
    assert late["strong"] == 0.6  # of the message that should have been enough
    assert report["precision"]["too_late"] == 1
    assert "True recall is not knowable from this alone" in told


async def test_a_mood_rule_of_an_earlier_case_came_not_before_a_later_request(
    desk: Desk, url: str, tmp_path: Path
) -> None:
    await desk.close(desk.hear("ann", DAY, scores(0.9), "spike"), "right")
    await desk.close(desk.hear("ann", DAY + 3600, scores(0.1), "request"), "right")
    recall = verdicts(url, tmp_path)[0]["recall"]
    assert (recall["asked"], recall["preceded"], recall["value"]) == (1, 0, 0.5)


async def test_a_request_in_a_case_that_mood_opened_is_no_miss(
    desk: Desk, url: str, tmp_path: Path
) -> None:
    case_id = desk.hear("ann", DAY, scores(0.9), "spike")
    desk.hear("ann", DAY + 60, scores(0.1), "request")
    desk.ground.do(desk_rows.set_values, case_id=case_id, values={"rule": "request"})
    await desk.close(case_id, "right")
    report, _ = verdicts(url, tmp_path)
    assert [rule["rule"] for rule in report["rules"]] == ["spike"]  # what opened it, not what came
    assert (report["recall"]["found"], report["recall"]["missed"]) == (1, 0)


async def test_alerts_of_a_dry_run_join_once_staff_judged_them(
    desk: Desk, url: str, tmp_path: Path
) -> None:
    for number, strong in enumerate((0.95, 0.9, 0.75)):
        desk.hear(f"u{number}", number * DAY, scores(strong), "spike", dry=True)
    desk.hear("u3", 3 * DAY, scores(0.8), "spike", dry=True)
    for row, verb in ((1, "dry right"), (2, "dry right"), (3, "dry not needed")):
        await desk.act(row, verb)
    report, told = verdicts(url, tmp_path)
    assert (report["cases"], report["dry"]) == (0, 4)
    assert (report["precision"]["needed"], report["precision"]["judged"]) == (2, 3)
    assert report["unjudged"] == {"cases": 0, "open": 0, "dry": 1}
    steps = {step["threshold"]: (step["needed"], step["judged"]) for step in report["steps"]}
    assert steps[0.9] == (2, 2)
    assert steps[report["in_force"]] == (2, 3)
    assert report["recall"]["found"] == 2
    assert "4 alerts held back by a dry run, 3 of them judged" in told


async def test_strong_is_held_against_the_verdicts(desk: Desk, url: str, tmp_path: Path) -> None:
    for number in range(20):
        strong = 0.75 if number < 10 else 0.95
        case_id = desk.hear(f"u{number}", number * 3600.0, scores(strong), "spike")
        right = number >= 10 or number % 5 == 0  # two of ten, then ten of ten
        await desk.close(case_id, "right" if right else "not needed")
    await desk.close(desk.hear("calm", DAY, scores(0.01), "request"), "right")  # says nothing of it
    report, told = verdicts(url, tmp_path)
    curve = report["reliability"]
    assert curve["rows"] == 20
    assert [round(b["said"], 2) for b in curve["bins"]] == [0.75, 0.95]
    assert [b["right"] for b in curve["bins"]] == [0.2, 1.0]
    assert all(b["low"] < b["right"] + 1e-9 and b["right"] <= b["high"] for b in curve["bins"])
    assert curve["error"] == pytest.approx((0.55 + 0.05) / 2, abs=1e-6)
    assert "How strong, and how often needed" in told


async def test_alerts_a_day_fall_as_the_threshold_rises(
    desk: Desk, url: str, tmp_path: Path
) -> None:
    await ten_days(desk)
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


async def test_the_threshold_in_force_is_the_one_that_the_page_has_set(
    desk: Desk, url: str, tmp_path: Path
) -> None:
    await ten_days(desk)
    changes = {"escalation.strong": "0.9"}
    desk.ground.do(tuning.put, changes=changes, who="Kim", now=11 * DAY)
    report, _ = verdicts(url, tmp_path)
    assert report["in_force"] == 0.9
    assert next(s["threshold"] for s in report["steps"] if s["judged"]) == 0.9


async def test_a_budget_finds_its_threshold_or_says_that_there_is_none(
    desk: Desk, url: str, tmp_path: Path
) -> None:
    await ten_days(desk)
    report, told = verdicts(url, tmp_path, budget=0.4)
    assert report["budget"] == {"alerts_a_day": 0.4, "threshold": 0.86, "gives": 0.4}
    assert "the threshold of strong is 0.86" in told
    report, told = verdicts(url, tmp_path, budget=0.05)
    assert report["budget"]["threshold"] is None
    assert "No threshold of strong keeps within 0.05 alerts a day" in told


async def test_evidence_in_an_open_case_is_no_second_alert(
    desk: Desk, url: str, tmp_path: Path
) -> None:
    case_id = desk.hear("ann", DAY, scores(0.9), "spike")
    desk.hear("ann", DAY + 60, scores(0.75), "money")
    desk.hear("ann", DAY + 90, scores(0.75), "spike")
    await desk.close(case_id, "right")
    report, _ = verdicts(url, tmp_path)
    assert report["others_a_day"] == 0.0
    assert [step["judged"] for step in report["steps"] if step["threshold"] == 0.9] == [1]


def test_without_verdicts_the_alerts_are_told_all_the_same(
    desk: Desk, url: str, tmp_path: Path
) -> None:
    desk.hear("ann", 0.0, scores(0.7))
    report, told = verdicts(url, tmp_path)
    assert report["precision"]["value"] is report["recall"]["value"] is None
    assert report["steps"][0]["alerts_a_day"] == 1.0
    assert "Nothing was judged yet" in told


async def test_the_sample_staff_and_cases_of_their_own_are_no_measurement(
    desk: Desk, url: str, tmp_path: Path
) -> None:
    desk.ground.do(sample.fill, now=40 * DAY)
    with pytest.raises(SetupError, match="no judged message and no verdict yet"):
        verdicts(url, tmp_path)
    await desk.close(desk.hear("ann", 41 * DAY, scores(0.9), "staff"), "right")
    desk.hear("bob", 41 * DAY, scores(0.9))
    desk.ground.do(people.learn, platform="telegram", bot="heed", user="bob", name="Bob", now=1.0)
    report, told = verdicts(url, tmp_path)
    assert (report["messages"], report["cases"], report["by_staff"]) == (1, 0, 1)
    assert report["precision"]["judged"] == 0
    assert "1 case that staff opened themselves: left out." in told


def test_thumbs_are_told_by_model_and_prompt_and_those_of_staff_and_sample_are_not(
    desk: Desk, url: str, tmp_path: Path
) -> None:
    desk.ground.do(sample.fill, now=40 * DAY)
    desk.hear("ann", 41 * DAY, scores(0.1))
    _, told = verdicts(url, tmp_path)
    assert "Thumbs" not in told
    assert "Thumbs" not in (tmp_path / "v.html").read_text("utf-8")
    desk.hear("bob", 41 * DAY, scores(0.1))
    desk.ground.do(people.learn, platform="telegram", bot="heed", user="bob", name="Bob", now=1.0)
    for model, prompt, who, values in (
        ("echo", "support@2", "ann", (1, 1, 1, -1)),
        ("echo", "support@1", "ann", (-1,)),
        ("echo", "support@1", "bob", (1,)),  # staff
    ):
        for value in values:
            thumb(desk, who, value, model=model, prompt=prompt)
    report, told = verdicts(url, tmp_path)
    first, second = report["thumbs"]
    assert {name: first[name] for name in ("model", "prompt", "up", "down", "value")} == {
        "model": "echo", "prompt": "support@1", "up": 0, "down": 1, "value": 0.0,
    }  # fmt: skip
    assert (second["prompt"], second["up"], second["down"]) == ("support@2", 3, 1)
    assert second["low"] == pytest.approx(0.3006, abs=1e-4)  # Wilson, 3 of 4, 95 %
    [line] = [line for line in told.splitlines() if "support@2" in line]
    assert line.split() == ["echo", "support@2", "75.0", "[30.1–95.4]", "3", "1"]
    page = (tmp_path / "v.html").read_text("utf-8")
    assert "Thumbs on replies, by model and version of its prompt" in page
    assert "75.0 [30.1–95.4]" in page


def thumb(desk: Desk, who: str, value: int, **spoken: str) -> None:
    """Let the bot say a line to somebody, who thinks something of it."""
    of, now = desk.ground.conversation(who).id, desk.ground.now
    facts = {"conversation_id": of, "role": "bot", "text": "ok", "at": now, **spoken}
    line = desk.ground.do(insert_id, table=history, **facts)
    desk.ground.do(feedback.keep, conversation_id=of, history_id=line, value=value, now=now)


def test_a_database_that_is_not_there_or_empty_is_said_so(
    url: str, tmp_path: Path, migrated: bytes
) -> None:
    with pytest.raises(SetupError, match="heed db upgrade"):
        verdicts(url, tmp_path)
    (tmp_path / "heed.db").write_bytes(migrated)
    with pytest.raises(SetupError, match="no judged message and no verdict yet"):
        verdicts(url, tmp_path)
