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
MessageKind = Literal[
    "said",
    "edited",
    "deleted",
    "command",
    "pressed",
    "reacted",
    "moved",  # the chat has another id
    "joined",  # somebody let the bot into a group
    "left",
    "returned",
]
PostKind = Literal[
    "reply",  # the machine's answer
    "notice",  # a fixed text to a person
    "thread",  # make a topic or thread, or bring an existing one up to date
    "card",  # a case as staff see it; "redraw" is that message drawn again
    "redraw",
    "picture",
    "context",  # what was said before a case
    "ping",  # a line that is to be noticed
    "relay",  # somebody's words or files, passed on; "edit" and "delete" change that message
    "edit",
    "delete",
    "mark",  # staff see what became of their message: text is sent | edited | failed
    "react",  # a reaction passed on: text is the emoji, empty to take it back
    "transcript",
    "digest",  # lines to the desk's own chat, of no single case
]
CaseState = Literal["queued", "human", "snoozed", "watch", "resolved"]


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
    anonymous: bool = False  # an administrator of the desk who writes in the group's name
    roles: tuple[str, ...] = ()  # ids of their roles in a Discord server
    admin: bool = False  # may manage the group they write in, by the platform's own roles


@dataclass(frozen=True, kw_only=True, slots=True)
class Attachment:
    """A picture, file, voice or sticker with a message; its bytes stay on the platform.

    What has no bytes has words: a poll its question and options, a location a link to a map, a
    contact a name and a number.
    """

    kind: str  # photo, file, video, voice, sticker, ... or poll, location, contact, game, ...
    file_id: str  # empty: there is nothing to download
    name: str = ""  # of the file; of a sticker its emoji
    size: int = 0  # bytes; 0 when unknown
    words: str = ""


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
    reply_to_author: str = ""  # id of who wrote that one, where the platform tells
    album: str = ""  # messages that were sent together share it
    forwarded_from: str = ""  # whose words these are, where the platform tells
    addressed: bool = True  # DM, mention, reply to the bot, or command
    overheard: bool = False  # a reply to another person, in a chat that is not watched
    formatted: str = ""  # the text with its formatting as Markdown, where it has any
    private: bool = True  # a direct conversation, not a group
    own_thread: bool = False  # it stands in a thread that the bot itself made
    server: str = ""  # id of the Discord server it was written in
    command: str = ""  # for `command`: name without slash, lower case
    argument: str = ""  # for `command`: the rest of the line
    data: str = ""  # for `pressed`: the button's data; `reacted`: the emoji, empty when taken back;
    # for `moved`: the new id of the chat
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
class Media:
    """A file to be passed on: where its bytes are. Platform "heed" stands for what Heed draws."""

    platform: str
    bot: str
    chat: str  # the channel that holds the message: on Discord the thread's id where there is one
    message_id: str
    kind: str  # as in Attachment
    file_id: str
    name: str = ""
    size: int = 0  # bytes; 0 when unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A file with its bytes."""

    name: str
    kind: str  # as in Attachment
    content: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Post:
    """One outbox row as an adapter sees it: one platform message to send, change or delete.

    For kind `thread` the adapter makes a topic or thread named `text` in `place` and returns its
    id in the receipt; with `message_id` set it brings that thread up to date instead: its name
    (kept when `text` is empty), and what `state` says. For `edit`, `redraw` and for any other row
    that already has `message_id`, it edits that message instead of sending a new one; for
    `delete`, `mark` and `react` it does what the kind says to that message.

    `media` comes from the very account that the post goes to, so that it can be copied there
    without its bytes passing through here; `files` are bytes that came from elsewhere. With
    either, `text` is the caption. One that is too long follows as a message of its own, answering
    the first; all ids stand in the receipt.
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
    seeks: bool = False  # it takes the place of a message known by its nonce alone, of that age
    media: tuple[Media, ...] = ()  # several: an album
    files: tuple[File, ...] = ()
    formatted: bool = False  # the text is Markdown
    state: str = ""  # of the case: a thread's icon or tag shows it, and whether it is closed
    pin: bool = False  # pin it once it is there
    whisper: str = ""  # id of the command or press this answers, for its sender's eyes alone


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What the platform said of a delivered post."""

    message_id: str
    thread: str = ""  # for kind `thread`: the topic or thread that was made
    more: tuple[str, ...] = ()  # ids of the further messages that this post became


@dataclass(frozen=True, kw_only=True, slots=True)
class TextLimit:
    """How long one platform message may be."""

    size: int
    utf16: bool = False  # counted in UTF-16 code units (Telegram) instead of characters
