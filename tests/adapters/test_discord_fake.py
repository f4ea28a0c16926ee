"""The Discord of the tests keeps Discord's rules, as the real library meets them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import discord
import pytest
from discord.http import Route

from adapters.discord.rest import logged_in
from adapters.discord.supervisor import use_addresses
from tests.adapters.discord_bench import QUICK, Recorder, running
from tests.fakes.discord import DiscordFake
from tests.fakes.discord_shapes import Limit
from tests.patience import until


@asynccontextmanager
async def library(fake: DiscordFake) -> AsyncIterator[discord.Client]:
    use_addresses(fake.api_base, fake.gateway_url)
    client = await logged_in(fake.token, QUICK)
    try:
        yield client
    finally:
        await client.close()


async def refused(client: discord.Client, method: str, path: str, **body: Any) -> tuple[int, int]:
    with pytest.raises(discord.HTTPException) as error:
        await client.http.request(Route(method, path), json=body)
    return error.value.status, error.value.code


async def test_a_nonce_brings_the_same_message_back_for_a_while_and_is_short() -> None:
    now = [time.time()]
    async with DiscordFake(clock=lambda: now[0], nonce_lives=60.0) as fake, library(fake) as client:
        place = client.get_partial_messageable(int(fake.channel))
        first = await place.send("one", nonce="n")
        assert (await place.send("one", nonce="n")).id == first.id
        now[0] += 61.0
        assert (await place.send("one", nonce="n")).id != first.id
        path = f"/channels/{fake.channel}/messages"
        assert await refused(client, "POST", path, content="x", nonce="n" * 26) == (400, 50035)
        assert await refused(client, "POST", path, content="x" * 2001) == (400, 50035)
        named = {"message_id": str(first.id)}
        wrong = await refused(client, "POST", path, content="x", message_reference=named)
        assert wrong == (400, 50035)


async def test_a_bucket_that_is_empty_makes_the_library_wait() -> None:
    async with DiscordFake() as fake, library(fake) as client:
        fake.limits["POST /channels/*/messages"] = Limit(calls=2, window=0.4)
        place, began = client.get_partial_messageable(int(fake.channel)), time.monotonic()
        for number in range(5):
            await place.send(str(number))
        assert time.monotonic() - began > 0.7
        assert [text for _, text in fake.transcript(fake.channel)] == list("01234")
        assert {one.status for one in fake.called("POST /channels/*")} <= {200, 429}


async def test_without_the_intent_others_words_are_empty_live_and_in_the_history() -> None:
    async with DiscordFake() as fake, library(fake) as client:
        fake.say("ann", "among ourselves", channel=fake.channel, files=[("a.txt", b"a")])
        fake.say("ann", "to you", channel=fake.channel, mention=True)
        fake.say("ann", "in private")
        place = client.get_partial_messageable(int(fake.channel))
        await place.send("our own")
        found = [one async for one in place.history(oldest_first=True)]
        texts = ["", f"<@{fake.bot['id']}> to you", "our own"]
        assert [one.content for one in found] == texts
        assert found[0].attachments == []
        direct = client.get_partial_messageable(int(fake.dm("ann")))
        assert [one.content async for one in direct.history()] == ["in private"]
        around = await client.http.logs_from(int(fake.channel), 1, around=found[1].id)
        assert [one["id"] for one in around] == [str(found[1].id)]


async def test_an_interaction_is_answered_once_and_in_time() -> None:
    now = [time.time()]
    async with DiscordFake(clock=lambda: now[0]) as fake, library(fake) as client:
        used = fake.slash("ann", "help")
        path = f"/interactions/{used.id}/{used.token}/callback"
        noted = {"type": 4, "data": {"content": "x", "flags": 64}}
        await client.http.request(Route("POST", path), json=noted)
        assert await refused(client, "POST", path, **noted) == (400, 40060)
        late = fake.slash("ann", "help")
        now[0] += 3.5
        assert late.failed(now[0])
        path = f"/interactions/{late.id}/{late.token}/callback"
        assert await refused(client, "POST", path, **noted) == (404, 10062)


async def test_webhooks_threads_and_their_members() -> None:
    async with DiscordFake() as fake, library(fake) as client:
        made = await client.http.create_webhook(int(fake.channel), name="relay")
        hook = f"/webhooks/{made['id']}/{made['token']}"
        body = {"content": "@everyone", "username": "Maya", "allowed_mentions": {"parse": []}}
        route = Route("POST", hook)
        sent = await client.http.request(route, json=body, params={"wait": "true"})
        again = await client.http.request(route, json=body, params={"wait": "true"})
        assert sent["id"] != again["id"]  # no nonce exists here
        assert (sent["author"]["username"], sent["mention_everyone"]) == ("Maya", False)
        changed = await client.http.request(
            Route("PATCH", f"{hook}/messages/{sent['id']}"), json={"content": "edited"}
        )
        assert changed["content"] == "edited"
        thread = await client.http.start_thread_with_message(
            int(fake.channel), int(sent["id"]), name="t", auto_archive_duration=1440
        )
        assert thread["id"] == sent["id"]
        await client.http.add_user_to_thread(int(thread["id"]), int(fake.person("ann")))
        members = await client.http.get_thread_members(int(thread["id"]))
        assert [one["user_id"] for one in members] == [fake.person("ann")]
        there = await client.http.request(
            route, json=body, params={"wait": "true", "thread_id": thread["id"]}
        )
        assert there["channel_id"] == thread["id"]


async def test_a_webhooks_words_and_our_own_are_nobodys_message() -> None:
    door = Recorder()
    async with DiscordFake(content_intent=True) as fake:
        watch = {"mode": "watch", "watch": frozenset({fake.channel})}
        async with running(fake, door, **watch), library(fake) as client:
            made = await client.http.create_webhook(int(fake.channel), name="relay")
            route = Route("POST", f"/webhooks/{made['id']}/{made['token']}")
            await client.http.request(route, json={"content": "an echo"})
            await client.get_partial_messageable(int(fake.channel)).send("our own")
            fake.say("ann", "a person", channel=fake.channel)
            await until(door.texts)
            await asyncio.sleep(0.05)
            assert door.texts() == ["a person"]
