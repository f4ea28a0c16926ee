"""Which cases there are: every point that a scene comes past, as often as it does."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.crash.harness import Zygote, run
from tests.crash.judge import Case
from tests.crash.scenes import Scene
from tests.crash.stages import Stage

# Transactions that stand between two named points; killed there is killed here.
NAMED = (
    "intake.take_in",
    "outbox.claim",
    "receipts.sent",
    "streams.open_stream",
    "streams.remember",
    "turns.finish",
)
UNTOLD = ("getUpdates", "GET /users/*", "GET /oauth2/*")  # nothing has happened yet
STARTS = (  # made at a start; a scene at the desk is not disturbed so early
    "getMe",
    "deleteWebhook",
    "getMyCommands",
    "setMyCommands",
    "getChatAdministrators",
    "getForumTopicIconStickers",
    "PUT /applications/*/commands",
)
IDS = re.compile(r"\d{5,}")


@dataclass(frozen=True)
class Survey:
    """How often a scene comes past each point of the program, and makes each call."""

    points: Mapping[str, int]
    calls: Mapping[str, int]

    def cases(self, hits: Callable[[int], Iterable[int]], like: Case) -> list[Case]:
        """Return a case for each point and each of the hits that are chosen of so many."""
        at_points = [
            replace(like, point=point, hit=hit)
            for point, times in self.points.items()
            for hit in hits(times)
        ]
        return at_points + [
            replace(like, call=call, after=after, hit=hit)
            for call, times in self.calls.items()
            for after in (False, True)
            for hit in hits(times)
        ]


def ends(times: int) -> tuple[int, ...]:
    """Choose the first hit, and one of the last: the very last may be missing another time."""
    return (1, times - times // 4) if times > 2 else (1,)


def three(times: int) -> tuple[int, ...]:
    """Choose one more between the two."""
    return (1, times // 2, times - times // 4) if times > 3 else ends(times)


def first(_times: int) -> tuple[int, ...]:
    """Choose the first hit."""
    return (1,)


def every(times: int) -> range:
    """Choose every hit, seven at most."""
    return range(1, min(times, 7) + 1)


async def survey(
    zygote: Zygote, make: Callable[[], Stage], folder: Path, scene: Scene, **more: Any
) -> Survey:
    """Play a scene once without a kill; that must be without a fault, too."""
    folder.mkdir()  # noqa: ASYNC240
    case = Case(kills=0, scene=scene, trace=str(folder / "trace"), **more)
    async with make() as stage:
        stage.made = []
        outcome = await run(zygote, stage, folder, case)
        assert not outcome.violations, outcome.violations
        calls = Counter(IDS.sub("*", one) for one in stage.made)
    for name in (*UNTOLD, *STARTS) if scene.moves else UNTOLD:
        calls.pop(name, None)
    found = Survey(points_of(Path(case.trace)), calls)
    shutil.rmtree(folder)
    return found


def points_of(trace: Path) -> Counter[str]:
    """Count the points of a trace; of those that are one, the named one."""
    points = Counter(trace.read_text("utf-8").splitlines())
    for name in NAMED:
        points.pop(f"before {name}", None)
        points.pop(f"after {name}", None)
    return points
