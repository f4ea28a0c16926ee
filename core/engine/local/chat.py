"""From values to token ids, by the model's own chat template.

The prompt of one turn is cut in three where the two tasks part:

    system, history, message | how the answer is asked for            (the header)
                             | what to label, how the answer opens    (the suffix)

Everything left of the cut is the same for both and depends on nothing but the conversation, so
that its KV is computed once and found again at the next turn. Where the cut lies is found by
rendering a private mark in place of the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jinja2
from transformers import PreTrainedTokenizerBase

from core.errors import SetupError
from core.message import Said
from core.prompts import safe

_MARK = "\ue000\ue001\ue002"  # `safe` takes these characters out of everything people write
_NOTE = "\ue003\ue004\ue005"
_OVERHEAD = 6  # tokens a template spends on one line of history
_MANY = 16  # lines


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """Text with its tokens; `turn_at` is where the last message begins."""

    text: str
    ids: list[int]
    turn_at: int = 0


class Chat:
    """One tokenizer with its template. Raises SetupError when the template is of no use."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str, message_tokens: int) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise SetupError(
                f"{name} has no chat template: choose a model made for chat, "
                "often named Instruct or Chat"
            )
        self.tokenizer = tokenizer
        self._message_tokens = message_tokens
        self._marks = _marks(tokenizer)
        self._system = True
        self._system = self._holds([_line("system", _NOTE), _line("user", _MARK)])
        after = [_line("system", "s"), _line("user", _MARK), _line("system", _NOTE)]
        self._notes = self._system and self._holds(after)  # may a note follow a message?
        self._notes = self._notes and _MARK in self._render(after).partition(_NOTE)[0]
        if not self._holds([_line("system", "s"), _line("user", _MARK)], note=False):
            raise SetupError(f"the chat template of {name} does not show what the user writes")

    def plain(self, text: str) -> str:
        """Return what somebody wrote, clipped in tokens and free of instruction tokens."""
        text = safe(text, self._marks).strip()
        if len(text.encode()) <= self._message_tokens:  # a token is a byte at least
            return text
        ids = self.encode(text)
        if len(ids) <= self._message_tokens:
            return text
        kept = self.tokenizer.decode(
            ids[: self._message_tokens], clean_up_tokenization_spaces=False
        )
        return safe(str(kept).rstrip("\ufffd"), self._marks).strip()

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text` as it stands, nothing added."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def conversation(self, system: str, lines: Sequence[tuple[str, str]]) -> Rendered:
        """Render a system prompt and (role, text) lines; the last one is the user's message.

        Neighbours of one role become one line, so that a burst and its history look the same.
        """
        *before, (_, message) = _joined(lines)
        while before and before[0][0] != "user":
            before.pop(0)
        shown = [_line(role, text) for role, text in before]
        whole = self._render([_line("system", system), *shown, _line("user", _MARK)])
        prefix = whole[: whole.rindex(_MARK)]
        ids = self.encode(prefix + message)
        return Rendered(text=prefix + message, ids=ids, turn_at=shared(self.encode(prefix), ids))

    def tail(self, note: str = "", opening: str = "") -> Rendered:
        """Render what follows a message: an optional note, then the start of an answer."""
        lines = [_line("system", "s"), _line("user", _MARK)]
        if note and self._notes:
            lines.append(_line("system", note))
        elif note:
            lines[-1] = _line("user", f"{_MARK}\n\n[{note}]")
        whole = self._render(lines)
        text = whole[whole.rindex(_MARK) + len(_MARK) :] + opening
        return Rendered(text=text, ids=self.encode(text))

    def latest(self, messages: Sequence[str], room: int) -> Sequence[str]:
        """Return the last of some messages that fit into `room` tokens together, at least one."""
        first = len(messages)
        while first > 0:
            room -= len(self.encode(self.plain(messages[first - 1]))) + _OVERHEAD
            if room < 0 and first < len(messages):
                break
            first -= 1
        return messages[first:]

    def window(self, history: Sequence[Said], since: float, room: int) -> list[Said]:
        """Return the part of a history to show: lines from `since` on, if they fit into `room`.

        When they do not, the oldest go until half the room is free: one cold turn, then many warm
        ones, where dropping one line each time would make every turn cold. The same where the
        store itself gives no more than so many lines, and the first one shown is gone.
        """
        lines = [line for line in history if line.role != "marker" and line.at >= since]
        costs = [len(self.encode(self.plain(line.text))) + _OVERHEAD for line in lines]
        total, first = sum(costs), 0
        if since >= 0 and len(lines) >= _MANY and lines[0].at > since:
            room = min(room, total - 1)
        if total > room:
            while first < len(lines) and total > room // 2:
                total -= costs[first]
                first += 1
        return lines[first:]

    def _holds(self, lines: list[dict[str, str]], *, note: bool = True) -> bool:
        """Say whether the template shows the marks of these lines, once each."""
        try:
            whole = self._render(lines)
        except jinja2.TemplateError:
            return False
        return whole.count(_MARK) == 1 and (not note or whole.count(_NOTE) == 1)

    def _render(self, lines: list[dict[str, str]]) -> str:
        if not self._system:  # such a template wants its instructions in the first user line
            first, second, *others = lines
            lines = [_line("user", f"{first['content']}\n\n{second['content']}"), *others]
        whole = self.tokenizer.apply_chat_template(
            lines, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return str(whole)


def spoken(history: Sequence[Said], messages: Sequence[str], chat: Chat) -> list[tuple[str, str]]:
    """Return a history and the messages to answer as (role, text) lines of a template.

    Staff speak on our side, so their lines are the assistant's.
    """
    lines = [
        ("user" if line.role == "user" else "assistant", chat.plain(line.text))
        for line in history
        if line.role != "marker"
    ]
    return [*lines, *(("user", chat.plain(message)) for message in messages)]


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two prompts have in common from their start."""
    most = min(len(one), len(other))
    return next((at for at in range(most) if one[at] != other[at]), most)


def _marks(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return what this tokenizer reads as one token with a meaning of its own, longest first.

    Some tokenizers list runs of spaces and line ends too; those are only text.
    """
    added = tokenizer.added_tokens_decoder.values()
    marks = {one.content for one in added if one.special or one.content.startswith(("<", "["))}
    return tuple(sorted((mark for mark in marks if mark.strip()), key=len, reverse=True))


def _joined(lines: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    joined: list[tuple[str, str]] = []
    for role, text in lines:
        if joined and joined[-1][0] == role:
            joined[-1] = (role, f"{joined[-1][1]}\n{text}")
        else:
            joined.append((role, text))
    return joined


def _line(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
