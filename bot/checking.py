"""`heed model check`: 20 fixed lines, English and Chinese, through both prompts of one model.

Each line goes the way of a real message: its tag in the conversation (in one forward with the
start of the reply where the engine can), a short reply, and the tag of the line alone, as
`heed tag` reads it. What counts as right stands beside each line in check.toml.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from bot.engines import make_book, make_engine, make_phrases
from bot.models import choose
from bot.tagging import dump
from core.engine.embedded.language import language
from core.engine.embedded.table import TASK, TableTagger
from core.engine.ports import Joint, Limits, ReplyRequest, Started, Tagger, Writer
from core.errors import EngineBusy, EngineError, PromptError
from core.message import ConversationKey, Said, Tagging
from core.reply import fault
from core.sentiment import combine

if TYPE_CHECKING:
    from bot.models import Choice
    from bot.settings import Settings

NEEDED = 16  # lines that must pass
_TOKENS = 40  # of a reply: enough to see its language, short enough for a slow machine
_MOST_DOUBT = 0.5
_CLEAR = 0.25  # a label with less polarity than this is a neutral one
_SHOWN = 90  # characters of a reply
_TEMPLATE = re.compile(r"<\|?/?\w*\|>|</?think>")
_SAID = {
    "empty": "the reply is empty",
    "role tokens": "the reply shows tokens of the chat template",
    "broken": "the reply holds broken characters",
    "repetition": "the reply repeats itself",
    "leaked prompt": "the reply repeats its instructions",
    "claims to be a person": "the reply claims to come from a person",
    "claims to have acted": "the reply claims to have done something",
    "promises": "the reply promises what nobody has decided",
}

Tell = Callable[[str], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line to check with; `follows` makes it the second turn after the line before."""

    text: str
    labels: tuple[str, ...]  # every one that counts as right
    lang: str  # en | zh | any: the script of a right reply
    follows: bool = False


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What a model made of one line, and what is wrong with it. Times are milliseconds."""

    line: Line
    label: str = ""  # negative | neutral | positive, by the polarity of what was read
    probs: Mapping[str, float] = field(default_factory=dict)
    doubt: float = 0.0
    alone: str = ""  # the label of the line by itself; empty: this engine has one prompt only
    reply: str = ""
    first_ms: float = 0.0  # until the tag and the first text are there
    reply_ms: float = 0.0
    computed: int | None = None  # tokens; None where the engine does not tell
    reused: int | None = None
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Model:
    """Who is checked; for the embedded one tagger and writer are two."""

    choice: Choice
    tagger: Tagger
    writer: Writer


def lines() -> tuple[Line, ...]:
    """Return the lines of check.toml, in order."""
    table = tomllib.loads(Path(__file__).with_name("check.toml").read_text("utf-8"))
    return tuple(Line(**{**row, "labels": tuple(row["labels"])}) for row in table["lines"])


def check(settings: Settings, name: str | None, tell: Tell, *, as_json: bool = False) -> int:
    """Check the model `name` (None: the configured one); return 0 when enough lines pass, else 1.

    Raises SetupError, PromptError and EngineError when it cannot speak at all.
    """
    prompts = settings.prompts.model_copy(update={"tag": TASK})  # the lines know no other task
    model = settings.model if name is None else settings.model.model_copy(update={"name": name})
    settings = settings.model_copy(update={"prompts": prompts, "model": model})
    return asyncio.run(_check(settings, tell, as_json=as_json))


async def _check(settings: Settings, tell: Tell, *, as_json: bool) -> int:
    began, done = perf_counter(), list[Outcome]()
    system = make_book(settings).reply().render()
    model = _open(settings)
    try:
        await model.writer.warm_up()
        loaded = perf_counter() - began
        if not as_json:
            _show(tell, _title(model.choice))
        talk = _Talk(model, settings.model.reply_seconds, system)
        for line in lines():
            done.append(await talk.put(line))
            if as_json:
                tell(dump(_row(len(done), done[-1]), sys.stdout))
            else:
                _show(tell, _told(len(done), done[-1]))
    finally:
        await model.writer.close()
    summary = _summary(model.choice, done, loaded)
    if as_json:
        tell(dump(summary, sys.stdout))
    else:
        _show(tell, _closing(summary))
    return 0 if summary["ok"] else 1


def _open(settings: Settings) -> _Model:
    choice = choose(settings)
    engine = make_engine(settings, make_book(settings), allow_demo=True)
    if engine is None:
        return _Model(choice=choice, tagger=TableTagger(), writer=make_phrases(settings))
    return _Model(choice=choice, tagger=engine, writer=engine)


# -- one line after the other --------------------------------------------------------------------


class _Talk:
    """Puts lines to one model and keeps the conversation that they make."""

    def __init__(self, model: _Model, seconds: float, system: str) -> None:
        self._model = model
        self._seconds = seconds  # that one answer of the engine may take
        self._system = system
        self._key = ConversationKey(platform="terminal", bot="heed", chat="check", user="check")
        self._said: list[Said] = []
        self._reused = 0  # tokens that the first turn of this conversation found already there

    async def put(self, line: Line) -> Outcome:
        """Put one line. An engine that fails, or is too slow, spoils this line only."""
        try:
            return await self._put(line)
        except EngineBusy as busy:  # a server that counts requests: once is forgiven
            await asyncio.sleep(min(busy.seconds, self._seconds))
        except (EngineError, PromptError, TimeoutError) as error:
            return self._failed(line, error)
        try:
            return await self._put(line)
        except (EngineError, PromptError, TimeoutError) as error:
            return self._failed(line, error)

    def _failed(self, line: Line, error: Exception) -> Outcome:
        late = f"no answer in {3 * self._seconds:g} s"
        return Outcome(line=line, wrong=[str(error) or late])

    async def _put(self, line: Line) -> Outcome:
        outcome = Outcome(line=line)
        async with asyncio.timeout(3 * self._seconds):  # the start, the reply, the line alone
            if not line.follows:
                await self._model.writer.drop(self._key)
                self._said, self._reused = [], 0
            started = await self._speak(outcome)
            if isinstance(self._model.writer, Joint):
                [alone] = await self._model.tagger.tag_many([line.text])
                outcome.alone = _sense(alone)
        outcome.wrong = [
            *_tag_faults(outcome),
            *_reply_faults(outcome, self._system),
            *self._turn_faults(outcome, started),
        ]
        self._reused = outcome.reused or 0
        at = float(len(self._said))
        self._said.append(Said(role="user", text=line.text, at=at))
        self._said.append(Said(role="bot", text=outcome.reply, at=at + 1))
        return outcome

    async def _speak(self, outcome: Outcome) -> Started:
        """Tag the line in its conversation and have it answered; fill `outcome` with both."""
        writer, began = self._model.writer, perf_counter()
        tagging, started = await self._begin(outcome.line.text)
        spoken = False
        try:
            limits = Limits(tokens=_TOKENS, seconds=self._seconds)
            async for piece in writer.continue_reply(started, limits, "calm"):
                outcome.first_ms = outcome.first_ms or (perf_counter() - began) * 1000
                outcome.reply += piece
            outcome.reply_ms = (perf_counter() - began) * 1000
            spoken = True
        finally:
            await writer.settle(started, kept=spoken)
        outcome.label, outcome.probs, outcome.doubt = _sense(tagging), tagging.probs, tagging.doubt
        made = {**tagging.made, **started.made}
        outcome.computed, outcome.reused = made.get("tokens_computed"), made.get("tokens_reused")
        return started

    async def _begin(self, text: str) -> tuple[Tagging, Started]:
        request = ReplyRequest(
            key=self._key,
            history=tuple(self._said),
            messages=(text,),
            lang=language(text),
            now=float(len(self._said)),
        )
        if isinstance(self._model.writer, Joint):
            return await self._model.writer.tag_and_start(request)
        [tagging] = await self._model.tagger.tag_many([text])
        scores = combine(text, tagging, tagging)  # the phrase book looks at them
        return tagging, await self._model.writer.start(replace(request, scores=scores))

    def _turn_faults(self, outcome: Outcome, started: Started) -> list[str]:
        """Say what is wrong with the end of the reply, and with a past that was not kept warm."""
        wrong = []
        ended = started.made.get("ended", "stop")
        if ended not in ("stop", "tokens"):
            wrong.append(f"the reply did not end in {self._seconds:g} s ({ended})")
        second = outcome.line.follows and bool(self._said)
        if second and self._model.choice.kind == "local" and (outcome.reused or 0) <= self._reused:
            wrong.append("the turn before was computed anew, nothing of it was reused")
        return wrong


# -- right and wrong -----------------------------------------------------------------------------


def _sense(tagging: Tagging) -> str:
    """Return what a label means for the mood, so that the operator's own words count too."""
    label = max(tagging.probs, key=lambda one: tagging.probs[one])
    polarity = tagging.polarity.get(label)
    if polarity is None:
        return label
    return "neutral" if abs(polarity) < _CLEAR else "negative" if polarity < 0 else "positive"


def _tag_faults(outcome: Outcome) -> list[str]:
    wrong = []
    if outcome.label not in outcome.line.labels:
        wrong.append(f"heard {outcome.label}, right is {' or '.join(outcome.line.labels)}")
    if outcome.doubt >= _MOST_DOUBT:
        wrong.append(f"{_percent(outcome.doubt)} of the probability lies outside the labels")
    return wrong


def _reply_faults(outcome: Outcome, system: str) -> list[str]:
    """Say what is wrong with a reply: what the walk itself refuses, and a foreign script."""
    found = fault(outcome.reply, secret=system)
    if not found and _TEMPLATE.search(outcome.reply):
        found = "role tokens"
    if not found and "\ufffd" in outcome.reply:
        found = "broken"
    if found:
        return [_SAID.get(found, f"the reply is {found}")]
    if outcome.line.lang != "any" and not _written_in(outcome.line.lang, outcome.reply):
        return [f"the reply is not written as the line is ({outcome.line.lang})"]
    return []


def _written_in(lang: str, reply: str) -> bool:
    if lang == "zh":
        return language(reply) == "zh"
    letters = [sign for sign in reply if sign.isalpha()]
    return sum(sign.isascii() for sign in letters) * 2 > len(letters)


# -- what is shown -------------------------------------------------------------------------------


def _show(tell: Tell, rows: Sequence[str]) -> None:
    """Tell rows in signs that this terminal can show."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for row in rows:
        tell(row.encode(encoding, "backslashreplace").decode(encoding))


def _title(choice: Choice) -> list[str]:
    if choice.demo:
        return [f"{choice.name} is a demo model: its words mean nothing, so most lines fail.", ""]
    return [f"Checking {choice.name} ({choice.why}).", ""]


def _told(number: int, outcome: Outcome) -> list[str]:
    chances = [f"{name} {_percent(share)}" for name, share in outcome.probs.items()]
    tag = ", ".join([*chances, f"doubt {_percent(outcome.doubt)}"])
    if outcome.alone:
        word = "agrees" if outcome.alone == outcome.label else "disagrees"
        tag += f"; alone {outcome.alone}, which {word}"
    times = f"tag and first token {outcome.first_ms:.0f} ms, reply {outcome.reply_ms:.0f} ms"
    if outcome.computed is not None:
        times += f", tokens {outcome.computed} computed, {outcome.reused or 0} reused"
    if outcome.line.follows:
        times += " (second turn of its conversation)"
    rows = [f"{number:2}  {'FAIL' if outcome.wrong else 'pass'}  {outcome.line.text}"]
    if outcome.probs:
        rows += [f"          {row}" for row in (tag, f"reply: {_clipped(outcome.reply)}", times)]
    if outcome.wrong:
        rows.append(f"          wrong: {'; '.join(outcome.wrong)}")
    return rows


def _row(number: int, outcome: Outcome) -> dict[str, Any]:
    return {
        "line": number,
        "text": outcome.line.text,
        "passed": not outcome.wrong,
        "wrong": outcome.wrong,
        "label": outcome.label,
        "right": outcome.line.labels,
        "probs": {name: round(share, 4) for name, share in outcome.probs.items()},
        "doubt": round(outcome.doubt, 4),
        "alone": outcome.alone or None,
        "reply": outcome.reply,
        "first_ms": round(outcome.first_ms, 1),
        "reply_ms": round(outcome.reply_ms, 1),
        "tokens_computed": outcome.computed,
        "tokens_reused": outcome.reused,
        "second_turn": outcome.line.follows,
    }


def _summary(choice: Choice, done: Sequence[Outcome], loaded: float) -> dict[str, Any]:
    passed = sum(not outcome.wrong for outcome in done)
    both = [outcome for outcome in done if outcome.alone]
    second = [outcome.reused for outcome in done if outcome.line.follows]
    spoken = [outcome for outcome in done if outcome.first_ms]
    return {
        "model": choice.name,
        "demo": choice.demo,
        "passed": passed,
        "lines": len(done),
        "needed": NEEDED,
        "ok": passed >= NEEDED,
        "agree": sum(outcome.alone == outcome.label for outcome in both),
        "compared": len(both),
        "second_turns_reused": [count for count in second if count is not None],
        "load_s": round(loaded, 2),
        "first_ms": round(_mean([outcome.first_ms for outcome in spoken]), 1),
        "reply_ms": round(_mean([outcome.reply_ms for outcome in spoken]), 1),
    }


def _closing(summary: Mapping[str, Any]) -> list[str]:
    compared, reused = summary["compared"], summary["second_turns_reused"]
    verdict = "good enough, exit code 0" if summary["ok"] else "not good enough, exit code 1"
    passed = f"Passed {summary['passed']} of {summary['lines']}; {summary['needed']} are needed"
    agree = "One prompt tags here, in a conversation and alone, so there is nothing to compare."
    if compared:
        agree = f"Both prompts give the same label on {summary['agree']} of {compared} lines."
    times = (
        f"Loaded in {summary['load_s']:.1f} s; on average {summary['first_ms']:.0f} ms until the "
        f"tag and the first token, {summary['reply_ms']:.0f} ms until the end of the reply."
    )
    rows = ["", f"{passed}: {verdict}.", agree, times]
    if reused:
        rows.append(f"Second turns reused {', '.join(map(str, reused))} tokens.")
    return rows


def _clipped(reply: str) -> str:
    """Return the reply on one row, without signs that would move the cursor."""
    row = "".join(sign if sign.isprintable() else "·" for sign in " ".join(reply.split()))
    return row if len(row) <= _SHOWN else f"{row[: _SHOWN - 1]}…"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
