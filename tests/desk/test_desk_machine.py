"""Anything in any order, through the real adapters: the desk keeps its promises.

Hypothesis chooses the stories and shrinks one that fails; a story that failed once is kept below.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from bot.settings import Desk, Discord as DiscordSettings, Settings, Telegram as TelegramSettings
from tests.desk.judge import MACHINE, Written
from tests.desk.machine import COMMANDS, SAYS, Move, World, hurried
from tests.fakes.discord import DiscordFake
from tests.patience import PATIENCE, until
from tests.proof import Ledger
from tests.walk.house import settings_for
from tests.walk.platforms import ANA, BEN, BOB, DESK, MAYA, Town, buttons

FAULTS = (
    ("reset", False), ("reset", True), ("429", False), ("500", False), ("502", True), ("cut", True),
)  # fmt: skip
CALLS = (
    "sendMessage", "editMessageText", "createForumTopic", "setMessageReaction", "editForumTopic",
    "sendMessageDraft", "pinChatMessage", "reopenForumTopic", "sendPhoto", "sendMediaGroup",
)  # fmt: skip
ROUTES = (
    "POST /channels/*/messages", "PATCH /channels/*/messages/*", "POST /channels/*/threads",
    "POST /channels/*/messages/*/threads", "PATCH /channels/*", "PUT /channels/*",
)  # fmt: skip


class Telegram(World):
    """The desk is a forum group, the people are in private chats."""

    users, staff = (MAYA, BEN), (ANA, BOB)

    def __init__(self, fake: Town) -> None:
        super().__init__()
        self.fake = fake
        fake.clock = self.clock
        fake.group(DESK, title="Desk", forum=True)
        self.mine: list[tuple[int, int]] = []  # people's messages: (chat, id)
        self.old: list[tuple[int, int, str]] = []  # buttons that were once there

    def settings(self) -> Settings:
        fake = self.fake
        own = TelegramSettings(token=fake.token, api_base=fake.api_base, file_base=fake.file_base)
        return settings_for(self.folder, telegram=own, desk=Desk(staff=f"telegram:{DESK}"))

    async def start(self) -> None:
        self.polls = len(self.fake.called("getUpdates"))
        await super().start()

    def up(self) -> bool:
        return len(self.fake.called("getUpdates")) > self.polls

    def mend(self) -> None:
        self.fake.faults.clear()

    def pending(self) -> bool:
        return bool(self.fake.updates)

    async def meet(self) -> None:
        """Telegram keeps what is written to a bot that is away."""

    # --- moves ----------------------------------------------------------------------------------

    async def do_say(self, a: int, b: int) -> None:
        user, token = self.users[a % 2], self.token("m")
        self.said.append((user, token))
        number = self.fake.say(user, user, f"{SAYS[b % len(SAYS)]} {token}")
        self.mine.append((user, number))

    async def do_amend(self, a: int, _b: int) -> None:
        if self.mine:
            chat, number = self.mine[-1 - a % len(self.mine)]
            text = self.fake.chats[chat].messages[number]["text"]
            if not text.startswith("/"):
                self.fake.edit(chat, number, f"{text} indeed")

    async def do_human(self, a: int, _b: int) -> None:
        user = self.users[a % 2]
        self.fake.say(user, user, "/human")

    async def do_block(self, a: int, _b: int) -> None:
        user = self.users[a % 2]
        self.blocked.add(str(user))
        self.fake.block(user)

    async def do_return(self, a: int, _b: int) -> None:
        if self.fake._chat(self.users[a % 2]).blocked:
            self.fake.unblock(self.users[a % 2])

    async def do_own_button(self, a: int, b: int) -> None:
        """A person presses something in their own chat."""
        user = self.users[a % 2]
        found = [one for one in self.fake.seen(user) if one.buttons]
        if found:
            shown = found[-1]
            self.fake.press(user, shown.message_id, shown.buttons[b % len(shown.buttons)][1], user)

    def _topic(self, a: int) -> int | None:
        topics = list(self.fake.chats[DESK].topics)
        return topics[-1 - a % len(topics)] if topics else None

    async def do_answer(self, a: int, b: int) -> None:
        self._writes(a, b, self.token("s"))

    async def do_note(self, a: int, b: int) -> None:
        self._writes(a, b, f"// {self.token('n')}")

    async def do_anonymous(self, a: int, b: int) -> None:
        self._writes(a, b, self.token("s"), anonymous=True)

    def _writes(self, a: int, b: int, text: str, **how: Any) -> None:
        topic = self._topic(a)
        if topic is not None and not self.fake.chats[DESK].topics[topic]["closed"]:
            number = self.fake.say(DESK, self.staff[b % 2], text, thread=topic, **how)
            self.written.append(Written(text.removeprefix("// "), number, str(topic)))

    async def do_amend_answer(self, a: int, _b: int) -> None:
        found = [one for one in self.written if one.message in self.fake.chats[DESK].messages]
        if found:
            one = found[-1 - a % len(found)]
            self.fake.edit(DESK, one.message, f"{one.token} corrected")

    async def do_take_back(self, a: int, b: int) -> None:
        found = [one for one in self.written if one.message in self.fake.chats[DESK].messages]
        if found:
            one = found[-1 - a % len(found)]
            who, thread = self.staff[b % 2], int(one.thread)
            self.fake.say(DESK, who, "/del", thread=thread, reply_to=one.message)

    async def do_command(self, a: int, b: int) -> None:
        topic = self._topic(a // 2)
        if topic is not None:
            self.fake.say(DESK, self.staff[a % 2], COMMANDS[b % len(COMMANDS)], thread=topic)

    async def do_press(self, a: int, b: int) -> None:
        found = [one for one in self.fake.seen(DESK) if one.buttons]
        if found:
            shown = found[-1 - a % len(found)]
            allowed = [data for _, data in shown.buttons if ":rt:" not in data]
            if allowed:
                data = allowed[b % len(allowed)]
                self.old.append((shown.message_id, shown.thread or 0, data))
                self.fake.press(DESK, shown.message_id, data, self.staff[b % 2])

    async def do_old_press(self, a: int, b: int) -> None:
        found = [one for one in self.old if one[0] in self.fake.chats[DESK].messages]
        if found:
            number, _, data = found[a % len(found)]
            message = self.fake.chats[DESK].messages[number]
            callback = f"old{next(self.numbers)}"
            self.fake.callbacks[callback] = None
            who = self.fake._user(self.staff[b % 2])
            self.fake.push(
                "callback_query",
                {"id": callback, "from": who, "message": message, "chat_instance": "1",
                 "data": data},
            )  # fmt: skip

    async def do_close(self, a: int, _b: int) -> None:
        topic = self._topic(a)
        if topic is not None:
            self.fake.close_topic(DESK, topic)

    async def do_delete(self, a: int, _b: int) -> None:
        topic = self._topic(a)
        if topic is not None:
            self.fake.delete_topic(DESK, topic)

    async def do_fault(self, a: int, b: int) -> None:
        kind, apply = FAULTS[b % len(FAULTS)]
        self.fake.fail(CALLS[a % len(CALLS)], kind, 1 + a % 2, apply=apply)

    # --- what is shown --------------------------------------------------------------------------

    def threads(self) -> set[str]:
        return {str(topic) for topic in self.fake.chats[DESK].topics}

    def shown(self) -> list[tuple[str, str, str]]:
        return [
            (str(chat), str(line.message_id), line.text)
            for chat in (*self.users, DESK)
            for line in self.fake.seen(chat)
            if line.who == "bot" and not line.kind
        ]

    def homes(self) -> set[str]:
        return {str(user) for user in self.users}

    def spoken(self) -> list[tuple[Any, float, str, bool]]:
        return [
            (call.params["chat_id"], self.wall(call.at), call.params["text"],
             call.method.lower() == "sendmessagedraft")
            for call in self.fake.calls
            if MACHINE in call.params.get("text", "")
            and int(call.params["chat_id"]) in self.users
        ]  # fmt: skip

    def passed_on(self, one: Written) -> bool:
        return any(one.token in call.params.get("text", "") for call in self.fake.calls)

    def heard(self, one: Written) -> bool:
        return bool(one.message)

    def marked(self, one: Written) -> bool:
        return bool(self.fake.reactions.get((DESK, one.message)))


class Discord(World):
    """The desk is a channel with threads, the people are in direct messages."""

    users, staff = ("maya", "ben"), ("ana", "bob")
    grows = True

    def __init__(self, fake: DiscordFake) -> None:
        super().__init__()
        self.fake = fake
        fake.clock = self.clock
        self.mine: list[tuple[str, str]] = []  # people's messages: (channel, id)
        self.old: list[tuple[str, str, str]] = []  # buttons that were once there

    def settings(self) -> Settings:
        fake = self.fake
        own = DiscordSettings(
            token=fake.token, api_base=fake.api_base, gateway_url=fake.gateway_url
        )
        return settings_for(self.folder, discord=own, desk=Desk(staff=f"discord:{fake.desk}"))

    def up(self) -> bool:
        return all(one.health().state == "ok" for one in self.app.adapters.values())

    def mend(self) -> None:
        self.fake.faults.clear()

    def pending(self) -> bool:
        return False

    async def meet(self) -> None:
        """Discord tells a new process of no chat that it does not know: each begins with one."""
        for user in self.users:
            self.fake.say(user, "good day")
        await until(lambda: all(len(self.fake.messages(self.fake.dm(u))) > 1 for u in self.users))

    # --- moves ----------------------------------------------------------------------------------

    async def do_say(self, a: int, b: int) -> None:
        user, token = self.users[a % 2], self.token("m")
        self.said.append((user, token))
        number = self.fake.say(user, f"{SAYS[b % len(SAYS)]} {token}")
        self.mine.append((self.fake.dm(user), number))

    async def do_amend(self, a: int, _b: int) -> None:
        found = [(c, m) for c, m in self.mine if m in self.fake._messages[c]]
        if found:
            channel, number = found[-1 - a % len(found)]
            text = self.fake._messages[channel][number]["content"]
            self.fake.edit(channel, number, f"{text} indeed")

    async def do_human(self, a: int, _b: int) -> None:
        self.fake.slash(self.users[a % 2], "human")

    async def do_block(self, a: int, _b: int) -> None:
        user = self.fake.person(self.users[a % 2])
        self.blocked.add(user)
        self.fake.closed_people.add(user)

    async def do_return(self, a: int, _b: int) -> None:
        self.fake.closed_people.discard(self.fake.person(self.users[a % 2]))

    async def do_own_button(self, a: int, b: int) -> None:
        """A person presses something in their own chat."""
        user = self.users[a % 2]
        await self._presses(user, [self.fake.dm(user)], 0, b)

    def _threads(self) -> list[str]:
        return [str(one["id"]) for one in self.fake.threads(self.fake.desk)]

    def _thread(self, a: int) -> str | None:
        found = self._threads()
        return found[-1 - a % len(found)] if found else None

    async def do_answer(self, a: int, b: int) -> None:
        self._writes(a, b, "r", self.token("s"))

    async def do_note(self, a: int, b: int) -> None:
        self._writes(a, b, "note", self.token("n"))

    async def do_anonymous(self, a: int, b: int) -> None:
        self._writes(a, b, "ra", self.token("s"))

    def _writes(self, a: int, b: int, name: str, text: str) -> None:
        thread = self._thread(a)
        if thread is not None:
            used = self.fake.slash(self.staff[b % 2], name, channel=thread, text=text)
            self.written.append(Written(text, used.id, thread))

    async def do_amend_answer(self, a: int, b: int) -> None:
        thread = self._thread(a)
        if thread is not None:
            number = str((await self.facts()).history[-1].id) if (a + b) % 2 else ""
            text = f"{number} corrected".strip()
            self.fake.slash(self.staff[b % 2], "edit", channel=thread, text=text)

    async def do_take_back(self, a: int, b: int) -> None:
        """A person deletes their message, or a member of staff an answer."""
        found = [(c, m) for c, m in self.mine if m in self.fake._messages[c]]
        if b % 2 and found:
            channel, number = found[-1 - a % len(found)]
            text = self.fake._messages[channel][number]["content"]
            self.said = [one for one in self.said if one[1] not in text]  # its words leave us too
            self.fake.delete(channel, number)
        elif (thread := self._thread(a)) is not None:
            self.fake.slash(self.staff[b % 2], "del", channel=thread, text="1")

    async def do_command(self, a: int, b: int) -> None:
        thread = self._thread(a // 2)
        if thread is not None:
            name, _, text = COMMANDS[b % len(COMMANDS)][1:].partition(" ")
            more = {"text": text} if text else {}
            self.fake.slash(self.staff[a % 2], name, channel=thread, **more)

    async def do_press(self, a: int, b: int) -> None:
        await self._presses(self.staff[b % 2], [self.fake.desk, *self._threads()], a, b)

    async def _presses(self, user: str, channels: Sequence[str], a: int, b: int) -> None:
        shown = [
            (channel, one["id"], data)
            for channel in channels
            for one in self.fake.messages(channel)
            for data in buttons(one).values()
            if ":rt:" not in data
        ]
        if not shown:
            return
        place = shown[-1 - (3 * a + b) % len(shown)]
        self.old.append(place)
        pressed = self.fake.press(user, *place)
        if place[2].split(":")[2:3] and place[2].split(":")[2] in ("rp", "nt", "de"):
            async with asyncio.timeout(PATIENCE):
                await pressed.answered.wait()
            if pressed.answer is not None and pressed.answer["type"] == 9:
                self.fake.submit(pressed, self.token("s"))

    async def do_old_press(self, a: int, b: int) -> None:
        messages = self.fake._messages
        found = [one for one in self.old if one[1] in messages.get(one[0], {})]
        found = [one for one in found if one[0] in self.fake._channels]
        if found:
            self.fake.press(self.staff[b % 2], *found[a % len(found)])

    async def do_close(self, a: int, b: int) -> None:
        thread = self._thread(a)
        if thread is not None:
            (self.fake.lock if b % 2 else self.fake.archive)(thread)

    async def do_delete(self, a: int, _b: int) -> None:
        thread = self._thread(a)
        if thread is not None:
            self.fake.delete_channel(thread)

    async def do_fault(self, a: int, b: int) -> None:
        kind, apply = FAULTS[b % len(FAULTS)]
        self.fake.fail(ROUTES[a % len(ROUTES)], kind, apply=apply)

    # --- what is shown --------------------------------------------------------------------------

    def threads(self) -> set[str]:
        return set(self._threads())

    def shown(self) -> list[tuple[str, str, str]]:
        people = [self.fake.dm(user) for user in self.users]
        return [
            (channel, one["id"], one["content"])
            for channel in (*people, self.fake.desk, *self._threads())
            for one in self.fake.messages(channel)
            if one["author"]["id"] == self.fake.bot["id"] and not one["attachments"]
        ]

    def homes(self) -> set[str]:
        return {self.fake.dm(user) for user in self.users}

    def spoken(self) -> list[tuple[Any, float, str, bool]]:
        people = {self.fake.dm(user): self.fake.person(user) for user in self.users}
        return [
            (people[channel], self.wall(call.at), call.body["content"], False)
            for call in self.fake.calls
            if isinstance(call.body, dict) and MACHINE in str(call.body.get("content", ""))
            and (channel := call.path.split("/")[2]) in people
        ]  # fmt: skip

    def passed_on(self, one: Written) -> bool:
        return any(one.token in str(call.body) for call in self.fake.calls)

    def marked(self, one: Written) -> bool:  # noqa: ARG002 - a slash command cannot bear one
        return True

    def heard(self, one: Written) -> bool:
        """An unanswered command is told of by Discord itself."""
        return self.fake.interactions[one.message].answer is not None


COMMON = (
    "say", "say", "say", "say", "amend", "human", "answer", "answer", "note", "command", "command",
    "command", "press", "press", "press", "old_press", "delete", "close", "fault", "fault", "rest",
    "rest", "jump", "restart", "page", "amend_answer", "take_back", "block", "return",
    "own_button", "anonymous",
)  # fmt: skip


def stories(length: int) -> st.SearchStrategy[list[Move]]:
    number = st.integers(0, 9)
    return st.lists(
        st.tuples(st.sampled_from(COMMON), number, number), min_size=length // 2, max_size=length
    )


async def on_telegram(moves: Sequence[Move]) -> tuple[list[str], int]:
    async with Town() as fake:
        world = Telegram(fake)
        return await world.play(moves), world.steps


async def on_discord(moves: Sequence[Move]) -> tuple[list[str], int]:
    async with DiscordFake() as fake:
        world = Discord(fake)
        return await world.play(moves), world.steps


Play = Callable[[Sequence[Move]], Coroutine[Any, Any, tuple[list[str], int]]]
PLATFORMS = pytest.mark.parametrize("play", [on_telegram, on_discord])


def told(play: Play, moves: Sequence[Move]) -> int:
    """Tell a story; return its steps. Fails with every sentence about what is broken."""
    with hurried():
        broken, steps = asyncio.run(play(moves))
    assert not broken, "\n".join([*broken, f"the story: {list(moves)!r}"])
    return steps


def story(seed: int, length: int = 45) -> list[Move]:
    """Return the story of a seed."""
    chance = random.Random(seed)  # noqa: S311 - a story, no secret
    return [
        (chance.choice(COMMON), chance.randrange(10), chance.randrange(10)) for _ in range(length)
    ]


ONCE = [
    *((on_telegram, seed) for seed in (2, 37, 856299272, 366428233)),
    *((on_discord, seed) for seed in (12, 41, 666937903, 245150410, 627535203)),
]
_HURRIED = settings(
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)


@pytest.mark.proof
@pytest.mark.parametrize(("play", "seed"), ONCE)
def test_a_story_that_failed_once_ends_well(play: Play, seed: int) -> None:
    assert told(play, story(seed)) == 45


@pytest.mark.proof
@pytest.mark.timeout(600)
@PLATFORMS
@settings(_HURRIED, derandomize=True, max_examples=8)
@given(moves=stories(60))
def test_whatever_happens_the_desk_keeps_its_promises(play: Play, moves: list[Move]) -> None:
    assert told(play, moves) == len(moves)


@pytest.mark.proof
@pytest.mark.timeout(600)
@PLATFORMS
@settings(_HURRIED, max_examples=3)
@given(moves=stories(60))
def test_a_story_that_nobody_has_told_yet_ends_well(play: Play, moves: list[Move]) -> None:
    assert told(play, moves) == len(moves)


@pytest.mark.proof
@pytest.mark.timeout(7200)
@PLATFORMS
def test_ten_thousand_steps(play: Play, proof: Ledger) -> None:
    steps, broken = 0, list[str]()
    first = seed = random.SystemRandom().randrange(10**9)
    while steps < proof.share(10_000):
        found, told_now = asyncio.run(_hurried(play, story(seed, 60)))
        steps, seed = steps + told_now, seed + 1
        broken += [f"seed {seed - 1}: {sentence}" for sentence in found]
    where = play.__name__.removeprefix("on_").capitalize()
    what = f"{where}: random stories of two people and two of staff, faults and restarts"
    size = f"{steps:,} steps in {seed - first} stories"
    proof("desk", what, size, broken, seed=f"{first}-{seed - 1}")


async def _hurried(play: Play, moves: Sequence[Move]) -> tuple[list[str], int]:
    with hurried():
        return await play(moves)
