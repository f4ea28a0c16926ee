from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given, strategies as st

from adapters.discord.interactions import form, read as interaction
from adapters.discord.normalize import (
    MALFORMED,
    Scope,
    Where,
    edited,
    reacted,
    said,
    where_of,
)
from core.message import Message
from core.ports import Question

SCOPE = Scope(bot="main", me="42", desk="900")
SERVER = Where(chat="500")
ANN = {"id": "7", "username": "ann", "global_name": "Ann"}


def payload(**more: Any) -> dict[str, Any]:
    return {
        "id": "1300000000000000000",
        "type": 0,
        "author": ANN,
        "content": "hello <@42> there",
        "timestamp": "2026-11-20T10:00:00+00:00",
        "edited_timestamp": None,
        "mentions": [{"id": "42"}],
        "attachments": [],
    } | more


def test_the_mention_leaves_the_text_and_the_rest_stays() -> None:
    message = said(payload(), SERVER, SCOPE)
    assert message is not None
    assert (message.text, message.author.name) == ("hello there", "Ann")
    assert message.sent_at == 1795168800.0


def test_a_thread_keeps_its_channel_and_its_own_id() -> None:
    where = where_of({"id": "77", "type": 11, "parent_id": "500"})
    message = said(payload(), where, SCOPE)
    assert message is not None
    assert (message.key.chat, message.key.thread) == ("500", "77")
    assert message.key.place.thread == "77"


def test_a_reply_to_the_bot_whose_text_is_withheld_is_nothing_of_ours() -> None:
    reply = payload(
        type=19,
        content="",
        mentions=[],
        message_reference={"message_id": "5"},
        referenced_message={"id": "5", "author": {"id": "42"}},
    )
    assert said(reply, SERVER, SCOPE) is None
    shown = said(reply | {"content": "and now?"}, SERVER, SCOPE)
    assert shown is not None
    assert (shown.addressed, shown.reply_to) == (True, "5")


def test_a_picture_without_words_is_a_message_and_a_forward_is_not_scored() -> None:
    picture = {"id": "9", "filename": "a.png", "size": 12, "content_type": "image/png"}
    private = Where(chat="500", private=True)
    shown = said(payload(content="", attachments=[picture]), private, SCOPE)
    assert shown is not None
    assert [(one.kind, one.name, one.size) for one in shown.attachments] == [("photo", "a.png", 12)]
    snapshot = {"message": {"content": "others' words"}}
    forward = said(payload(content="", message_snapshots=[snapshot]), private, SCOPE)
    assert forward is not None
    assert (forward.text, forward.scored) == ("others' words", False)


def test_webhooks_notices_and_previews_are_nothing_of_ours() -> None:
    assert said(payload(webhook_id="3"), SERVER, SCOPE) is None
    assert said(payload(type=18), SERVER, SCOPE) is None
    assert edited(payload(), SERVER, SCOPE) is None
    assert said(payload(author=ANN | {"id": "42"}), SERVER, SCOPE) is None


def test_names_stand_where_discord_has_numbers() -> None:
    text = "<@42> ask <@7> <:harbour:99> <a:wave:98> <@5>"
    people = [{"id": "42", "username": "Heed"}, ANN]
    message = said(payload(content=text, mentions=people), SERVER, SCOPE)
    assert message is not None
    assert message.text == "ask @Ann :harbour: :wave: <@5>"


def test_a_text_with_formatting_is_said_to_have_some() -> None:
    plain, bold = (said(payload(content=f"<@42> {t}"), SERVER, SCOPE) for t in ("3 > 2", "**so**"))
    assert plain is not None
    assert bold is not None
    assert (plain.formatted, bold.formatted) == ("", "**so**")


def test_a_filled_form_is_read_in_either_of_discords_shapes() -> None:
    field = {"type": 4, "custom_id": "text", "value": "our words"}
    for rows in ([{"type": 1, "components": [field]}], [{"type": 18, "component": field}]):
        filled = {
            "id": "1300000000000000001",
            "type": 5,
            "data": {"custom_id": "h:7:rp:1", "components": rows},
            "member": {"user": ANN, "roles": ["31"]},
        }
        message = interaction(filled, SERVER, SCOPE)
        assert message is not None
        assert (message.kind, message.argument) == ("pressed", "our words")
        assert message.message_id == filled["id"]
        assert message.author.roles == ("31",)


def test_a_button_that_is_not_ours_is_left_alone() -> None:
    press = {
        "id": "1300000000000000001",
        "type": 3,
        "data": {"custom_id": "other:1"},
        "user": ANN,
        "message": {"id": "5"},
    }
    assert interaction(press, SERVER, SCOPE) is None
    ours = interaction(press | {"data": {"custom_id": "h:1"}}, SERVER, SCOPE)
    assert ours is not None
    assert (ours.kind, ours.data, ours.message_id) == ("pressed", "h:1", "5")


@given(
    chat=st.integers(1, 3),
    thread=st.integers(0, 2),
    user=st.integers(50, 52),
    text=st.text(min_size=1),
)
def test_same_place_and_person_same_key_whatever_is_said(
    chat: int, thread: int, user: int, text: str
) -> None:
    where = Where(chat=str(chat), thread=str(thread) if thread else "", private=True)
    message = said(payload(content=text, author={"id": str(user)}), where, SCOPE)
    assert message is not None
    key = message.key
    assert (key.chat, key.thread, key.user) == (where.chat, where.thread, str(user))
    assert (key.place.chat, key.place.thread) == (where.chat, where.thread)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(name=st.sampled_from(sorted(payload())), value=json_values)
def test_a_bent_payload_is_read_or_called_malformed_and_nothing_else(name: str, value: Any) -> None:
    for bent in (payload(**{name: value}), {k: v for k, v in payload().items() if k != name}):
        for read in (said, edited, interaction):
            with contextlib.suppress(*MALFORMED):
                message = read(bent, SERVER, SCOPE)
                assert message is None or isinstance(message, Message)
                assert message is None or 0 < message.order < 1 << 63


def presses() -> list[dict[str, Any]]:
    """Return a command, a press and a filled form."""
    field = {"type": 4, "custom_id": "text", "value": "words"}
    common = {"id": "1300000000000000001", "member": {"user": ANN, "roles": ["31"]}}
    common["message"] = {"id": "5", "content": "one\ntwo"}
    rows = [{"type": 1, "components": [field]}]
    return [
        common | {"type": 2, "data": {"name": "r", "options": [{"name": "text", "value": "x"}]}},
        common | {"type": 3, "data": {"custom_id": "h:7:rp:1"}},
        common | {"type": 5, "data": {"custom_id": "h:7:rp:1", "components": rows}},
    ]


@given(
    whole=st.sampled_from(presses()),
    name=st.sampled_from(["id", "type", "data", "member", "message"]),
    value=json_values,
)
def test_a_bent_press_is_read_or_called_malformed_and_nothing_else(
    whole: dict[str, Any], name: str, value: Any
) -> None:
    ask = {"rp": Question(title="t", label="l", quoted=True)}
    for bent in (whole, whole | {name: value}, {k: v for k, v in whole.items() if k != name}):
        with contextlib.suppress(*MALFORMED):
            shown = form(bent, ask)
            assert shown is None or shown["type"] == 9
        with contextlib.suppress(*MALFORMED):
            message = interaction(bent, SERVER, SCOPE)
            assert message is None or message.kind in {"command", "pressed"}


@given(name=st.sampled_from(["user_id", "message_id", "emoji", "member"]), value=json_values)
def test_a_bent_reaction_is_read_or_called_malformed_and_nothing_else(
    name: str, value: Any
) -> None:
    whole = {"user_id": "7", "message_id": "1300000000000000001", "emoji": {"name": "👍"}}
    told = {"event": "e", "added": True, "ours": True}
    assert reacted(whole, SERVER, SCOPE, 1.0, **told) is not None
    with contextlib.suppress(*MALFORMED):
        message = reacted(whole | {name: value}, SERVER, SCOPE, 1.0, **told)
        assert message is None or message.data


def test_what_was_spoken_is_a_voice_message_whatever_its_file_is_called() -> None:
    file = {"id": "9", "filename": "voice-message", "size": 12}
    private = Where(chat="500", private=True)
    spoken = said(payload(content="", attachments=[file], flags=1 << 13), private, SCOPE)
    assert spoken is not None
    assert [one.kind for one in spoken.attachments] == ["voice"]


def test_a_forward_of_components_or_embeds_brings_their_words() -> None:
    shown = {"type": 17, "components": [{"type": 10, "content": "in a box"}, {"type": 14}]}
    inner = {"content": "", "components": [shown], "embeds": [{"title": "T", "description": "D"}]}
    private = Where(chat="500", private=True)
    forward = said(payload(content="", message_snapshots=[{"message": inner}]), private, SCOPE)
    assert forward is not None
    assert (forward.text, forward.scored) == ("in a box\nT\nD", False)


@given(
    kind=st.sampled_from(["embeds", "components", "activity", "soundboard_sounds", "surprise"]),
    value=st.sampled_from([[{"type": 1}], {"type": 1}]),
)
def test_whatever_stands_in_a_direct_message_is_acknowledged_in_words(
    kind: str, value: Any
) -> None:
    private = Where(chat="500", private=True)
    found = said(payload(content="", **{kind: value}), private, SCOPE)
    assert found is not None
    assert found.attachments[0].words


def test_every_message_of_a_server_names_it() -> None:
    here = Where(chat="500", server="77")
    for message in (
        said(payload(), here, SCOPE),
        edited(payload(edited_timestamp="2026-11-20T10:00:00+00:00"), here, SCOPE),
        interaction(presses()[0], here, SCOPE),
    ):
        assert message is not None
        assert message.server == "77"


@given(value=json_values)
def test_only_an_id_is_taken_for_an_id(value: Any) -> None:
    plain = isinstance(value, int | str) and not isinstance(value, bool)
    fits = plain and str(value).isascii() and str(value).isdecimal() and 0 < int(value) < 1 << 63
    with contextlib.suppress(*MALFORMED):
        message = said(payload(id=value), SERVER, SCOPE)
        assert fits
        assert message is not None
        assert message.message_id == str(int(value))


def test_who_only_calls_the_bot_by_its_name_is_heard() -> None:
    called = payload(content=" <@42> ", mentions=[{"id": "42", "username": "Heed"}])
    message = said(called, Where(chat="500", server="77"), SCOPE)
    assert message is not None
    assert (message.text, message.addressed) == ("@Heed", True)
