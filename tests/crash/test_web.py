"""Killed, and taken over, while a reply is being streamed."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path

import httpx2
import pytest

from tests.crash.harness import Zygote, until
from tests.crash.home import WITHDRAWN, Home
from tests.crash.stages import TelegramStage


async def say(client: httpx2.AsyncClient, text: str, user: str = "ann") -> list[str]:
    """Say one line over the API; return the names of the events that came before the end."""
    told: list[str] = []
    try:
        async with client.stream(
            "POST",
            "/chat",
            json={"text": text, "user": user},
            headers={"accept": "text/event-stream"},
        ) as answer:
            async for line in answer.aiter_lines():
                told += re.findall(r"^event: *(\w+)", line)
    except httpx2.HTTPError:
        pass
    return told


async def act(client: httpx2.AsyncClient, case: int, verb: str) -> None:
    form = {"person": "ann", "case": str(case), "verb": verb, "confirm": "1"}
    answer = await client.post("/room/act", data=form, headers={"heed-live": "1"})
    assert answer.status_code == 204, answer.text


async def speak(client: httpx2.AsyncClient, text: str) -> None:
    """Say one line as a person of the room, without waiting for the answer."""
    answer = await client.post(
        "/room/say", data={"person": "ann", "text": text}, headers={"heed-live": "1"}
    )
    assert answer.status_code == 204, answer.text


@pytest.mark.parametrize("hit", [1, 2, 3])
async def test_killed_while_streaming_the_answer_comes_once(
    zygote: Zygote, tmp_path: Path, hit: int
) -> None:
    home = Home(zygote, tmp_path)
    async with home.life(point="text shown", hit=hit, pace=0.002) as client:
        told = await say(client, "how do I pay? k01")
        assert told[0] == "tag"
        assert told[1:] == ["token"] * (len(told) - 1)  # and then the line went dead
        assert await home.ended
    assert home.streaming()
    assert home.lines("bot") == []
    async with home.life():
        assert await home.idle(1)
    [(state, text)] = home.posts("reply")
    assert state == "sent"
    assert "k01" in text
    assert home.lines("bot") == [text]
    assert len(home.lines("user")) == 1


@pytest.mark.parametrize("point", ["after intake commit", "model end", "after done commit"])
async def test_what_was_told_is_kept(zygote: Zygote, tmp_path: Path, point: str) -> None:
    home = Home(zygote, tmp_path)
    async with home.life(point=point, hit=4) as client:
        people = [f"p{number}" for number in range(8)]
        await asyncio.gather(*(say(client, f"hello k{n:02d}", who) for n, who in enumerate(people)))
        assert await home.ended
    taken = home.database.number("select count(*) from inbox")
    assert taken >= 4
    async with home.life() as client:
        assert await home.idle(taken)
        assert (await say(client, "and now? k99"))[-1] == "done"  # it goes on serving
        assert await home.idle(taken + 1)
    answered = re.findall(r"k\d\d", " ".join(home.lines("bot")))
    assert len(answered) == len(set(answered)) == taken + 1
    assert [state for state, _ in home.posts("reply")] == ["sent"] * (taken + 1)


async def to_watched(home: Home, client: httpx2.AsyncClient) -> None:
    """Bring the person's case to where the machine speaks again, watched by staff."""
    await speak(client, "can I talk to a human please k01")
    assert await home.idle(1)
    await act(client, 1, "claim")
    await act(client, 1, "botback")


async def test_no_word_of_the_machine_is_claimed_after_a_claim_of_staff(
    zygote: Zygote, tmp_path: Path
) -> None:
    """Staff take over at every moment of a stream, from before its first word to after its last."""
    home = Home(zygote, tmp_path)
    rounds = 14
    async with home.life(pace=0.004) as client:
        await to_watched(home, client)
        for number in range(rounds):
            await speak(client, f"what about this? k{number + 10}")
            await asyncio.sleep(number * 0.012)
            if number == rounds - 1:  # the last one is whole, however slow the machine is
                assert await home.idle(number + 2)
            await act(client, 1, "claim")
            assert await home.idle(number + 2)
            assert not home.streaming()
            await act(client, 1, "botback")
    states = [state for state, _ in home.posts("reply")]
    assert set(states) <= {"sent", "withdrawn"}
    assert "withdrawn" in states
    assert "sent" in states
    late = home.database.rows(
        "select o.id from outbox o where o.kind = 'reply' and o.state = 'sent' and exists ("
        "select 1 from audit a where a.what = 'claimed' and a.at < o.first_try_at "
        "and a.at > o.queued_at)"
    )
    assert late == []
    cut = states.count("withdrawn")
    assert 0 < len(home.withdrawals()) <= cut
    assert set(home.withdrawals()) == {"sent"}


async def test_killed_right_after_a_claim_the_stream_stays_withdrawn(
    zygote: Zygote, tmp_path: Path
) -> None:
    home = Home(zygote, tmp_path)
    async with home.life(pace=0.02) as client:
        await to_watched(home, client)
        await speak(client, "what about this? k02")
        assert await until(home.streaming)
        await act(client, 1, "claim")
        home.child.kill()
        assert await home.ended
    async with home.life():
        assert await home.idle(2)
    assert [state for state, _ in home.posts("reply")] == ["withdrawn"]
    assert not any("k02" in line for line in home.lines("bot"))
    assert home.withdrawals() == ["sent"]


async def test_on_telegram_a_claim_withdraws_the_stream_and_says_so(
    zygote: Zygote, tmp_path: Path
) -> None:
    async with TelegramStage() as stage:
        home = Home(zygote, tmp_path, **stage.settings())

        def button(label: str) -> tuple[int, str]:
            [topic] = stage.chats[stage.desk].topics
            for line in stage.seen(stage.desk, topic):
                for _, data in line.buttons:
                    if f":{label}:" in data:
                        return line.message_id, data
            return 0, ""

        async def press(label: str) -> None:
            assert await until(lambda: button(label)[0]), label
            stage.press(stage.desk, *button(label), user=7)
            assert await until(lambda: not button(label)[0]), label

        async with home.life(stage.child, pace=0.05):
            stage.speak("ann", "can I talk to a human please k01")
            assert await until(lambda: stage.chats[stage.desk].topics)
            await press("cl")
            await press("bb")
            stage.speak("ann", "what about this? k02")
            assert await until(lambda: stage.drafts(stage.ids["ann"]))
            stage.press(stage.desk, *button("cl"), user=7)
            assert await until(home.database.settled)
            stage.child.signal(signal.SIGKILL)
            assert await home.ended
        async with home.life(stage.child):
            assert await until(home.database.settled)
            words = stage.texts(stage.ids["ann"])
        assert not any("k02" in text for text in words)
        assert sum(WITHDRAWN in text for text in words) == 1
