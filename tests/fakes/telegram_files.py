"""What a bot calls on the Telegram server about files: sending, copying, changing, fetching."""

from __future__ import annotations

from typing import Any

from tests.fakes.telegram_calls import Calls
from tests.fakes.telegram_shapes import (
    CAPTIONED,
    FACTS,
    FILES,
    MOST_DOWN,
    MOST_UP,
    PICTURES,
    ApiError,
    kind_of,
    utf16,
)


class FileCalls(Calls):
    """As Calls, for what has bytes."""

    @staticmethod
    def _caption(params: dict[str, Any], kind: str) -> dict[str, Any]:
        text = params.get("caption") or ""
        if utf16(text) > 1024:
            raise ApiError(400, "Bad Request: message caption is too long")
        if not text or kind not in CAPTIONED:
            return {}
        entities = params.get("caption_entities")
        return {"caption": text} | ({"caption_entities": entities} if entities else {})

    def _given(self, kind: str, params: dict[str, Any], value: Any) -> dict[str, Any]:
        """Return what a message holds of a file that came as bytes, by reference, or by its id."""
        if isinstance(value, str) and value.startswith("attach://"):
            value = params[value.removeprefix("attach://")]
        if isinstance(value, str):
            if value not in self.files:
                raise ApiError(400, "Bad Request: wrong file identifier/HTTP URL specified")
            return self.held(kind, value)
        if not value.content:
            raise ApiError(400, "Bad Request: file must be non-empty")
        if len(value.content) > MOST_UP:
            raise ApiError(413, "Request Entity Too Large")
        if kind == "photo" and not value.content.startswith(PICTURES):
            raise ApiError(400, "Bad Request: IMAGE_PROCESS_FAILED")
        if kind == "sticker" and not value.content.startswith(b"RIFF"):
            raise ApiError(400, "Bad Request: wrong file type")
        name = "" if kind == "sticker" else value.name
        return self.held(kind, self.keep(kind, value.content, name))

    def _send_kind(self, kind: str, params: dict[str, Any]) -> dict[str, Any]:
        chat = self._writable(params)
        where = self._into(chat, params) | self._markup(params) | self._caption(params, kind)
        field = "document" if kind == "document" else kind
        return self._post(chat, self._given(kind, params, params[field]) | where)

    def _do_sendphoto(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._send_kind("photo", params)

    def _do_sendvideo(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._send_kind("video", params)

    def _do_sendvideonote(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._send_kind("video_note", params)

    def _do_sendvoice(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._send_kind("voice", params)

    def _do_sendaudio(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._send_kind("audio", params)

    def _do_sendanimation(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._send_kind("animation", params)

    def _do_sendsticker(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._send_kind("sticker", params)

    def _do_senddocument(self, params: dict[str, Any]) -> dict[str, Any]:
        return self._send_kind("document", params)

    def _do_sendmediagroup(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        chat, items = self._writable(params), params["media"]
        kinds = {item["type"] for item in items}
        if not 2 <= len(items) <= 10:
            raise ApiError(400, "Bad Request: group send failed")
        if len(kinds) > 1 and kinds != {"photo", "video"}:
            raise ApiError(400, "Bad Request: can't use these media types in the same group")
        where = self._into(chat, params) | {"media_group_id": self._group()}
        held = [
            self._given(item["type"], params, item["media"]) | self._caption(item, item["type"])
            for item in items
        ]
        return [self._post(chat, one | where) for one in held]

    def _source(self, params: dict[str, Any], message_id: int) -> dict[str, Any] | None:
        found = self._place({"chat_id": params["from_chat_id"]}).messages.get(message_id)
        if found is not None and "text" not in found and not kind_of(found):
            raise ApiError(400, "Bad Request: message can't be copied")
        return found

    @staticmethod
    def _content(source: dict[str, Any], *, captioned: bool) -> dict[str, Any]:
        keys = {"text", "entities", *FILES, *FACTS} | (
            {"caption", "caption_entities"} if captioned else set()
        )
        return {key: value for key, value in source.items() if key in keys}

    def _do_copymessage(self, params: dict[str, Any]) -> dict[str, Any]:
        chat = self._writable(params)
        source = self._source(params, int(params["message_id"]))
        if source is None:
            raise ApiError(400, "Bad Request: message to copy not found")
        kept = self._content(source, captioned="caption" not in params)
        kept |= self._caption(params, kind_of(source))
        kept |= self._into(chat, params) | self._markup(params)
        return {"message_id": self._post(chat, kept)["message_id"]}

    def _do_copymessages(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        chat, ids = self._writable(params), [int(each) for each in params["message_ids"]]
        if not 1 <= len(ids) <= 100 or ids != sorted(set(ids)):
            raise ApiError(400, "Bad Request: message identifiers must be in increasing order")
        captioned = str(params.get("remove_caption", "")).lower() != "true"
        where = self._into(chat, params)
        sources = [found for each in ids if (found := self._source(params, each))]
        if any("media_group_id" in each for each in sources):
            where["media_group_id"] = self._group()
        copies = [self._content(each, captioned=captioned) | where for each in sources]
        return [{"message_id": self._post(chat, each)["message_id"]} for each in copies]

    def _do_getfile(self, params: dict[str, Any]) -> dict[str, Any]:
        stored = self.files.get(params["file_id"])
        if stored is None:
            raise ApiError(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
        if stored.size > MOST_DOWN:
            raise ApiError(400, "Bad Request: file is too big")
        return {
            "file_id": params["file_id"], "file_unique_id": f"u{params['file_id']}",
            "file_size": stored.size, "file_path": stored.path,
        }  # fmt: skip

    def _do_editmessagecaption(self, params: dict[str, Any]) -> dict[str, Any]:
        message = self._own(params, "edit")
        kind = kind_of(message)
        if kind not in CAPTIONED:
            raise ApiError(400, "Bad Request: there is no caption in the message to edit")
        new = self._caption(params, kind) | self._markup(params)
        return self._change(message, new, "caption", "caption_entities", "reply_markup")

    def _do_editmessagemedia(self, params: dict[str, Any]) -> dict[str, Any]:
        message, item = self._own(params, "edit"), params["media"]
        new = self._given(item["type"], params, item["media"])
        new |= self._caption(item, item["type"]) | self._markup(params)
        return self._change(
            message, new, *FILES, "text", "entities", "caption", "caption_entities", "reply_markup"
        )
