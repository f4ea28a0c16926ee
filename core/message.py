"""The shared words, as frozen values: what was said, where, how it was heard, and what goes out.

Nothing here does anything. Every value can be handed to any room and kept for as long as it
likes, because nobody can change it halfway through the walk. Times are seconds since the epoch,
UTC, as floats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Owner = Literal["bot", "queue", "human"]
Level = Literal["calm", "tense", "upset"]
Role = Literal["user", "bot", "staff", "marker"]
MessageKind = Literal["said", "edited", "deleted", "command", "pressed", "left", "returned"]
PostKind = Literal["reply", "notice", "thread", "card", "context", "ping", "relay", "edit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A chat, or a thread in a chat, of one bot on one platform: where posts go."""

    platform: str  # telegram, discord, web, terminal
    bot: str  # the bot's own account there, so that two bots never share a conversation
    chat: str
    thread: str = ""  # topic or thread; empty: the chat itself


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationKey:
    """One person in one place. Owner, mood and case belong to it and to nothing wider."""

    platform: str
    bot: str
    chat: str
    thread: str = ""
    user: str

    @property
    def place(self) -> Place:
        """Where an answer to this conversation goes."""
        return Place(platform=self.platform, bot=self.bot, chat=self.chat, thread=self.thread)


@dataclass(frozen=True, kw_only=True, slots=True)
class Author:
    """Who wrote, as the platform tells it."""

    id: str
    name: str = ""
    language: str = ""  # BCP 47 as reported by the platform; empty when it does not say
    is_bot: bool = False  # bots, webhooks and channel posts: never answered, never scored


@dataclass(frozen=True, kw_only=True, slots=True)
class Attachment:
    """A picture, file, voice or sticker with a message; its bytes stay on the platform."""

    kind: str  # photo, file, video, voice, sticker, ...
    file_id: str
    name: str = ""
    size: int = 0  # bytes; 0 when unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What happened on any platform, normalized. In, never out."""

    key: ConversationKey
    message_id: str  # the platform's own id; for edits and presses the id of the message meant
    author: Author
    sent_at: float
    kind: MessageKind = "said"
    text: str = ""  # for `edited` the new text; for `command` the whole line as typed
    attachments: tuple[Attachment, ...] = ()
    reply_to: str | None = None  # message id this one answers
    addressed: bool = True  # DM, mention, reply to the bot, or command
    private: bool = True  # a direct conversation, not a group
    command: str = ""  # for `command`: name without slash, lower case
    argument: str = ""  # for `command`: the rest of the line
    data: str = ""  # for `pressed`: the button's data
    event_id: str = ""  # unique id of an edit or press, so that a second one is no duplicate
    order: int = 0  # the platform's own sequence inside a chat (message id as a number)
    scored: bool = True  # False for forwards and quotes of others' words


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """One raw update as it came, and what it was understood to be.

    `message` None with `error` set: poison, parked with its error. Both None: nothing of ours
    (an unaddressed message in an unwatched group): confirmed, and leaves no row.
    """

    platform: str
    bot: str
    source_id: str  # update id or event id: names a poison row, decides nothing
    raw: str  # the update as JSON text
    message: Message | None = None
    error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tagging:
    """What one instrument (table or model) read in one text.

    `probs` are by the task's own labels and sum to 1; `doubt` (0..1) is the probability mass
    outside the labels (language model) or the share of features never seen in training (table).
    The heads that an instrument does not have are None.
    """

    probs: Mapping[str, float]
    doubt: float
    instrument: str  # e.g. "embedded" or "Qwen/Qwen2.5-0.5B-Instruct#branch"
    prompt: str = ""  # version of the task prompt, "name@hash"; empty for a table
    polarity: Mapping[str, float] = field(default_factory=dict)  # label -> -1..1; {} = no polarity
    intensity: float | None = None  # signed, -1..1
    strong: float | None = None
    wants_human: float | None = None
    threat_to_leave: float | None = None
    crisis: float | None = None  # evidence only
    made: Mapping[str, Any] = field(default_factory=dict)  # how: prompts, log-probs, tokens, ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """How one message was heard: the tag and the triggers, whatever instrument heard it."""

    label: str  # negative | neutral | positive, or a label of the operator's own task
    probs: Mapping[str, float]  # of the task that gave `label`
    p_negative: float
    p_positive: float
    intensity: float  # signed, -1..1
    confidence: float  # largest class probability x (1 - doubt)
    strong: float
    wants_human: float
    threat_to_leave: float
    crisis: float
    lang: str  # en, zh, es, ru, ... or "und"
    instrument: str
    prompt: str = ""
    stand_in: bool = False  # the table stood in for a configured model: weight x 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """One line of a conversation's history, as a reply's prompt sees it."""

    role: Role
    text: str
    at: float
    name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Button:
    """A button under a post; `data` comes back in a `pressed` message (at most 64 bytes)."""

    label: str
    data: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Post:
    """One outbox row as an adapter sees it: one platform message to send or to edit.

    For kind `thread` the adapter makes a topic or thread named `text` in `place` and returns its
    id in the receipt; with `message_id` set it renames that thread. For kind `edit`, and for any
    other row that already has `message_id`, it edits that message instead of sending a new one.
    """

    id: int
    kind: PostKind
    place: Place
    text: str
    nonce: str  # random, at most 25 characters, made once and kept in the row
    part: int = 0  # parts of one text; only part 0 is a reply
    reply_to: str | None = None
    buttons: tuple[Button, ...] = ()
    message_id: str | None = None
    private: bool = True
    age: float = 0.0  # seconds since the first attempt; 0 before it


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What the platform said of a delivered post."""

    message_id: str
    thread: str = ""  # for kind `thread`: the topic or thread that was made


@dataclass(frozen=True, kw_only=True, slots=True)
class TextLimit:
    """How long one platform message may be."""

    size: int
    utf16: bool = False  # counted in UTF-16 code units (Telegram) instead of characters
