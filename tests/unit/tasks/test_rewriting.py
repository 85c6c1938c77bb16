"""Rewritten questions: the draw of directions, strict parsing, and the gate before a pair."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalequest.domains.base import open_domain
from scalequest.rows.tables import question_id
from scalequest.tasks import rewriting

RATIO = 4.0
PROMPTS = open_domain("math").prompts
OURS = "A baker sells 12 loaves at 3 dollars each and pays 9 dollars for flour. What is her profit in dollars?"
BETTER = "A baker sells 15 loaves at 3 dollars each and pays 9 dollars for flour. How many dollars does she earn?"
HARDER = (
    "A baker sells 12 loaves at 3 dollars each, pays 9 dollars for flour and a tenth of the rest in tax. "
    "What is her profit in dollars?"
)


def as_json(which: str, question: object, **more: object) -> str:
    return json.dumps({**dict.fromkeys(rewriting.FIELDS[which], "some words"), "final_question": question, **more})


def test_directions_follow_the_share_and_the_id_alone() -> None:
    ids = [question_id("qwen", 7, index) for index in range(4000)]
    drawn = [rewriting.direction(name, 0.5, 42) for name in ids]
    assert abs(drawn.count("solvability") / len(ids) - 0.5) < 0.04
    assert drawn[::-1] == [rewriting.direction(name, 0.5, 42) for name in ids[::-1]]
    assert drawn != [rewriting.direction(name, 0.5, 43) for name in ids]
    assert {rewriting.direction(name, 1.0, 42) for name in ids} == {"solvability"}
    assert {rewriting.direction(name, 0.0, 42) for name in ids} == {"difficulty"}
    assert abs([rewriting.direction(n, 0.2, 42) for n in ids].count("solvability") / len(ids) - 0.2) < 0.04


@pytest.mark.parametrize("which", rewriting.FIELDS)
def test_schema_has_the_fields_in_order_and_no_others(which: str) -> None:
    schema = rewriting.schema(which)
    assert tuple(schema["properties"]) == tuple(schema["required"]) == rewriting.FIELDS[which]
    assert schema["additionalProperties"] is False


LABELLED = "solution: 12 * 3 - 9 = 27\ncheck: fine\nfinal_question: What is 12 times 3?\nIn dollars."
PARSED = [
    ("json", as_json("solvability", "What is 2 + 3?"), True, "What is 2 + 3?", ""),
    ("json, stripped", as_json("solvability", "  What is 2 + 3?\n"), True, "What is 2 + 3?", ""),
    ("json in a fence", f"```json\n{as_json('solvability', 'What is 2?')}\n```", True, "What is 2?", ""),
    ("json after words", f"Sure!\n{as_json('solvability', 'What is 2?')}", True, "What is 2?", ""),
    ("last field alone", '{"final_question": "What is 2?"}', True, "What is 2?", ""),
    ("braces in it", as_json("solvability", "What is {question} {0}?"), True, "What is {question} {0}?", ""),
    ("labels inside json", as_json("solvability", "x", check="final_question: a"), True, "x", ""),
    ("no last field", json.dumps({"solution": "a", "check": "b"}), True, "", "no final_question"),
    ("empty last field", as_json("solvability", " \n"), True, "", "empty final_question"),
    ("a number", as_json("solvability", 12), True, "", "final_question is not text"),
    ("a list", as_json("solvability", ["a", "b"]), True, "", "final_question is not text"),
    ("null", as_json("solvability", None), True, "", "final_question is not text"),
    ("key twice", '{"final_question": "a", "final_question": "b"}', True, "", "several final questions"),
    ("two objects", as_json("solvability", "a") + as_json("solvability", "b"), True, "", "several final questions"),
    ("words after", as_json("solvability", "a") + " I hope this helps.", True, "", "text after the fields"),
    ("cut json", as_json("solvability", "What is 2 + 3?")[:-6], False, "", "JSON cut off"),
    ("cut in a key", '{"solution": "a", "che', False, "", "JSON cut off"),
    ("white space for ever", "{" + " \n" * 300, False, "", "JSON cut off"),
    ("broken json", '{"solution": nothing}', True, "", "not JSON"),
    ("bad escape", '{"final_question": "\\sqrt{2}"}', True, "", "not JSON"),
    ("deep json", '{"solution": ' + "[" * 100_000, True, "", "not JSON"),
    ("endless digits", '{"solution": ' + "9" * 10_000 + "}", True, "", "not JSON"),
    ("half a surrogate", '{"final_question": "What \\ud800 is?"}', True, "", "final_question is not valid Unicode"),
    ("nothing", " \n ", True, "", "empty answer"),
    ("labels", LABELLED, True, "What is 12 times 3?\nIn dollars.", ""),
    ("labels with marks", "**Check**: fine\n\n**Final question:** What is 2?", True, "What is 2?", ""),
    ("a heading", "## Final question: What is 2?", True, "What is 2?", ""),
    ("a list of marks", "1. **`solution`**: a\n> 2) __Final question__ : ** What is 2?", True, "What is 2?", ""),
    ("blank lines in a fence", "```\n \n\nFinal question: What is 2?\n\n```", True, "What is 2?", ""),
    ("label cut", LABELLED, False, "", "answer cut off"),
    ("label missing", "solution: a\ncheck: b", True, "", "no final_question"),
    ("label empty", "solution: a\nfinal_question:  \n", True, "", "empty final_question"),
    ("label twice", LABELLED + "\nFinal question: Another?", True, "", "several final questions"),
    ("out of order", "final_question: What is 2?\ncheck: fine", True, "", "fields out of order"),
    ("prose", "I cannot help with that.", True, "", "no final_question"),
    ("html", "<html><body>502 Bad Gateway</body></html>", True, "", "no final_question"),
]


@pytest.mark.parametrize(("raw", "finished", "question", "failure"), [pytest.param(*p[1:], id=p[0]) for p in PARSED])
def test_parse(raw: str, finished: bool, question: str, failure: str) -> None:
    assert rewriting.parse(raw, "solvability", finished=finished) == (question, failure)


def test_labels_of_the_other_direction_are_no_labels() -> None:
    raw = "final_question: What is 2?\ndraft: no field of this direction"
    assert rewriting.parse(raw, "solvability")[1] == ""
    assert rewriting.parse(raw, "difficulty")[1] == "fields out of order"


GATED = [
    ("better", "solvability", OURS, BETTER, ""),
    ("harder", "difficulty", OURS, HARDER, ""),
    ("no question mark", "solvability", OURS, BETTER.replace("How many dollars does she earn?", "Find her gain."), ""),
    ("other numbers", "solvability", OURS, "A baker sells 40 loaves at 2 dollars each. What is her income?", ""),
    ("short original", "difficulty", "What is 2 + 3?", "What is 2 + 3, if each is first doubled, then squared?", ""),
    ("number words", "difficulty", "Find the sum of 2 and 3.", "Find the sum of two and three, times seven.", ""),
    ("wide question mark", "solvability", OURS, "小明有12个苹果和3个橙子和4个香蕉和5个桃子一共有多少个水果\uff1f", ""),
    ("latex", "difficulty", "Find $\\frac{1}{2} + 3$.", "Find $\\frac{1}{2} \\times 3 + \\nu$ with $\\nu = 4$.", ""),
    ("same", "solvability", OURS, OURS, "unchanged"),
    ("same but for spaces", "difficulty", OURS, "  " + OURS.upper().replace(" ", "  ")[:-1], "unchanged"),
    ("too short", "solvability", OURS, "What is 12?", "too short"),
    ("too long", "solvability", OURS, "What is 12? " * 60, "too long"),
    ("boxed", "solvability", OURS, BETTER + " \\boxed{36}", "holds a solution"),
    ("answer line", "solvability", OURS, BETTER + "\nAnswer: 36", "holds a solution"),
    ("bold solution", "solvability", OURS, BETTER + "\n\n**Solution:** multiply.", "holds a solution"),
    ("hint", "difficulty", OURS, HARDER + "\nHint: work out the tax first.", "holds a solution"),
    ("answer sentence", "solvability", OURS, BETTER + " So the answer is 36.", "holds a solution"),
    ("working", "solvability", OURS, BETTER + " She takes 15*3=45 dollars, so 45-9=36.", "holds a solution"),
    ("a statement", "solvability", OURS, "The baker earns 27 dollars, which we give here.", "asks nothing"),
    ("a preamble", "solvability", OURS, "Here is the question: " + BETTER, "talks about the task"),
    ("sure", "solvability", OURS, "Sure! " + BETTER, "talks about the task"),
    ("a heading", "difficulty", OURS, "Rewritten question: " + HARDER, "talks about the task"),
    ("about the original", "difficulty", OURS, HARDER + " (The original question had no tax.)", "talks about the task"),
    ("the label", "solvability", OURS, "12 loaves, final_question is what?", "copies the prompt"),
    ("the place", "solvability", OURS, "What is the profit of 12 {question}?", "copies the prompt"),
    (
        "the prompt",
        "difficulty",
        OURS,
        "Is it harder? 12, 3, 9: the final question alone, with nothing before or after it",
        "copies the prompt",
    ),
    (
        "numbers gone",
        "solvability",
        OURS,
        "A baker sells loaves and pays for flour. What is her profit?",
        "numbers lost",
    ),
    ("numbers replaced", "difficulty", OURS, HARDER.replace("12", "77").replace("3", "5"), "numbers lost"),
    ("form feed", "solvability", OURS, "What is \x0crac{1}{2} of 12 loaves?", "broken LaTeX"),
    ("tab", "solvability", OURS, "What is 3 \times 12 loaves of bread?", "broken LaTeX"),
    ("line feed", "solvability", OURS, "For which 12 x is x \neq 3 and even?", "broken LaTeX"),
    ("nul", "solvability", OURS, "What is 3 times 12\x00 loaves?", "control characters"),
]


@pytest.mark.parametrize(
    ("which", "original", "rewritten", "kind"), [pytest.param(*case[1:], id=case[0]) for case in GATED]
)
def test_gate(which: str, original: str, rewritten: str, kind: str) -> None:
    assert rewriting.kind(rewriting.gate(original, rewritten, which, RATIO, PROMPTS)) == kind


@pytest.mark.parametrize(
    "question",
    [
        "I have two bags with 4 and 7 marbles. How many marbles have I?",
        "What value of $x$ makes the answer to $3x + 4$ equal to 19?",
        "The original price of a coat is 80 dollars. It falls by 15 percent. Compute the new price.",
        "If \\begin{align*}5x-2y&=7,\\\\3x+y&=2,\\end{align*}compute $24x-14y$.",
        "What is $a + b$? Express your answer as a decimal, given that $a = 2$.",
        "Below is the graph of $y = 3x$. At what point does it meet $y = 12$?",
    ],
)
def test_the_gate_lets_real_questions_through(question: str) -> None:
    assert rewriting.gate("Add 3 to 12 and to 80.", question, "solvability", RATIO, PROMPTS) == ""


def test_length_ratio_is_a_setting() -> None:
    assert rewriting.gate(OURS, HARDER, "difficulty", 1.1, PROMPTS).startswith("too long: ")


def test_examine_gives_text_or_reason() -> None:
    good = as_json("difficulty", HARDER)
    assert rewriting.examine(OURS, good, "difficulty", RATIO, PROMPTS) == (HARDER, "")
    assert rewriting.examine(OURS, as_json("difficulty", OURS), "difficulty", RATIO, PROMPTS) == (OURS, "unchanged")
    assert rewriting.examine(OURS, good[:40], "difficulty", RATIO, PROMPTS, finished=False) == (None, "JSON cut off")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("12 loaves, 3.50 each, 1,200 in all", {"12", "3.50", "1200"}),
        ("Two of the twelve; one is left", {"2", "12"}),
        ("x^2 + ½", {"2", "1"}),
        ("none at all", set()),
    ],
)
def test_numbers(text: str, found: set[str]) -> None:
    assert rewriting.numbers(text) == found


pieces = st.sampled_from(
    [
        "final_question",
        ":",
        "{",
        "}",
        '"',
        "\n",
        "solution",
        "draft",
        "```",
        "json",
        "\\",
        "\\u",
        "d800",
        "What is 2?",
        "[",
    ]
)
answers = st.one_of(st.text(), st.lists(st.one_of(pieces, st.text(max_size=5))).map("".join))


@given(answers, st.sampled_from(sorted(rewriting.FIELDS)), st.booleans())
def test_parse_takes_any_text(raw: str, which: str, finished: bool) -> None:
    question, failure = rewriting.parse(raw, which, finished=finished)
    assert bool(question) != bool(failure)
    assert question == question.strip() and question.encode() is not None


@given(st.text(), answers, st.sampled_from(sorted(rewriting.FIELDS)))
def test_gate_takes_any_text(original: str, rewritten: str, which: str) -> None:
    assert isinstance(rewriting.gate(original, rewritten, which, RATIO, PROMPTS), str)
    assert rewriting.gate(original, original, which, RATIO, PROMPTS) != ""


@given(st.text(alphabet=st.characters(codec="utf-8")), st.sampled_from(sorted(rewriting.FIELDS)))
def test_what_is_written_as_json_is_read_back(question: str, which: str) -> None:
    read, failure = rewriting.parse(as_json(which, question), which)
    assert read == question.strip()
    assert failure == ("" if question.strip() else "empty final_question")


@pytest.mark.parametrize(
    "text",
    [
        *("{ " * 200_000, "\n" * 200_000, "final_question:\n" * 20_000, "[asy]" * 50_000),
        *(mark * 200_000 for mark in "_*`>#-1"),
        *("* " * 100_000, "_*`" * 70_000, "1. " + "_" * 200_000, ("_" * 100_000 + "\n") * 2),
        *("final_question" + "_" * 200_000, "final_question:" + "*" * 200_000),
        *("```" + "\n" * 200_000 + "x", "```json" + " " * 200_000 + "x"),
    ],
    ids=lambda text: f"{text[:16]!r}x{len(text)}",
)
def test_huge_answers_are_read_in_linear_time(text: str) -> None:
    start = time.process_time()
    rewriting.examine("What is 2?", text, "solvability", 4.0, PROMPTS)
    assert time.process_time() - start < 5
