"""What staff mean: a message, a command or a press in a desk chat becomes one order.

Nothing is carried out here. A plain line in a case's thread goes to the person or stays inside, by
the rule of the place; a command that is not known is never sent to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.errors import DeskError
from core.message import Message, Place
from core.store import Connection, pairs, places, relay

CODES: Mapping[str, str] = {
    "cl": "claim",
    "re": "release",
    "st": "steal",
    "rs": "resolve",
    "nn": "notneeded",
    "bb": "botback",
    "rp": "reply",
    "nt": "note",
    "dr": "draft",
    "ds": "send draft",
    "de": "edit draft",
    "dd": "drop draft",
    "za": "snooze",
    "zb": "snooze",
    "zc": "snooze",
    "wk": "wake",
    "ro": "reopen",
    "mo": "why",
    "vr": "verdict",
    "vn": "verdict",
    "vl": "verdict",
    "ms": "send",
    "md": "drop",
    "kp": "keep",
    "sy": "send anyway",
    "kn": "keep as note",
    "rt": "resend",
    "ok": "arrived",
    "ia": "answer all",
    "io": "open all",
    "im": "mute",
    "dv": "dry right",
    "dn": "dry not needed",
}
SAID: Mapping[str, str] = {  # what a press says that a command would spell out
    "za": "1h",
    "zb": "4h",
    "zc": "1d",
    "vr": "right",
    "vn": "not needed",
    "vl": "too late",
}
NUMBERED = frozenset({"sy", "kn", "rt", "ok"})  # the last number names a line or a post
OTHER = frozenset({"ia", "io", "im", "dv", "dn"})  # the first number names no case
COMMANDS: Mapping[str, str] = {
    "claim": "claim",
    "release": "release",
    "steal": "steal",
    "assign": "assign",
    "r": "reply",
    "reply": "reply",
    "ra": "reply anonymously",
    "note": "note",
    "draft": "draft",
    "snooze": "snooze",
    "wake": "wake",
    "resolve": "resolve",
    "reopen": "reopen",
    "verdict": "verdict",
    "notneeded": "notneeded",
    "watch": "watch",
    "priority": "priority",
    "alert": "alert",
    "anon": "anonymous",
    "block": "block",
    "unblock": "unblock",
    "remark": "remark",
    "s": "saved",
    "save": "save",
    "edit": "edit",
    "del": "delete",
    "contact": "contact",
    "all": "answer all",
    "who": "who",
    "why": "why",
    "history": "history",
}
CASELESS = frozenset(CODES[code] for code in OTHER)  # verbs of incidents and of the dry run
ANYWHERE = frozenset({"contact", "answer all", "watch", "save", "saved"})  # of no case
FREE = frozenset({"note", "why", "who", "history", "remark", "alert", "draft"})  # holder or not
_BUTTON = re.compile(r"h:([0-9a-z]{1,12}):([a-z]{2}):([0-9a-z]{1,12})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Action:
    """One thing a staff member does."""

    case_id: int  # 0: of no case; of an incident's button the incident
    verb: str  # core.ports.StaffVerb, or one of the further verbs that chats know
    who: str  # the name that others are shown
    by: str = ""  # platform:id; empty: an anonymous administrator
    text: str = ""
    version: int | None = None  # of the card that was pressed
    number: int = 0  # the line or post that a button is about
    confirm: bool = False
    unseen: bool = False  # said where the case's thread does not show it: staff get a copy there
    message: Message | None = None  # in which it was said
    whisper: str = ""  # the command or press to answer, for its sender alone


def holder_of(message: Message) -> str:
    """Return who a member of staff is, whatever they are called; an anonymous one is nobody."""
    return "" if message.author.anonymous else f"{message.key.platform}:{message.author.id}"


def read(
    connection: Connection, message: Message, *, replies: bool | None = None
) -> Action | DeskError | None:
    """Understand a staff message: which case, which verb. None: staff among themselves.

    `replies` says whether a plain line goes to the person; None: as the platform has it.
    """
    who = message.author.name or message.author.id
    by = holder_of(message)
    if message.kind == "pressed":
        return _pressed(message, who, by)
    case_id = _case(connection, message, by)
    if message.kind == "command":
        return _commanded(connection, message, case_id, who, by)
    if case_id is None:
        return _strayed(message)
    if message.kind in ("edited", "deleted", "reacted"):
        return _changed(connection, message, case_id, who, by)
    if message.kind != "said":
        return None
    order = Action(case_id=case_id, verb="", who=who, by=by)
    return _sayable(_written(connection, message, order, replies=replies), message)


def _case(connection: Connection, message: Message, by: str) -> int | None:
    """Return the case a message speaks to: by its thread, by what it answers, by who holds."""
    place = message.key.place
    found = places.case_at(connection, place)
    if found is not None:
        return found
    for known in (message.reply_to, message.message_id if message.kind != "said" else None):
        linked = pairs.find(connection, _chat(message), known) if known else None
        if linked is not None:
            return int(linked.case_id)
    if message.kind == "command" and by:
        return places.case_of(connection, place, by)
    return None


def _strayed(message: Message) -> DeskError | None:
    """Refuse words in a thread that looks like a case's and is none; else staff are by themselves.

    Heed may have made a thread and never have learnt of it: the case has another place since.
    """
    if message.kind != "said" or not message.own_thread:
        return None
    return DeskError(
        "This thread belongs to no case, so nothing was sent. Write in the case's own place.",
        name="thread_of_none",
    )


def _chat(message: Message) -> Place:
    """Return the place as pairs know it: the desk's chat, whatever the thread."""
    return replace(message.key.place, thread="")


def _pressed(message: Message, who: str, by: str) -> Action | None:
    found = _BUTTON.fullmatch(message.data)
    if found is None or found[2] not in CODES:
        return None
    code, last = found[2], int(found[3], 36)
    fixed = code in NUMBERED or code in OTHER
    return Action(
        case_id=int(found[1], 36),
        verb=CODES[code],
        who=who,
        by=by,
        text=SAID.get(code, message.argument),
        version=None if fixed else last,
        number=last if fixed else 0,
        confirm=code in ("sy", "st"),
        unseen=code in ("rp", "nt", "ds", "de"),
        message=message,
        whisper=message.event_id,
    )


def _commanded(
    connection: Connection, message: Message, case_id: int | None, who: str, by: str
) -> Action | DeskError | None:
    name, argument = message.command, message.argument
    verb = COMMANDS.get(name)
    if name == "bot" and argument.strip().lower() in ("on", "off"):
        verb, argument = ("botback" if argument.strip().lower() == "on" else "claim"), ""
    if verb is None:
        known = " ".join(f"/{one}" for one in (*COMMANDS, "bot on", "bot off"))
        return (
            None
            if case_id is None
            else DeskError(
                f"/{name} was not sent to anybody. Known here: {known}",
                name="command_unknown",
                command=f"/{name}",
                known=known,
            )
        )
    if case_id is None and verb not in ANYWHERE:
        return DeskError(
            f"/{name} belongs into a case's thread, or in a reply to its card.",
            name="command_place",
            command=f"/{name}",
        )
    if verb == "verdict" and message.reply_to is not None:
        linked = pairs.find(connection, _chat(message), message.reply_to)
        line = "" if linked is None or linked.history_id is None else f" {linked.history_id}"
        argument = f"{argument or 'too late'}{line}"
    if verb == "answer all":  # "/all 3 text": its number is that of an incident
        number, _, argument = argument.partition(" ")
        case_id = int(number) if number.isdecimal() else 0
    # A slash command's words are seen by whoever typed them alone.
    slash = message.key.platform == "discord"
    return Action(
        case_id=case_id or 0,
        verb=verb,
        who=who,
        by=by,
        text=argument,
        confirm=verb == "steal",
        unseen=slash,
        message=message,
        whisper=message.message_id if slash else "",
    )


def _written(
    connection: Connection, message: Message, order: Action, *, replies: bool | None
) -> Action:
    """Tell an answer to the person from a note that stays inside."""
    text = message.text.strip()
    order = replace(order, text=text, message=message)
    if text.startswith("//"):
        return replace(order, verb="note", text=text[2:].strip())
    place = message.key.place
    on_card = message.reply_to is not None and places.is_card(connection, place, message.reply_to)
    discord = message.key.platform == "discord"
    goes = not discord if replies is None else replies
    if message.reply_to is None:
        return replace(order, verb="reply" if goes else "note")
    if on_card:
        # In the desk's own chat a reply to the card is the only way to speak to the person.
        return replace(order, verb="reply" if not discord and not place.thread else "note")
    return replace(order, verb="reply")


def _sayable(order: Action, message: Message) -> Action | DeskError:
    """Put what has no bytes into words; refuse to its sender what nobody else can be shown."""
    kind = relay.unpassable(message)
    if kind and order.verb == "reply":
        return DeskError(
            f"A message of this kind ({kind}) cannot be passed on; nothing was sent.",
            name="kind_refused",
            kind=kind,
        )
    told = [item.words for item in message.attachments if not item.file_id]
    return replace(order, text="\n".join(filter(None, [order.text, *told])))


def _changed(
    connection: Connection, message: Message, case_id: int, who: str, by: str
) -> Action | None:
    """Read what staff did to a message of theirs, or to a copy: edited, deleted, reacted."""
    linked = pairs.find(connection, _chat(message), message.message_id)
    if linked is None or linked.history_id is None:
        return None
    verb = {"edited": "edit", "deleted": "delete", "reacted": "react"}[message.kind]
    if verb != "react" and not linked.original:
        return None
    text = message.data if verb == "react" else message.text
    return Action(
        case_id=case_id,
        verb=verb,
        who=who,
        by=by,
        text=text,
        number=int(linked.history_id),
        message=message,
    )


def own_answer(connection: Connection, action: Action) -> int | None:
    """Return the answer that /edit and /del are about: the one replied to, else one's last."""
    message = action.message
    if message is not None and message.reply_to is not None:
        linked = pairs.find(connection, _chat(message), message.reply_to)
        if linked is not None and linked.history_id is not None:
            return int(linked.history_id)
    return pairs.last_answer(connection, action.case_id, action.who)


def formatted(action: Action, text: str) -> str:
    """Return the words of an answer as Markdown, where they were formatted; else empty."""
    message = action.message
    if message is None or not message.formatted:
        return ""
    typed = message.text if message.kind in ("said", "edited") else action.text
    if text.strip() != typed.strip():
        return ""
    marked = message.formatted.strip()
    return marked.partition(" ")[2] if message.kind == "command" else marked


def case_meant(connection: Connection, message: Message) -> int:
    """Return the case whose thread a refused message stood in; 0: none."""
    return _case(connection, message, holder_of(message)) or 0
