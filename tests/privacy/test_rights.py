"""/privacy, /export and /privacy off: what is said is so, and what is chosen is kept to."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bot import database
from bot.desk import facts_of
from bot.person import forget, handed_over
from bot.settings import Privacy, Reply, Settings
from core.dossier import as_page
from core.engine.mind import Mind
from core.engine.remote import RemoteEngine
from core.engine.scripted import ScriptedEngine
from core.errors import SetupError
from core.store import kept, people
from core.tables import case, conversation, decision, history, inbox, person
from core.texts import Texts
from tests.core.ground import Ground, key, opened, said
from tests.patience import until
from tests.privacy.planted import code_in, files, mark
from tests.walk.platforms import CRISIS, FURY, GROUP, LI, MAYA, Heed, heed_on, hurry, phrases


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr("core.janitor.PAUSE", 0.05)


# ---- being told --------------------------------------------------------------------------------


def test_the_facts_are_those_of_the_running_settings(prompts: Any) -> None:
    mind = Mind(phrases())
    quiet = facts_of(Settings(), mind)
    assert (quiet.model, quiet.hosts, quiet.sealed, quiet.desks) == ("", (), False, ("web",))
    mind.engine = RemoteEngine("https://models.example:8443/v1#small", prompts)
    own = Settings(privacy=Privacy(text_days=7, score_days=8), desk={"staff": "telegram:-1"})
    told = facts_of(own, mind)
    assert (told.text_days, told.score_days) == (7, 8)
    assert (told.model, told.hosts) == ("small", ("models.example:8443",))
    assert told.desks == ("telegram", "web")
    mind.engine = RemoteEngine("http://127.0.0.1:8000/v1#small", prompts)
    assert facts_of(Settings(), mind).hosts == ()  # this very machine
    assert facts_of(Settings(), mind).writes
    mind.strict = True  # it still reads along, to tag
    assert facts_of(Settings(), mind).model == "small"
    assert not facts_of(Settings(), mind).writes


@pytest.fixture
def prompts() -> Any:
    from bot.engines import make_book

    return make_book(Settings())


async def test_privacy_says_what_is_so_in_the_persons_language(tmp_path: Path) -> None:
    both = {"on": ("telegram",), "staff": "discord"}
    own = Privacy(text_days=5, score_days=6)
    async with heed_on(tmp_path, **both, privacy=own) as heed:
        await heed.says(MAYA, "/privacy")
        told = heed.read(MAYA)[-1]
        for words in (
            "5 days, the numbers 6 days",
            "in a Discord channel",
            "the texts are not encrypted",
            "No language model reads along",
            "/privacy off: nothing of yours",
        ):
            assert words in told
        await heed.app.mind.swap(ScriptedEngine())
        await heed.says(LI, "/privacy")
        assert "scripted" in heed.read(LI)[-1]
        assert "一个 Discord 频道" in heed.read(LI)[-1]
        heed.app.mind.strict = True
        await heed.says(MAYA, "/privacy")
        assert "reads along (scripted); I answer from a phrase book" in heed.read(MAYA)[-1]


# ---- having it ---------------------------------------------------------------------------------


class Seen(HTMLParser):
    """What a browser would fetch, run or show."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.reaches: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.reaches += [f"{n}={v}" for n, v in attrs if n in ("src", "href") or n[:2] == "on"]

    def handle_data(self, data: str) -> None:
        self.text += data


WILD = '<script>alert(1)</script><img src=x onerror=y> & "quotes" 你好 \u202eabc'


def said_anyhow(name: str) -> set[str]:
    """Return a fixed text in every language: what was marked is of two scripts."""
    texts = Texts.load()
    return {texts.say(name, lang) for lang in texts.languages}


def sent_files(heed: Heed, chat: int) -> dict[str, bytes]:
    files = [one for one in heed.telegram.seen(chat) if (one.who, one.kind) == ("bot", "document")]
    return {one.name: one.content for one in files}


@pytest.mark.proof_short
async def test_export_gives_everything_but_what_staff_noted_and_others_said(
    tmp_path: Path, proof: Any
) -> None:
    fields = ("text", "before", "after", "caption", "file", "group", "late", "reply")
    words = {one: mark(one) for one in fields}
    hidden = {one: mark(one) for one in ("note", "remark", "other")}
    async with heed_on(tmp_path, on=("telegram", "discord"), staff="telegram") as heed:
        fake = heed.telegram
        fake.group(GROUP)
        await heed.says(MAYA, f"{WILD} {words['text']}")
        first = await heed.says(MAYA, words["before"])
        fake.edit(MAYA, first, words["after"])
        await heed.settled(first, kind="edited")
        name = f"{words['file']}.pdf"
        await heed.settled(fake.send_file(MAYA, MAYA, name, caption=words["caption"]))
        await heed.says(MAYA, f"@{fake.username} {words['group']}", chat=GROUP)
        await heed.says(LI, f"@{fake.username} {hidden['other']} about maya", chat=GROUP)
        await heed.opened(MAYA)
        await heed.press("Claim")
        await heed.staff("/anon on")
        await heed.staff(f"/r {words['reply']}")
        await heed.staff(f"/note {hidden['note']}")
        await heed.staff(f"/remark {hidden['remark']}")
        await heed.says(MAYA, words["late"])
        await heed.says(MAYA, "/link")
        await heed.slash("maya", "link", text=code_in(heed.read(MAYA)[-1]))
        await heed.says(MAYA, "/export")
        await until(lambda: len(sent_files(heed, MAYA)) == 2)
        found = sent_files(heed, MAYA)
        direct = heed.discord.dm("maya")
        await heed.slash("maya", "export")
        await until(lambda: len(heed.images(direct)) == 2)
        linked = heed.images(direct)
        await heed.says(MAYA, f"@{fake.username} x", chat=GROUP)
        await heed.says(MAYA, "/export", chat=GROUP)
        assert heed.read(GROUP)[-1] in said_anyhow("export_sent")
        await heed.says(LI, "/export", chat=GROUP)
        assert heed.read(GROUP)[-1] in said_anyhow("export_write")
    assert [json.loads(one)[0]["person"]["platform"] for one in linked if one[:1] == b"["] == [
        "discord"
    ]
    whole = json.loads(found["your-data.json"])
    page = found["your-data.html"].decode()
    shown = Seen()
    shown.feed(page)
    both = {"json": json.dumps(whole, ensure_ascii=False), "page": shown.text}
    violations: list[Any] = [
        (name, where) for name in fields for where, text in both.items() if words[name] not in text
    ]
    violations += [
        (name, where) for name in hidden for where, text in both.items() if hidden[name] in text
    ]
    violations += [("Ana", where) for where, text in both.items() if "Ana" in text]  # anonymous
    violations += [tag for tag in ("script", "img", "link", "iframe") if tag in shown.tags]
    violations += shown.reaches
    assert WILD in shown.text
    assert {one["person"]["chat"] for one in whole} == {str(MAYA), str(GROUP)}
    assert whole[0]["person"]["linked"][0]["platform"] == "discord"
    assert whole[0]["person"]["opted_out"] is None
    assert len(whole[0]["cases"]) == 1
    assert re.search('<html lang="(en|zh)">', page)
    proof(
        "privacy",
        "an export has what was said and nothing of staff's notes or of others",
        f"{len(fields)} fields that must be there, {len(hidden)} that must not, in two files",
        violations,
    )


def test_a_page_is_in_the_persons_language_and_is_there_for_nothing_too(tmp_path: Path) -> None:
    texts = Texts.load()
    with opened(tmp_path) as ground:
        ground.take(said(1, "你好"))
        ground.answer(ground.begin())
        found = ground.store.read_now(lambda c: kept.everywhere(c, 1))
        assert "关于你保存了什么" in as_page(found, texts, "zh").decode()
    assert "Nothing is kept." in as_page([], texts, "en").decode()


async def test_where_no_file_can_be_sent_the_person_is_told_who_can_give_it(
    tmp_path: Path,
) -> None:
    from tests.walk.house import living, settings_for

    async with living(settings_for(tmp_path)) as house:
        done = await house.say("/export", kind="command", command="export")
        assert "web:ann" in json.dumps(await house.lines() or done)


# ---- being left unread -------------------------------------------------------------------------


@pytest.mark.proof_short
async def test_who_opts_out_is_scored_by_nothing_and_read_by_no_model(
    tmp_path: Path, proof: Any
) -> None:
    """In a direct chat, in groups, through a restart, beside others; then in again."""
    violations: list[Any] = []
    async with heed_on(
        tmp_path, on=("telegram",), staff="telegram", reply=Reply(scope="chat"), reads_all=True,
        telegram={"watch": (str(GROUP),)},
    ) as heed:  # fmt: skip
        heed.telegram.group(GROUP)
        me = f"@{heed.telegram.username}"
        engine = ScriptedEngine()
        await heed.app.mind.swap(engine)
        await heed.says(MAYA, f"I was here before {mark('old')}")
        await heed.says(MAYA, f"{me} hello all {mark('oldgroup')}", chat=GROUP)
        await heed.says(MAYA, "/privacy off", chat=GROUP)
        assert heed.read(GROUP)[-1].startswith("Done, wherever you write to me")
        await heed.restart()
        engine = ScriptedEngine()
        await heed.app.mind.swap(engine)
        await heed.says(MAYA, f"{FURY} {mark('direct')}")
        await heed.says(MAYA, f"{me} {mark('group')}", chat=GROUP)
        before = len(await heed.rows(inbox))
        heed.telegram.say(GROUP, MAYA, mark("overheard"))  # to others: leaves no row
        await heed.says(LI, f"{me} what did she say?", chat=GROUP)
        assert len(await heed.rows(inbox)) == before + 1
        read = str([(one.messages, one.history) for one in engine.log if hasattr(one, "messages")])
        read += str(engine.log)
        fields = ("old", "oldgroup", "direct", "group", "overheard")
        violations += [(one, "model") for one in fields if mark(one) in read]
        assert "what did she say" in read  # others are read as ever
        assert len(heed.read(MAYA)) == 2  # and she is answered
        assert await heed.rows(case) == []  # her mood opens nothing
        hers = [row.id for row in await heed.rows(conversation, user=str(MAYA))]
        await heed.app.janitor.look()
        await heed.later(1)
        await heed.app.janitor.look()
        for field in fields:
            violations += [(field, name) for name in await heed.contains(mark(field))]
        for one in hers:
            lines = await heed.rows(history, conversation_id=one)
            violations += [("scores", line.id) for line in lines if line.scores]
            judged = await heed.rows(decision, conversation_id=one)
            violations += [("decision", row.id) for row in judged]
        rows = [row for row in await heed.rows(conversation) if row.id in hers]
        violations += [("mood", row.id) for row in rows if row.past or row.mood]
        # /why says so; the card does too, and a person and an alarm still reach her.
        await heed.says(MAYA, "/why")
        assert "/privacy off" in heed.read(MAYA)[-1]
        await heed.says(MAYA, f"can I talk to a human please {mark('asks')}")
        assert (await heed.the_case()).rule == "request"
        assert "Has chosen /privacy off" in heed.card().text
        await heed.says(MAYA, mark("helped"))
        await heed.app.janitor.look()
        assert await heed.contains(mark("helped"))  # staff are at it
        await heed.press("Claim")
        await heed.press("Resolve")
        await heed.quiet()
        await heed.app.janitor.look()
        for field in ("asks", "helped"):
            violations += [(field, name) for name in await heed.contains(mark(field))]
        await heed.says(MAYA, CRISIS)
        assert [row.rule for row in await heed.rows(case)][-1] == "crisis"
        engine.log.clear()
        await heed.says(MAYA, "/privacy on")
        assert heed.read(MAYA)[-1].startswith("Done: from now on")
        assert [row.opted_out for row in await heed.rows(person, user=str(MAYA))] == [None]
    proof(
        "privacy",
        "who opted out is scored by nothing, read by no model, kept while it is needed",
        "direct chat, watched group with a shared history, restart, a case, an alarm",
        violations,
    )


async def test_who_comes_back_is_heard_again(tmp_path: Path) -> None:
    async with heed_on(tmp_path, on=("telegram",)) as heed:
        await heed.says(MAYA, "/privacy off")
        await heed.says(MAYA, "I am so happy today")
        await heed.says(MAYA, "/privacy on")
        await heed.says(MAYA, "thanks, that is great")
        scored = [bool(line.scores) for line in await heed.rows(history, role="user")]
        assert scored == [False, True]
        await heed.says(MAYA, "/privacy off")
        await heed.says(MAYA, "/forget")
        assert "It also ends /privacy off." in heed.read(MAYA)[-1]


def test_opting_out_holds_at_every_bot_of_a_platform(tmp_path: Path) -> None:
    with opened(tmp_path) as ground:
        ground.take(said(1))
        assert ground.do(people.opt_out, key=key(), now=5.0)
        assert not ground.do(people.opt_out, key=key(), now=6.0)
        assert ground.do(people.opted_out, platform="telegram", user="ann") == 5.0
        assert ground.do(people.opted_out, platform="discord", user="ann") is None
        assert ground.begin().opted_out
        assert ground.do(people.opt_in, key=key())
        assert not ground.do(people.opt_in, key=key())


def test_the_column_comes_and_goes_with_its_migration(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'heed.db'}"
    database.upgrade(url, "0003")
    database.upgrade(url)
    ground = Ground(tmp_path / "heed.db")
    ground.do(people.opt_out, key=key(), now=5.0)
    ground.do(people.block, key=key(), until=10.0, why="x", now=1.0)
    ground.store.close()
    database.downgrade(url, "0003")
    database.upgrade(url)
    again = Ground(tmp_path / "heed.db")
    [row] = again.rows(person)
    assert (row.opted_out, row.blocked_until) == (None, 10.0)
    again.store.close()


def test_the_operator_prints_it_or_writes_a_page_that_only_they_can_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'heed.db'}"
    database.upgrade(url)
    ground = Ground(tmp_path / "heed.db")
    ground.take(said(1, WILD))
    ground.answer(ground.begin())
    ground.store.close()
    settings = Settings(database={"url": url})
    [told] = json.loads(handed_over(settings, "telegram:ann", None))
    assert told["messages"][0]["text"] == WILD
    page = tmp_path / "ann.html"
    assert str(page) in handed_over(settings, "telegram:ann", page)
    shown = Seen()
    shown.feed(page.read_text("utf-8"))
    assert WILD in shown.text
    assert page.stat().st_mode & 0o077 == 0
    with pytest.raises(SetupError, match="name another file"):
        handed_over(settings, "telegram:ann", tmp_path)
    assert forget(settings, "telegram:ann") == "2 messages and 0 cases are erased."
    assert left_of_ann(tmp_path) == []


def left_of_ann(folder: Path) -> list[str]:
    return [name for name, data in files(folder) if b"alert(1)" in data and name != "ann.html"]
