"""The facts that a text names: what a model must have from somebody, because it knows none.

Numbers, dates, times, prices, shares, spans of time, weekdays, web and mail addresses and
telephone numbers, each in one spelling, so that what was said can be compared with what is known.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_ADDRESS = re.compile(
    r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?:https?://|www\.)[^\s<>\"'，。）)]+"
    r"|\b(?:[a-z0-9-]+\.)+(?:com|org|net|io|cn|ru|es|de|uk|eu|app|dev|gg|me|shop|info|co)\b(?:/\S*)?"
)
_LISTED = re.compile(r"^\s*(?:\d{1,2}[.)、:]|[（(]\d{1,2}[)）]|[①-⑩])\s*", re.MULTILINE)
_SMALL = (
    "two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty|thirty|forty|fifty|sixty|"
    "ninety|hundred|thousand|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|diez|quince|veinte|treinta|"
    "cien|mil|два|две|двух|три|трёх|трех|четыре|четырёх|пять|пяти|шесть|семь|семи|восемь|девять|"
    "десять|десяти|двадцать|тридцать|сто|тысяча|тысячу"
)
_UNIT = (
    r"(?:(?:business|working|calendar)\s+)?(?:days?|weeks?|hours?|minutes?|months?|years?|percent|"
    r"dollars?|euros?|pounds?|times)|(?:días?|semanas?|horas?|minutos?|meses|años?|dólares)|"
    r"(?:рабоч\w+\s+|календарн\w+\s+)?(?:дн\w+|недел\w+|час\w*|минут\w*|месяц\w*|лет|рубл\w+|процент\w*)"
)
_SPELLED = re.compile(
    rf"\b(?:{_SMALL})(?:\s+(?:to|or|a|o|или|до)\s+(?:{_SMALL}))?\s+(?:{_UNIT})\b"
    r"|\b(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b"
    r"|\b(?:tomorrow|tonight|next (?:week|month))\b"
    r"|[一二两三四五六七八九十百千万半]+(?:到|至|-)?[一二两三四五六七八九十百千万]*"
    r"(?:个)?(?:工作日|自然日|天|小时|分钟|周|星期|月|年|块钱?|元|折|倍)"
    r"|百分之[一二三四五六七八九十百]+|(?:周|星期|礼拜)[一二三四五六日天]|明天|后天|下周|下个月"
    r"|\b(?:lunes|martes|miércoles|jueves|viernes|sábados?|domingos?|mañana por la \w+)\b"
    r"|\b(?:понедельник\w*|вторник\w*|сред[уы]|четверг\w*|пятниц\w+|суббот\w+|воскресень\w+|завтра)\b"
)
_HALF_MEASURE = {"一天", "一年", "半天", "一周"}  # as often a manner of speaking as a span
_NUMBER = re.compile(r"\d+(?:[.,:/'\u2013-]\d+)*")
_ZEROS = re.compile(r"[:.]00$")


@lru_cache(maxsize=16)
def facts_in(text: str) -> frozenset[str]:
    """Return the facts of a text, each in the one spelling in which it is compared."""
    folded = unicodedata.normalize("NFKC", text).lower()
    found: set[str] = set()

    def take(match: re.Match[str]) -> str:
        found.add(re.sub(r"^https?://(?:www\.)?|^www\.", "", match[0]).rstrip(".,;:!?/"))
        return " "

    left = _LISTED.sub(" ", _ADDRESS.sub(take, folded))
    for match in _SPELLED.finditer(left):
        if match[0] not in _HALF_MEASURE:
            found.add(" ".join(match[0].split()))
    for match in _NUMBER.finditer(left):
        found.add(re.sub(r"\D", "", _ZEROS.sub("", match[0])).lstrip("0") or "0")
    return frozenset(found)


def known_facts(*texts: str) -> frozenset[str]:
    """Return what may be said by somebody who knows these texts.

    Of a number in several parts each part is known too: of 9:00-17:00 the nine.
    """
    found: set[str] = set()
    for text in texts:
        found |= facts_in(text)
        folded = unicodedata.normalize("NFKC", text)
        found |= {part.lstrip("0") or "0" for part in re.findall(r"\d+", folded)}
    return frozenset(found)
