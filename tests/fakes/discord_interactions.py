"""Answers to interactions on the web side of the Discord fake: forms, signs and whispers."""

from __future__ import annotations

from typing import Any

from tests.fakes import discord_shapes as shapes
from tests.fakes.discord_shapes import (
    EPHEMERAL,
    REPLY_DEADLINE,
    TOKEN_LIVES,
    Call,
    Interaction,
    Refusal,
    check_choices,
    check_form,
    check_text,
    form_error,
)
from tests.fakes.discord_state import DiscordState

_FORM, _TEXT, _LATER, _CHANGE_LATER, _CHOICES = 9, 4, 5, 6, 8
_SUBMIT, _TYPING = 5, 4


class Interactions(DiscordState):
    """The bot's calls about interactions; their tokens are the only right that they need."""

    def callback(self, call: Call, interaction_id: str, token: str) -> tuple[int, Any]:
        known = self.interactions.get(interaction_id)
        if known is None or known.token != token or self.clock() - known.at > REPLY_DEADLINE:
            raise Refusal(404, 10062, "Unknown interaction")
        if known.answer is not None:
            raise Refusal(400, 40060, "Interaction has already been acknowledged")
        self._check(known, call.body)
        known.answer = call.body
        data = call.body.get("data") or {}
        if call.body["type"] == _TEXT and not (data.get("flags") or 0) & EPHEMERAL:
            self._write(known.payload["channel_id"], self.bot, data)
        known.answered.set()
        return 204, None

    def _check(self, known: Interaction, answer: dict[str, Any]) -> None:
        """Refuse an answer that does not fit what was done."""
        asked = known.payload["type"]
        if (asked == _TYPING) is not (answer["type"] == _CHOICES):
            raise form_error("typing is answered with choices, and nothing else is")
        if answer["type"] == _FORM:
            if asked == _SUBMIT:
                raise form_error("a form cannot be answered with a form")
            check_form(answer["data"])
        elif answer["type"] == _TEXT:
            check_text(answer["data"])
        elif answer["type"] == _CHOICES:
            check_choices(answer["data"])
        elif answer["type"] == _CHANGE_LATER and "message" not in known.payload:
            raise form_error("there is no message to change")

    def follow_up(self, call: Call, _app: str, token: str) -> tuple[int, Any]:
        if _app in self._webhooks:
            return self._relay(call, _app, token)
        known = self._by_token(token)
        channel = known.payload["channel_id"]
        if channel not in self._channels:
            raise Refusal(*shapes.UNKNOWN_CHANNEL)
        check_text(call.body, files=bool(call.files))
        if not (call.body.get("flags") or 0) & EPHEMERAL:
            return 200, self._rendered(self._write(channel, self.bot, call.body, call.files))
        message = self._compose(channel, self.bot, call.body, call.files)
        who = known.payload
        person = who["member"]["user"] if "member" in who else who["user"]
        self._whispers.setdefault(person["id"], {})[message["id"]] = message
        return 200, self._rendered(message)

    def patch_original(self, call: Call, _app: str, token: str) -> tuple[int, Any]:
        known = self._by_token(token)
        known.answer = {"type": 4, "data": call.body}
        message = {"id": known.id, "channel_id": known.payload["channel_id"], **call.body}
        return 200, message

    def post_webhook(self, call: Call, channel: str) -> tuple[int, Any]:
        made = {"id": self._id(), "type": 1, "channel_id": channel, "name": call.body["name"]}
        made |= {"token": f"hook-{self._last}", "guild_id": self._channels[channel]["guild_id"]}
        self._webhooks[made["id"]] = made
        return 200, made

    def _relay(self, call: Call, hook: str, token: str) -> tuple[int, Any]:
        """Write in a webhook's name; there is no nonce, so a second call is a second message."""
        known = self._webhooks[hook]
        if known["token"] != token:
            raise Refusal(*shapes.DEAD_TOKEN)
        check_text(call.body, files=bool(call.files))
        name = call.body.get("username") or known["name"]
        author = {"id": hook, "username": name, "discriminator": "0000", "avatar": None}
        author |= {"bot": True, "global_name": None}
        channel = call.query.get("thread_id") or known["channel_id"]
        message = self._write(channel, author, call.body, call.files, webhook_id=hook)
        return (200, self._rendered(message)) if call.query.get("wait") == "true" else (204, None)

    def patch_follow_up(self, call: Call, app: str, token: str, message_id: str) -> tuple[int, Any]:
        hook = self._webhooks.get(app)
        if hook is None:
            self._by_token(token)
        for held in (*self._messages.values(), *self._whispers.values()):
            if message_id in held:
                held[message_id] |= {"content": call.body.get("content") or ""}
                return 200, self._rendered(held[message_id])
        raise Refusal(*shapes.UNKNOWN_MESSAGE)

    def _by_token(self, token: str) -> Interaction:
        for one in self.interactions.values():
            if one.token == token and one.answer is not None:
                if self.clock() - one.at > TOKEN_LIVES:
                    raise Refusal(*shapes.DEAD_TOKEN)
                return one
        raise Refusal(*shapes.UNKNOWN_WEBHOOK)
