"""The judge of a world: what must hold when all is quiet, read from the tables and the platform."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from core.plans import LATE, RECENT
from core.store.outbox import TAKEN_BACK
from core.store.turns import TRIES
from tests.sim.platform import PLACEHOLDER
from tests.sim.weather import POISON

if TYPE_CHECKING:
    from tests.sim.world import World

HOUR = 3600.0  # longer than a world lasts
NO_LINES = ("thread", "redraw", "edit", "delete", "mark", "react")


def judge(world: World) -> list[str]:
    """Return a sentence for everything that is broken."""
    checks = (_whole, _taken_in, _heard, _answered, _shown, _order, _flags, _ownership, _empty)
    return [sentence for check in checks for sentence in check(world)]


def _whole(world: World) -> Iterator[str]:
    [verdict] = world.rows("pragma integrity_check")
    if verdict[0] != "ok":
        yield f"the database is damaged: {verdict[0]}"
    if world.rows("pragma foreign_key_check"):
        yield "a row points to one that is not there"


def _kept(world: World) -> Iterator[Any]:
    """Go through what people have said and nobody has erased."""
    for message in world.said.values():
        before = world.forgotten.get((message.key.user, message.key.chat), 0)
        if message.order > before and message.message_id not in world.deleted:
            yield message


def _taken_in(world: World) -> Iterator[str]:
    """I1, I2, I6, I7: all is stored once and ends done, or set aside for a reason."""
    found = {row["message_id"]: row for row in world.rows(
        "select message_id, state, error, tries, message from inbox where kind = 'said'"
    )}  # fmt: skip
    killed = world.counts["restarts"] >= TRIES
    for message in _kept(world):
        row = found.get(message.message_id)
        if row is None:
            yield f"message {message.message_id} was lost"
        elif row["state"] == "waiting":
            yield f"message {message.message_id} waits for ever"
        elif row["state"] == "parked" and message.text != POISON and not killed:
            yield f"message {message.message_id} was set aside: {row['error']}"
        elif row["state"] == "done" and POISON in row["message"]:
            world.count("poison that was read")
    twice = world.rows(
        "select message_id from inbox group by platform, bot, chat, message_id, event"
        " having count(*) > 1"
    )
    for row in twice:
        yield f"message {row['message_id']} was taken in twice"


def _heard(world: World) -> Iterator[str]:
    """I3: each message is in the history once, and decided once."""
    lines = Counter(
        row[0] for row in world.rows("select inbox_id from history where role = 'user'")
    )
    decided = Counter(row[0] for row in world.rows("select inbox_id from decision"))
    rows = world.rows(
        "select id, message_id, state, answered_by from inbox where kind = 'said' and chat != ?",
        world.weather.desk,
    )
    kept = {message.message_id for message in _kept(world)}
    for row in rows:
        times = (lines[row["id"]], decided[row["id"]])
        if max(times) > 1:
            yield f"message {row['message_id']} was heard {times} times"
        if row["state"] == "done" and row["message_id"] in kept and times != (1, 1):
            yield f"message {row['message_id']} is done and was heard {times} times"


def _answered(world: World) -> Iterator[str]:
    """I3: one committed answer a turn; nobody who has no human is left without a word."""
    for row in world.rows(
        "select inbox_id, count(*) times from history where role = 'bot' and inbox_id is not null"
        " group by inbox_id having count(*) > 1"
    ):
        yield f"inbox row {row['inbox_id']} has {row['times']} answers"
    silent = world.rows(
        "select i.id, i.answered_by from inbox i left join decision d on d.inbox_id = i.id"
        " where i.kind = 'said' and i.state = 'done' and i.id = i.answered_by"
        " and d.case_id is null and d.id is not null"
        " and not exists (select 1 from outbox o join inbox j on j.id = o.cause_id"
        "  where o.cause_kind = 'inbox' and j.answered_by = i.answered_by"
        "  and o.kind in ('reply', 'notice')"
        "  and (o.state != 'withdrawn' or o.error != ''))"
        # What came late because nobody was here is acknowledged in one line for all of it.
        " and not (i.received_at - json_extract(i.message, '$.sent_at') > ? and exists ("
        "  select 1 from history h where h.conversation_id = i.conversation_id"
        "  and h.role = 'bot' and h.inbox_id is null and abs(h.at - d.at) < ?))",
        LATE,
        RECENT,
    )
    for row in silent:
        yield f"the turn of inbox row {row['id']} ended without a word"


def _shown(world: World) -> Iterator[str]:
    """I5: what people see is what was committed, once; what nobody knows of is flagged."""
    shown = [one for one in world.platform.shown.values() if not one.gone]
    rows = {row["id"]: row for row in world.rows(
        "select id, kind, state, message_id, nonce, conversation_id from outbox"
    )}  # fmt: skip
    nonces = {row["nonce"] for row in rows.values()}
    gone = {row[0] for row in world.rows("select chat from conversation where unreachable")}
    known = {row["message_id"] for row in rows.values() if row["message_id"]}
    known |= {row["message_id"] for row in world.rows("select message_id from pair")}
    flagged = {row["nonce"] for row in rows.values() if row["state"] == "uncertain"}
    posts = Counter((o.post, o.nonce) for o in shown if o.text != PLACEHOLDER and o.post > 0)
    for (post, _), times in posts.items():
        if times > 1:
            yield f"post {post} is shown {times} times"
    for one in shown:
        row = rows.get(one.post)
        if row is not None and row["nonce"] != one.nonce:
            row = None
        # Whoever cannot be reached keeps what they have seen until they are back; if they were
        # forgotten meanwhile, for good.
        forgotten = one.place.chat in world.unreachable and one.nonce not in nonces
        if one.begun and not forgotten and one.place.chat not in gone:
            yield f"message {one.id} was left half written: {one.text!r}"
        if str(one.id) in known or one.text == PLACEHOLDER or one.post < 0:
            continue
        if row is not None and row["state"] != "sent" and one.nonce not in flagged:
            yield f"message {one.id} is shown, and its post {one.post} is {row['state']}"
        if row is not None and row["state"] == "sent" and row["message_id"]:
            yield f"post {one.post} was sent as {row['message_id']} and as {one.id}"
    there = {str(one.id) for one in world.platform.shown.values()}
    for row in rows.values():
        seen = row["state"] == "sent" and row["message_id"] and row["kind"] not in NO_LINES
        if seen and row["message_id"] not in there:
            yield f"post {row['id']} was sent, and nobody sees it"


def _order(world: World) -> Iterator[str]:
    """I4: what one person is told stands in the order in which it was decided."""
    last: dict[Any, tuple[int, int]] = {}
    again = world.doubts | world.suspects
    people = {row["id"]: row["chat"] for row in world.rows("select id, chat from conversation")}
    for row in world.rows(
        "select id, conversation_id, staff_thread_id, message_id, kind, state from outbox"
        " where state = 'sent' and message_id != '' and kind in ('reply', 'notice', 'relay')"
        " and whisper = '' and cause_kind != ? order by id",  # that one stands where another stood
        TAKEN_BACK,
    ):
        lane = (row["conversation_id"], row["staff_thread_id"])
        if row["id"] in again or (lane[1] is None and people[lane[0]] in world.unreachable):
            continue  # staff may have sent it once more, later
        number = int(row["message_id"])
        before, post = last.get(lane, (0, 0))
        if number < before:
            yield f"post {row['id']} stands before post {post}"
        last[lane] = (number, row["id"])


def _flags(world: World) -> Iterator[str]:
    """I5: only a post of unknown outcome is flagged as such."""
    for row in world.rows(
        "select id, kind, state, error, touched_at - queued_at age from outbox"
        " where state in ('uncertain', 'failed')"
    ):
        # By a clock that has jumped ahead no platform remembers a nonce that was made before.
        unknown = row["id"] in world.doubts | world.suspects or row["age"] > HOUR
        if row["state"] == "uncertain" and not unknown:
            yield f"post {row['id']} ({row['kind']}) is uncertain for no reason: {row['error']}"
        if row["state"] == "failed" and row["kind"] == "reply":
            yield f"post {row['id']} failed: {row['error']}"


def _ownership(world: World) -> Iterator[str]:
    """I9: who speaks follows from the case."""
    for row in world.rows(
        "select c.id, c.owner, k.state, k.state_before from conversation c"
        " left join cases k on k.conversation_id = c.id and k.state != 'resolved'"
    ):
        state = row["state_before"] if row["state"] == "snoozed" else row["state"]
        wanted = {"queued": "queue", "human": "human"}.get(state, "bot")
        if row["owner"] != wanted:
            yield f"conversation {row['id']} belongs to {row['owner']} in a case that is {state}"


def _empty(world: World) -> Iterator[str]:
    """I8: nobody is at work, and nothing is remembered of those who were."""
    life = world.life
    if life is None:
        yield "nobody lives"
        return
    walk, engine = life.app.walk, life.engine
    for name, held in (
        ("turns at work", life.app.turns._tasks), ("bells", life.app.turns._bells),
        ("posts at work", life.app.posts._tasks), ("turns", walk._running),
        ("restarts", walk._restarts), ("failures", walk._retried),
        ("posts", life.app.delivery._sending),
    ):  # fmt: skip
        if held:
            yield f"{name} are kept: {list(held)[:5]}"
    if engine.capacity().running:
        yield f"{engine.capacity().running} replies hold a slot of the model"
