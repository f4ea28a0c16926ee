from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core.errors import (
    NoThread,
    OutcomeUnknown,
    Refused,
    RetryAfter,
    ThreadGone,
    ThreadShut,
    Unchangeable,
    Unreachable,
)
from core.message import Post
from tests.adapters.discord_bench import Recorder, keep, post, running
from tests.fakes.discord import DiscordFake
from tests.patience import until

TAGS = ("Waiting", "claimed", "Snoozed", "resolved", "urgent")


def topic(chat: str, text: str = "#7 Maya", state: str = "queued", **more: Any) -> Post:
    return post(chat, text, kind="thread", private=False, state=state, **more)


def meta(fake: DiscordFake, thread: str) -> tuple[bool, bool]:
    """Return whether a thread is archived, and whether it is locked."""
    [found] = [one for one in fake.threads(fake.desk) if one["id"] == thread]
    kept = found["thread_metadata"]
    return kept["archived"], kept["locked"]


def tags(fake: DiscordFake, forum: str) -> list[str]:
    names = {one["id"]: one["name"] for one in fake._channels[forum]["available_tags"]}
    [thread] = fake.threads(forum)
    return [names[one] for one in thread["applied_tags"]]


async def test_a_thread_shows_whether_its_case_is_closed() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        thread = (await heed.deliver(topic(fake.desk), keep)).thread
        for state, shown in (
            ("human", (False, False)),
            ("snoozed", (True, False)),
            ("queued", (False, False)),
            ("resolved", (True, True)),
            ("resolved", (True, True)),
            ("human", (False, False)),
        ):
            receipt = await heed.deliver(topic(fake.desk, "", state, message_id=thread), keep)
            assert meta(fake, thread) == shown
            assert receipt.thread == thread
        assert len(fake.called("PATCH /channels/*")) == 4  # what is so already is not asked for
        assert fake.threads(fake.desk)[0]["name"] == "#7 Maya"


async def test_a_name_is_changed_only_when_it_is_another_and_a_shut_thread_can_be_renamed() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        thread = (await heed.deliver(topic(fake.desk), keep)).thread
        for _ in range(3):
            await heed.deliver(topic(fake.desk, message_id=thread), keep)
        assert fake.called("PATCH *") == []
        await heed.deliver(topic(fake.desk, "#7", "resolved", message_id=thread), keep)
        await heed.deliver(topic(fake.desk, "#7 x", "resolved", message_id=thread), keep)
        assert fake.threads(fake.desk)[0]["name"] == "#7 x"
        assert meta(fake, thread) == (True, True)
        with pytest.raises(RetryAfter) as waits:  # Discord allows two names in ten minutes
            await heed.deliver(topic(fake.desk, "#7 y", "human", message_id=thread), keep)
        assert waits.value.seconds > 500


async def test_a_forum_gets_a_post_with_the_tag_of_the_state_beside_staffs_own() -> None:
    async with DiscordFake() as fake:
        forum = fake.add_forum("cases", *TAGS)
        async with running(fake, Recorder(), desk_channel=forum) as heed:
            thread = (await heed.deliver(topic(forum), keep)).thread
            assert fake.transcript(thread) == [("Heed", "…")]
            assert tags(fake, forum) == ["Waiting"]
            [made] = fake.threads(forum)
            made["applied_tags"].append("74")
            await heed.deliver(topic(forum, "", "human", message_id=thread), keep)
            assert sorted(tags(fake, forum)) == ["claimed", "urgent"]
            await heed.deliver(topic(forum, "", "watch", message_id=thread), keep)
            assert tags(fake, forum) == ["urgent"]
            await heed.deliver(topic(forum, "", "resolved", message_id=thread), keep)
            assert sorted(tags(fake, forum)) == ["resolved", "urgent"]
            assert made["thread_metadata"]["archived"]
            await heed.deliver(topic(forum, "", "queued", message_id=thread), keep)
            await heed.deliver(post(forum, "card", kind="card", thread=thread), keep)
            assert fake.transcript(thread)[-1] == ("Heed", "card")


async def test_what_is_written_in_a_forums_post_is_heard_at_the_desk() -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        forum = fake.add_forum("cases")
        async with running(fake, door, desk_channel=forum) as heed:
            thread = (await heed.deliver(topic(forum), keep)).thread
            assert tags(fake, forum) == []
            fake.say("kim", "", channel=thread, files=[("a.txt", b"a")], mention=True)
            await until(lambda: door.messages)
            key = door.messages[0].key
            assert (key.chat, key.thread, door.messages[0].addressed) == (forum, thread, True)


async def test_an_archived_thread_reopens_by_sending_and_a_locked_one_says_so() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        thread = (await heed.deliver(topic(fake.desk), keep)).thread
        fake.archive(thread)
        await heed.deliver(post(fake.desk, "more", thread=thread), keep)
        assert meta(fake, thread) == (False, False)
        fake.lock(thread)
        with pytest.raises(ThreadShut, match="160005"):
            await heed.deliver(post(fake.desk, "again", thread=thread, nonce="c"), keep)
        await heed.deliver(topic(fake.desk, "", "human", message_id=thread), keep)
        await heed.deliver(post(fake.desk, "again", thread=thread, nonce="c"), keep)
        assert [text for _, text in fake.transcript(thread)] == ["more", "again"]


async def test_what_changes_in_a_shut_thread_leaves_it_shut() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        thread = (await heed.deliver(topic(fake.desk), keep)).thread
        card = await heed.deliver(post(fake.desk, "card", thread=thread), keep)
        there = {"thread": thread, "message_id": card.message_id}
        await heed.deliver(topic(fake.desk, "", "resolved", message_id=thread), keep)
        await heed.deliver(post(fake.desk, "resolved", kind="redraw", **there), keep)
        await heed.deliver(post(fake.desk, "sent", kind="mark", **there), keep)
        assert fake.transcript(thread) == [("Heed", "resolved")]
        assert fake.reactions(card.message_id) == {"✅": [fake.bot["id"]]}
        assert meta(fake, thread) == (True, True)
        fake.denied.add((fake.desk, "lock"))
        with pytest.raises(ThreadShut, match="50083"):
            await heed.deliver(post(fake.desk, "new", kind="redraw", **there), keep)


@pytest.mark.parametrize("woken", ["before", "meanwhile"])
async def test_a_card_drawn_while_its_case_wakes_leaves_the_thread_open(woken: str) -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        thread = (await heed.deliver(topic(fake.desk), keep)).thread
        card = await heed.deliver(post(fake.desk, "card", thread=thread), keep)
        await heed.deliver(topic(fake.desk, "", "snoozed", message_id=thread), keep)
        there = {"thread": thread, "message_id": card.message_id}
        awake = topic(fake.desk, "", "human", message_id=thread)
        fake.fail("PATCH /channels/*/messages/*", "50083")  # it was shut at that moment
        if woken == "before":
            await heed.deliver(awake, keep)
            await heed.deliver(post(fake.desk, "new", kind="redraw", **there), keep)
        else:
            fake.fail("PATCH /channels/*/messages/*", "429", retry_after=0.3)
            drawing = heed.deliver(post(fake.desk, "new", kind="redraw", **there), keep)
            drawn = asyncio.create_task(drawing)
            await until(lambda: meta(fake, thread) == (False, False))
            await heed.deliver(awake, keep)
            await drawn
        assert meta(fake, thread) == (False, False)
        assert fake.transcript(thread) == [("Heed", "new")]


async def test_a_deleted_thread_is_gone_whatever_is_done_there() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        thread = (await heed.deliver(topic(fake.desk), keep)).thread
        card = await heed.deliver(post(fake.desk, "card", thread=thread), keep)
        fake.delete_channel(thread)
        for lost in (
            post(fake.desk, "more", thread=thread, nonce="b"),
            post(fake.desk, "x", kind="redraw", thread=thread, message_id=card.message_id),
            topic(fake.desk, "", "human", message_id=thread),
        ):
            with pytest.raises(ThreadGone):
                await heed.deliver(lost, keep)


async def test_no_room_and_no_right_for_a_thread_are_told_as_such() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        fake.thread_limit = 0
        with pytest.raises(NoThread, match="160006"):
            await heed.deliver(topic(fake.desk), keep)
        fake.thread_limit = 1000
        fake.denied = {(fake.desk, "threads")}
        with pytest.raises(NoThread) as refused:
            await heed.deliver(topic(fake.desk), keep)
        assert not isinstance(refused.value, ThreadGone | ThreadShut)
        fake.denied = {(fake.desk, "view")}
        with pytest.raises(Unreachable):  # no thread would help: the desk itself is out of reach
            await heed.deliver(topic(fake.desk), keep)


async def test_who_may_not_lock_still_closes_the_thread() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        thread = (await heed.deliver(topic(fake.desk), keep)).thread
        fake.denied.add((fake.desk, "lock"))
        await heed.deliver(topic(fake.desk, "", "resolved", message_id=thread), keep)
        assert meta(fake, thread) == (True, False)


async def test_a_forums_post_of_unknown_outcome_is_not_made_twice_by_itself() -> None:
    async with DiscordFake() as fake:
        forum = fake.add_forum("cases", *TAGS)
        async with running(fake, Recorder()) as heed:
            fake.fail("POST /channels/*/threads", "cut", apply=True)
            with pytest.raises(OutcomeUnknown):
                await heed.deliver(topic(forum), keep)
            assert len(fake.threads(forum)) == 1
            assert not heed.repeatable(topic(forum))
            assert heed.repeatable(topic(forum, message_id="5"))


async def test_a_deleted_message_is_deleted_once_and_anothers_cannot_be() -> None:
    async with DiscordFake() as fake, running(fake, Recorder()) as heed:
        thread = (await heed.deliver(topic(fake.desk), keep)).thread
        copy = await heed.deliver(post(fake.desk, "copy", kind="relay", thread=thread), keep)
        gone = post(fake.desk, "", kind="delete", thread=thread, message_id=copy.message_id)
        for _ in range(2):
            assert (await heed.deliver(gone, keep)).message_id == copy.message_id
        assert fake.transcript(thread) == []
        theirs = fake.say("kim", "my own", channel=thread)
        fake.denied.add((fake.desk, "manage"))
        with pytest.raises(Unchangeable):
            await heed.deliver(
                post(fake.desk, "", kind="delete", thread=thread, message_id=theirs), keep
            )
        with pytest.raises(Refused):
            await heed.deliver(post(fake.desk, "✅", kind="react", thread=thread), keep)
