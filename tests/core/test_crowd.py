from __future__ import annotations

from hypothesis import given, strategies as st

from core.crowd import common_words, median_wait


def test_a_word_is_shown_only_when_three_people_wrote_it() -> None:
    said = [
        ("ann", "I cannot login, login, login! Error 502"),
        ("bob", "LOGIN gives me 502 and my invoice is gone"),
        ("cleo", "the login page says 502, invoice too"),
        ("dan", "login?"),
    ]
    assert common_words(said) == ["login", "502"]


def test_what_one_person_repeats_is_theirs_alone() -> None:
    said = [("ann", "password hunter22")] * 9 + [("bob", "password hunter22")]
    assert common_words(said) == []


def test_stop_words_links_and_mentions_are_no_words() -> None:
    people = ("ann", "bob", "cleo")
    said = [(p, "Why is this still not @Support https://x.example/y 7 working") for p in people]
    assert common_words(said) == ["working"]
    said = [(p, "почему это не работает, пожалуйста") for p in people]
    assert common_words(said) == ["работает"]
    said = [(p, "por favor, el pago está bloqueado") for p in people]
    assert common_words(said) == ["bloqueado", "pago"]


def test_chinese_is_compared_by_what_three_people_share() -> None:
    said = [
        ("a", "一直登录失败，怎么回事"),
        ("b", "我的登录失败了502"),
        ("c", "登录失败！502"),
        ("d", "登录502很慢"),
    ]
    assert common_words(said) == ["502", "登录失败"]


def test_the_order_of_the_messages_changes_nothing() -> None:
    said = [(str(n), "login broken server down") for n in range(4)] + [("x", "server")]
    assert common_words(said) == common_words(said[::-1]) == ["server", "broken", "down", "login"]
    assert common_words(said, most=1) == ["server"]


@given(st.lists(st.tuples(st.integers(0, 4), st.text(max_size=30)), max_size=12))
def test_no_word_of_fewer_than_three_people_ever_shows(said: list[tuple[int, str]]) -> None:
    for word in common_words(said, most=100):
        people = {p for p, text in said if word in text.lower().replace("’", "'")}
        assert len(people) >= 3


def test_the_usual_wait_needs_five_cases_and_looks_at_the_last_twenty() -> None:
    assert median_wait([60.0] * 4) is None
    assert median_wait([60, 120, 60, 600, 90]) == 90
    assert median_wait([9999.0] * 30 + [60.0] * 20) == 60
