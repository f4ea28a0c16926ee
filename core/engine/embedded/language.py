"""Which language a message is in: by its script first, by its small words where scripts agree.

A guess for choosing fixed texts and phrases, not a linguist: short messages in the Latin
alphabet are often "und", and the caller then falls back to what the platform says.
"""

from __future__ import annotations

import re

LIMIT = 600  # characters looked at; a language shows early

_SCRIPTS: tuple[tuple[str, str], ...] = (
    ("kana", "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"),
    ("ko", "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"),
    ("han", "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"),
    ("cyrillic", "\u0400-\u052f"),
    ("arabic", "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc"),
    ("he", "\u0590-\u05ff"),
    ("el", "\u0370-\u03ff"),
    ("hi", "\u0900-\u097f"),
    ("bn", "\u0980-\u09ff"),
    ("ta", "\u0b80-\u0bff"),
    ("th", "\u0e00-\u0e7f"),
    ("ka", "\u10a0-\u10ff"),
    ("hy", "\u0530-\u058f"),
    ("latin", "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"),
)
_PATTERNS = tuple((name, re.compile(f"[{span}]")) for name, span in _SCRIPTS)
_NOISE = re.compile(r"https?://\S+|www\.\S+|[@#]\w+|\S+@\S+\.\S+|/\w+|`[^`]*`")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")

# The words a language cannot do without, with those that a chat is full of.
_WORDS: dict[str, str] = {
    "en": "the and is are was were you your i i'm it it's its not don't doesn't can't to of for in "
    "on with this that my me we they he she have has had do does did how what why when where who "
    "please thanks thank hello hi hey yes can could would should will just from there be been but "
    "so or if any help still get got need want order account working works great good bad love "
    "human person talk speak hate nobody never again now sorry ok okay a no tell joke problem "
    "plan give make like know time money back new about an at as by up out down",
    "es": "el la los las un una unos unas de del que y en es son está están estoy no por para con "
    "mi mis tu tus su sus me te se lo le les pero como cómo qué cuál dónde cuándo hola gracias "
    "buenos buenas días tardes quiero puedo puede tengo tiene hay muy más ya si sí esto esta este "
    "eso nada todo favor ayuda pedido cuenta hablar persona bien mal porque cuando",
    "pt": "o os a as um uma de do da dos das que e em no na nos nas é são está estou não por para "
    "com meu minha meus seu sua me te se mas como qual onde quando olá oi obrigado obrigada bom "
    "boa dia tarde quero posso pode tenho tem há muito mais já sim isso esta este essa esse nada "
    "tudo favor ajuda pedido conta falar pessoa bem mal porque você vocês eu ele ela",
    "fr": "le la les un une des de du et en est sont suis ne pas plus je tu il elle nous vous ils "
    "mon ma mes ton ta ses ce cet cette ça c'est j'ai qui que quoi où quand comment pourquoi "
    "bonjour salut merci oui non avec pour dans sur mais très bien mal tout rien fait être avoir "
    "aide commande compte parler personne svp s'il d'un l'application au aux toujours encore",
    "de": "der die das den dem ein eine einen einem und ist sind war bin nicht kein keine ich du "
    "er sie es wir ihr mein meine dein mit für auf von zu im in an aber auch wie was wo wann warum "
    "hallo danke bitte ja nein habe hat haben kann können möchte will sehr gut schlecht noch schon "
    "immer wieder nur mehr alles nichts hilfe bestellung konto mensch guten tag",
    "it": "il lo la gli le un uno una di del della dei che e è sono sei non per con mi ti si ci ma "
    "come cosa dove quando perché ciao grazie buongiorno sera voglio posso può ho ha hai c'è molto "
    "più già sì questo questa quello niente tutto favore aiuto ordine conto parlare persona bene "
    "male ancora mai sempre anche nel nella",
    "nl": "de het een en is zijn ben niet geen ik jij je hij wij jullie mijn met voor op van te in "
    "aan maar ook hoe wat waar wanneer waarom hallo bedankt dank ja nee heb heeft hebben kan "
    "kunnen wil zeer goed slecht nog al altijd weer alleen meer alles niets hulp graag dit dat",
    "pl": "i w na z do nie jest są to się że jak co gdzie kiedy dlaczego czy ja ty mój moja mam ma "
    "dla od po ale już tak proszę dziękuję dzięki cześć dzień dobry bardzo dobrze źle tylko więcej "
    "wszystko nic pomoc konto zamówienie człowiek chcę mogę można ten ta",
    "tr": "ve bir bu şu o için ile ne nasıl neden nerede değil var yok mi mı mu mü ben sen biz siz "
    "benim senin çok iyi kötü daha ama evet hayır merhaba selam teşekkürler lütfen istiyorum hesap "
    "sipariş yardım şey her hiç hala gibi kadar",
    "id": "yang dan di ke dari ini itu saya aku kamu anda tidak bukan ada apa bagaimana kenapa "
    "kapan untuk dengan sudah belum bisa mau tolong terima kasih halo selamat pagi bagus buruk "
    "sangat lagi juga tapi karena akun pesanan bantuan orang",
    "vi": "và là của tôi bạn không có được cho này đó với một những các cái gì sao khi nào ở đâu "
    "xin chào cảm ơn rất tốt xấu nhưng đã đang sẽ muốn giúp đơn hàng tài khoản người",
    "sv": "och är att det en ett jag du han hon vi ni inte som på av för med till hur vad var när "
    "varför hej tack ja nej har kan vill mycket bra dålig men också min mitt hjälp",
}
_LEXICON: dict[str, tuple[tuple[str, float], ...]] = {}
for _code, _listed in _WORDS.items():
    for _word in _listed.split():
        _LEXICON[_word] = (*_LEXICON.get(_word, ()), (_code, 1.0))
_LEXICON = {
    word: tuple((code, 1.0 / len(found)) for code, _ in found) for word, found in _LEXICON.items()
}
_LETTERS: tuple[tuple[str, str], ...] = (
    ("ñ¿¡", "es"), ("ãõ", "pt"), ("ß", "de"), ("ąęłśźż", "pl"), ("ğış", "tr"),
    ("ăđơưạảấầẩậắằẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ", "vi"), ("å", "sv"), ("œûêùç", "fr"),
)  # fmt: skip


def language(text: str) -> str:
    """Return an ISO 639-1 code, or "und" where the text does not say (empty, emoji, a number).

    Simplified and traditional Chinese are both "zh". Never raises, whatever the string holds.
    """
    cleaned = _NOISE.sub(" ", text[:LIMIT])
    if cleaned.isascii():
        return _latin(cleaned.lower())
    counts = {name: len(pattern.findall(cleaned)) for name, pattern in _PATTERNS}
    total = sum(counts.values())
    if total == 0:
        return "und"
    # One sign of these scripts says as much as a short Latin word.
    weight = {**counts, "latin": counts["latin"] / 4}
    script = max(weight, key=lambda name: weight[name])
    if counts["kana"] and script in {"kana", "han"}:
        return "ja" if counts["kana"] * 6 >= counts["han"] else "zh"
    if script in {"cyrillic", "arabic"}:
        return _cyrillic(cleaned.lower()) if script == "cyrillic" else _arabic(cleaned)
    if script == "latin":
        return _latin(cleaned.lower())
    return "zh" if script == "han" else script


def _cyrillic(text: str) -> str:
    if any(c in text for c in "іїєґ") and not any(c in text for c in "ыэё"):
        return "uk"
    if any(c in text for c in "љњћђџ"):
        return "sr"
    return "ru"


def _arabic(text: str) -> str:
    return "fa" if any(c in text for c in "پچژگکی") else "ar"


def _latin(text: str) -> str:
    votes: dict[str, float] = {}
    for word in _WORD.findall(text):
        for code, share in _LEXICON.get(word.replace("’", "'"), ()):
            votes[code] = votes.get(code, 0.0) + share
    for letters, code in () if text.isascii() else _LETTERS:
        if any(c in text for c in letters):
            votes[code] = votes.get(code, 0.0) + 1.0
    if not votes:
        return "und"
    return max(votes, key=lambda code: (votes[code], code == "en"))
