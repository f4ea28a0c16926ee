"""Files: fetched from the message they hang on, and how they go out again.

The address of a file is good for a day, so it is asked for anew each time. Discord cannot copy a
file from one message to another: what is passed on is downloaded and sent again.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import discord

from adapters.discord.attachments import forwarded
from adapters.discord.rest import Rest
from core.errors import NotSent, OutcomeUnknown, Refused, TooLarge
from core.message import File, Media, Post

DOWNLOAD = 50 << 20  # bytes

_ENDINGS = {1: "png", 2: "png", 4: "gif"}  # of a sticker by its format; the client draws the rest


async def fetch(rest: Rest, media: Media, most: int = DOWNLOAD) -> File:
    """Download a file of at most `most` bytes.

    Raises TooLarge, Refused (gone, or a sticker that is no picture), RetryAfter, NotSent.
    """
    if not (media.chat.isdecimal() and media.message_id.isdecimal()):
        raise Refused(f"{media.chat}/{media.message_id} is no message of Discord's")
    try:
        payload = await rest.message(media.chat, media.message_id)
        name, size, url = _find(payload, media)
        if size > most:
            raise TooLarge(f"the file has {size} bytes, {most} are allowed")
        content = await rest.download(url)
    except OutcomeUnknown as error:
        raise NotSent(str(error)) from error  # only read: nothing can have happened twice
    except (KeyError, TypeError, ValueError) as error:
        raise Refused("Discord's answer names no file that can be fetched") from error
    if len(content) > most:
        raise TooLarge(f"the file has {len(content)} bytes, {most} are allowed")
    return File(name=name, kind=media.kind, content=content)


async def loaded(rest: Rest, post: Post, most: int) -> Post:
    """Return a post with all its files as bytes, each of at most `most`.

    A sticker that cannot be shown as a picture becomes its name. Raises as `fetch` does.
    """
    text, files = post.text, list(post.files)
    for media in post.media:
        try:
            files.append(await fetch(rest, media, most))
        except Refused:
            if media.kind != "sticker":
                raise
            text = f"{text}\n:{media.name or 'sticker'}:".strip()
    for file in files:
        if len(file.content) > most:
            raise TooLarge(f"{file.name} has {len(file.content)} bytes, {most} are allowed")
    return replace(post, text=text, files=tuple(files), media=())


def uploads(files: Sequence[File]) -> list[discord.File]:
    """Return files as the library sends them; each list serves one call."""
    return [discord.File(io.BytesIO(one.content), filename=one.name or one.kind) for one in files]


def _find(payload: Mapping[str, Any], media: Media) -> tuple[str, int, str]:
    """Return name, size (0: unknown) and address of a file of a message, or of its forward."""
    for part in (payload, *forwarded(payload)):
        for file in part.get("attachments") or ():
            if str(file["id"]) == media.file_id:
                return str(file["filename"]), int(file["size"]), str(file["url"])
        for sticker in part.get("sticker_items") or ():
            if str(sticker["id"]) == media.file_id:
                return _sticker(sticker)
    raise Refused("the file no longer hangs on that message")


def _sticker(sticker: Mapping[str, Any]) -> tuple[str, int, str]:
    ending = _ENDINGS.get(sticker["format_type"])
    if ending is None:
        raise Refused("this sticker is no picture: only Discord's own program can draw it")
    base = "https://media.discordapp.net" if ending == "gif" else discord.Asset.BASE
    number = int(sticker["id"])
    return f"{sticker['name']}.{ending}", 0, f"{base}/stickers/{number}.{ending}"
