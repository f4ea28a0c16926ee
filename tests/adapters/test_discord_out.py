from __future__ import annotations

import asyncio
import itertools
import socket
from dataclasses import replace

import discord
import pytest

from core.errors import (
    NoThread,
    NotSent,
    OutcomeUnknown,
    Refused,
    RetryAfter,
    SetupError,
    Unchangeable,
    Unreachable,
)
from core.message import Button, PostKind
from tests.adapters.discord_bench import QUICK, Recorder, adapter, keep, post, running
from tests.fakes.discord import DiscordFake
from tests.patience import until

POSTS = "POST /channels/*/messages"


@pytest.mark.parametrize(
    ("kind", "apply"),
    [
        ("reset", True),
        ("reset", False),
        ("closed", True),
        ("cut", True),
        ("503", True),
        ("503", False),
        ("junk", True),
        ("500", True),
        ("429", False),
    ],
)
async def test_a_broken_send_is_repeated_with_its_nonce_and_makes_one_message(
    kind: str, *, apply: bool
) -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        fake.fail(POSTS, kind, apply=apply)
        receipt = await heed.deliver(post(fake.dm("ann"), "only once"), keep)
        sent = fake.called(POSTS)
        assert fake.transcript(fake.dm("ann")) == [("Heed", "only once")]
        assert fake.messages(fake.dm("ann"))[0]["id"] == receipt.message_id
        assert [one.body["nonce"] for one in sent] == ["nonce-of-the-row-1"] * 2
        assert sent[0].body["enforce_nonce"] is True


async def test_a_send_is_not_repeated_once_discord_may_have_forgotten_its_nonce() -> None:
    async with DiscordFake() as fake:
        hours, pace = itertools.count(0.0, 3600.0), replace(QUICK, silence=1e12)
        async with running(fake, Recorder(), steady=lambda: next(hours), pace=pace) as heed:
            fake.fail(POSTS, "reset", apply=True)
            with pytest.raises(OutcomeUnknown):
                await heed.deliver(post(fake.dm("ann"), "only once"), keep)
        assert fake.transcript(fake.dm("ann")) == [("Heed", "only once")]
        assert len(fake.called(POSTS)) == 1


@pytest.mark.parametrize(("kind", "words"), [("notice", "I stopped."), ("delete", "")])
async def test_a_message_is_sought_by_its_nonce_only_while_discord_remembers_it(
    kind: PostKind, words: str
) -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        there = fake.dm("ann")
        await heed.deliver(post(there, "I would say"), keep)
        seeking = replace(post(there, words, kind=kind), seeks=True, age=3600.0)
        assert not heed.repeatable(seeking)
        with pytest.raises(OutcomeUnknown):
            await heed.deliver(seeking, keep)
        assert fake.transcript(there) == [("Heed", "I would say")]
        assert len(fake.called(POSTS)) == 1
        await heed.deliver(replace(seeking, age=1.0), keep)
        assert fake.transcript(there) == ([("Heed", words)] if words else [])


async def test_a_refusal_of_the_repeat_does_not_say_that_the_first_try_came_to_nothing() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        there = fake.dm("ann")
        fake.fail(POSTS, "502", apply=True)
        sending = asyncio.create_task(heed.deliver(post(there, "only once"), keep))
        await until(lambda: fake.messages(there))
        fake.closed_people.add(fake.person("ann"))
        with pytest.raises(OutcomeUnknown):
            await sending
        with pytest.raises(Unreachable):
            await heed.deliver(post(there, "another", nonce="b"), keep)


async def test_the_same_row_delivered_by_a_second_process_makes_no_second_message() -> None:
    async with DiscordFake() as fake:
        receipts = []
        for _ in range(2):
            async with running(fake, Recorder()) as heed:
                receipts.append(await heed.deliver(post(fake.dm("ann")), keep))
        assert receipts[0] == receipts[1]
        assert len(fake.messages(fake.dm("ann"))) == 1


async def test_a_line_that_keeps_breaking_leaves_the_outcome_unknown() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        fake.fail(POSTS, "reset", count=99)
        with pytest.raises(OutcomeUnknown):
            await heed.deliver(post(fake.dm("ann")), keep)
        assert heed.repeatable(post(fake.dm("ann"), age=119.0))
        assert not heed.repeatable(post(fake.dm("ann"), age=121.0))
        assert heed.repeatable(post(fake.dm("ann"), age=900.0, message_id="5"))
        assert not heed.repeatable(post(fake.desk, kind="thread"))


async def test_a_hanging_call_is_given_up_with_an_unknown_outcome() -> None:
    pace = replace(QUICK, patience=0.4)
    async with DiscordFake() as fake, running(fake, Recorder(), pace=pace) as heed:
        await heed.typing(post(fake.channel).place)
        fake.fail(POSTS, "hang")
        with pytest.raises(OutcomeUnknown):
            await heed.deliver(post(fake.dm("ann")), keep)


async def test_mentions_in_a_text_ping_nobody() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        question = fake.say("ann", "?", channel=fake.channel, mention=True)
        text = f"@everyone @here <@{fake.person('ann')}>"
        answer = post(fake.channel, text, private=False, reply_to=question)
        await heed.deliver(replace(answer, kind="card"), keep)
        message = fake.messages(fake.channel)[-1]
        assert message["content"] == text
        assert (message["mention_everyone"], message["mentions"]) == (False, [])
        await heed.deliver(replace(answer, nonce="n2"), keep)
        message = fake.messages(fake.channel)[-1]
        assert message["content"].replace("\u2060", "") == text
        assert "@everyone" not in message["content"]  # nor does it look as if it did
        assert message["message_reference"]["message_id"] == question


async def test_a_link_shows_nothing_of_its_page() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        await heed.deliver(post(fake.dm("ann"), "see https://evil.example"), keep)
        suppressed = discord.MessageFlags(suppress_embeds=True)
        assert fake.messages(fake.dm("ann"))[0]["flags"] == suppressed.value


async def test_an_answer_to_a_deleted_question_still_arrives() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        question = fake.say("ann", "?", channel=fake.channel, mention=True)
        fake.delete(fake.channel, question)
        await heed.deliver(post(fake.channel, private=False, reply_to=question), keep)
        await heed.deliver(post(fake.channel, "2", private=False, part=1, nonce="b"), keep)
        assert fake.transcript(fake.channel) == [("Heed", "hello"), ("Heed", "2")]


async def test_a_card_is_edited_in_place_with_its_new_buttons() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        card = post(fake.desk, "queued", kind="card", buttons=(Button(label="Take", data="h:1"),))
        first = await heed.deliver(card, keep)
        change = post(fake.desk, "done", kind="card", message_id=first.message_id)
        assert await heed.deliver(change, keep) == first
        fake.fail("PATCH *", "reset", apply=True)
        await heed.deliver(change, keep)
        message = fake.messages(fake.desk)[0]
        assert (message["content"], message["components"]) == ("done", [])


async def test_a_thread_is_made_in_the_desk_and_written_to() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        made = await heed.deliver(post(fake.desk, "Case 7\nAnn", kind="thread"), keep)
        await heed.deliver(post(fake.desk, "evidence", thread=made.thread), keep)
        assert fake.threads(fake.desk)[0]["name"] == "Case 7 Ann"
        assert fake.transcript(made.thread) == [("Heed", "evidence")]
        fake.forget_channel(made.thread)
        with pytest.raises(NoThread):
            await heed.deliver(post(fake.desk, "more", thread=made.thread, nonce="c"), keep)


@pytest.mark.parametrize("kind", ["reset", "502"])  # the latter the library would repeat
async def test_a_refused_thread_says_so_and_one_of_unknown_outcome_is_not_repeated(
    kind: str,
) -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        fake.denied.add((fake.desk, "threads"))
        with pytest.raises(NoThread):
            await heed.deliver(post(fake.desk, "Case 7", kind="thread"), keep)
        fake.denied.clear()
        fake.fail("POST /channels/*/threads", kind, apply=True)
        with pytest.raises(OutcomeUnknown):
            await heed.deliver(post(fake.desk, "Case 7", kind="thread"), keep)
        assert len(fake.threads(fake.desk)) == 1


async def test_a_mark_takes_the_place_of_the_mark_before_and_of_no_other_sign() -> None:
    async with DiscordFake() as fake:
        async with running(fake, Recorder()) as heed:
            line = fake.say("kim", "we will call", channel=fake.desk)
            fake.react("kim", fake.desk, line, "✅")
            await heed.deliver(post(fake.desk, "👍", kind="react", message_id=line), keep)
            await heed.deliver(post(fake.desk, "sent", kind="mark", message_id=line), keep)
        ours, kim = fake.bot["id"], fake.person("kim")
        assert fake.reactions(line) == {"✅": [kim, ours], "👍": [ours]}
        async with running(fake, Recorder()) as heed:  # it does not rest on memory
            for _ in range(2):
                await heed.deliver(post(fake.desk, "failed", kind="mark", message_id=line), keep)
            assert fake.reactions(line) == {"✅": [kim], "👍": [ours], "❌": [ours]}
            await heed.deliver(post(fake.desk, "", kind="react", message_id=line), keep)
            assert fake.reactions(line) == {"✅": [kim], "❌": [ours]}
            with pytest.raises(Refused):
                await heed.deliver(post(fake.desk, "lost", kind="mark", message_id=line), keep)


async def test_a_reaction_is_passed_on_where_discord_has_such_an_emoji() -> None:
    async with DiscordFake() as fake:
        own = fake.add_emoji("harbour")
        async with running(fake, Recorder()) as heed:
            line = fake.say("ann", "thanks")
            for sign in (":harbour:", "❤️"):
                await heed.deliver(post(fake.dm("ann"), sign, kind="react", message_id=line), keep)
                assert len(fake.reactions(line)) == 1
            assert own in fake.called("PUT *")[0].path
            for unknown in (":nowhere:", "abc"):
                with pytest.raises(Refused):
                    await heed.deliver(
                        post(fake.dm("ann"), unknown, kind="react", message_id=line), keep
                    )
            fake.delete(fake.dm("ann"), line)
            with pytest.raises(Unchangeable):
                await heed.deliver(post(fake.dm("ann"), "👍", kind="react", message_id=line), keep)


async def test_a_message_that_is_gone_or_anothers_cannot_be_edited() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        theirs = fake.say("ann", "mine")
        for lost in (theirs, "5"):
            with pytest.raises(Unchangeable):
                await heed.deliver(
                    post(fake.dm("ann"), "x", kind="edit", message_id=lost, nonce="b"), keep
                )
        with pytest.raises(Refused):
            await heed.deliver(post(fake.dm("ann"), "x", kind="edit"), keep)


async def test_a_copy_answers_the_message_that_was_answered_also_in_a_direct_channel() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        said = fake.say("ann", "which one?")
        await heed.deliver(post(fake.dm("ann"), "this one", kind="relay", reply_to=said), keep)
        await heed.deliver(post(fake.dm("ann"), "on its own", kind="relay", nonce="b"), keep)
        answer, plain = fake.messages(fake.dm("ann"))[1:]
        assert answer["message_reference"]["message_id"] == said
        assert "message_reference" not in plain


async def test_buttons_stand_in_rows_of_five_and_the_dangerous_ones_look_so() -> None:
    labels = ["cl", "nn", "bk", *(f"z{n}" for n in range(10, 34))]
    buttons = tuple(Button(label=code * 50, data=f"h:7:{code}:1") for code in labels)
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        await heed.deliver(post(fake.desk, "card", kind="card", buttons=buttons), keep)
        rows = fake.messages(fake.desk)[0]["components"]
        assert [len(row["components"]) for row in rows] == [5] * 5
        assert [one["style"] for one in rows[0]["components"]] == [1, 4, 4, 2, 2]
        assert len(rows[0]["components"][0]["label"]) == 80


async def test_each_refusal_is_told_apart() -> None:
    alarms: list[str] = []
    async with DiscordFake() as fake, running(fake, Recorder(), on_alarm=alarms.append) as heed:
        fake.closed_people.add(fake.person("ann"))
        with pytest.raises(Unreachable):
            await heed.deliver(post(fake.dm("ann")), keep)
        fake.denied.add((fake.channel, "send"))
        with pytest.raises(Refused, match="50013"):
            await heed.deliver(post(fake.channel), keep)
        with pytest.raises(Unreachable, match="10003"):
            await heed.deliver(post("123"), keep)
        fake.denied.add((fake.desk, "view"))
        with pytest.raises(Unreachable, match="50001"):
            await heed.deliver(post(fake.desk), keep)
        fake.denied.clear()
        with pytest.raises(Refused, match="2000"):
            await heed.deliver(post(fake.desk, "x" * 2001), keep)
        fake.fail(POSTS, "429", retry_after=200.0)
        with pytest.raises(RetryAfter) as waits:
            await heed.deliver(post(fake.desk), keep)
        assert (waits.value.seconds, alarms) == (200.0, [])
        fake.fail(POSTS, "429-cloudflare", retry_after=7.0)
        with pytest.raises(RetryAfter) as waits:
            await heed.deliver(post(fake.desk), keep)
        assert waits.value.seconds == 7.0
        assert len(alarms) == 1


async def test_a_send_while_discord_is_down_was_not_made() -> None:
    async with DiscordFake() as fake:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            dead = f"http://127.0.0.1:{nobody.getsockname()[1]}/api/v10"
            heed = adapter(fake, Recorder(), api_base=dead)
            with pytest.raises(NotSent):
                await heed.deliver(post(fake.channel), keep)
            with pytest.raises(NotSent, match="cannot be reached"):
                await heed.check()


async def test_typing_is_shown_and_its_failure_is_nobodys_concern() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        await heed.typing(post(fake.channel).place)
        await heed.typing(post("123").place)
        assert fake.typing == [fake.channel]


async def test_a_send_under_way_survives_the_death_of_the_gateway() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        fake.raw("{not json")
        await heed.deliver(post(fake.channel, "through"), keep)
        await until(lambda: len(fake.identifies) == 2)
        assert fake.transcript(fake.channel) == [("Heed", "through")]


async def test_check_names_the_wrong_token_and_the_missing_intent() -> None:
    async with DiscordFake() as fake:
        with pytest.raises(SetupError, match=r"discord\.token"):
            await adapter(fake, Recorder(), token="wrong").check()
        with pytest.raises(Refused, match="Message Content Intent"):
            await adapter(fake, Recorder(), mode="watch").check()
        await adapter(fake, Recorder()).check()
        fake.content_intent = True
        await adapter(fake, Recorder(), mode="watch").check()
