"""How fast we may send: a slot per post, by chat and overall.

A chat that has been quiet may send a few posts at once, then one a second; a group no more than
twenty in any minute. A wait asked by Telegram holds that chat only. Slots are given out in the
order of asking, so posts of one chat stay in order. What shows a reply while it is written comes
last: it gets a slot only where the posts that follow need not wait for that.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from core.ports import Clock

PRIVATE = 1.0  # seconds per post in any chat, after a few at once
GROUP = 3.15  # seconds per post in a group, over a whole minute and a little more
MOST = 20  # posts in so many times GROUP seconds
OVERALL = 1 / 25
BURST = 3  # posts that a quiet chat may send at once
OVERALL_BURST = 5  # with 25 a second that makes no more than 30 in any second
UNFINISHED = MOST // 2  # slots of a group's minute that unfinished replies may use
KEPT_FREE = 6  # slots of a group's minute that they leave to everything else
COOLS = 60.0  # seconds after which the step between two of them is halved again
HOTTEST = 5  # times that the step may be doubled
_REMEMBERED = 1000  # chats; above it those that are idle again are dropped


@dataclass(eq=False)
class _Unfinished:
    """The unfinished replies of one chat: when they were shown, and how hard it was."""

    shown: deque[float] = field(default_factory=lambda: deque(maxlen=UNFINISHED))
    next_at: float = 0.0
    heat: int = 0  # how often the step is doubled,
    heated_at: float = 0.0  # since when


class Pacer:
    """Gives out slots. Chats whose id is negative are groups."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._idle_at: dict[str, float] = {}  # when a chat's slots are all free again
        self._minute: dict[str, deque[float]] = {}  # of groups: when their last posts leave
        self._held_until: dict[str, float] = {}
        self._unfinished: dict[str, _Unfinished] = {}
        self._all_idle_at = 0.0

    def wait(self, chat: str) -> float:
        """Return the seconds until `chat` may send, 0 when it may now. Takes no slot."""
        now = self._clock()
        free = self._idle_at.get(chat, 0.0) - (BURST - 1) * PRIVATE
        return max(0.0, free - now, self.held(chat), self._full_until(chat) - now)

    def held(self, chat: str) -> float:
        """Return the seconds that Telegram still asks `chat` to wait, whatever its slots say."""
        return max(0.0, self._held_until.get(chat, 0.0) - self._clock())

    def take(self, chat: str, slots: int = 1) -> float:
        """Take the next slots of `chat` and return the moment of the first, by the clock."""
        at = self._clock() + self.wait(chat)
        self._idle_at[chat] = max(self._idle_at.get(chat, 0.0), at) + slots * PRIVATE
        if chat.startswith("-"):
            self._minute.setdefault(chat, deque(maxlen=MOST)).extend([at] * slots)
        if len(self._idle_at) > _REMEMBERED:
            self._forget_idle()
        return at

    def left(self, chat: str, taken: float, slots: int = 1) -> None:
        """Note that slots taken for a moment are used only now: a group's minute is from then."""
        minute = self._minute.get(chat, deque())
        for _ in range(slots):
            if taken in minute:
                minute[minute.index(taken)] = self._clock()
        if minute:
            self._minute[chat] = deque(sorted(minute), MOST)

    def take_overall(self) -> float:
        """Take the next slot of all chats together and return the seconds to wait for it.

        To be called when the chat's own time has come, and by one at a time: a slot taken ahead
        for one slow chat would keep everybody else waiting, and slots that many have taken ahead
        are all due at once where the process has stood still.
        """
        now = self._clock()
        wait = max(0.0, self._all_idle_at - (OVERALL_BURST - 1) * OVERALL - now)
        self._all_idle_at = max(self._all_idle_at, now + wait) + OVERALL
        return wait

    def hold(self, chat: str, seconds: float) -> None:
        """Let `chat` wait as long as Telegram asked; others go on."""
        now, one = self._clock(), self._of(chat)
        one.heat, one.heated_at = min(self._heat(one) + 1, HOTTEST), now
        self._held_until[chat] = now + seconds

    # --- replies while they are written -----------------------------------------------------

    def crowded(self, chat: str) -> bool:
        """Say whether for a while nothing unfinished is to be shown in a chat."""
        minute = self._minute.get(chat, ())
        used = sum(at > self._clock() - MOST * GROUP for at in minute)
        return self.held(chat) > 0 or used >= MOST - KEPT_FREE

    def spare(self, chat: str, *, slot: bool = True) -> bool:
        """Take a slot for what is unfinished if there is one to spare. `slot`: it counts as sent.

        The step from one to the next doubles with every wait that Telegram asks for, and grows in
        a group with what is used up of its minute.
        """
        now, one = self._clock(), self._of(chat)
        if now < one.next_at or self.crowded(chat) or not self._two_free(chat, now):
            return False
        lately = sum(at > now - MOST * GROUP for at in one.shown)
        if slot and chat.startswith("-"):
            if lately >= UNFINISHED:
                return False
            one.shown.append(now)
        step = PRIVATE * (1 + lately / 2 if slot else 1)
        one.next_at = now + step * 2 ** self._heat(one)
        if slot:
            self.take(chat)
        return True

    def _two_free(self, chat: str, now: float) -> bool:
        """Say whether a post that came right after another need not wait."""
        overall = self._all_idle_at - OVERALL_BURST // 2 * OVERALL
        return max(self._idle_at.get(chat, 0.0) - (BURST - 2) * PRIVATE, overall) <= now

    def rest(self, chat: str, seconds: float) -> None:
        """Show nothing unfinished in a chat for so long."""
        self._of(chat).next_at = self._clock() + seconds

    def _heat(self, one: _Unfinished) -> int:
        return max(0, one.heat - int((self._clock() - one.heated_at) / COOLS))

    def _of(self, chat: str) -> _Unfinished:
        return self._unfinished.setdefault(chat, _Unfinished())

    def _full_until(self, chat: str) -> float:
        """Return when a group's minute has a slot again; a moment of the past: it has one."""
        minute = self._minute.get(chat)
        return minute[0] + MOST * GROUP if minute and len(minute) == MOST else 0.0

    def _forget_idle(self) -> None:
        now = self._clock()
        self._idle_at = {chat: at for chat, at in self._idle_at.items() if at > now}
        self._held_until = {chat: at for chat, at in self._held_until.items() if at > now}
        self._minute = {c: m for c, m in self._minute.items() if m[-1] > now - MOST * GROUP}
        self._unfinished = {
            chat: one
            for chat, one in self._unfinished.items()
            if one.next_at > now or self._heat(one) or (one.shown and chat in self._minute)
        }
