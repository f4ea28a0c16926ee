from __future__ import annotations

from typing import Any

import pytest

from adapters.discord.permissions import EVERYTHING, manages, permissions
from core.errors import OutcomeUnknown
from core.message import Place
from core.texts import STAFF, Texts
from tests.adapters.discord_bench import Recorder, adapter, keep, post, running
from tests.fakes.discord import DiscordFake
from tests.patience import until

NAMES = ["view", "intent", "heard", "send", "slow"]
MANAGE_SERVER, MODERATE = 1 << 5, 1 << 40


def place(chat: str, thread: str = "") -> Place:
    return Place(platform="discord", bot="main", chat=chat, thread=thread)


async def shut(fake: DiscordFake, where: Place, **more: Any) -> list[str]:
    """Return the shut gates; each must have a sentence for staff that says where to click."""
    texts = Texts.load(None)
    heed = adapter(fake, Recorder(), **more)
    found = await heed.gates(where)
    await heed._rest.close()
    for gate in found:
        for lang in (STAFF, "zh"):
            assert texts.say(
                f"gate_{gate.name}_{'open' if gate.open else 'shut'}", lang, **gate.values
            )
    assert [one.name for one in found] in ([f"discord_{one}" for one in NAMES], ["discord_view"])
    return [one.name.removeprefix("discord_") for one in found if not one.open]


async def test_a_channel_where_only_who_speaks_to_the_bot_is_heard() -> None:
    async with DiscordFake() as fake:
        assert await shut(fake, place(fake.channel)) == ["heard"]
        assert await shut(fake, place(fake.desk), desk_channel=fake.desk) == []
        watch = {"mode": "watch", "watch": frozenset({fake.channel})}
        assert await shut(fake, place(fake.channel), **watch) == ["intent"]
        fake.content_intent = True
        assert await shut(fake, place(fake.channel), **watch) == []


async def test_a_channel_that_is_hidden_or_mute_or_slow() -> None:
    async with DiscordFake() as fake:
        fake.slow(fake.channel, 30)
        fake.forbid(fake.channel, "send")
        assert await shut(fake, place(fake.channel)) == ["heard", "send", "slow"]
        fake.give_role("Heed", "bot", 1 << 52)
        assert await shut(fake, place(fake.channel)) == ["heard", "send"]
        fake.forbid(fake.channel, "view")
        assert await shut(fake, place(fake.channel)) == ["view"]
        assert await shut(fake, place("12345678901")) == ["view"]


async def test_a_thread_has_a_right_of_its_own_and_may_be_locked() -> None:
    async with DiscordFake() as fake:
        thread = fake.add_channel("t", kind=11, parent=fake.channel)
        where = place(fake.channel, thread)
        assert await shut(fake, where) == ["heard"]
        fake.lock(thread)
        assert await shut(fake, where) == ["heard", "send"]
        fake.give_role("Heed", "bot", 1 << 34)
        assert await shut(fake, where) == ["heard"]
        fake.forbid(fake.channel, "send in threads")
        assert await shut(fake, where) == ["heard", "send"]


async def test_a_direct_channel_has_no_gates_and_silence_of_discord_is_no_answer() -> None:
    async with DiscordFake() as fake:
        heed = adapter(fake, Recorder())
        assert await heed.gates(place(fake.dm("ann"))) == []
        fake.fail("GET /guilds/*", "junk")
        with pytest.raises(OutcomeUnknown):
            await heed.gates(place(fake.channel))
        await heed._rest.close()


@pytest.mark.parametrize(
    ("bits", "admin"), [(0, False), (1 << 13, False), (MANAGE_SERVER, True), (MODERATE, True)]
)
async def test_who_runs_the_server_is_known_live_in_the_history_and_by_a_command(
    bits: int,
    admin: bool,  # noqa: FBT001
) -> None:
    door = Recorder()
    async with DiscordFake() as fake:
        fake.give_role("kim", "team", bits)
        async with running(fake, door):
            fake.say("kim", "live", channel=fake.channel, mention=True)
            fake.slash("kim", "why", channel=fake.channel)
            await until(lambda: len(door.messages) == 2)
        fake.say("kim", "later", channel=fake.channel, mention=True)
        async with running(fake, door):
            await until(lambda: len(door.messages) == 3)
        assert [one.author.admin for one in door.messages] == [admin] * 3
        assert {one.server for one in door.messages} == {fake.guild}


async def test_the_owner_runs_the_server_whatever_their_roles_and_nobody_does_in_private() -> None:
    door = Recorder()
    async with DiscordFake() as fake, running(fake, door) as heed:
        ours = await heed.deliver(post(fake.channel, "hello"), keep)
        fake.say("owner", "mine", channel=fake.channel, mention=True)
        fake.react("owner", fake.channel, ours.message_id, "👍")
        fake.say("owner", "in private")
        await until(lambda: len(door.messages) == 3)
        standing = {(one.kind, one.private): one.author.admin for one in door.messages}
        expected = {("said", False): True, ("reacted", False): True, ("said", True): False}
        assert standing == expected
        assert [one.server for one in door.messages if one.private] == [""]


def test_permissions_go_by_owner_administrator_and_overwrites_in_discords_order() -> None:
    roles = [{"id": "1", "permissions": "3"}, {"id": "2", "permissions": "4"}]
    server = {"id": "1", "owner_id": "9", "roles": [*roles, {"id": "3", "permissions": "8"}]}
    everyone = {"id": "1", "allow": "0", "deny": "2"}
    role = {"id": "2", "allow": "2", "deny": "4"}
    own = {"id": "5", "allow": "4", "deny": "1"}
    other = {"id": "6", "allow": "0", "deny": "7"}
    held = [
        permissions(server, ["2"], [], "5"),
        permissions(server, ["2"], [everyone], "5"),
        permissions(server, ["2"], [role, everyone], "5"),
        permissions(server, ["2"], [own, role, everyone, other], "5"),
    ]
    assert held == [7, 5, 3, 6]
    assert permissions(server, ["3"], [everyone], "5") == EVERYTHING
    assert permissions(server, [], [everyone], "9") == EVERYTHING
    assert manages(EVERYTHING)
    assert not manages(1 << 13)
