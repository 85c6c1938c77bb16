"""The language filter on real questions of several languages, formulas, and texts that no detector expects."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalequest.errors import ScaleQuestError
from scalequest.filters import language
from scalequest.filters.base import Verdict
from scalequest.filters.language import Settings, strip_mathematics


def verdict(text: str, rule: str, wanted: str, min_probability: float) -> Verdict:
    return language.verdict({"question": text}, Settings(rule, min_probability, wanted))


ENGLISH = [
    "Natalia sold 48 clips in April and half as many in May. How many clips did she sell altogether?",
    "A book costs $5 and a pen costs $2.50. How much do 3 books and 4 pens cost?",
    r"Compute \[\int_0^1 \frac{\sin x}{x + 1}\,dx\] to the nearest hundredth.",
    "Let $f(x) = x^2$.\nFind the minimum\r\nof $f(x) + 3$ over the real numbers.",
    "The temperature rose from 12° to 20° — by how many degrees did it “rise”?",
    "FIND THE LARGEST PRIME FACTOR OF 1001 AND EXPLAIN YOUR ANSWER.",
    "Evaluate $3x^2 + 2$.",
]
FOREIGN = [
    ("es", "Calcula el valor de $x$ si $2x + 3 = 7$."),
    ("fr", "Trouver la somme des racines de $x^2 - 5x + 6 = 0$."),
    ("de", "Bestimme die Ableitung von $f(x) = x^2$."),
    ("pt", "Quantos divisores tem o numero 360?"),
    ("nl", "Hoeveel delers heeft 360?"),
    ("zh", "小明有5个苹果,他给了小红2个,还剩多少个?"),
    ("zh", r"计算 $\frac{1}{2} + \frac{1}{3}$。"),
    ("ru", "Сколько делителей имеет число 360?"),
    ("el", "Να βρείτε το $x$ αν $2x + 3 = 7$."),  # noqa: RUF001 - it is Greek
    ("hi", "यदि $2x + 3 = 7$ हो तो $x$ का मान ज्ञात कीजिए।"),
    ("ko", "$2x + 3 = 7$일 때 $x$의 값을 구하시오."),
]


@pytest.mark.parametrize("question", ENGLISH)
def test_english_is_kept(question: str) -> None:
    assert verdict(question, "detect", "en", 0.5)[:2] == (True, "")


@pytest.mark.parametrize(("code", "question"), FOREIGN)
def test_other_languages_are_dropped_and_named(code: str, question: str) -> None:
    keep, reason, score = verdict(question, "detect", "en", 0.5)
    assert not keep
    assert reason.startswith("reads as ")
    assert score is not None and score < 0.5


@pytest.mark.parametrize(("code", "question"), [pair for pair in FOREIGN if pair[0] in {"zh", "ru", "ko", "el", "hi"}])
def test_another_language_can_be_wanted(code: str, question: str) -> None:
    assert verdict(question, "detect", code, 0.5)[0]
    assert not verdict(ENGLISH[0], "detect", code, 0.5)[0]


@pytest.mark.parametrize(
    "question", ["", "\n", "$x^2 + 1 = 0$", "3 + 5 = ?", r"\[\frac{1}{2}\]", "Find $x$.", "\u03b1 + β"]
)
def test_texts_with_hardly_a_letter_have_no_language(question: str) -> None:
    assert verdict(question, "detect", "en", 0.5) == (True, "", None)


def test_min_probability_decides() -> None:
    question = "Evaluate when $x = 2$"
    score = verdict(question, "detect", "en", 0.0)[2]
    assert score is not None and 0 < score < 1
    assert verdict(question, "detect", "en", score)[0]
    assert not verdict(question, "detect", "en", score + 1e-9)[0]
    assert verdict(question, "detect", "en", 0.995)[1].endswith(f": probability of en {score:.2f}, below 0.995")


@pytest.mark.parametrize(
    ("question", "foreign"),
    [("What is 2 + 2?", 0), ("It is 20° outside.", 1), ("“Why?”", 2), ("Calcula el valor de $x$.", 0), ("", 0)],
)
def test_ascii_rule(question: str, foreign: int) -> None:
    expected = (not foreign, f"characters over 127: {foreign}" if foreign else "", float(foreign))
    assert verdict(question, "ascii", "en", 0.5) == expected


def test_unknown_rule() -> None:
    with pytest.raises(ScaleQuestError, match=r"filters\.language\.rule is 'guess'"):
        verdict("text", "guess", "en", 0.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (r"Find $\frac{a_1}{b^2}$ if $x = 3$.", "Find a if ."),
        (r"\begin{align*} 3x &= 1 \end{align*}", ""),
        (r"where \text{the speed} is $v$", "where the speed is"),
        ("a cat and I don't know", "a cat and I don't know"),
        ("before [asy] draw((0,0)--(1,1)); [/asy] after", "before after"),
        ("costs $5 and sells for $10", "costs and sells for"),
        ("the angle θ and Ελλάδα", "the angle and Ελλάδα"),
    ],
)
def test_strip_mathematics(text: str, words: str) -> None:
    assert strip_mathematics(text) == words


@given(st.text())
def test_stripping_twice_changes_nothing(text: str) -> None:
    once = strip_mathematics(text)
    assert strip_mathematics(once) == once
    assert not any(character in once for character in "\\\n$0123456789")


@given(st.text())
def test_any_text_gets_a_verdict(text: str) -> None:
    keep, reason, score = verdict(text, "detect", "en", 0.5)
    assert keep == (not reason)
    assert score is None or 0 <= score <= 1


@pytest.mark.parametrize(
    "text", ["\\begin{" * 200_000, "[asy]" * 200_000, "the cat " * 200_000, "\\" * 1_000_001, "Ω" * 9]
)
def test_huge_texts_take_no_time_of_note(text: str) -> None:
    keep, reason, _ = verdict(text, "detect", "en", 0.5)
    assert keep == (not reason)


def test_the_network_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("the language filter reached for the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    language._detector.cache_clear()
    assert verdict(ENGLISH[0], "detect", "en", 0.5)[0]
