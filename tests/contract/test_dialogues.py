"""What anybody may say to the bot on any platform, and what they read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bot.settings import Limits, Model, Texts as TextsSection
from core.engine.scripted import ScriptedEngine
from tests.contract.script import (
    NEEDED,
    STAGES,
    echo,
    listener,
    needs,
    sentences,
    squeezed,
)
from tests.contract.stage import CAPABILITIES, DONE_BY, Stage, fixed
from tests.patience import until

KIND = "thanks, that fixed it, you are great!"
LACKING = {
    "terminal": {
        *("people", "mentions", "lines", "buttons", "edit", "delete", "unsaying", "react"),
        *("files", "language", "again", "backlog", "network", "leaving"),
        "doubt",
    },
    "web": {
        *("buttons", "edit", "delete", "react", "files", "mentions", "again", "backlog"),
        *("network", "leaving"),
    },
    "api": {
        *("buttons", "edit", "delete", "react", "files", "mentions", "again", "backlog"),
        *("network", "leaving", "language", "later", "unsaying"),
    },
    "telegram": {"delete"},
    "discord": {"language", "leaving"},
}


def chinese(text: str) -> bool:
    return any("\u4e00" <= sign <= "\u9fff" for sign in text)


# -- the contract itself -------------------------------------------------------------------------


@pytest.mark.parametrize("platform", STAGES, ids=[one.name for one in STAGES])
def test_a_stage_lacks_what_it_declares_and_nothing_more(platform: type[Stage]) -> None:
    assert set(platform.lacks) == LACKING[platform.name]
    assert set(platform.lacks) <= set(CAPABILITIES)
    assert all(platform.lacks.values()), "a lack has its reason"
    for capability, methods in DONE_BY.items():
        for method in methods:
            assert hasattr(platform, method) == (capability not in platform.lacks), method


def test_every_capability_is_put_to_use_somewhere() -> None:
    for capability in CAPABILITIES:
        assert any(capability not in one.lacks for one in STAGES), capability
    from tests.contract import test_dialogues_desk, test_dialogues_trouble  # noqa: F401

    assert set(NEEDED) == set(CAPABILITIES)


# -- small talk ----------------------------------------------------------------------------------


async def test_hello(stage: Stage) -> None:
    [answer] = await stage.say("maya", "hello!")
    assert answer
    assert await stage.said() == [("user", "hello!"), ("bot", answer)]
    assert await stage.cases() == []


async def test_thanks_are_taken_kindly(stage: Stage) -> None:
    [answer] = await stage.say("maya", KIND)
    assert answer
    [line, _] = await stage.history()
    assert line.scores["label"] == "positive"
    assert await stage.cases() == []


async def test_a_question_of_the_operators_is_answered_in_the_operators_words(
    stage: Stage,
) -> None:
    [answer] = await stage.say("maya", "What are your opening hours?")
    assert answer == "Monday to Friday, 9:00 to 17:00 (not on <holidays> & feasts)."


async def test_what_was_said_before_is_remembered(stage: Stage) -> None:
    mind = ScriptedEngine(lambda asked: f"I know {[one.text for one in asked.history]}")
    await stage.speaks(mind)
    await stage.say("maya", "my cat is Tom")
    [answer] = await stage.say("maya", "what is my cat called?")
    assert "my cat is Tom" in answer
    assert "what is my cat called" not in answer


async def test_chinese_is_answered_in_chinese(stage: Stage) -> None:
    [answer] = await stage.say("maya", "太好了,问题解决了,谢谢你们!")
    assert chinese(answer)


@needs("language")
async def test_fixed_texts_are_in_the_language_of_the_profile(stage: Stage) -> None:
    [words] = await stage.command("li", "help")
    assert words == fixed("help", "zh")


# -- commands ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["start", "help"])
async def test_a_command_is_answered_with_its_text(stage: Stage, name: str) -> None:
    assert await stage.command("maya", name) == [fixed(name)]
    assert await stage.said() == [] or [role for role, _ in await stage.said()] == ["bot"]


async def test_privacy_names_the_days(stage: Stage) -> None:
    [told] = await stage.command("maya", "privacy")
    assert told.startswith("What is kept.")
    assert "30 days, the numbers 365 days" in told


@pytest.mark.parametrize("line", ["/HELP", "/help me, please"])
async def test_a_command_is_known_however_it_is_typed(stage: Stage, line: str) -> None:
    assert await stage.say("maya", line) == [fixed("help")]


async def test_an_unknown_command_is_told_so(stage: Stage) -> None:
    assert await stage.say("maya", "/dance") == [fixed("unknown_command")]


async def test_reset_begins_afresh(stage: Stage) -> None:
    mind = ScriptedEngine(lambda asked: f"I know {[one.text for one in asked.history]}")
    await stage.speaks(mind)
    await stage.say("maya", "my cat is Tom")
    assert await stage.command("maya", "reset") == [fixed("reset_done")]
    [answer] = await stage.say("maya", "what is my cat called?")
    assert "Tom" not in answer


async def test_forget_asks_and_takes_no_for_an_answer(stage: Stage) -> None:
    await stage.say("maya", "my secret is xyzzy")
    [asked] = await stage.command("maya", "forget")
    assert asked.startswith(fixed("forget_confirm", n=2))
    assert await stage.press("maya", "forget_no") == [fixed("forget_cancelled")]
    assert ("user", "my secret is xyzzy") in await stage.said()


async def test_forget_leaves_nothing_to_hand_over(stage: Stage) -> None:
    await stage.say("maya", "my secret is xyzzy")
    [before] = await stage.export("maya")
    assert "xyzzy" in json.dumps(before)
    await stage.forget()
    kept = await stage.export("maya")
    assert "xyzzy" not in json.dumps(kept)
    assert all(not one["messages"] and not one["cases"] for one in kept)
    [answer] = await stage.say("maya", "hello again")
    assert answer


@needs("buttons")
async def test_forget_by_its_button_says_what_was_erased(stage: Stage) -> None:
    await stage.say("maya", "my secret is xyzzy")
    await stage.command("maya", "forget")
    assert await stage.press("maya", "forget_yes") == [fixed("forgotten", n=3, m=0)]


async def test_human_calls_a_person(stage: Stage) -> None:
    assert await stage.command("maya", "human") == [fixed("open")]
    [case] = await stage.cases()
    assert (case.rule, case.state) == ("request", "queued")


async def test_a_code_joins_two_accounts_and_a_wrong_one_does_not(stage: Stage) -> None:
    [told] = await stage.command("maya", "link")
    assert told.startswith("Your code is ")
    assert await stage.command("maya", "link", "ABCDEFGH") == [fixed("link_unknown")]
    assert await stage.command("maya", "link", "off") == [fixed("link_off")]


# -- all that people type ------------------------------------------------------------------------

ODD = {
    "emoji": "🎉🎉🎉",
    "joined emoji": "👩‍👩‍👧‍👦 and 🏳️‍🌈 and 👍🏽",
    "right to left": "שלום, מה שלומך? مرحبا",
    "combining": "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢ and é é",
    "markup": "a*b _c_d `e [f] <g> &amp; ~h~ |i| \\j #k > l",
    "html": "<b>bold</b> <script>alert(1)</script> &lt;",
    "quotes": "it's \"so\" 'nice' %s {x} $HOME ${y} {{z}}",
    "address": "see https://example.org/a_b_c?d=e&f=g*h*",
}


@pytest.mark.parametrize("kind", ODD)
async def test_what_is_typed_is_heard_as_it_was_typed(stage: Stage, kind: str) -> None:
    mind = await stage.speaks(listener())
    [answer] = await stage.say("maya", ODD[kind])
    assert answer
    assert [one.text for one in mind.asked("start")] == [ODD[kind]]
    assert (await stage.said())[0] == ("user", ODD[kind])


@pytest.mark.parametrize(
    "kind", ["emoji", "joined emoji", "right to left", "combining", "html", "quotes", "address"]
)
async def test_an_answer_comes_as_it_was_written(stage: Stage, kind: str) -> None:
    await stage.speaks(ScriptedEngine({"": f"Here: {ODD[kind]}"}))
    assert await stage.say("maya", "say that") == [f"Here: {ODD[kind]}"]


async def test_signs_that_mark_nothing_come_as_they_were_written(stage: Stage) -> None:
    plain = "2 * 3 = 6, snake_case_name, a < b & c > d, x[1], 50% ~ half"
    await stage.speaks(ScriptedEngine({"": plain}))
    assert await stage.say("maya", "say that") == [plain]


async def test_a_block_of_code_survives(stage: Stage) -> None:
    block = "if a < b and _c_ * 2:\n    print(`d`)"
    await stage.speaks(ScriptedEngine({"": f"Try this:\n\n```python\n{block}\n```\n\nIt works."}))
    before = await stage.say("maya", "how?")
    assert before
    assert await stage.code() == [block]
    assert "Try this:" in before[0]
    assert "It works." in before[-1]


async def test_lists_links_and_tables_keep_their_words(stage: Stage) -> None:
    table = "| size | price |\n|---|---|\n| small | 3 |\n| large | 5 |"
    lists = "# Offers\n\n- **apples**\n- pears\n\n1. pay\n2. wait"
    link = "[Shop](https://shop.example) > ok"
    await stage.speaks(ScriptedEngine({"": f"{lists}\n\n{table}\n\n{link}"}))
    read = " ".join(await stage.say("maya", "what do you have?"))
    words = ["Offers", "apples", "pears", "pay", "wait", "size", "price", "small", "3", "large"]
    places = [read.find(word) for word in (*words, "5", "Shop", "ok")]
    assert min(places) >= 0, read
    assert places == sorted(places)


async def test_a_long_answer_comes_whole_and_in_order(stage: Stage) -> None:
    long = sentences(150)
    await stage.restart(model=Model(reply_tokens=4096))
    await stage.speaks(ScriptedEngine({"": long}))
    parts = await stage.say("maya", "tell me everything")
    assert squeezed(parts) == long
    assert all(len(part) <= 4096 for part in parts) or stage.longest > 4096


@pytest.mark.parametrize("size", [4000, 9000])
async def test_a_long_message_is_heard_whole_or_said_to_be_too_long(
    stage: Stage, size: int
) -> None:
    await stage.speaks(listener())
    text = " ".join(f"word{n}" for n in range(size // 7))[:size]
    pieces = [text[at : at + stage.longest] for at in range(0, len(text), stage.longest)]
    for piece in pieces:
        await stage.post("maya", piece)
    await stage.settle()
    heard = "".join(text for role, text in await stage.said() if role == "user")
    if max(map(len, pieces)) > 8000:
        assert await stage.seen() == [fixed("too_long")]
        assert text.startswith(heard[:8000])
    else:
        assert heard.replace(" ", "") == text.replace(" ", "")
        assert (await stage.seen())[0].startswith("You said: word0 word1 ")


@pytest.mark.parametrize("nothing", ["", "   ", "\u200b \t"], ids=["empty", "spaces", "unseen"])
async def test_nothing_is_answered_at_most_in_words(stage: Stage, nothing: str) -> None:
    await stage.speaks(listener())
    await stage.write("maya", nothing)
    await stage.say("maya", "hello")
    seen = await stage.seen()
    assert all(seen)
    assert seen[-1].endswith("hello")
    assert len(seen) <= 2


async def test_broken_signs_harm_nobody(stage: Stage) -> None:
    await stage.speaks(listener())
    await stage.say("maya", "before \ud800 and \udfff after")
    await stage.say("maya", "a nul \0 inside")
    [answer] = await stage.say("maya", "still there?")
    assert answer == "You said: still there?"
    kept = [text for role, text in await stage.said() if role == "user"]
    assert len(kept) == 3
    assert kept[0].startswith("before ")
    assert kept[0].endswith(" after")
    assert "\0" not in "".join(kept)


@needs("lines")
async def test_a_message_of_several_lines_is_one_message(stage: Stage) -> None:
    mind = await stage.speaks(listener())
    await stage.say("maya", "first line\nsecond line\n\n- a\n- b")
    assert [one.text for one in mind.asked("start")] == ["first line\nsecond line\n\n- a\n- b"]


@needs("mentions")
async def test_whoever_is_named_in_an_answer_is_not_called(stage: Stage) -> None:
    await stage.speaks(ScriptedEngine({"": "Ask @everyone, @here, <@1> or <@&2> about it."}))
    await stage.say("maya", "who knows?")
    assert "everyone" in (await stage.seen())[-1]
    assert [name for name in await stage.called("maya") if name != "mention"] == []


@needs("files")
@pytest.mark.parametrize("kind", ["photo", "file", "voice", "sticker"])
async def test_what_is_no_text_is_answered_in_words(stage: Stage, kind: str) -> None:
    await stage.send("maya", kind)
    [answer] = await stage.seen()
    assert answer
    assert await stage.cases() == []


@needs("files")
async def test_a_caption_is_read(stage: Stage) -> None:
    mind = await stage.speaks(listener())
    await stage.send("maya", "photo", "this is what I see")
    assert "this is what I see" in mind.asked("start")[0].text
    assert await stage.seen() == ["You said: this is what I see"]


@needs("react")
async def test_a_reaction_is_no_message(stage: Stage) -> None:
    await stage.say("maya", "hello")
    before = await stage.seen()
    await stage.react("maya", "👎")
    await stage.settle()
    assert await stage.seen() == before
    assert await stage.cases() == []


# -- several at once -----------------------------------------------------------------------------


@needs("people")
async def test_two_at_once_do_not_mix(stage: Stage) -> None:
    await stage.speaks(ScriptedEngine(echo, slots=4))
    for n in range(3):
        await stage.post("maya", f"maya {n}")
        await stage.post("ben", f"ben {n}")
    await stage.settle()
    for who, other in (("maya", "ben"), ("ben", "maya")):
        seen = " ".join(await stage.seen(who))
        assert all(f"{who} {n}" in seen for n in range(3))
        assert other not in seen
        assert [text for role, text in await stage.said(who) if role == "user"] == [
            f"{who} {n}" for n in range(3)
        ]


async def test_a_burst_is_answered_once(stage: Stage) -> None:
    mind = await stage.speaks(listener())
    mind.hang("speak")
    await stage.post("maya", "first thing")
    await until(lambda: mind.asked("speak"))
    await stage.post("maya", "second thing")
    await stage.post("maya", "third thing")
    mind.release()
    await stage.settle()
    assert await stage.seen() == ["You said: first thing / second thing / third thing"]
    assert [role for role, _ in await stage.said()] == ["user", "user", "user", "bot"]


@needs("later")
async def test_who_writes_too_fast_is_told_once(stage: Stage) -> None:
    await stage.restart(limits=Limits(per_user_minute=2))
    await stage.speaks(listener())
    for n in range(4):
        await stage.say("maya", f"and what about {n} apples?")
    assert await stage.seen() == [
        "You said: and what about 0 apples?", "You said: and what about 1 apples?", fixed("busy"),
    ]  # fmt: skip
    assert [role for role, _ in await stage.said()].count("user") == 4


async def test_the_operators_own_words_are_the_ones_that_are_read(
    stage: Stage, tmp_path: Path
) -> None:
    own = tmp_path / "texts"
    own.mkdir()
    (own / "en.toml").write_text('[user]\nhelp = "Ring 42 * at <any> hour_"\n', "utf-8")
    await stage.restart(texts=TextsSection(dir=own))
    assert await stage.command("maya", "help") == ["Ring 42 * at <any> hour_"]
