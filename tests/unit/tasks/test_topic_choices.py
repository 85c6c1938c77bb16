"""How a topic is asked for, and what is made of the answers to all turns of the list."""

from __future__ import annotations

import pytest

from scalequest.domains.base import open_domain
from scalequest.llm.chat import load_tokenizer
from scalequest.tasks.judging import choice_tokens
from scalequest.tasks.topics import LETTERS, ask_topic, averaged

PROMPTS = open_domain("math").prompts


def test_topics_have_letters_and_nothing_in_a_text_is_filled_in() -> None:
    [message] = ask_topic("What is {topics}?", ["Algebra", "{question}"], PROMPTS)
    assert "\nA. Algebra\nB. {question}\n" in message["content"]
    assert "What is {topics}?" in message["content"]


def test_a_preference_for_a_letter_favours_no_topic() -> None:
    # Only the letter counts: 0.7 for A, whatever stands behind it.
    assert averaged([[0.7, 0.2, 0.1]] * 3) == pytest.approx([1 / 3] * 3)
    # Only the topic counts: the second one, at places B, A, C.
    assert averaged([[0, 1, 0], [1, 0, 0], [0, 0, 1]]) == pytest.approx([0, 1, 0])
    # Half of each.
    assert averaged([[0.5, 0.5, 0], [1, 0, 0], [0.5, 0, 0.5]]) == pytest.approx([1 / 6, 4 / 6, 1 / 6])


def test_a_question_that_did_not_fit_once_has_no_topic() -> None:
    assert averaged([[0.5, 0.5], [0.0, 0.0]]) == [0.0, 0.0]


def test_each_letter_has_tokens_of_its_own(tiny_model) -> None:
    tokens = choice_tokens(load_tokenizer(tiny_model), LETTERS)
    assert len({token for own in tokens for token in own}) == sum(map(len, tokens)) == 52


def test_a_token_that_begins_several_options_is_left_out() -> None:
    class Letters:
        """Writes a space as a token of its own."""

        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [ord(character) for character in text]}

    assert choice_tokens(Letters(), ["Yes", "No"]) == [[ord("Y")], [ord("N")]]
    assert choice_tokens(Letters(), ["Yes", "Yet", "No"]) == [[], [], [ord("N")]]
