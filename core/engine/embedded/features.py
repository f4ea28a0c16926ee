"""What a table sees of a message: hashed character and word n-grams, and a few marks.

Every feature is a 32-bit number that depends on the text alone, in every process and on every
machine. Features come in three groups, each scaled by 1 / sqrt(its size), so that a long message
weighs no more than a short one. Word features after a negation carry its mark until the clause
ends; Chinese, which has no spaces, gets the same mark on the character pairs after 不 and 没.

The reader, which goes by the order of words, sees the same text as a row of tokens: words and
signs, single characters where there are no spaces. Each is told by its own numbers: the word, its
beginning, end and inside (after the subwords of fastText, Bojanowski et al. 2017), its neighbour.
"""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

LIMIT = 2_000  # characters read of one message: the first 1,500 and the last 500
_HEAD = 1_500

_SIMPLE = (
    "這这個个們们來来說说為为時时會会沒没還还對对過过後后裡里裏里麼么嗎吗給给讓让開开關关買买賣卖"
    "錢钱點点題题問问間间東东車车電电話话機机號号碼码應应該该誰谁請请謝谢試试認认識识記记設设計计"
    "訂订單单評评價价質质貨货費费貴贵賠赔賬账帳账戶户錄录鐘钟錯错長长門门閉闭聽听聲声實实寶宝將将"
    "樣样種种幾几級级結结給给線线網网總总經经續续絕绝紅红綠绿純纯約约組组員员圓圆園园圖图國国團团"
    "場场壞坏報报動动務务勞劳勝胜區区協协單单歲岁歷历壓压廠厂廳厅歡欢歸归殺杀氣气漢汉湯汤溫温滿满"
    "滅灭靈灵無无煩烦熱热燈灯爛烂爭争爺爷牆墙獎奖獨独環环現现產产畫画異异當当療疗發发盡尽監监眾众"
    "著着禮礼離离稅税穩稳窮穷競竞筆笔簡简類类糧粮緊紧縮缩義义習习聯联職职腦脑臉脸舊旧處处虧亏蟲虫"
    "術术衝冲補补裝装複复見见規规視视親亲覺觉觀观觸触訊讯許许訴诉診诊詞词詢询誠诚誤误課课調调談谈"
    "論论諾诺講讲證证譯译護护讀读變变豐丰負负財财貼贴資资賓宾賞赏賣卖賺赚購购贈赠贊赞趕赶跡迹軟软"
    "較较載载輕轻輪轮輸输轉转辦办農农連连進进運运達达違违遠远適适遲迟選选郵邮醫医釋释鈴铃銀银銷销"
    "鎖锁鍵键鐵铁閱阅隊队階阶際际難难雜杂雙双雞鸡靜静響响頁页頂顶項项順顺須须預预領领頭头願愿顧顾"
    "顯显風风飛飞飯饭飲饮館馆餐餐驗验驚惊體体髒脏鬆松鬧闹魚鱼麗丽麥麦麵面黃黄齊齐龍龙嚴严傳传傷伤"
    "僅仅優优儘尽兒儿兩两內内冊册凍冻創创刪删別别劇剧勢势勵励卻却參参嗆呛嘗尝噁恶圍围壯壮夠够夢梦"
    "夾夹妳你媽妈婦妇孫孙學学寫写寬宽審审導导屆届層层嶄崭帶带幫帮廣广彈弹強强後后從从徵征憂忧懷怀"
    "態态慣惯慘惨慮虑憤愤懶懒懼惧戀恋戲戏戰战拋抛掃扫採采換换損损搶抢擁拥擇择擋挡擔担據据擊击擠挤"
    "擾扰攝摄敗败敵敌數数斷断於于暫暂曉晓書书條条極极榮荣構构槍枪樂乐標标樓楼樹树橋桥檔档檢检權权"
    "氾泛決决況况淚泪淨净測测湊凑準准滾滚漲涨漸渐潔洁濕湿濟济瀏浏災灾煙烟燒烧爐炉狀状狗狗猶犹獲获"
    "甚甚畢毕癢痒盜盗盤盘眞真睏困矚瞩砲炮硬硬確确碰碰祕秘稱称積积窩窝節节範范築筑簽签籤签籌筹約约"
    "紙纸級级細细終终絡络統统絲丝綁绑維维綜综編编緩缓緣缘練练縱纵繞绕繳缴罰罚罵骂羅罗聖圣聞闻肅肃"
    "膚肤膽胆臺台與与興兴舉举艙舱藝艺藥药蘇苏蘋苹虛虚裡里褲裤詐诈詳详誇夸誌志誘诱語语說说誰谁謊谎"
    "謹谨譽誉貌貌貓猫貝贝貢贡貪贪責责賴赖贏赢趙赵踐践躍跃軍军軌轨輔辅輛辆輝辉辭辞邊边遊游遞递遺遗"
    "鄉乡鄭郑醜丑針针釣钓鈔钞鉤钩錦锦鍋锅鏡镜鑰钥閃闪闆板陣阵陰阴陳陈陸陆陽阳險险隨随隱隐雲云霧雾"
    "頻频顆颗額额飄飘飽饱餓饿餘余駕驾騎骑騙骗騷骚鬥斗鮮鲜鳥鸟鴨鸭鹽盐黨党"
)
_FOLD = {ord(_SIMPLE[i]): _SIMPLE[i + 1] for i in range(0, len(_SIMPLE), 2)}
_FOLD |= dict.fromkeys([*range(32), 127, 0x200B, 0x200C, 0xFEFF, 0xFE0F], " ")
_FOLD |= {ord("’"): "'", ord("‘"): "'", ord("`"): "'", ord("“"): '"', ord("”"): '"'}

_URL = re.compile(r"https?://\S+|www\.\S+")
_NAME = re.compile(r"@[\w.]+")
_DIGITS = re.compile(r"\d+(?:[.,:]\d+)*")
_LONG = re.compile(r"(.)\1{2,}", re.DOTALL)
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\u3041-\u30ff"
_EAST = re.compile(f"[{_HAN}]")
_TOKEN = re.compile(
    rf"[^\W_{_HAN}]+(?:'[^\W\d_]+)?|[{_HAN}]+|[!?]+|\.\.+|[:;=8]'?-?[()\[\]dpox/|*3]+|<3+|[^\w\s]"
)
_CAPS = re.compile(r"\b[A-Z]{3,}\b")
_NOT = frozenset(
    [
        "not",
        "no",
        "never",
        "none",
        "nobody",
        "nothing",
        "neither",
        "nor",
        "without",
        "cannot",
        "cant",
        "dont",
        "doesnt",
        "didnt",
        "isnt",
        "wasnt",
        "arent",
        "werent",
        "wont",
        "wouldnt",
        "couldnt",
        "shouldnt",
        "hasnt",
        "havent",
        "hadnt",
        "aint",
        "hardly",
        "barely",
        "scarcely",
        "nunca",
        "nadie",
        "nada",
        "sin",
        "tampoco",
        "jamás",
        "ningún",
        "ninguna",
        "не",
        "ни",
        "нет",
        "нельзя",
        "никогда",
        "никто",
        "ничего",
        "без",
        "nicht",
        "kein",
        "keine",
        "keinen",
        "nie",
        "niemand",
        "nichts",
        "pas",
        "jamais",
        "aucun",
        "rien",
        "não",
        "nem",
        "nunca",
        "non",
        "mai",
        "nessuno",
        "nie",
        "bez",
        "değil",
    ]
)
_HAN_NOT = re.compile(r"[不没別别无未]")
_STOP = frozenset(
    ["but", "however", "though", "although", "yet", "pero", "но", "aber", "mais", "ma", "mas"]
)
_ENDS = frozenset(".,;:!?()[]\"'…。，！？；")
_SCOPE = 4  # words a negation reaches
_SIZES = 4  # the longest character n-gram
_TOKENS, _LAST = 80, 26  # tokens that a reader sees, and how many of them are the last ones
_MIX = np.uint64(0x9E3779B97F4A7C15)
_STEP = np.uint64(0x100000001B3)


@dataclass(frozen=True, slots=True)
class Features:
    """The features of one text: 32-bit numbers, their values, and which of them count as words.

    `known` marks the features that `doubt` is counted on (words, character triples, Chinese
    characters and pairs). `names` is empty unless it was asked for. `pieces` are the numbers of
    all tokens, one token after the other; token i begins at `tokens[i]`, and the first token is
    made of the marks.
    """

    hashes: NDArray[np.uint32]
    values: NDArray[np.float32]
    known: NDArray[np.bool_]
    names: tuple[str, ...] = ()
    pieces: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    tokens: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    east: bool = False  # it has signs of a script without spaces, as Chinese


def clip(text: str) -> str:
    """Return the part of a text that is read: all of it up to LIMIT characters."""
    return text if len(text) <= LIMIT else text[:_HEAD] + " " + text[_HEAD - LIMIT :]


def eastern(text: str) -> bool:
    """Say whether a text has signs of a script without spaces, as Chinese has."""
    return bool(_EAST.search(text))


def normalise(text: str) -> str:
    """Return the text as the n-grams see it: one width, one case, one kind of Chinese."""
    text = unicodedata.normalize("NFKC", text).translate(_FOLD).lower()
    text = _NAME.sub(" @x ", _URL.sub(" @url ", text))
    text = _LONG.sub(r"\1\1", _DIGITS.sub("0", text))
    return " ".join(text.split())


def features(text: str, *, named: bool = False) -> Features:
    """Return the features of one text. Never raises, whatever the string holds.

    A text of nothing (empty, blanks, control characters) has no features at all.
    """
    text = clip(text)
    plain = normalise(text)
    if not plain:
        nothing = np.zeros(0, np.uint32)
        return Features(nothing, np.zeros(0, np.float32), np.zeros(0, np.bool_))
    grams, known_grams, gram_names = _grams(plain, named=named)
    words, singles = _words(plain)
    marks = _marks(text, plain)
    word_hashes = np.array([_number(name) for name in (*words, *marks)], np.uint32)
    values = np.full(len(grams) + len(word_hashes), 0.3, np.float32)  # as the marks, at its end
    values[: len(grams)] = 1.0 / math.sqrt(max(1, len(grams)))
    values[len(grams) : len(grams) + len(words)] = 1.0 / math.sqrt(max(1, len(words)))
    known = np.concatenate([known_grams, singles, np.zeros(len(marks), np.bool_)])
    names = (*gram_names, *words, *marks) if named else ()
    told = [tuple(word_hashes[len(words) :].tolist()), *_pieces(plain)]
    if len(told) > _TOKENS:
        told = told[: _TOKENS - _LAST] + told[-_LAST:]
    return Features(
        hashes=np.concatenate([grams, word_hashes]),
        values=values,
        known=known,
        names=names,
        pieces=np.fromiter(chain.from_iterable(told), np.uint32),
        tokens=np.cumsum([0, *map(len, told[:-1])], dtype=np.int64),
        east=eastern(plain),
    )


def _pieces(plain: str) -> Iterator[tuple[int, ...]]:
    """Yield the numbers of each token."""
    before = "^"
    for found in _TOKEN.finditer(plain):
        token = found[0]
        if _wide(token[0]):
            for at in range(len(token)):
                yield _signs(token[at : at + _SIZES])
            before = token[-1]
            continue
        told = (*_subwords(token), _number(f"b{before} {token}"))
        apart = not token[0].isalnum() and plain[found.start() - 1 : found.start()] == " "
        yield (*told, _number(f"s{token}")) if apart else told
        before = token


@lru_cache(maxsize=1 << 15)
def _subwords(token: str) -> tuple[int, ...]:
    """Return the numbers of a word: itself, and what three or four letters of it say."""
    if len(token) < 3 or not token[0].isalpha():
        return (_number(f"w{token}"),)
    edged = f"<{token[:20]}>"
    inside = (edged[i : i + n] for n in (3, 4) for i in range(len(edged) - n + 1))
    return (_number(f"w{token}"), *(_number(f"g{part}") for part in inside))


@lru_cache(maxsize=1 << 15)
def _signs(ahead: str) -> tuple[int, ...]:
    """Return the numbers of one character and the few that follow it."""
    return tuple(_number(f"{len(ahead[:n])}{ahead[:n]}") for n in range(1, len(ahead) + 1))


def _number(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogatepass"))


def _grams(
    plain: str, *, named: bool
) -> tuple[NDArray[np.uint32], NDArray[np.bool_], tuple[str, ...]]:
    """Hash the character n-grams: 2 to 4, and single signs that are no letter of an alphabet."""
    padded = f" {plain} "
    points = np.frombuffer(padded.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    wide = points > 0x2000
    rolling = np.zeros((_SIZES, len(points)), np.uint64)  # a row for each size
    keep = np.zeros(rolling.shape, np.bool_)
    known = np.zeros(rolling.shape, np.bool_)
    before = rolling[0]
    for size in range(1, min(_SIZES, len(points)) + 1):
        count = len(points) - size + 1
        rolling[size - 1, :count] = before[:count] * _STEP + (points[size - 1 :] + np.uint64(size))
        keep[size - 1, :count] = True
        before = rolling[size - 1]
    keep[0] = known[0] = wide
    known[1, :-1] = wide[:-1] & wide[1:]
    known[2, :-2] = ~(wide[:-2] | wide[2:])
    mixed = ((rolling ^ (rolling >> np.uint64(29))) * _MIX) >> np.uint64(32)
    names = [padded[at : at + row + 1] for row, at in np.argwhere(keep)] if named else []
    return mixed[keep].astype(np.uint32), known[keep], tuple(names)


def _words(plain: str) -> tuple[list[str], list[bool]]:
    """Name the word features, and say which of them are single words outside a negation."""
    names: list[str] = []
    singles: list[bool] = []
    reach, before = 0, "^"
    for token in _TOKEN.findall(plain):
        if _wide(token[0]):
            negated = list(_han_scope(token))
            names.extend(negated)
            singles.extend([False] * len(negated))
            before = token[-2:]
            continue
        if token in _STOP or token[0] in _ENDS:
            reach = 0
        mark = "!" if reach > 0 else ""
        names.extend((f"w:{token}", f"b:{before} {mark}{token}"))
        singles.extend((token[0].isalpha(), False))
        if mark:
            names.append(f"n:{token}")
            singles.append(False)
        reach = _SCOPE if _negates(token) else reach - 1
        before = token
    names.append(f"b:{before} $")
    singles.append(False)
    return names, singles


def _wide(sign: str) -> bool:
    return "\u3041" <= sign <= "\u9fff"


def _negates(token: str) -> bool:
    return token in _NOT or token.endswith("n't")


def _han_scope(run: str) -> Sequence[str]:
    """Name the character pairs that follow a Chinese negation within four characters."""
    names: list[str] = []
    for found in _HAN_NOT.finditer(run):
        scope = run[found.end() : found.end() + 5]
        names.extend(f"n:{scope[i : i + 2]}" for i in range(len(scope) - 1))
    return names


def _marks(text: str, plain: str) -> list[str]:
    """Name what is not in the words: length, shouting, stretching, signs, faces."""
    marks = [f"m:length{min(7, len(plain).bit_length())}"]
    capitals = _CAPS.findall(text)
    if capitals:
        marks.append(f"m:caps{min(3, len(capitals))}")
        marks.extend(f"m:CAPS {word.lower()}" for word in capitals[:12])
    letters = sum(map(str.isalpha, text))
    if letters >= 6 and sum(map(str.isupper, text)) > 0.7 * letters:
        marks.append("m:shouting")
    if _LONG.search(text):
        marks.append("m:stretched")
    exclaims = text.count("!") + text.count("！")
    asks = text.count("?") + text.count("？")
    if exclaims:
        marks.append(f"m:!{min(4, exclaims)}")
    if asks:
        marks.append(f"m:?{min(3, asks)}")
    if exclaims and asks:
        marks.append("m:!?")
    if plain.endswith("?"):
        marks.append("m:ends?")
    return marks
