"""What a model on a server reads of people: placeholders, which the person never sees."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import pytest

from core.engine.ports import Limits
from core.engine.remote import RemoteEngine
from core.message import Said
from core.reply.facts import facts_in, known_facts
from tests.core.engine.test_remote import request, warm
from tests.fakes.openai import Messages, OpenAIFake

MAIL, PHONE, CARD = "jane.doe@example.com", "13812345678", "4111 1111 1111 1111"
PRIVATE = (MAIL, PHONE, CARD, "4111")


def parrot(messages: Messages) -> Iterable[str]:
    """Say every placeholder again, two characters at a time, and one that nobody wrote."""
    read = re.findall(r"\[\w+ \d\]", messages[-1]["content"])
    said = f"I have {' and '.join(read)}, and not [phone 9] [sic]."
    return [said[at : at + 2] for at in range(0, len(said), 2)]


async def answer(engine: RemoteEngine, *texts: str, **more: object) -> list[str]:
    started = await engine.start(request(*texts, **more))
    try:
        return [piece async for piece in engine.continue_reply(started, Limits(), "calm")]
    finally:
        await engine.settle(started, kept=True)


def sent(fake: OpenAIFake) -> str:
    return json.dumps([one.body for one in fake.chats()], ensure_ascii=False)


async def test_a_server_reads_no_personal_data_and_the_person_reads_their_own() -> None:
    history = (
        Said(role="user", text=f"mail {MAIL}", at=1.0),
        Said(role="bot", text="Yes.", at=2.0),
    )
    async with OpenAIFake(parrot) as fake, warm(fake) as engine:
        await engine.tag_many([f"call {PHONE}"])
        pieces = await answer(
            engine, f"my card {CARD}", f"or {PHONE}, {MAIL}", history=history, name=MAIL
        )
        heard = sent(fake)
    assert [one for one in PRIVATE if one in heard] == []
    assert "[card 1]" in heard
    said = "".join(pieces)
    assert said == f"I have {CARD} and {PHONE} and {MAIL}, and not phone number [sic]."
    assert len(pieces) > 5  # it still comes in pieces
    assert facts_in(said) <= known_facts(MAIL, PHONE, CARD)  # reply.mode facts lets it pass


async def test_one_request_says_one_value_by_one_placeholder() -> None:
    history = (Said(role="user", text=f"mail {MAIL}", at=1.0),)
    async with OpenAIFake(parrot) as fake, warm(fake) as engine:
        await answer(engine, f"again {MAIL}", history=history)
        read = fake.chats()[-1].messages[-1]["content"]
    assert read.count("[email 1]") == 2
    assert "[email 2]" not in read


async def test_what_the_operator_wrote_and_the_made_stay_as_they_are() -> None:
    async with OpenAIFake(parrot) as fake, warm(fake) as engine:
        [tag] = await engine.tag_many([f"call {PHONE}"])
        assert tag.made["prompt_suffix"] == "call [phone 1]"  # as it was really sent
        started = await engine.start(request("hello"))
        assert started.request.messages == ("hello",)
        await engine.cancel(started)


@pytest.mark.parametrize("cut", ["I call [pho", "I call [", "I call [phone 1"])
async def test_a_reply_that_ends_within_a_placeholder_is_said_whole(cut: str) -> None:
    async with OpenAIFake(lambda _: [cut]) as fake, warm(fake) as engine:
        assert "".join(await answer(engine, PHONE)) == cut


async def test_the_operator_may_trust_the_server() -> None:
    async with OpenAIFake(parrot) as fake, warm(fake, redact=False) as engine:
        await engine.tag_many([f"call {PHONE}"])
        await answer(engine, f"my card {CARD}")
        heard = sent(fake)
    assert PHONE in heard
    assert CARD in heard
