"""The same over the web: people who say a line again when the page does not take it."""

# ruff: noqa: S608 - the queries are ours

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx2

from tests.crash.harness import AT_ONCE, Zygote, until
from tests.crash.judge import Case, Database, Outcome, noise
from tests.crash.scenes import FURY
from tests.crash.stages import Child
from tests.crash.words import numbers
from tests.patience import PATIENCE

SPOKEN = {
    "ann": ("hello there", "where do I find my invoices?", "thank you"),
    "bob": ("good morning", FURY, "hello? is anybody there?"),
    "cat": ("hi", "can you see my order?", "ok, bye"),
}


class Visit:
    """Three people at the page of one Heed that dies and lives again."""

    def __init__(
        self, zygote: Zygote, folder: Path, case: Case, client: httpx2.AsyncClient
    ) -> None:
        self.zygote, self.case, self.child, self.client = zygote, case, Child(), client
        self.database, self.log = Database(folder / "heed.db"), folder / "heed.log"
        shutil.copyfile(zygote.template, self.database.path)
        self.command: dict[str, Any] = {
            "settings": {
                "database": {"url": f"sqlite:///{self.database.path}"},
                "http": {"port": 0},
                "model": {"name": "embedded"},
                "desk": {"pictures": case.pictures},
            },
            "log": str(self.log),
            "engine": case.engine,
            "trace": case.trace,
        }
        self.said: dict[str, list[str]] = {
            who: [f"k{10 * (place + 1) + number}" for number in range(len(lines))]
            for place, (who, lines) in enumerate(SPOKEN.items())
        }
        self.url = ""
        self.killed = 0

    async def play(self) -> Outcome:
        """Play it and judge."""
        people = asyncio.gather(*(self._speak(who) for who in SPOKEN))
        try:
            for life in range(self.case.kills + 1):
                last = life == self.case.kills
                hit = 1 if life else self.case.hit
                aimed = {} if last else {"point": self.case.point, "hit": hit}
                starts = self._told().count("Heed is at")
                async with self.zygote.life(self.child, self.command | aimed) as ended:
                    await until(lambda: ended.done() or self._open(starts))  # noqa: B023
                    await until(lambda: ended.done() or (people.done() and self._idle()))
                    died = ended.done() and ended.result()
                    self.url = ""
                    self.database.close()
                self.killed += died
                if last or not died:
                    break
        finally:
            people.cancel()
            await asyncio.gather(people, return_exceptions=True)
        return self._judged()

    def _told(self) -> str:
        return self.log.read_text("utf-8") if self.log.exists() else ""

    def _open(self, starts: int) -> bool:
        found = re.findall(r"Heed is at (http\S+)", self._told())
        self.url = found[-1] if len(found) > starts else ""
        return bool(self.url)

    def _idle(self) -> bool:
        return self.database.idle(sum(map(len, self.said.values())))

    async def _speak(self, who: str) -> None:
        for number, text in zip(self.said[who], SPOKEN[who], strict=True):
            while not self._taken(number):
                if await until(lambda: self.url):
                    await self._say(self.url, who, f"{text} {number}")

    def _taken(self, number: str) -> bool:
        """Look at the page whether a line stands there: only then it is not said again."""
        return (
            self.database.number(f"select count(*) from inbox where message like '%{number}%'") > 0
        )

    async def _say(self, url: str, who: str, text: str) -> None:
        """Say a line and hear whether it was taken, not what is answered."""
        try:
            async with self.client.stream(
                "POST",
                f"{url}/chat",
                json={"text": text, "user": who},
                headers={"accept": "text/event-stream"},
            ) as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("event"):
                        return
                await asyncio.sleep(0.02)  # it was refused: not ready yet
        except httpx2.HTTPError:
            await asyncio.sleep(0.02)

    def _judged(self) -> Outcome:
        """Each line once in the inbox and the history, answered once in order, or handed over."""
        found, case, database = Outcome(), self.case, self.database
        found.cases, found.killed = 1, self.killed
        if database.rows("pragma integrity_check")[0][0] != "ok":
            found.lost.append(f"{case}: the database is damaged")
        inbox = Counter(
            number
            for row in database.rows("select message from inbox where state = 'done'")
            for number in numbers([json.loads(row["message"])["text"]])
        )
        lines = Counter(numbers([row["text"] for row in self._lines("user")]))
        for number in (one for said in self.said.values() for one in said):
            if (inbox[number], lines[number]) != (1, 1):
                found.lost.append(f"{case}: {number}: {inbox[number]}x in, {lines[number]}x kept")
        for who, said in self.said.items():
            answers = numbers([row["text"] for row in self._lines("bot", who)])
            found.twice += [f"{case}: {n} twice" for n, t in Counter(answers).items() if t > 1]
            if answers != sorted(answers):
                found.reordered.append(f"{case}: {who} was answered in the order {answers}")
            missing = [number for number in said if number not in answers]
            if missing and who != "bob":  # the furious one has a human, who answers all of it
                found.unanswered.append(f"{case}: {who}'s {missing} were not answered")
        if (cases := database.number("select count(*) from cases")) != 1:
            found.lost.append(f"{case}: {cases} cases instead of 1")
        if left := database.number(
            "select count(*) from outbox where state not in ('sent', 'withdrawn')"
        ):
            found.lost.append(f"{case}: {left} posts were never sent")
        found.noise += [f"{case}: log: {line}" for line in noise(self._told())]
        database.close()
        return found

    def _lines(self, role: str, who: str = "") -> list[Any]:
        """Return the lines of one role, or those of it that were said to somebody."""
        query = (
            "select h.text from history h join conversation c on c.id = h.conversation_id "
            f"where h.role = '{role}' and c.user like '%{who}%' order by h.id"
        )
        return self.database.rows(query)


async def visit_all(zygote: Zygote, folder: Path, cases: Iterable[Case]) -> Outcome:
    """Run cases, several at a time."""
    total, waiting = Outcome(), list(enumerate(cases))[::-1]

    async def work(client: httpx2.AsyncClient) -> None:
        nonlocal total
        while waiting:
            number, case = waiting.pop()
            place = folder / f"case{number}"
            place.mkdir(parents=True)
            outcome = await Visit(zygote, place, case, client).play()
            total += outcome
            if not (outcome.violations or case.trace):
                shutil.rmtree(place)

    async with (
        httpx2.AsyncClient(timeout=PATIENCE, trust_env=False, verify=False) as client,
        asyncio.TaskGroup() as tasks,
    ):
        for _ in range(AT_ONCE):
            tasks.create_task(work(client))
    return total
