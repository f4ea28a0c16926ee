from __future__ import annotations

import time

import pytest

from core.engine.embedded.language import language


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("how do I reset my password", "en"),
        ("hello?", "en"),
        ("你好", "zh"),
        ("怎麼還沒出貨,請幫我查一下", "zh"),
        ("我的 order 还没到 please help", "zh"),
        ("¿Dónde está mi pedido?", "es"),
        ("hola, necesito ayuda con mi cuenta", "es"),
        ("привет, где мой заказ", "ru"),
        ("де моє замовлення, підкажіть", "uk"),
        ("これはどうやって使いますか", "ja"),
        ("注文をキャンセルしたい", "ja"),
        ("비밀번호를 잊어버렸어요", "ko"),
        ("Wo ist meine Bestellung?", "de"),
        ("où est ma commande, s'il vous plaît", "fr"),
        ("obrigado, não funciona ainda", "pt"),
        ("non funziona, dove è il mio ordine", "it"),
        ("أين طلبي من فضلك", "ar"),
        ("waar is mijn bestelling", "nl"),
        ("नमस्ते, मेरा ऑर्डर कहाँ है", "hi"),
    ],
)
def test_a_language_is_recognised_by_script_and_small_words(text: str, expected: str) -> None:
    assert language(text) == expected


@pytest.mark.parametrize(
    "text", ["", "   ", "🎉🎉", "12345", "!!!", "\0", "\ud800", "https://a.b/c"]
)
def test_a_text_that_says_no_language_is_und(text: str) -> None:
    assert language(text) == "und"


def test_a_very_long_text_is_no_slower_than_a_long_one() -> None:
    began = time.process_time()
    assert language("where is the order " * 100_000) == "en"
    assert time.process_time() - began < 0.5


def test_a_name_or_link_does_not_decide_the_language() -> None:
    assert language("@where_is_the_order 你好 https://example.com/the/and/is") == "zh"
