"""How fast we may send: a slot per post, by chat and overall.

Each rate is kept as one number, the time at which it would be idle again, so a chat that has been
quiet costs nothing and may send a small burst at once. A wait asked by Telegram holds that chat
only. Slots are given out in the order of asking, so posts of one chat stay in order.
"""

from __future__ import annotations

from core.ports import Clock

PRIVATE = 1.0  # seconds per post in a private chat
GROUP = 3.6  # seconds per post in a group: with a burst, 20 in any minute
OVERALL = 1 / 25
BURST = 3  # posts that a quiet chat may send at once
OVERALL_BURST = 25
_REMEMBERED = 1000  # chats; above it those that are idle again are dropped


class Pacer:
    """Gives out slots. Chats whose id is negative are groups."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._idle_at: dict[str, float] = {}
        self._held_until: dict[str, float] = {}
        self._all_idle_at = 0.0

    def wait(self, chat: str) -> float:
        """Return the seconds until `chat` may send, 0 when it may now. Takes no slot."""
        now = self._clock()
        free = self._idle_at.get(chat, 0.0) - (BURST - 1) * self._step(chat)
        return max(0.0, free - now, self._held_until.get(chat, 0.0) - now)

    def held(self, chat: str) -> float:
        """Return the seconds that Telegram still asks `chat` to wait, whatever its slots say."""
        return max(0.0, self._held_until.get(chat, 0.0) - self._clock())

    def take(self, chat: str, slots: int = 1) -> float:
        """Take the next slots of `chat` and return the seconds to wait for the first."""
        wait = self.wait(chat)
        at = self._clock() + wait
        self._idle_at[chat] = max(self._idle_at.get(chat, 0.0), at) + slots * self._step(chat)
        if len(self._idle_at) > _REMEMBERED:
            self._forget_idle()
        return wait

    def take_overall(self) -> float:
        """Take the next slot of all chats together and return the seconds to wait for it.

        To be called when the chat's own time has come: a slot taken ahead for one slow chat
        would keep everybody else waiting.
        """
        now = self._clock()
        wait = max(0.0, self._all_idle_at - (OVERALL_BURST - 1) * OVERALL - now)
        self._all_idle_at = max(self._all_idle_at, now + wait) + OVERALL
        return wait

    def hold(self, chat: str, seconds: float) -> None:
        """Let `chat` wait as long as Telegram asked; others go on."""
        self._held_until[chat] = self._clock() + seconds

    @staticmethod
    def _step(chat: str) -> float:
        return GROUP if chat.startswith("-") else PRIVATE

    def _forget_idle(self) -> None:
        now = self._clock()
        self._idle_at = {chat: at for chat, at in self._idle_at.items() if at > now}
        self._held_until = {chat: at for chat, at in self._held_until.items() if at > now}
