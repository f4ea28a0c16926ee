"""The database, as SQLAlchemy Core tables: truth lives here and nowhere else.

One row of `conversation` is one person in one place; owner, mood and case hang on it. `inbox` is
what was said to us, `outbox` what we say; both are keyed so that a second arrival, or a second
answer, collides instead of appearing. Times are seconds since the epoch, UTC.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from core.cells import (
    SealedJSON,
    flag as _flag,
    number as _number,
    of as _of,
    text as _text,
    words as _words,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


conversation = Table(
    "conversation",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("platform"),
    _text("bot"),
    _text("chat"),
    _text("thread"),
    _text("user"),
    _words("name"),
    _text("lang"),
    Column("private", Boolean, nullable=False, server_default=text("1")),
    _text("owner", default="bot"),  # bot | queue | human: who speaks
    _number("version"),  # moves when owner, state or holder of the case moves
    Column("past", SealedJSON),  # mood and all that rules remember of this person here
    Column("mood", Float, nullable=False, server_default=text("0")),
    _text("level", default="calm"),
    _flag("unreachable"),
    _flag("forgotten"),  # everything is erased; the row goes when the last post has left
    Column("history_since", Float, nullable=False, server_default=text("0")),  # /reset
    Column("seen_by_staff", Float),  # when staff last looked at it on the page
    Column("blocked_until", Float),  # as in `person`: until then nothing they write goes further
    Column("opened_at", Float, nullable=False),
    Column("touched_at", Float, nullable=False),
    UniqueConstraint("platform", "bot", "chat", "thread", "user"),
    Index("ix_conversation_user", "user"),  # one person, wherever they write
)
_FORGOTTEN = conversation.c.forgotten.is_(True)
Index("ix_conversation_forgotten", conversation.c.id, sqlite_where=_FORGOTTEN)

inbox = Table(
    "inbox",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("conversation_id", "conversation"),
    _text("platform"),
    _text("bot"),
    _text("chat"),
    _text("message_id"),
    _text("event"),  # empty for a message; edits and presses have keys of their own
    _text("kind"),
    Column("sequence", Integer, nullable=False),  # the platform's own order inside a chat
    Column("message", SealedJSON, nullable=False),  # core.message.Message
    _words("raw"),  # the update as it came; emptied when its turn is finished
    _text("urgent"),  # crisis | request, matched by code before any engine
    _text("state", default="waiting"),  # waiting | done | parked
    _number("tries"),
    Column("received_at", Float, nullable=False),
    Column("touched_at", Float, nullable=False),
    Column("answered_by", Integer),  # the row whose reply answered this one, in a burst
    _text("error"),
    UniqueConstraint("platform", "bot", "chat", "message_id", "event"),
)
Index("ix_inbox_waiting", inbox.c.conversation_id, sqlite_where=inbox.c.state == "waiting")
Index("ix_inbox_done", inbox.c.conversation_id, sqlite_where=inbox.c.state == "done")

history = Table(
    "history",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("conversation_id", "conversation"),
    Column("inbox_id", Integer),
    Column("case_id", Integer),
    _text("role"),  # user | bot | staff | note | held (an answer that waits) | marker
    _words("text"),
    _words("name"),
    Column("at", Float, nullable=False),
    _text("message_id"),
    Column("scores", JSON),
    _text("model"),
    _text("prompt"),  # version of the reply prompt
    _words("was"),  # the text before its last edit
    _flag("deleted"),
    Column("files", SealedJSON),  # what hangs on it: core.message.Attachment
    _text("reply_to"),  # the platform's id of the message this one answers
    _text("signed"),  # of staff's words: the name that the person was shown
    Index("ix_history_conversation_id_id", "conversation_id", "id"),
    Index("ix_history_at", "at"),  # the charts
)

decision = Table(
    "decision",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("conversation_id", "conversation"),
    Column("inbox_id", Integer, nullable=False),
    Column("case_id", Integer),
    _text("rule"),
    _words("why"),
    Column("opened", Boolean, nullable=False),
    Column("trace", SealedJSON, nullable=False),
    Column("scores", JSON),
    Column("mood", Float, nullable=False),
    _text("level"),
    Column("versions", JSON, nullable=False),
    Column("made", SealedJSON),  # how tag and reply were made
    _flag("dry"),  # would have opened a case, were it not for the dry run
    _text("verdict"),  # staff's word on a dry one
    Column("at", Float, nullable=False),
    UniqueConstraint("inbox_id"),
    Index("ix_decision_conversation_id", "conversation_id"),
    Index("ix_decision_at", "at", "conversation_id"),  # the charts
)

case = Table(
    "cases",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("conversation_id", "conversation"),
    _text("state"),  # queued | human | snoozed | watch | resolved
    _text("state_before"),  # of a snoozed one: where it goes when it wakes
    _text("claimed_by"),  # the holder's name, as it is shown
    _text("holder"),  # and who that is: platform:id, so that two of one name are two
    Column("claimed_at", Float),
    _number("priority"),
    _text("rule"),
    _words("why"),
    Column("opened_at", Float, nullable=False),
    Column("first_reply_at", Float),
    Column("resolved_at", Float),
    _text("resolved_by"),
    _text("verdict"),  # right | not needed | too late
    _text("verdict_by"),
    Column("verdict_at", Float),
    Column("missed_line", Integer),  # too late: the history line that should have been enough
    _text("helped"),  # the person's own answer when it was resolved: yes | no
    Column("reopen_until", Float),
    Column("snooze_until", Float),
    Column("resolve_at", Float),  # a resolving that waits; any message calls it off
    Column(
        "anonymous", Boolean
    ),  # whether staff answer without their names; NULL: as the desk does
    _words("draft"),  # a suggested answer, which only staff see
    _text("draft_by"),  # the model that wrote it
    Column("spoken_at", Float),  # the last word from either side
    Column("incident_id", Integer),
    Index("ix_cases_conversation_id", "conversation_id"),
    Index("ix_cases_state", "state"),
    Index("ix_cases_opened_at", "opened_at"),
    Index("ix_cases_resolved_at", "resolved_at"),
)
Index(
    "uq_cases_one_open",
    case.c.conversation_id,
    unique=True,
    sqlite_where=case.c.state != "resolved",
    postgresql_where=case.c.state != "resolved",
)

staff_thread = Table(
    "staff_thread",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("case_id", "cases", nullable=True),  # NULL: the desk's chat itself, of no single case
    _text("platform"),
    _text("bot"),
    _text("chat"),
    _text("thread"),
    _text("card_message_id"),
    _text("status", default="wanted"),  # wanted | ready | fallback (no thread, in the chat itself)
    _number("made"),  # how often a thread was asked for: a lost one is made anew once
    Column("drawn_at", Float, nullable=False, server_default=text("0")),  # the card, the last time
    Index("ix_staff_thread_place", "platform", "bot", "chat", "thread"),
)

# One row per platform message that shows a line of the history, on either side.
pair = Table(
    "pair",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("case_id", "cases"),
    Column("history_id", Integer),
    _text("side", default="staff"),  # staff | person: who sees this message
    _flag("original"),  # written here by a human; the others are copies of it
    _text("platform"),
    _text("bot"),
    _text("chat"),
    _text("message_id"),
    UniqueConstraint("platform", "bot", "chat", "message_id"),
    Index("ix_pair_history_id", "history_id"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("conversation_id", "conversation", nullable=True),  # NULL: a digest, of nobody
    _of("staff_thread_id", "staff_thread", nullable=True),  # set: goes to staff, not to the person
    Column("history_id", Integer),
    _text("cause_kind"),
    Column("cause_id", Integer, nullable=False),
    _number("target"),  # the staff thread, or 0 for the person: never NULL, it is part of the key
    _text("kind"),
    Column("part", Integer, nullable=False),
    _words("text"),
    Column("buttons", SealedJSON),
    _text("reply_to"),
    Column("answers", Integer),  # a history line: replies to the copy of it on the other side
    Column("media", SealedJSON),  # files that go with it: core.message.Media
    _text("album"),  # rows of one album leave together
    _text("case_state"),  # what the thread's icon or the card is to show
    _text("whisper"),  # the command or press that this answers, for its sender alone
    _flag("formatted"),  # the text is Markdown
    _flag("bot_text"),  # written by the machine: withdrawn when a human takes over
    _text("state"),  # streaming | queued | sending | sent | withdrawn | uncertain | failed | held
    _text("nonce"),
    _text("message_id"),
    _number("tries"),
    Column("queued_at", Float, nullable=False),
    Column("first_try_at", Float),
    Column("retry_at", Float, nullable=False, server_default=text("0")),
    Column("touched_at", Float, nullable=False),
    _text("error"),
    UniqueConstraint("cause_kind", "cause_id", "target", "kind", "part"),
)
_IS_OPEN = outbox.c.state.in_(["streaming", "queued", "sending"])
Index("ix_outbox_open", outbox.c.conversation_id, sqlite_where=_IS_OPEN)
_IS_OVER = outbox.c.state.in_(["sent", "withdrawn"])
Index("ix_outbox_over", outbox.c.conversation_id, sqlite_where=_IS_OVER)
Index("ix_outbox_history_id", outbox.c.history_id)  # what became of a line
_IS_REPLY = (outbox.c.kind == "reply") & (outbox.c.part == 0)
# What the machine has said: how much, to one person and to everybody, and in which message.
_SAID = (outbox.c.queued_at, outbox.c.state)
Index("ix_outbox_answers", outbox.c.conversation_id, *_SAID, sqlite_where=_IS_REPLY)
Index("ix_outbox_answered_at", *_SAID, sqlite_where=_IS_REPLY)
Index("ix_outbox_message_id", outbox.c.message_id, sqlite_where=outbox.c.kind == "reply")
Index("ix_outbox_held", outbox.c.conversation_id, sqlite_where=outbox.c.state == "held")
Index(
    "ix_outbox_open_to_staff",
    outbox.c.staff_thread_id,
    sqlite_where=_IS_OPEN & outbox.c.staff_thread_id.is_not(None),
)

# A thumb of somebody's under a reply of the machine's.
feedback = Table(
    "feedback",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("conversation_id", "conversation"),  # of who thinks so
    _of("history_id", "history"),  # the reply
    Column("value", Integer, nullable=False),  # 1 | -1
    Column("at", Float, nullable=False),
    UniqueConstraint("conversation_id", "history_id"),
    Index("ix_feedback_history_id", "history_id"),
    Index("ix_feedback_at", "at"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("case_id", Integer),
    _text("what"),
    _text("who"),
    Column("at", Float, nullable=False),
    Index("ix_audit_at", "at"),
    Index("ix_audit_case_id", "case_id"),
)

poison = Table(
    "poison",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("platform"),
    _text("bot"),
    _text("source_id"),
    _words("raw"),
    _words("error"),
    Column("at", Float, nullable=False),
)

cursor = Table(
    "cursor",
    metadata,
    Column("name", Text, primary_key=True),
    _text("value"),
)

staff = Table(
    "staff",
    metadata,
    Column("name", Text, primary_key=True),
    _text("password"),  # argon2
    _flag("admin"),
    Column("added_at", Float, nullable=False),
    Column("seen_at", Float),
)

# Who is logged in on the page. Secrets are kept as hashes: whoever reads the file cannot log in.
session = Table(
    "session",
    metadata,
    Column("secret", Text, primary_key=True),  # SHA-256 of what the cookie holds
    Column("name", ForeignKey("staff.name", ondelete="CASCADE"), nullable=False),
    _text("csrf"),
    Column("opened_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)

# People of the desk's own chats, learned when they first speak or press there.
colleague = Table(
    "colleague",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("platform"),
    _text("bot"),
    _text("user"),
    _text("name"),
    Column("seen_at", Float, nullable=False),
    UniqueConstraint("platform", "bot", "user"),
)

# What holds for a person wherever they write on one platform.
person = Table(
    "person",
    metadata,
    Column("id", Integer, primary_key=True),
    _text("platform"),
    _text("bot"),
    _text("user"),
    Column("blocked_until", Float),
    _words("blocked_why"),
    Column("linked", Integer),  # persons that share it are one human, by their own word
    _text("link_code"),
    Column("link_until", Float),
    Column("opted_out", Float),  # since when nothing of theirs is scored, or read by a model
    UniqueConstraint("platform", "bot", "user"),
    Index("ix_person_link_code", "link_code"),
    Index("ix_person_linked", "linked"),
)
Index(
    "ix_person_opted_out",
    person.c.platform,
    person.c.user,
    sqlite_where=person.c.opted_out.is_not(None),
)

remark = Table(
    "remark",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("person_id", "person"),
    _text("who"),
    _words("text"),
    Column("at", Float, nullable=False),
)

# Staff who want to be told of a person's next message.
watcher = Table(
    "watcher",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("case_id", "cases"),
    _text("holder"),
    _text("name"),
    UniqueConstraint("case_id", "holder"),
)

# What is to happen at a time. A restart loses none; a key that stands is moved, never doubled.
timer = Table(
    "timer",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("case_id", "cases", nullable=True),
    _text(
        "kind"
    ),  # t1 | t2 | t3 | snooze | resolve | inactive | delay | ranked | stale | dry | calm
    _text("subject"),  # with case_id NULL: which desk or incident
    Column("due_at", Float, nullable=False),
    UniqueConstraint("case_id", "kind", "subject"),
    Index("ix_timer_due_at", "due_at"),
)

# Many upset people at once: one card for all of them.
incident = Table(
    "incident",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("opened_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("muted_until", Float),
    Column("closed_at", Float),
    Column("drawn_at", Float, nullable=False, server_default=text("0")),
)

saved_reply = Table(
    "saved_reply",
    metadata,
    Column("name", Text, primary_key=True),
    _words("text"),
    _text("who"),
    Column("at", Float, nullable=False),
)

# What was changed on the page and needs no restart; wins over heed.toml, not over the environment.
setting = Table(
    "setting",
    metadata,
    Column("key", Text, primary_key=True),  # section.key
    _text("value"),
    _text("who"),
    Column("at", Float, nullable=False),
)
