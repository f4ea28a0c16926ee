"""`heed bench`: the engine against the two-call baseline, in one run, with the floor beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bot.bench import machine
from core.engine.bench import shapes
from core.errors import SetupError

Tell = Callable[[str], object]

ROOM: Final = Path("data/bench")  # checkpoints made on the spot; may be deleted at any time
PRECISIONS: Final = ("fp32", "bf16", "int8")  # int4 where it is asked for
_EXACT: Final = ("fp32", "bf16")
_WORDS: Final = {
    "tag": "tag",
    "first": "first reply token",
    "total": "whole reply",
    "decode": "a token more",
}


def shape_of(model: str, *, quick: bool) -> tuple[shapes.Shape, Path]:
    """Return a model's shape and the folder for its checkpoint. Raises SetupError."""
    if model not in shapes.SHAPES:
        known = ", ".join(shapes.SHAPES)
        raise SetupError(f"{model} is no shape of the benchmark: choose one of {known}.")
    if quick:
        return shapes.TINY, ROOM / "tiny"
    return shapes.SHAPES[model], ROOM / model


def made(tell: Tell, shape: shapes.Shape, folder: Path) -> Path:
    """Make a checkpoint unless it is there, and say so."""
    if not (folder / "shape.json").is_file():
        size = shape.weights * 2 / 1e9
        tell(f"Making a random checkpoint in {folder} ({size:.1f} GB; delete it when you like).")
    return shapes.make(shape, folder)


def measure(  # noqa: PLR0913 - the options of the command
    tell: Tell,
    out: Path | None,
    *,
    model: str,
    threads: int,
    precision: str,
    peer: str | None,
    quick: bool,
) -> int:
    """Measure, print the table, and write every figure to `out`. Raises SetupError."""
    if precision not in ("", "auto", "int4", *PRECISIONS):
        raise SetupError(
            f"--precision is {precision}: write one of {', '.join(PRECISIONS)} or int4."
        )
    shape, folder = shape_of(model, quick=quick)
    from core.engine.bench.clocks import pin

    facts = machine.describe()
    other = _peer(peer, folder, threads)
    pinned = pin(threads)  # before anything imports torch
    tell(machine.line(facts))
    tell(_setting(threads, pinned))
    made(tell, shape, folder)
    report: dict[str, Any] = {
        "kind": "engine",
        "machine": facts,
        "model": "tiny" if quick else model,
        "shape": {**asdict(shape), "weights": shape.weights},
        "lengths": asdict(shapes.TURN),
        "threads": threads,
        "cores": pinned,
        "clock": _clock(threads),
    }
    report |= _figures(tell, shape, folder, report, (precision, other, quick))
    report["load_after"] = machine.load()
    _show(tell, report)
    if out is not None:
        out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _peer(name: str | None, folder: Path, threads: int) -> Any:  # noqa: ANN401
    if name is None:
        return None
    from core.engine.bench import peer

    return peer.load(folder.with_suffix(folder.suffix + ".gguf"), threads)


def _setting(threads: int, pinned: Sequence[int]) -> str:
    where = f"core {', '.join(map(str, pinned))}" if pinned else "no fixed core"
    if threads == 1:
        return f"1 thread on {where}; process CPU time, minimum (median); wall time beside it."
    return (
        f"{threads} threads on {where}; wall time, minimum (median): true only on an idle machine."
    )


def _clock(threads: int) -> str:
    return "cpu" if threads == 1 else "wall"


def _figures(
    tell: Tell,
    shape: shapes.Shape,
    folder: Path,
    about: Mapping[str, Any],
    asked: tuple[str, Any, bool],
) -> dict[str, Any]:
    """Run the baseline and each precision turn about."""
    from core.engine.bench.run import Plan, Run

    precision, other, quick = asked
    little: dict[str, Any] = {"reply": 16, "steps": 4, "deep": 400, "mib": 64, "starts": 1}
    plan = Plan(folder=folder, shape=shape, threads=about["threads"], **(little if quick else {}))
    tell("The baseline takes its first turn ...")
    run = Run(plan)
    default = run.default()
    wanted = [default if precision == "auto" else precision] if precision else [*PRECISIONS]
    if quick and not precision:
        wanted = [default, "int8"]
    found: dict[str, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    for name in wanted:
        tell(f"{name} and the baseline, turn about ...")
        try:
            figures = run.against(name)
        except SetupError as error:
            refused[name] = str(error)
            continue
        clock = about["clock"]
        figures["ratios"] = ratios(figures, clock)
        figures["ratios_wall"] = ratios(figures, "wall")
        figures["bars"] = [] if quick else bars(name, figures, clock, is_default=name == default)
        found[name] = figures
    if not found:
        raise SetupError("; ".join(refused.values()))
    main = default if default in found else next(iter(found))
    rate = run.rate
    for name, figures in found.items():
        figures["floor"] = run.floor(name, rate)
    return {
        "default": main,
        "read_bytes_per_second": round(rate),
        "baseline": run.baseline(),
        "precisions": found,
        "refused": refused,
        "ratios": found[main]["ratios"],
        "bars": found[main]["bars"],
        **({"peer": {"llama.cpp": run.peer(other)}} if other is not None else {}),
    }


# ---- what follows from the figures ---------------------------------------------------------


def ratios(figures: Mapping[str, Any], clock: str) -> dict[str, float]:
    """Return how many times faster than the baseline, and what the tag adds (0.1: 10 %)."""
    baseline, warm, cold = figures["baseline"], figures["warm"], figures["cold"]

    def least(entry: Mapping[str, Any]) -> float:
        return float(entry[clock]["min"])

    many = max(figures["together"], key=int)
    rate = figures["together"][many]["tokens_per_second"][clock]
    return {
        "first_token_warm": round(least(baseline["first"]) / least(warm["first"]), 3),
        "first_token_cold": round(least(baseline["first"]) / least(cold["first"]), 3),
        "tag_overhead": round(least(figures["with_tag"]) / least(figures["without_tag"]) - 1, 4),
        "reply_64": round(least(baseline["total"]) / least(warm["total"]), 3),
        f"throughput_{many}": round(rate * least(baseline["decode"]) / 1000, 3),
    }


def bars(
    precision: str, figures: Mapping[str, Any], clock: str, *, is_default: bool
) -> list[dict[str, Any]]:
    """Return every bar that this precision is held to, with what was measured.

    fp32 is measured for comparison; it is held to them only where it is the default.
    """
    if precision == "fp32" and not is_default:
        return []
    found, depth = figures["ratios"], figures["depth"]
    exact = precision in _EXACT
    few, many = (float(depth[f"step_{n}_ms"][clock]["min"]) for n in ("few", "many"))
    flat = (many - float(depth["attention_many_ms"][clock]["min"])) / few
    rows: list[tuple[str, str, float, float]] = [
        ("first reply token, warm, times faster", ">=", 12, found["first_token_warm"]),
        ("first reply token, cold, times faster", ">=", 4, found["first_token_cold"]),
        ("what the tag adds to the reply's prefill", "<=", 0.25, found["tag_overhead"]),
        ("whole reply, times faster", ">=", 1.4 if exact else 3.5, found["reply_64"]),
        ("16 conversations, times the tokens", ">=", 10, found["throughput_16"]),
        ("step at 2,000 tokens less its attention, to one at 100", "<=", 1.25, round(flat, 3)),
    ]
    if is_default or precision == "bf16":
        first, again = figures["starts"][0], figures["starts"][-1]
        memory = {name: value * 2**20 / 1e9 for name, value in first["memory_mib"].items()}
        rows += [
            ("anonymous memory after load, GB", "<=", 1.3, round(memory["anonymous"], 2)),
            ("peak while loading, GB", "<=", 1.8, round(memory["peak"], 2)),
            ("process start to ready, s", "<=", 15, first["ready_s"]),
            ("process start to ready, the next time, s", "<=", 6, again["ready_s"]),
        ]
    return [
        {
            "name": name,
            "bar": f"{sign} {bar}",
            "value": value,
            "met": value >= bar if sign == ">=" else value <= bar,
        }
        for name, sign, bar, value in rows
    ]


# ---- the table -----------------------------------------------------------------------------


def _show(tell: Tell, report: Mapping[str, Any]) -> None:
    tell("")
    for line in _table(report):
        tell(line)
    for name, why in report["refused"].items():
        tell(f"{name} was not measured: {why}")
    for name, figures in report["precisions"].items():
        tell(f"{name}: {figures['kernels']}")
    if not report["bars"]:
        tell("A tiny shape shows that the benchmark runs; no bar is held to it.")
    for name, figures in report["precisions"].items():
        for bar in figures["bars"]:
            said = "met   " if bar["met"] else "MISSED"
            tell(f"  {said} {name}: {bar['name']} {bar['bar']}: {bar['value']:g}")
    tell(f"Load average before {report['machine']['load']}, after {report['load_after']}.")


def _table(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table: the baseline, each precision, the peer."""
    columns = ["baseline", *report["precisions"], *report.get("peer", {})]
    width = 18

    def line(label: str, cells: Sequence[str]) -> str:
        return f"{label:<38}" + "".join(f"{cell:>{width}}" for cell in cells)

    yield line("milliseconds", columns)
    for clock in dict.fromkeys((report["clock"], "wall")):
        yield from _turn_lines(report, clock, line)
    yield from _more_lines(report, line)


Line = Callable[[str, Sequence[str]], str]


def _turn_lines(report: Mapping[str, Any], clock: str, line: Line) -> Iterator[str]:
    ours = report["precisions"].values()
    peers = report.get("peer", {}).values()
    for state in ("warm", "cold"):
        for part, words in _WORDS.items():
            if state == "cold" and part == "decode":
                continue
            cells = [report["baseline"][part], *(figures[state][part] for figures in ours)]
            cells += [one["decode"] if part == "decode" else one[state].get(part) for one in peers]
            yield line(f"{words}, {state} ({clock})", [_cell(cell, clock) for cell in cells])


def _more_lines(report: Mapping[str, Any], line: Line) -> Iterator[str]:
    clock, ours = report["clock"], list(report["precisions"].values())
    alone = 1000 / report["baseline"]["decode"][clock]["min"]
    yield line(
        "what the tag adds", ["-", *(f"{one['ratios']['tag_overhead']:.0%}" for one in ours)]
    )
    for many in ours[0]["together"]:
        rates = (one["together"][many]["tokens_per_second"][clock] for one in ours)
        cells = [f"{alone:.1f}", *(f"{rate:.1f}" for rate in rates)]
        yield line(f"tokens a second, {many} at a time", cells)
    for part in ("few", "many"):
        cells = [_cell(one["depth"][f"step_{part}_ms"], clock) for one in ours]
        yield line(f"a step on {ours[0]['depth'][part]:,} tokens", ["-", *cells])
        cells = [_cell(one["depth"][f"attention_{part}_ms"], clock) for one in ours]
        yield line("  of it attention", ["-", *cells])
    rate = report["read_bytes_per_second"] / 1e9
    floors = [one["floor"]["weights_ms"] for one in ours]
    label = f"floor: all weights read at {rate:.1f} GB/s"
    yield line(label, ["-", *(f"{floor:.1f}" for floor in floors)])
    for part, words in (("first", "first token, in floors"), ("decode", "a token more, in floors")):
        times = (one["warm"][part][clock]["min"] for one in ours)
        cells = [f"{time / floor:.2f}" for time, floor in zip(times, floors, strict=True)]
        yield line(words, ["-", *cells])
    for key, words in (("ready_s", "fresh process ready, s"), ("load_s", "  of it load and pack")):
        cells = [" ".join(f"{start[key]:.1f}" for start in one["starts"]) for one in ours]
        yield line(words, ["-", *cells])
    for key in ("anonymous", "file", "peak"):
        cells = [f"{one['starts'][0]['memory_mib'][key]:.0f}" for one in ours]
        yield line(f"memory, {key}, MiB", ["-", *cells])
    for name in ours[0]["ratios"]:
        cells = [f"{one['ratios'][name]:.2f}" for one in ours]
        yield line(f"ratios.{name}", ["1", *cells])


def _cell(entry: Mapping[str, Any] | None, clock: str) -> str:
    if entry is None:
        return "-"
    return f"{entry[clock]['min']:.1f} ({entry[clock]['median']:.1f})"
