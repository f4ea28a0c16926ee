"""`heed bench chat`: the real program with a model of a real shape, measured from outside.

The program runs as a child with a folder of its own and none of the operator's settings. What a
caller of POST /chat sees is timed beside what the Qwen All-in-One articles claim for theirs.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import bot
from bot.bench import machine
from bot.bench.engine import Tell, made, shape_of
from core.engine.bench.clocks import memory
from core.engine.bench.shapes import message
from core.errors import SetupError

SIZES: Final = {10: 630, 30: 730, 50: 840}  # tokens of a message -> claimed ms of a whole answer
SHORT, LONG = 10, 96  # tokens of a reply: for the claims, for what is measured beside a reply
_PATIENCE: Final = 180.0  # seconds until ready
_PINGS: Final = 100  # a second


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One POST /chat: milliseconds from the request on."""

    tag: float  # the tag event: one forward gave it and the reply's first logits
    text: float  # the first text shown: a whole sentence that passed the checks, or the rest
    done: float
    told: Mapping[str, Any]  # the data of the done event


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A running Heed."""

    port: int
    process: subprocess.Popen[bytes]
    ready: float  # seconds from its start to the first 200 of /readyz

    def say(self, user: str, text: str) -> Answer:
        """Send one message and follow its events."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)
        body = json.dumps({"text": text, "user": user})
        headers = {"Accept": "text/event-stream", "Content-Type": "application/json"}
        at: dict[str, float] = {}
        began = time.perf_counter()
        try:
            connection.request("POST", "/chat", body, headers)
            answer = connection.getresponse()
            for kind, data in _events(answer):
                at.setdefault(kind, 1000 * (time.perf_counter() - began))
                if kind == "done":
                    return Answer(
                        tag=at.get("tag", at["done"]),
                        text=at.get("token", at["done"]),
                        done=at["done"],
                        told=data,
                    )
        finally:
            connection.close()
        raise SetupError(f"POST /chat ended with {answer.status} and no done event.")


def _events(stream: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    kind = ""
    while line := stream.readline():
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


@contextmanager
def program(home: Path, checkpoint: Path, precision: str, reply: int) -> Iterator[Program]:
    """Start `heed run` in `home`, wait until it is ready, and end it at the end."""
    port = _free_port()
    env = {  # an empty environment but for these: no setting of the operator reaches it
        "PYTHONPATH": str(Path(bot.__file__).parent.parent),
        "HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "HEED_HTTP__PORT": str(port),
        "HEED_MODEL__NAME": str(checkpoint.resolve()),
        "HEED_MODEL__PRECISION": precision,
        "HEED_MODEL__REPLY_TOKENS": str(reply),
        "HEED_MODEL__REPLY_SECONDS": "120",
    }
    log = home / "program.log"
    began = time.perf_counter()
    with (
        log.open("ab") as printed,
        subprocess.Popen(
            [sys.executable, "-m", "bot", "run"],
            cwd=home,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            while _status(port, "/readyz") != 200:
                if process.poll() is not None or time.perf_counter() - began > _PATIENCE:
                    last = log.read_text(encoding="utf-8", errors="replace").strip()[-300:]
                    raise SetupError(f"The program did not become ready; it said: {last}")
                time.sleep(0.02)
            yield Program(port=port, process=process, ready=time.perf_counter() - began)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _status(port: int, path: str) -> int:
    """Ask for a path and read the answer; 0 when nobody is there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
    except OSError:
        return 0
    finally:
        connection.close()
    return answer.status


# ---- how long the event loop keeps a caller waiting ------------------------------------------


class Pings:
    """Asks /livez 100 times a second from a thread of its own; `with` bounds the time.

    Every question is a caller of its own, with a connection of its own.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._spent: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        due = time.perf_counter()
        while not self._over.wait(max(0.0, due - time.perf_counter())):
            due = max(due + 1 / _PINGS, time.perf_counter())
            began = time.perf_counter()
            if _status(self._port, "/livez") == 200:
                self._spent.append(1000 * (time.perf_counter() - began))

    @property
    def figures(self) -> dict[str, float]:
        """Return count, median, 99th percentile and maximum of the answers, in milliseconds."""
        ranked = sorted(self._spent)
        at = min(len(ranked) - 1, int(len(ranked) * 0.99))
        found = {"p50": statistics.median(ranked), "p99": ranked[at], "max": ranked[-1]}
        return {"count": len(ranked), **{name: round(value, 2) for name, value in found.items()}}


# ---- the run ---------------------------------------------------------------------------------


def measure(tell: Tell, out: Path | None, *, model: str, precision: str, quick: bool) -> int:
    """Start the program twice, measure, print claim beside figure. Raises SetupError."""
    shape, folder = shape_of(model, quick=quick)
    facts = machine.describe()
    tell(machine.line(facts))
    made(tell, shape, folder)
    report: dict[str, Any] = {
        "kind": "chat",
        "machine": facts,
        "model": "tiny" if quick else model,
        "precision": precision,
        "reply_tokens": {"short": SHORT, "long": SHORT if quick else LONG},
    }
    with tempfile.TemporaryDirectory(prefix="heed-bench-") as home:
        room = Path(home)
        tell(f"Starting the program; answers of {SHORT} tokens ...")
        with program(room, folder, precision, SHORT) as heed:
            report |= _answers(heed, folder, 1 if quick else 3)
            report |= _beside(heed, folder) if quick else {}
            report["starts"] = [_start(heed)]
        report["engine"] = _engine(room)
        if not quick:
            tell(f"Starting it again; answers of {LONG} tokens ...")
            with program(room, folder, precision, LONG) as heed:
                report |= _beside(heed, folder)
                report["starts"].append(_start(heed))
    report["claims"] = claims(report)
    report["load_after"] = machine.load()
    _show(tell, report)
    if out is not None:
        out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _start(heed: Program) -> dict[str, Any]:
    return {"ready_s": round(heed.ready, 2), "memory_mib": memory(str(heed.process.pid))}


def _engine(home: Path) -> str:
    """Return what the engine said of itself when it was ready; empty if it said nothing."""
    log = (home / "program.log").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"is ready after [^\x1b\n\"\[]+", log)
    return found[0].strip() if found else ""


def _answers(heed: Program, folder: Path, turns: int) -> dict[str, Any]:
    """Send each size of message from new people, and a second message from each."""
    heed.say("nobody", "Hello there")  # the first turn ever pays for what was put off
    fresh: dict[int, list[Answer]] = {size: [] for size in SIZES}
    second: list[Answer] = []
    sizes: dict[int, int] = {}
    for turn in range(turns):
        for size in SIZES:
            text, sizes[size] = message(folder, size, 7 * turn)
            fresh[size].append(heed.say(f"person-{size}-{turn}", text))
            text, _ = message(folder, 30, 7 * turn + 3)
            second.append(heed.say(f"person-{size}-{turn}", text))
    everyone = [answer for answers in fresh.values() for answer in answers] + second
    return {
        "answers": {
            str(size): {"message_tokens": sizes[size], **_summary(answers)}
            for size, answers in fresh.items()
        },
        "second_turn": _summary(second),
        "spoken_by_the_model": sum(_by_the_model(answer) for answer in everyone),
        "of": len(everyone),
    }


def _by_the_model(answer: Answer) -> bool:
    told = answer.told
    return str(told["prompt_version"]).startswith("reply@") and not told["escalated"]


def _summary(answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    """Return minimum and median of each span, in milliseconds."""
    return {
        name: {
            "min": round(min(values), 1),
            "median": round(statistics.median(values), 1),
        }
        for name in ("tag", "text", "done")
        if (values := [float(getattr(answer, name)) for answer in answers])
    }


def _beside(heed: Program, folder: Path) -> dict[str, Any]:
    """Measure what others wait for while nobody speaks, and while one and four replies run."""
    heed.say("nobody", "Hello there")
    with Pings(heed.port) as idle:
        time.sleep(1.5)
    text, _ = message(folder, 30)
    with Pings(heed.port) as busy:
        answer = heed.say("long", text)
    many = [threading.Thread(target=heed.say, args=(f"long-{at}", text)) for at in range(4)]
    with Pings(heed.port) as crowded:
        for one in many:
            one.start()
        for one in many:
            one.join()
    return {
        "long_answer": _summary([answer]),
        "lag_ms": {"idle": idle.figures, "one": busy.figures, "four": crowded.figures},
    }


# ---- what follows ----------------------------------------------------------------------------


def claims(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each claim with what was measured here, whether it holds, and why not."""
    start, again = report["starts"][0], report["starts"][-1]
    answers, lag = report["answers"], report["lag_ms"]
    peak, anonymous, file = (
        round(start["memory_mib"][name] * 2**20 / 1e9, 2) for name in ("peak", "anonymous", "file")
    )
    first = answers["30"]["tag"]["min"]
    a_token = (answers["30"]["done"]["min"] - first) / SHORT
    slow = (
        f"{first:.0f} ms until the first logits (Heed's own system prompt, the message and the "
        f"tag's question), then {a_token:.0f} ms for each of {SHORT} tokens"
    )
    held = (
        f"at the end {anonymous} GB are weights, working memory and the KV of "
        f"{report['of']} turns, {file} GB are mapped files"
    )
    rows = [
        ("cold start, s", 15, start["ready_s"], "importing torch and packing take that long"),
        ("the same, the second time, s", 15, again["ready_s"], "the same"),
        ("first token (tag and first logits, 30-token message), ms", 600, first, slow),
        *(
            (f"whole answer to {size} tokens, ms", claim, answers[str(size)]["done"]["min"], slow)
            for size, claim in SIZES.items()
        ),
        (
            "peak memory, GB (claimed 1.1 to 1.8)",
            1.8,
            peak,
            held,
        ),
        (
            "event loop, 99 % of callers while a reply is written, ms (our own bar)",
            20,
            lag["one"]["p99"],
            f"idle it is {lag['idle']['p99']} ms; the engine's thread shares the interpreter",
        ),
    ]
    return [
        {
            "name": name,
            "claim": claim,
            "measured": round(value, 2),
            "holds": value <= claim,
            "why": "" if value <= claim else why,
        }
        for name, claim, value, why in rows
    ]


def _show(tell: Tell, report: Mapping[str, Any]) -> None:
    tell("")
    if report["engine"]:
        tell(f"The engine {report['engine']}.")
    tell(
        f"{'measured over POST /chat, wall time, the least of all turns':<72}{'claim':>8}  measured"
    )
    for row in report["claims"]:
        said = "holds" if row["holds"] else f"does not hold: {row['why']}"
        tell(f"{row['name']:<72}{row['claim']:>8g}{row['measured']:>10g}  {said}")
    second, long, lag = report["second_turn"], report["long_answer"], report["lag_ms"]
    tell(
        f"Second message of the same person (30 tokens): tag and first logits "
        f"{second['tag']['min']:.0f} ms, whole answer {second['done']['min']:.0f} ms."
    )
    tell(
        f"An answer of {report['reply_tokens']['long']} tokens: first whole sentence shown after "
        f"{long['text']['min']:.0f} ms, done after {long['done']['min']:.0f} ms."
    )
    tell(
        "GET /livez 100 times a second, p50 / p99 / max ms: "
        + ", ".join(
            f"{name} {one['p50']:.1f} / {one['p99']:.1f} / {one['max']:.1f}"
            for name, one in (("idle", lag["idle"]), ("1 reply", lag["one"]), ("4", lag["four"]))
        )
        + "."
    )
    tell(
        f"The model has random weights: it tags by chance and speaks made-up words, through the "
        f"same forwards, checks and commits as any other. {report['spoken_by_the_model']} of "
        f"{report['of']} answers were its own words; every answer ends at {SHORT} tokens, because "
        "the claims are for short ones. Text is shown by whole sentences, so in an answer that "
        "short the first text comes with its end: the first token is told by the tag, which the "
        "same forward gives."
    )
    tell(f"Load average before {report['machine']['load']}, after {report['load_after']}.")
