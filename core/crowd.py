"""Many people upset at once: whether it is so, what they have in common, how long people wait.

A word is shown only when three different people wrote it, so that nobody's own words stand on a
card that is about all of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from statistics import median

SHARED_BY = 3  # different people
LONGEST = 8  # characters of a Chinese expression
RECENT = 20  # cases behind the usual wait
FEWEST = 5  # with fewer no number is given

_NOISE = re.compile(r"https?://\S+|www\.\S+|[@#<]\S+")
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+(?:['’][^\W_{_HAN}]+)*")
_STOP = frozenset(
    """
    about after again all also always and any anyone are aren't ask back because been before being
    but can can't cannot come could did didn't does doesn't don't even ever every for from get gets
    getting give goes going got guys had has hasn't have haven't having hello help her here hey him
    his how i'm i've into isn't it's its just keep keeps know let like look make many maybe more
    most much need never not nothing now off once one only our out over please put really said same
    say see she should since some somebody someone something still such sure take than thank thanks
    that that's the their them then there these they thing this those time today too try trying
    under until use very want wants was wasn't way well went were what what's when where which
    while who why will with won't would yes yet you your
    algo algún ahora aquí así aún bien cada como cómo con creo cuando cuándo del desde donde dónde
    dos ella ellos entonces era eran eres esa ese eso esta está están estas este esto estos estoy
    favor fue gracias hace hacer hasta hay hola las les los más mas mis mucho muy nada nadie ninguna
    nunca otra otro para pero poco por porque pues puede puedo que qué quien quiero ser siempre sin
    sobre solo son soy sus también tan tengo tiene toda todas todo todos una uno unos usted vez
    без был была было были быть вам вас весь вот все всё всегда вы где для его если есть ещё еще
    зачем здесь или как какой когда кто мне меня мой моя может можно мои надо нас нет нею
    нибудь никогда ничего них ним она они оно опять очень под пожалуйста после потому почему при
    про просто раз
    сегодня сейчас себя спасибо так такое там тебя тоже только тут уже хочу чего чем что чтобы эта
    эти это этот
    """.split()  # noqa: SIM905 - a list of words reads best as words
)
_STOP_HAN = re.compile(
    "怎么|什么|可以|一直|现在|谢谢|请问|你好|一下|已经|还是|这样|那样|知道|大家|有人|我们|你们|他们|"
    "因为|所以|如果|但是|为啥|为何|[的了吗呢吧啊呀哦嗯我你您他她它是在都也就很太这那个有和与及着过又还把被"
    "让给没啦嘛]"
)


def common_words(texts_by_person: Sequence[tuple[Hashable, str]], most: int = 5) -> list[str]:
    """Return what at least three different people wrote, what most of them wrote first.

    A text counts once per person, however often they wrote it. Of a Chinese expression that is
    shared as a whole its parts are not shown again.
    """
    people: defaultdict[str, set[Hashable]] = defaultdict(set)
    for person, text in texts_by_person:
        for word in _words(text):
            people[word].add(person)
    shared = {word: len(who) for word, who in people.items() if len(who) >= SHARED_BY}
    longest = [
        word
        for word in shared
        if not (_is_han(word) and any(word != other and word in other for other in shared))
    ]
    return sorted(longest, key=lambda word: (-shared[word], word))[:most]


def median_wait(seconds: Sequence[float]) -> float | None:
    """Return the median of the last 20 waits, oldest first; None with fewer than 5."""
    return median(seconds[-RECENT:]) if len(seconds) >= FEWEST else None


def _words(text: str) -> Iterator[str]:
    """Yield what counts as a word: of a run of Chinese, every stretch of 2 to 8 characters."""
    for match in _WORD.finditer(_NOISE.sub(" ", text.lower())):
        word = match[0].replace("’", "'")
        if _is_han(word):
            for run in _STOP_HAN.split(word):
                yield from _stretches(run)
        elif word not in _STOP and len(word) >= (2 if word.isdecimal() else 3):
            yield word


def _stretches(run: str) -> Iterator[str]:
    for start in range(len(run) - 1):
        for end in range(start + 2, min(start + LONGEST, len(run)) + 1):
            yield run[start:end]


def _is_han(word: str) -> bool:
    return "\u3400" <= word[0] <= "\u9fff"
