"""What hangs on a message: a file that can be fetched, or words for what has no bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.message import Attachment

Part = Mapping[str, Any]

_FILES = ("animation", "document", "video", "video_note", "voice", "audio", "sticker")
_KIND = {"document": "file", "animation": "video"}
_AROUND_NAMES = (  # what may stand beside the content of a message
    "from chat sender_chat entities caption caption_entities text reply_to_message quote via_bot"
    " external_reply reply_to_story forward_origin forward_from forward_from_chat reply_markup"
    " link_preview_options sender_business_bot direct_messages_topic suggested_post_info"
    " guest_bot_caller_chat guest_bot_caller_user"
)
_EVENT_NAMES = (  # what Telegram tells by way of a message: nobody has said anything
    "new_chat_members left_chat_member new_chat_photo message_auto_delete_timer_changed"
    " pinned_message successful_payment refunded_payment users_shared chat_shared user_shared"
    " write_access_allowed passport_data proximity_alert_triggered boost_added web_app_data"
    " chat_background_set checklist_tasks_done checklist_tasks_added poll_option_added"
    " poll_option_deleted direct_message_price_changed paid_message_price_changed"
    " forum_topic_created forum_topic_edited forum_topic_closed forum_topic_reopened"
    " general_forum_topic_hidden general_forum_topic_unhidden giveaway_created"
    " giveaway_completed video_chat_scheduled video_chat_started video_chat_ended"
    " video_chat_participants_invited suggested_post_approved suggested_post_declined"
    " suggested_post_approval_failed suggested_post_paid suggested_post_refunded"
    " gift_upgrade_sent managed_bot_created chat_owner_changed chat_owner_left"
)
_AROUND, _EVENTS = frozenset(_AROUND_NAMES.split()), frozenset(_EVENT_NAMES.split())


def text_of(value: Any) -> str:  # noqa: ANN401 - JSON of any shape
    """Return a text. Raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"not a text: {value!r:.60}")
    return value


def number_of(value: Any) -> int:  # noqa: ANN401 - JSON of any shape
    """Return an id or a time. Raises ValueError: anything else must not become a key."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise ValueError(f"not a 64-bit integer: {value!r:.60}")
    return value


def attachments(message: Part, *, private: bool) -> tuple[Attachment, ...]:
    """Return what hangs on a message, nothing for an event that Telegram tells.

    In a private chat also a kind that came into being after this was written is returned, by its
    name: what somebody sends us there must not vanish without a word.
    """
    if "photo" in message:
        return (_file("photo", message["photo"][-1]),)  # the sizes of one picture, largest last
    for kind in _FILES:  # an animation comes with a copy of itself as a document: first one wins
        if kind in message:
            return (_file(_KIND.get(kind, kind), message[kind]),)
    for kind, words in _WORDS.items():
        if kind in message:
            return (Attachment(kind=kind, file_id="", words=words(message[kind])),)
    unheard = [
        key for key, value in message.items() if isinstance(value, dict) and key not in _AROUND
    ]
    if private and unheard and not _EVENTS & message.keys():
        return (Attachment(kind=unheard[0], file_id="", words=_name(unheard[0])),)
    return ()


def _file(kind: str, file: Part) -> Attachment:
    return Attachment(
        kind=kind,
        file_id=text_of(file["file_id"]),
        name=text_of(file.get("file_name") or file.get("emoji") or ""),
        size=number_of(file.get("file_size", 0)),
    )


def _name(kind: str) -> str:
    return kind.replace("_", " ")


def _lines(*lines: str) -> str:
    return "\n".join(line for line in lines if line)


def _number(value: Any) -> str:  # noqa: ANN401 - JSON of any shape
    """Return a coordinate or another small number as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"not a number: {value!r:.60}")
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _location(place: Part) -> str:
    latitude, longitude = _number(place["latitude"]), _number(place["longitude"])
    return f"https://www.openstreetmap.org/?mlat={latitude}&mlon={longitude}"


def _venue(venue: Part) -> str:
    title, address = text_of(venue.get("title", "")), text_of(venue.get("address", ""))
    return _lines(title, address, _location(venue["location"]))


def _contact(contact: Part) -> str:
    names = (text_of(contact.get(part, "")) for part in ("first_name", "last_name"))
    return " ".join(part for part in (*names, text_of(contact.get("phone_number", ""))) if part)


def _poll(poll: Part) -> str:
    options = (f"- {text_of(one['text'])}" for one in poll["options"])
    return _lines(text_of(poll["question"]), *options)


def _checklist(checklist: Part) -> str:
    tasks = (f"- {text_of(one['text'])}" for one in checklist["tasks"])
    return _lines(text_of(checklist["title"]), *tasks)


def _dice(dice: Part) -> str:
    return f"{text_of(dice['emoji'])} {number_of(dice['value'])}"


def _story(story: Part) -> str:
    chat = story["chat"]
    teller = text_of(chat.get("title") or chat.get("first_name") or "")
    return f"story: {teller}" if teller else "story"


def _titled(thing: Part) -> str:
    return _lines(text_of(thing.get("title", "")), text_of(thing.get("description", "")))


def _named(kind: str) -> Callable[[Part], str]:
    return lambda _thing: _name(kind)


_WORDS: dict[str, Callable[[Part], str]] = {
    "venue": _venue,  # comes with a copy of itself as a location: first one wins
    "location": _location,
    "contact": _contact,
    "poll": _poll,
    "checklist": _checklist,
    "dice": _dice,
    "game": _titled,
    "invoice": _titled,
    "story": _story,
    "paid_media": _named("paid_media"),
    "live_photo": _named("live_photo"),
    "gift": _named("gift"),
    "unique_gift": _named("unique_gift"),
    "giveaway": _named("giveaway"),
    "giveaway_winners": _named("giveaway_winners"),
}
