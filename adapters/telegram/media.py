"""Files: copied inside Telegram, sent from bytes, and fetched.

A caption is short, and some kinds have none: then the text follows as a message of its own. So a
post may become several messages. After each call the ids so far are committed, joined by commas;
a post that comes back with them goes on behind what is already there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

import telegram
from telegram import (
    InputFile,
    InputMediaAudio,
    InputMediaDocument,
    InputMediaPhoto,
    InputMediaVideo,
    LinkPreviewOptions,
    MessageEntity,
    ReplyParameters,
)
from telegram.constants import ChatAction

from adapters.telegram.line import Line, Moved, answering, thread_of, worded
from adapters.telegram.markup import keyboard, shown, units
from adapters.telegram.outcome import NotModified, TokenRejected
from core.errors import NotSent, OutcomeUnknown, Refused, RetryAfter, TooLarge, Unchangeable
from core.message import File, Media, Post, Receipt
from core.ports import Remember

CAPTION = 1024  # UTF-16 units
DOWNLOAD, UPLOAD = 20_000_000, 50_000_000  # bytes
_PHOTO = 10_000_000  # bytes; a larger picture goes as a file
_ALBUM = 10  # items of one album
_CAPTIONED = frozenset({"photo", "video", "file", "voice", "audio"})
_METHOD = {kind: kind for kind in ("photo", "video", "voice", "audio", "sticker", "video_note")}
_INPUT = {"photo": InputMediaPhoto, "video": InputMediaVideo, "audio": InputMediaAudio}
_NO_PREVIEW = LinkPreviewOptions(is_disabled=True)

Entities = Sequence[MessageEntity] | None
Load = tuple[Media | File, ...]  # what one call sends: one kind of the two


class Carrier:
    """Carries files with their text. Raises DeliveryError."""

    def __init__(self, bot: telegram.Bot, line: Line) -> None:
        self._bot, self._line = bot, line

    async def send(self, post: Post, remember: Remember) -> Receipt:
        """Send everything that hangs on a post, then its text where that is no caption."""
        loads = _loads(post)
        alone = len(loads) == 1 and len(loads[0]) == 1 and loads[0][0].kind in _CAPTIONED
        follows = bool(post.text.strip()) and not (alone and _fits(post))
        ids = post.message_id.split(",") if post.message_id else []
        there = len(ids)
        for load in loads:
            if there >= len(load):
                there -= len(load)
                continue
            ids += await self._load(post, load, first=not ids, bare=follows)
            if follows or load is not loads[-1]:
                await remember(",".join(ids))
        ids = [each for each in ids if each]
        if follows:
            ids.append(await self._text(post, ids[0]))
        return Receipt(message_id=ids[0], more=tuple(ids[1:]))

    async def change(self, post: Post, message_id: int) -> Receipt:
        """Put another file in the place of the one a message has."""
        _check_caption(post)

        async def change(text: str, entities: Entities) -> None:
            item = _new(post, caption=text or None, caption_entities=entities)
            with suppress(NotModified):
                await self._line.paced(
                    post.place,
                    lambda chat: self._bot.edit_message_media(
                        item, chat, message_id, reply_markup=keyboard(post.buttons)
                    ),
                )

        await worded(post, change)
        return Receipt(message_id=str(message_id))

    async def caption(self, post: Post, message_id: int) -> None:
        """Make a file's caption read as the row says. Raises Unchangeable when it is too long."""
        _check_caption(post)

        async def change(text: str, entities: Entities) -> None:
            with suppress(NotModified):
                await self._line.paced(
                    post.place,
                    lambda chat: self._bot.edit_message_caption(
                        chat,
                        message_id,
                        caption=text,
                        caption_entities=entities,
                        reply_markup=keyboard(post.buttons),
                    ),
                )

        await worded(post, change)

    async def fetch(self, media: Media) -> File:
        """Download a file. Raises TooLarge, Refused (gone), RetryAfter, NotSent.

        The address of a file holds the token, so no error of the library's is passed on.
        """
        if media.size > DOWNLOAD:
            raise TooLarge(_too_large(DOWNLOAD))
        if not media.file_id:
            raise Refused("there is nothing to download")
        try:
            found = await self._line.call(lambda: self._bot.get_file(media.file_id))
            if not found.file_path:
                raise Refused("Telegram does not say where the file is")
            if (found.file_size or 0) > DOWNLOAD:
                raise TooLarge(_too_large(DOWNLOAD))
            content = await self._content(found)
        except OutcomeUnknown as error:
            raise NotSent(str(error)) from None
        path = PurePosixPath(found.file_path)
        return File(name=media.name or path.name, kind=media.kind, content=content)

    async def _content(self, found: telegram.File) -> bytes:
        try:
            return bytes(await self._line.call(found.download_as_bytearray))
        except TokenRejected:  # getFile was answered a moment ago: it is the file that is missing
            raise Refused("Telegram no longer has the file") from None
        except RetryAfter as error:
            raise RetryAfter(error.seconds) from None
        except NotSent as error:
            raise NotSent(str(error)) from None

    async def _load(self, post: Post, load: Load, *, first: bool, bare: bool) -> list[str]:
        """Make the call for one load and return an id for each item, empty where it was left out.

        `bare`: without the text, which follows.
        """
        where = {"message_thread_id": thread_of(post.place)}
        more = {"reply_parameters": answering(post) if first else None} | where
        media = [item for item in load if isinstance(item, Media)]
        files = [item for item in load if isinstance(item, File)]
        if len(media) > 1:
            return await self._copy_album(post, media, where)
        if len(files) > 1:
            return await self._upload_album(post, files, more)

        async def send(text: str, entities: Entities) -> str:
            about: dict[str, Any] = {}
            if load[0].kind in _CAPTIONED:  # an empty one, else a copy keeps that of the original
                about = {"caption": text, "caption_entities": entities}
            if not bare:
                about["reply_markup"] = keyboard(post.buttons)
            if media:
                return await self._copy(post, media[0], more | about)
            return await self._upload(post, files[0], more | about)

        return [await (send("", None) if bare else worded(post, send))]

    async def _copy(self, post: Post, media: Media, more: dict[str, Any]) -> str:
        copy = await self._copying(
            post,
            1,
            lambda chat: self._bot.copy_message(chat, media.chat, int(media.message_id), **more),
        )
        return str(copy.message_id)

    async def _copy_album(
        self, post: Post, items: Sequence[Media], more: dict[str, Any]
    ) -> list[str]:
        """Copy an album; Telegram wants it in the order it came, and leaves out what is gone."""
        wanted, source = sorted(int(media.message_id) for media in items), items[0].chat
        copies = await self._copying(
            post,
            len(items),
            lambda chat: self._bot.copy_messages(chat, source, wanted, remove_caption=True, **more),
        )
        if not copies:
            raise Refused("Telegram no longer has these files")
        ids = [str(copy.message_id) for copy in copies]
        return ids + [""] * (len(items) - len(ids))

    async def _copying(self, post: Post, messages: int, make: Any) -> Any:  # noqa: ANN401
        """Copy. Two chats take part, so when one has moved, it is asked which."""
        try:
            return await self._line.paced(post.place, make, messages=messages, follow=False)
        except Moved:
            await self._line.unpaced(
                post.place, lambda chat: self._bot.send_chat_action(chat, ChatAction.TYPING)
            )
            return await self._line.paced(post.place, make, messages=messages, follow=False)

    async def _upload(self, post: Post, file: File, more: dict[str, Any]) -> str:
        """Send a file as what it is, as a plain file where Telegram refuses it as that."""
        method = _method(file)
        try:
            return await self._send_as(post, method, file, more)
        except Refused as error:
            if type(error) is not Refused or method == "document":
                raise
        return await self._send_as(post, "document", file, more)

    async def _send_as(self, post: Post, method: str, file: File, more: dict[str, Any]) -> str:
        send = getattr(self._bot, f"send_{method}")
        about = more | {method: InputFile(file.content, filename=file.name or None)}
        sent = await self._line.paced(post.place, lambda chat: send(chat, **about))
        return str(sent.message_id)

    async def _upload_album(
        self, post: Post, files: Sequence[File], more: dict[str, Any]
    ) -> list[str]:
        """Send an album; kinds that cannot stand in one together go as plain files."""
        kinds = {_method(file) for file in files}
        plain = not (kinds <= {"photo", "video"} or kinds == {"audio"})
        try:
            return await self._group(post, files, more, plain=plain)
        except Refused as error:
            if type(error) is not Refused or plain:
                raise
        return await self._group(post, files, more, plain=True)

    async def _group(
        self, post: Post, files: Sequence[File], more: dict[str, Any], *, plain: bool
    ) -> list[str]:
        items = [_input(None if plain else file.kind, file.content, file.name) for file in files]
        sent = await self._line.paced(
            post.place,
            lambda chat: self._bot.send_media_group(chat, items, **more),
            messages=len(items),
        )
        return [str(each.message_id) for each in sent]

    async def _text(self, post: Post, answered: str) -> str:
        answer = ReplyParameters(int(answered), allow_sending_without_reply=True)
        sent = await worded(
            post,
            lambda text, entities: self._line.paced(
                post.place,
                lambda chat: self._bot.send_message(
                    chat,
                    text,
                    entities=entities,
                    message_thread_id=thread_of(post.place),
                    reply_parameters=answer,
                    reply_markup=keyboard(post.buttons),
                    link_preview_options=_NO_PREVIEW,
                ),
            ),
        )
        return str(sent.message_id)


def _loads(post: Post) -> list[Load]:
    """Return what each call sends. Raises TooLarge before anything is sent."""
    if any(len(file.content) > UPLOAD for file in post.files):
        raise TooLarge(_too_large(UPLOAD))
    loads: list[Load] = []
    for _, together in groupby(post.media, key=lambda media: media.chat):
        items = tuple(together)
        loads += [items[at : at + _ALBUM] for at in range(0, len(items), _ALBUM)]
    album: Load = ()
    weight = 0
    for file in post.files:
        if album and (len(album) == _ALBUM or weight + len(file.content) > UPLOAD):
            loads.append(album)
            album, weight = (), 0
        album, weight = (*album, file), weight + len(file.content)
    return [*loads, album] if album else loads


def _method(file: File) -> str:
    """Return the library's word for how a file is sent."""
    if file.kind == "photo" and len(file.content) > _PHOTO:
        return "document"
    return _METHOD.get(file.kind, "document")


def _input(kind: str | None, source: bytes | str, name: str, **more: Any) -> Any:  # noqa: ANN401
    """Return an item of an album, from bytes or by its id; kinds without an own go as files."""
    make = _INPUT.get(kind or "", InputMediaDocument)
    return make(source, filename=name or None, **more)


def _new(post: Post, **more: Any) -> Any:  # noqa: ANN401
    """Return the file that is to take another's place."""
    if post.files:
        return _input(post.files[0].kind, post.files[0].content, post.files[0].name, **more)
    return _input(post.media[0].kind, post.media[0].file_id, "", **more)


def _fits(post: Post) -> bool:
    return units(shown(post)[0]) <= CAPTION


def _check_caption(post: Post) -> None:
    """Raise Unchangeable for a text that no caption holds."""
    if not _fits(post):
        raise Unchangeable(f"a caption holds {CAPTION} characters, this is longer")


def _too_large(most: int) -> str:
    return f"a bot on Telegram may pass on files of {most // 1_000_000} MB, this one is larger"
