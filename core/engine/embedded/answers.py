"""The operator's own answers: a file of questions and texts, found by likeness.

`answers.toml` holds [[answer]] tables with `questions` (several ways to ask), `text`, and `lang`.
Likeness is the cosine of tf-idf vectors over words, word pairs and character n-grams; below
the minimum nothing is said, because a wrong answer is worse than none. The file is read again when
it changes; while it is broken the last good one speaks on, and `problem` says what to mend.
"""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from core.errors import SetupError

MINIMUM = 0.55
_HAN = re.compile("[\u3400-\u9fff]")
_STRETCHED = re.compile(r"([a-zа-я])\1{2,}")
_WORDS = re.compile(r"[^\W_]+")


def normal(text: str) -> str:
    """Return `text` as patterns and likeness see it: lower case, no apostrophes, one line."""
    folded = unicodedata.normalize("NFKC", text).lower()
    folded = _STRETCHED.sub(r"\1", re.sub("['’‘`´]", "", folded))
    return " ".join(folded.split())


def bare(text: str) -> str:
    """Return the words of a normal text and nothing between them but single spaces."""
    return " ".join(_WORDS.findall(text))


def _features(text: str) -> Iterator[str]:
    """Yield what two texts are compared by; Chinese by characters, the rest by words as well."""
    words = _WORDS.findall(text)
    for word in words:
        if _HAN.search(word):
            yield from word
            yield from (word[i : i + 2] for i in range(len(word) - 1))
            yield from (word[i : i + 3] for i in range(len(word) - 2))
        else:
            yield f"w {word}"
            padded = f"^{word}$"
            yield from (padded[i : i + 4] for i in range(len(padded) - 3))
    for pair in pairwise(words):
        yield "p " + " ".join(pair)


class Nearest:
    """Finds the utterance most like a text. Built once, read by anybody, changes never."""

    def __init__(self, utterances: Sequence[tuple[str, str]]) -> None:
        """Take (owner, utterance) pairs; several utterances may have one owner."""
        counts = [Counter(_features(normal(text))) for _, text in utterances]
        self._owners = [owner for owner, _ in utterances]
        seen = Counter(feature for count in counts for feature in count)
        total = len(counts)
        self._idf = {feature: math.log(1 + total / n) for feature, n in seen.items()}
        self._unseen = math.log(1 + total) if total else 1.0
        self._postings: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        for at, count in enumerate(counts):
            weights = {f: (1 + math.log(n)) * self._idf[f] for f, n in count.items()}
            length = math.sqrt(sum(w * w for w in weights.values())) or 1.0
            for feature, weight in weights.items():
                self._postings[feature].append((at, weight / length))

    def best(self, text: str) -> tuple[str, float]:
        """Return the owner of the nearest utterance and its likeness, 0..1; ("", 0) for none."""
        count = Counter(_features(normal(text)))
        weights = {f: (1 + math.log(n)) * self._idf.get(f, self._unseen) for f, n in count.items()}
        length = math.sqrt(sum(w * w for w in weights.values())) or 1.0
        likeness: defaultdict[int, float] = defaultdict(float)
        for feature, weight in weights.items():
            for at, share in self._postings.get(feature, ()):
                likeness[at] += weight * share / length
        if not likeness:
            return "", 0.0
        at = max(likeness, key=lambda i: (likeness[i], -i))
        return self._owners[at], likeness[at]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One answer of the operator's; `lang` empty: for every language."""

    question: str  # the first of its questions, which names it
    text: str
    lang: str = ""


class Answers:
    """The operator's answers file, as it is now."""

    def __init__(self, path: Path | None, minimum: float = MINIMUM) -> None:
        """Read `path` where it exists; below `minimum` nothing is like anything.

        Raises SetupError when it cannot be used.
        """
        self.problem = ""
        self.version = ""  # of what is in use
        self.words = ""  # everything that stands in the file
        self._minimum = minimum
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._answers: dict[str, Answer] = {}
        self._nearest = Nearest(())
        self._exact: dict[str, str] = {}
        self._read()

    def __len__(self) -> int:
        return len(self._answers)

    def any(self) -> bool:
        """Say whether there are any, so that without them nothing is compared."""
        self.refresh()
        return bool(self._answers)

    def find(self, text: str, *langs: str) -> tuple[Answer, float] | None:
        """Return the answer to `text` in one of `langs` and its likeness, None below the minimum.

        An answer without a language is in every one.
        """
        self.refresh()
        owner, likeness = self._nearest.best(text)
        if exact := self._exact.get(bare(normal(text))):
            owner, likeness = exact, 1.0
        answer = self._answers.get(owner)
        if answer is None or likeness < self._minimum or answer.lang not in ("", *langs):
            return None
        return answer, likeness

    def refresh(self) -> None:
        """Read the file again if it has changed; a broken one leaves the last good one in use."""
        if self._path is None or _stamp(self._path) == self._stamp:
            return
        try:
            self._read()
            self.problem = ""
        except SetupError as error:
            self.problem = str(error)

    def _read(self) -> None:
        if self._path is None:
            return
        self._stamp = _stamp(self._path)
        answers = read_answers(self._path) if self._stamp else []
        self._answers = {str(at): answer for at, (answer, _) in enumerate(answers)}
        pairs = [(str(at), asked) for at, (_, listed) in enumerate(answers) for asked in listed]
        self._nearest = Nearest(pairs)
        self._exact = {bare(normal(asked)): at for at, asked in pairs}
        self.words = "\n".join([*(asked for _, asked in pairs), *(one.text for one, _ in answers)])
        self.version = f"answers@{hashlib.sha256(self.words.encode()).hexdigest()[:8]}"


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def read_answers(path: Path) -> list[tuple[Answer, list[str]]]:
    """Read an answers file into (answer, its questions). Raises SetupError with the line."""
    try:
        source = path.read_text("utf-8")
        data = tomllib.loads(source)
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise SetupError(
            f'{path}: {error}. Write [[answer]], then questions = ["..."] and text = "...".'
        ) from error
    lines = [at for at, line in enumerate(source.splitlines(), 1) if _opens(line)]
    found = data.get("answer", [])
    if set(data) - {"answer"} or not isinstance(found, list):
        raise SetupError(f"{path}: write [[answer]] with two brackets, and nothing beside it.")
    return [
        _answer(f"{path} line {lines[at] if at < len(lines) else 1}", table)
        for at, table in enumerate(found)
    ]


def _opens(line: str) -> bool:
    return line.replace(" ", "").startswith("[[answer]]")


def _answer(where: str, table: dict[str, Any]) -> tuple[Answer, list[str]]:
    if odd := set(table) - {"questions", "text", "lang"}:
        raise SetupError(f"{where}: {min(odd)} is unknown; write questions, text and lang only.")
    questions, text, lang = table.get("questions"), table.get("text"), table.get("lang", "")
    if not isinstance(questions, list) or not questions or not all(map(_filled, questions)):
        raise SetupError(f'{where}: write questions = ["one way to ask", "another way"].')
    if not _filled(text):
        raise SetupError(f'{where}: write text = "what to answer".')
    if not isinstance(lang, str):
        raise SetupError(f'{where}: write lang = "en", or leave it out.')
    base = lang.lower().partition("-")[0]
    return Answer(question=questions[0], text=str(text).strip(), lang=base), questions


def _filled(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
