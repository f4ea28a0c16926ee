"""Menus of commands: one for each kind of chat and language, set only when changed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from bot import menus
from core.orders import COMMANDS
from tests.adapters.telegram_room import ANN, DESK, Recorder, running
from tests.fakes.telegram import TelegramFake

ALL = {
    "commands": menus.PEOPLE,
    "group_commands": menus.GROUPS,
    "admin_commands": menus.ADMINS,
    "staff_commands": menus.STAFF,
    "desk_chats": frozenset({str(DESK)}),
}
SETS = (len(menus.PEOPLE) + 1) + 2 * (len(menus.GROUPS) + 1) + (len(menus.STAFF) + 1)


@pytest.fixture
async def fake() -> AsyncIterator[TelegramFake]:
    async with TelegramFake() as server:
        server.group(DESK, forum=True)
        yield server


def offered(fake: TelegramFake, kind: str, language: str) -> list[str]:
    """Return the names of one menu."""
    for (scope, code), menu in fake.commands.items():
        if json.loads(scope)["type"] == kind and code == language:
            return [one["command"] for one in menu]
    return []


async def test_people_groups_and_staff_see_their_own_commands(fake: TelegramFake) -> None:
    async with running(fake, Recorder(), **ALL):
        await fake.until(lambda: len(fake.commands) == SETS)
    assert "claim" not in offered(fake, "all_private_chats", "")
    assert "forget" in offered(fake, "all_private_chats", "ru")
    assert offered(fake, "all_group_chats", "es") == ["human", "help", "privacy"]
    assert offered(fake, "all_chat_administrators", "ru")[-2:] == ["why", "here"]
    assert "claim" in offered(fake, "chat", "zh")
    assert "human" not in offered(fake, "chat", "")
    scopes = [json.loads(scope) for scope, _ in fake.commands]
    assert {str(one["chat_id"]) for one in scopes if one["type"] == "chat"} == {str(DESK)}


async def test_an_unchanged_menu_is_not_set_again(fake: TelegramFake) -> None:
    for count in (SETS, 2 * SETS):
        async with running(fake, Recorder(), **ALL):
            await fake.until(lambda: len(fake.called("getMyCommands")) == count)  # noqa: B023
            await fake.until(lambda: len(fake.commands) == SETS)
    assert len(fake.called("setMyCommands")) == SETS


async def test_a_scope_that_telegram_refuses_stops_no_other(
    fake: TelegramFake, caplog: pytest.LogCaptureFixture
) -> None:
    door = Recorder()
    desks = frozenset({"-1", str(DESK)})  # the bot is not in the first
    async with running(fake, door, **(ALL | {"desk_chats": desks})):
        await fake.until(lambda: offered(fake, "chat", "zh"))
        fake.say(ANN, ANN, "hello")
        await fake.until(lambda: door.messages)
    assert "could not be set" in caplog.text


async def test_a_flood_of_menus_is_waited_out(fake: TelegramFake) -> None:
    fake.fail("setMyCommands", "429", 2, retry_after=1)
    async with running(fake, Recorder(), **ALL):
        await fake.until(lambda: len(fake.commands) == SETS)
    assert len(fake.commands) == SETS


def test_every_menu_names_the_same_commands_in_every_language() -> None:
    for catalogue in (menus.PEOPLE, menus.GROUPS, menus.STAFF):
        names = {language: [name for name, _ in menu] for language, menu in catalogue.items()}
        assert all(one == names["en"] for one in names.values())


def test_every_command_of_the_staff_menu_is_one_that_the_desk_obeys() -> None:
    assert {name for name, _ in menus.STAFF["en"]} <= {*COMMANDS, "bot"}
