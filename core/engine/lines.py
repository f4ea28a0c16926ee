"""What a remote model is shown: lines in turns, of a history only its last part."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from core.engine.ports import ReplyRequest
from core.message import ConversationKey, Said
from core.prompts import ReplyPrompt, safe

_MESSAGE_CHARS = 4000  # of one message shown
_OVERHEAD = 6  # tokens a chat template spends on one line
_WINDOWS = 4096  # conversations whose window is remembered

Line = dict[str, str]


class Window:
    """The part of each conversation that fits into `tokens`, as lines."""

    def __init__(self, tokens: int) -> None:
        self._most = tokens
        self._since: OrderedDict[ConversationKey, float] = OrderedDict()

    def render(self, request: ReplyRequest, prompt: ReplyPrompt) -> list[Line]:
        """Return the lines of a prompt: strictly in turns, because some templates insist."""
        said = self._window(request.key, request.history)
        lines = [("user" if one.role == "user" else "assistant", plain(one.text)) for one in said]
        lines += [("user", plain(text)) for text in request.messages]
        while lines[0][0] != "user":
            lines.pop(0)
        messages = [line("system", prompt.render(request.name, request.lang))]
        for role, text in lines:
            if messages[-1]["role"] == role:
                messages[-1]["content"] += f"\n{text}"
            else:
                messages.append(line(role, text))
        return messages

    def _window(self, key: ConversationKey, history: Sequence[Said]) -> list[Said]:
        """Return the part of a history to show.

        When it does not fit, the oldest go until half the room is free, so that many turns after
        that share their beginning. Tokens are guessed: three bytes each.
        """
        since = self._since.pop(key, -math.inf)
        lines = [one for one in history if one.role != "marker" and one.at >= since]
        costs = [len(plain(one.text).encode()) // 3 + _OVERHEAD for one in lines]
        total, first = sum(costs), 0
        if total > self._most:
            while first < len(lines) and total > self._most // 2:
                total -= costs[first]
                first += 1
        if shown := lines[first:]:
            self._since[key] = shown[0].at
            if len(self._since) > _WINDOWS:
                self._since.popitem(last=False)
        return shown

    def drop(self, key: ConversationKey) -> None:
        """Forget where the window of a conversation began."""
        self._since.pop(key, None)


def line(role: str, content: str) -> Line:
    """Return one message as the interface writes it."""
    return {"role": role, "content": content}


def plain(text: str) -> str:
    """Return what somebody wrote, clipped, and free of instruction marks and half characters."""
    clipped = text.strip()[:_MESSAGE_CHARS]
    return safe(clipped.encode("utf-8", "replace").decode("utf-8"))


def headed(messages: Sequence[Line], header: str) -> list[Line]:
    """Return the lines with a note before the answer, where every template has room for it."""
    *before, last = messages
    return [*before, line("user", f"{last['content']}\n\n[{header}]") if header else last]
