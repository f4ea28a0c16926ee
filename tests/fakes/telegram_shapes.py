"""What the Telegram server is made of: chats, files, lines as people see them, refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

QUIET = {"message_reaction", "message_reaction_count", "chat_member"}  # off unless asked for
ANONYMOUS = 1087968824  # the account in whose name Telegram lets anonymous administrators write
FILES = ("photo", "video", "video_note", "voice", "audio", "sticker", "animation", "document")
FACTS = ("poll", "venue", "location", "contact", "dice", "game", "story")
CAPTIONED = {"photo", "video", "voice", "audio", "animation", "document"}
PICTURE = b"\x89PNG\r\n\x1a\n a picture"
STICKER = b"RIFF\x00\x00\x00\x00WEBP a sticker"
MOST_UP, MOST_DOWN = 50_000_000, 20_000_000  # bytes that a bot may send, and fetch
PICTURES = (b"\x89PNG", b"\xff\xd8", b"GIF8", b"RIFF")
ICONS = {  # as far as Telegram's own list matters here: it has no 💤
    "5379748062124056162": "❗️", "5447644880824181073": "‼️", "5417915203100613993": "💬",
    "5350392020785437399": "☕️", "5210956306952758910": "👀", "5237699328843200968": "✅",
}  # fmt: skip
_REACTIONS = (
    "❤ 👍 👎 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 🌚 🌭 💯 🤣 ⚡ 🍌 🏆"
    " 💔 🤨 😐 🍓 🍾 💋 🖕 😈 😴 😭 🤓 👻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄"
    " 😘 💊 🙊 😎 👾 😡"
)
REACTIONS = frozenset(_REACTIONS.split())
TWO_DAYS = 48 * 3600


@dataclass
class Chat:
    """One chat with all its messages by id, deleted ones gone."""

    id: int
    type: str
    title: str = ""
    forum: bool = False
    rights: bool = True  # may the bot make topics
    may_pin: bool = True
    messages: dict[int, dict[str, Any]] = field(default_factory=dict)
    topics: dict[int, dict[str, Any]] = field(default_factory=dict)
    drafts: dict[int, tuple[float, str]] = field(default_factory=dict)
    pinned: list[int] = field(default_factory=list)
    last_id: int = 0
    blocked: bool = False
    moved_to: int = 0
    bot: str = "member"  # what the bot is in a group: member, administrator, restricted, ...
    people: dict[int, str] = field(default_factory=dict)  # their status, where not a member
    may_write: bool = True  # may members write
    slow: int = 0  # seconds between two messages of a member
    bot_wrote_at: float = 0.0  # counted in slow mode only

    def json(self) -> dict[str, Any]:
        chat: dict[str, Any] = {"id": self.id, "type": self.type}
        if self.title:
            chat["title"] = self.title
        if self.type == "private":
            chat["first_name"] = f"user{self.id}"
        if self.forum:
            chat["is_forum"] = True
        return chat


@dataclass
class Stored:
    """A file on the server; `size` is what the server says, also without so many bytes."""

    content: bytes
    name: str
    path: str
    size: int


@dataclass(frozen=True)
class Seen:
    """One line as a person sees it now: edits applied, deleted lines gone."""

    message_id: int
    who: str  # "bot" or the user's id
    text: str
    thread: int | None
    buttons: tuple[tuple[str, str], ...]
    reply_to: int | None
    entities: tuple[str, ...]
    kind: str = ""  # of what hangs on it: photo, sticker, poll, ...
    content: bytes = b""  # of a file
    name: str = ""  # of a file
    album: str = ""
    reactions: tuple[str, ...] = ()  # the bot's first
    pinned: bool = False

    @property
    def caption(self) -> str:
        """The text of a message with a file."""
        return self.text if self.kind else ""


def utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def kind_of(message: Mapping[str, Any]) -> str:
    """Return what hangs on a message, empty for a text or for an event."""
    return next((kind for kind in (*FILES, *FACTS) if kind in message), "")


class ApiError(Exception):
    """An answer with ok false."""

    def __init__(self, code: int, text: str, **parameters: Any) -> None:
        super().__init__(text)
        self.code, self.text, self.parameters = code, text, parameters


@dataclass(frozen=True)
class Upload:
    """A file in a multipart body."""

    name: str
    content: bytes
