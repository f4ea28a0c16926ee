"""Everything the walk walks through, as one value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from core.access import Access
from core.engine.mind import Mind
from core.engine.ports import Limits
from core.handoff import Handoff
from core.hearing import Ear
from core.journal import Meter, Unmeasured
from core.message import Message, Place
from core.plans import Planner
from core.ports import Adapter, Board, Clock, Probe, no_probe
from core.store import Store
from core.store.outbox import Lane
from core.store.turns import Start
from core.texts import Texts


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """The rooms, wired once by bot.app."""

    store: Store
    mind: Mind
    ear: Ear
    planner: Planner
    texts: Texts
    handoff: Handoff
    board: Board
    clock: Clock
    adapters: Mapping[tuple[str, str], Adapter]
    desks: Sequence[Place]
    ring: Callable[[int, Hashable], None]  # a conversation's lane, and the chat that it crowds
    deliver: Callable[[Sequence[Lane]], None]
    commands: Callable[[Start], Awaitable[None]]  # rows that are no ordinary message
    alarm: Callable[[str], None] = lambda _: None  # a sentence for the operator
    access: Access = field(default_factory=Access)  # whom the bot serves
    scope: str = "person"  # whose words of a group a reply goes by: person, thread or chat
    moved: Callable[[Message], None] = lambda _: None  # a chat, perhaps a desk, has another id
    limits: Limits = field(default_factory=Limits)
    secret: Callable[[], str] = str  # the reply prompt's system text, which must not leak
    facts: bool = False  # a model may name only what the person or the operator has named
    probe: Probe = no_probe
    meter: Meter = field(default_factory=Unmeasured)
