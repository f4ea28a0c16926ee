"""What hangs on a message: files that can be fetched, and words for what has no bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.message import Attachment

Payload = Mapping[str, Any]

_FAMILY = {"image": "photo", "video": "video", "audio": "voice"}
_VOICE = 1 << 13  # flag of a message that was spoken
_TEXT_DISPLAY = 10  # kind of component
_UNHEARD = {  # parts of a message that nothing of ours can carry, and what to call them
    "activity": "game",
    "soundboard_sounds": "sound",
    "shared_client_theme": "theme",
    "components": "components",
    "embeds": "embed",
}


def attachments(payload: Payload) -> tuple[Attachment, ...]:
    """Return the files, stickers and the poll of a message, and those of what it forwards."""
    parts = [payload, *forwarded(payload)]
    return tuple(one for part in parts for one in (*_files(part), *_stickers(part), *_poll(part)))


def forwarded(payload: Payload) -> list[Payload]:
    """Return the messages that this one forwards; Discord does not tell who wrote them."""
    snapshots: Sequence[Payload] = payload.get("message_snapshots") or ()
    return [one["message"] for one in snapshots]


def written_in(payload: Payload) -> str:
    """Return the text of a message: its own, else that of its components and embeds."""
    own = payload.get("content") or ""
    if not isinstance(own, str):
        raise TypeError(f"{type(own).__name__} where a text should be")
    if own:
        return own
    lines = _displayed(payload.get("components") or ())
    for embed in payload.get("embeds") or ():
        lines += [str(embed[part]) for part in ("title", "description") if embed.get(part)]
    return "\n".join(lines)


def _displayed(components: Sequence[Payload]) -> list[str]:
    """Return the texts that stand in components, and in components inside them."""
    lines: list[str] = []
    for one in components:
        if one.get("type") == _TEXT_DISPLAY:
            lines.append(str(one["content"]))
        lines += _displayed(one.get("components") or ())
    return lines


def unheard(payload: Payload) -> Attachment:
    """Name a message that seems to hold nothing: somebody sent it, so it must not vanish."""
    name = next((words for key, words in _UNHEARD.items() if payload.get(key)), "unknown")
    return Attachment(kind=name, file_id="", words=name)


def _files(payload: Payload) -> list[Attachment]:
    spoken = bool(int(payload.get("flags") or 0) & _VOICE)
    return [
        Attachment(
            kind="voice" if spoken else _kind(file),
            file_id=str(file["id"]),
            name=str(file.get("filename") or ""),
            size=int(file.get("size") or 0),
        )
        for file in payload.get("attachments") or ()
    ]


def _kind(file: Payload) -> str:
    return _FAMILY.get(str(file.get("content_type") or "").partition("/")[0], "file")


def _stickers(payload: Payload) -> list[Attachment]:
    return [
        Attachment(kind="sticker", file_id=str(one["id"]), name=str(one.get("name") or ""))
        for one in payload.get("sticker_items") or ()
    ]


def _poll(payload: Payload) -> list[Attachment]:
    poll = payload.get("poll")
    if not poll:
        return []
    answers = [_answer(one["poll_media"]) for one in poll["answers"]]
    lines = [str(poll["question"].get("text") or ""), *(f"- {one}" for one in answers)]
    return [Attachment(kind="poll", file_id="", words="\n".join(lines))]


def _answer(media: Payload) -> str:
    emoji = (media.get("emoji") or {}).get("name") or ""
    return " ".join(str(part) for part in (emoji, media.get("text") or "") if part)
