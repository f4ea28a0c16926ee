"""Personal data in a text: found by patterns of our own, most of them with check digits.

`find` tells where it stands; `Veil` puts a placeholder in its place for one request to a model, the
same for the same value, and `unveil` puts the values back into what comes of it, also in pieces.
`conceal` is for logs, where nothing is put back.

Digits and letters of other scripts and of full width count as their plain ones. A number that may
be an order's is left alone, unless it says that it is a phone's. Names, streets and birthdays are
not found: no pattern could without taking half of the other words too. Every repetition has a
bound, so that the time is linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

Check = Callable[[str, "re.Match[str]"], bool]

_NEUTRAL: Final[Mapping[str, Mapping[str, str]]] = {
    "email": {"en": "e-mail address", "zh": "邮箱", "es": "correo", "ru": "адрес почты"},
    "phone": {"en": "phone number", "zh": "电话号码", "es": "teléfono", "ru": "номер телефона"},
    "id": {"en": "ID number", "zh": "证件号码", "es": "documento", "ru": "номер документа"},
    "card": {"en": "card number", "zh": "卡号", "es": "tarjeta", "ru": "номер карты"},
    "iban": {"en": "account number", "zh": "账号", "es": "cuenta", "ru": "номер счёта"},
    "ip": {"en": "address", "zh": "地址", "es": "dirección", "ru": "адрес"},
    "key": {"en": "key", "zh": "密钥", "es": "clave", "ru": "ключ"},
}
KINDS: Final = tuple(_NEUTRAL)

_MARK = re.compile(rf"[\[【［] ?({'|'.join(KINDS)})[ _-]?(\d{{1,4}}) ?[\]】］]", re.IGNORECASE)
_LONGEST = 16  # characters of a placeholder, with room for how a model may spell it
_WORTH = re.compile(r"\d|[@＠]|-----BEGIN")  # a text without any of these holds nothing of the kind


class Found(NamedTuple):
    """Where personal data stands."""

    start: int
    end: int
    kind: str


class _Folding(dict[int, str]):
    """What stands for what, one character for one, so that places stay the same."""

    def __missing__(self, code: int) -> str:
        one = chr(code)
        if one.isdecimal():
            folded = str(unicodedata.decimal(one))
        elif 0xFF01 <= code <= 0xFF5E:  # of full width
            folded = chr(code - 0xFEE0)
        elif 0x2010 <= code <= 0x2015 or code == 0x2212:
            folded = "-"
        else:
            folded = " " if one.isspace() and one not in "\n\r" else one
        self[code] = folded
        return folded


_FOLDED = _Folding()


# ---- checks ------------------------------------------------------------------------------------


def _digits(text: str) -> str:
    return "".join(filter(str.isdigit, text))


def _is_card(_text: str, match: re.Match[str]) -> bool:
    """Say whether a number has the beginning, the length and the check digit of a card's."""
    number = _digits(match[0])
    size, two, four = len(number), int(number[:2]), int(number[:4])
    known = (
        (size == 16 and (two // 10 == 4 or 51 <= two <= 55 or 2221 <= four <= 2720))
        or (size == 16 and (four == 6011 or two in (35, 62, 64, 65, 60)))
        or (size == 19 and (two == 62 or four == 9558))
        or (size == 15 and two in (34, 37))
    )
    doubled = [int(one) * (1 + at % 2) for at, one in enumerate(reversed(number))]
    return known and sum(one - 9 if one > 9 else one for one in doubled) % 10 == 0


_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def _is_resident(_text: str, match: re.Match[str]) -> bool:
    """Say whether a number is a Chinese resident's: province, birthday and check digit."""
    number = re.sub(r"[ -]", "", match[0]).upper()
    year, month, day = int(number[6:10]), int(number[10:12]), int(number[12:14])
    born = 1900 <= year <= 2099 and 1 <= month <= 12 and 1 <= day <= 31
    weighed = sum(int(one) * weight for one, weight in zip(number, _WEIGHTS, strict=False))
    return 11 <= int(number[:2]) <= 83 and born and "10X98765432"[weighed % 11] == number[17]


_IBAN_SIZES: Final = {
    part[:2]: int(part[2:])
    for part in re.findall(
        r"\w+",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 "
        "EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 "
        "IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 "
        "NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 "
        "TR26 UA29 VA22 VG24 XK20",
    )
}


def _iban_end(text: str, start: int) -> int | None:
    """Return where the IBAN that begins here ends, by its country's length and check digits."""
    size = _IBAN_SIZES.get(text[start : start + 2].upper(), 0)
    signs, at = "", start
    while len(signs) < size and at < len(text):
        one = text[at]
        if one.isascii() and one.isalnum():
            signs += one
        elif one not in " -" or not text[at - 1].isalnum():
            return None
        at += 1
    if not size or len(signs) < size or re.match(r"[A-Za-z0-9]", text[at : at + 1]):
        return None
    moved = "".join(str(int(one, 36)) for one in signs[4:] + signs[:4])
    return at if int(moved) % 97 == 1 else None


_ORDERED = re.compile(
    r"(?:order|invoice|ticket|tracking|parcel|ref|reference|serial|sku|isbn|case|model|batch|"
    r"account|version|订单|单号|编号|运单|快递|物流|工单|流水|发票|型号|批次|版本|货号|序列)"
    r"[^\d\n]{0,12}$"
    # And as logs name what is ours: chat=13800138000, "user": "13800138000".
    r"|(?:user|chat|message|thread|channel|guild|id|bot|case|row|inbox|outbox|conversation)"
    r"(?:=|[\"']: ?)[\"']?-?$",
    re.IGNORECASE,
)


def _is_free(text: str, match: re.Match[str]) -> bool:
    """Say whether nothing before a number calls it an order's."""
    return not _ORDERED.search(text[max(0, match.start() - 24) : match.start()])


def _is_abroad(text: str, match: re.Match[str]) -> bool:
    return 8 <= len(_digits(match[0])) <= 15 and _is_free(text, match)


def _is_national(text: str, match: re.Match[str]) -> bool:
    return 9 <= len(_digits(match[0])) <= 12 and _is_free(text, match)


def _is_local(_text: str, match: re.Match[str]) -> bool:
    return 7 <= len(_digits(match[1])) <= 15


def _is_address(text: str, match: re.Match[str]) -> bool:
    """Say whether four numbers are an address of somebody: not a version, not this machine's."""
    parts = [int(one) for one in match[0].split(".")]
    if max(parts) > 255 or any(len(one) > 1 and one[0] == "0" for one in match[0].split(".")):
        return False
    own = parts[0] in (0, 10, 127, 255) or parts[:2] == [192, 168]
    own = own or (parts[0] == 172 and 16 <= parts[1] <= 31)
    before = text[max(0, match.start() - 12) : match.start()].lower()
    return not own and not re.search(r"(?:\bv|version|release|版本|\d)[ .:]?$", before)


def _is_address6(_text: str, match: re.Match[str]) -> bool:
    text = match[0]
    groups = text.split(":")
    full = len(groups) == 8 and "" not in groups
    short = text.count("::") == 1 and ":::" not in text and 3 <= len(groups) <= 8
    return (full or short) and all(len(one) <= 4 for one in groups)


def _is_secret(_text: str, match: re.Match[str]) -> bool:
    """Say whether what follows `password:` looks like one, and not like a word."""
    return any(one is not None and re.search(r"\d", one) for one in match.groups())


# ---- patterns, in the order in which they take their part ---------------------------------------

_KEYS = (
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\w+/=\s]{0,8000}(?:-----END [A-Z ]{0,30}-)?",
    r"(?<![\w-])eyJ[\w-]{8,2000}+\.[\w-]{8,4000}+\.[\w-]{8,2000}+",
    r"(?<![\w-])(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,300}+",
    r"(?<![\w-])(?:gh[oprsu]_|github_pat_|glpat-|hf_|npm_|xox[abeoprs]-|shpat_|dop_v1_)[\w-]{16,300}+",
    r"(?<![\w-])(?:AKIA|ASIA)[A-Z0-9]{16}(?![\w-])",
    r"(?<![\w-])AIza[\w-]{35}(?![\w-])",
    r"(?<![\w-])\d{8,12}:[A-Za-z0-9_-]{30,50}(?![\w-])",
    r"(?<![\w-])[MNO][A-Za-z0-9_-]{22,30}\.[\w-]{6}\.[\w-]{25,60}(?![\w-])",
)
_CALLED = (
    r"(?<![A-Za-z])(?:passwords?|passwd|pwd|passcode|api[ _-]?key|secret|(?:access[ _-]?)?token"
    r"|bearer)"
    r"(?: is|'s)?[\"']?\s{0,3}[:=]?\s{0,3}[\"']?([A-Za-z0-9_+/=.!@#$%^&*~-]{8,300}+)"
    r"|(?:密码|口令|密钥|令牌)(?:是|为)?\s{0,3}[:=]?\s{0,3}([A-Za-z0-9_+/=.!@#$%^&*~-]{6,300}+)"
)
_CALL = (
    r"(?:(?<![A-Za-z])(?:phone|tel|telephone|mobile|cell|whatsapp|call me|text me|ring me|reach me)"
    r"(?![A-Za-z])|电话|手机|座机|致电|回电|打给我)"
    r"(?:\s?(?:number|no\.?|at|on|is|号码|号|是|为|[:#]|to)){0,3}\s{0,3}"
    r"(\d(?:[ ().-]{0,2}\d){6,14})(?!\d)"
)
_NO_WORD = r"(?<![\w.+-])"


class _Pattern(NamedTuple):
    kind: str
    pattern: re.Pattern[str]
    check: Check | None = None


def _pattern(kind: str, pattern: str, check: Check | None = None, flags: int = 0) -> _Pattern:
    return _Pattern(kind, re.compile(pattern, re.ASCII | flags), check)


_PATTERNS: Final = (
    _pattern("key", "|".join(_KEYS)),
    _pattern(
        "email",
        r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}+(?:'[A-Za-z0-9._%+-]{1,32}+)?@(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}"
        r"(?![A-Za-z0-9-])",
    ),
    _pattern(
        "id",
        r"(?<![0-9A-Za-z])\d{6}([ -]?)(?:19|20)\d{6}\1\d{3}[0-9Xx](?![0-9A-Za-z])",
        _is_resident,
    ),
    _pattern(
        "card",
        r"(?<![\w.-])(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|3[47]\d{2}([ -])\d{6}\2\d{5}"
        r"|\d{15,16}|\d{19})(?![\w]|[.-]\d)",
        _is_card,
    ),
    _pattern("ip", r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)", _is_address),
    _pattern("ip", r"(?<![\w:.])[23fF][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![\w:])", _is_address6),
    _pattern("phone", r"(?<![\w+])\+[1-9]\d{0,3}(?:[ .()/-]{0,2}\d){6,13}(?!\d)", _is_abroad),
    _pattern(
        "phone",
        r"(?<![\w.+-])(?:\(?(?:00)?86\)?[ -]?)?1[3-9]\d([ -]?)\d{4}\1\d{4}(?![\w]|-\d)",
        _is_free,
    ),
    _pattern(
        "phone", rf"{_NO_WORD}00[1-9]\d{{0,2}}[ /-](?:[ ()/-]{{0,2}}\d){{6,12}}(?!\d)", _is_free
    ),
    _pattern(
        "phone",
        r"(?<![\w.:/+-])(?:\(0\d{1,4}\)|0\d{1,4}[ /-])[ -]?\d{3,8}(?:[ -]\d{2,5}){0,3}(?![\w]|-\d)",
        _is_national,
    ),
    _pattern("phone", rf"{_NO_WORD}07\d{{3}} ?\d{{6}}(?!\d)", _is_free),
    _pattern(
        "phone",
        r"(?<![\w./+-])(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}"
        r"(?![\w]|-\d)",
        _is_free,
    ),
    _pattern("phone", _CALL, _is_local, re.IGNORECASE),
    _pattern("key", _CALLED, _is_secret, re.IGNORECASE),
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?=[ -]?[A-Za-z0-9])", re.ASCII)


def find(text: str) -> list[Found]:
    """Return where personal data stands, first to last; no two overlap."""
    if not _WORTH.search(text):
        return []
    folded = text if text.isascii() else text.translate(_FOLDED)
    found: list[Found] = []
    for kind, pattern, check in _PATTERNS:
        taken = []
        for match in pattern.finditer(folded):
            if check is None or check(folded, match):
                group = match.lastindex if pattern.pattern in (_CALL, _CALLED) else 0
                taken.append(Found(*match.span(group or 0), kind))
        folded = _blank(folded, taken)
        found += taken
        if kind == "email":
            accounts = list(_ibans(folded))
            folded = _blank(folded, accounts)
            found += accounts
    return sorted(found)


def _ibans(text: str) -> Iterator[Found]:
    for match in _IBAN.finditer(text):
        end = _iban_end(text, match.start())
        if end is not None:
            yield Found(match.start(), end, "iban")


def _blank(text: str, taken: list[Found]) -> str:
    """Return a text in which what is taken can be found no more, and everything keeps its place."""
    if not taken:
        return text
    parts, at = [], 0
    for start, end, _ in taken:
        parts += [text[at:start], "\0" * (end - start)]
        at = end
    return "".join((*parts, text[at:]))


def conceal(text: str) -> str:
    """Return a text with [phone] and so on in the place of personal data."""
    return _replaced(text, find(text), lambda one, _: f"[{one.kind}]")


def _replaced(text: str, found: list[Found], put: Callable[[Found, str], str]) -> str:
    if not found:
        return text
    parts, at = [], 0
    for one in found:
        parts += [text[at : one.start], put(one, text[one.start : one.end])]
        at = one.end
    return "".join((*parts, text[at:]))


class Veil:
    """The placeholders of one request: the same value has the same one throughout.

    Not `on`, it leaves every text as it is.
    """

    def __init__(self, *, on: bool = True) -> None:
        self._on = on
        self._marks: dict[tuple[str, str], str] = {}
        self._values: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def __call__(self, text: str) -> str:
        """Return a text that may leave the house."""
        if not self._on:
            return text
        # Who writes a placeholder of their own must not get somebody's value for it.
        found = [Found(*own.span(), own[1].lower()) for own in _MARK.finditer(text)]
        free = _blank(text, found)
        return _replaced(text, sorted(found + find(free)), self._mark)

    def _mark(self, one: Found, value: str) -> str:
        known = self._marks.get((one.kind, value))
        if known is None:
            number = self._counts[one.kind] = self._counts.get(one.kind, 0) + 1
            known = self._marks[one.kind, value] = f"[{one.kind} {number}]"
            self._values[known] = value
        return known

    def lifted(self, text: str, lang: str = "en") -> str:
        """Return a whole answer with the values put back.

        A placeholder that stands for nothing becomes a plain word of the language.
        """
        return _MARK.sub(lambda mark: self._value(mark, lang), text) if self._on else text

    def _value(self, mark: re.Match[str], lang: str) -> str:
        kind = mark[1].lower()
        value = self._values.get(f"[{kind} {int(mark[2])}]")
        words = _NEUTRAL[kind]
        return value or words.get(lang.partition("-")[0], words["en"])

    def lift(self, lang: str = "en") -> Lifting:
        """Return what puts the values back into an answer that comes in pieces."""
        return Lifting(self, lang)


class Lifting:
    """Puts values back into pieces; what may be half a placeholder waits for the rest of it."""

    def __init__(self, veil: Veil, lang: str) -> None:
        self._veil = veil
        self._lang = lang
        self._rest = ""

    def feed(self, piece: str) -> str:
        """Return what can be said by now; "" while everything waits."""
        text = self._rest + piece
        at = max(text.rfind(one) for one in "[【［")
        whole = at < 0 or len(text) - at > _LONGEST or re.search(r"[\]】］]", text[at:])
        cut = len(text) if whole else at
        self._rest = text[cut:]
        return self._veil.lifted(text[:cut], self._lang)

    def end(self) -> str:
        """Return what still waited."""
        rest, self._rest = self._rest, ""
        return self._veil.lifted(rest, self._lang)
