"""Rewritten questions: which direction a question takes, what the rewriter's answer says, whether the pair may be used.

A pair teaches the generator what a better question looks like, so a doubtful answer is refused with its reason. A
reason is a kind, or `kind: detail`; failures are counted by kind.
Source: ScaleQuest (arXiv 2410.18693), question preference optimisation; the gate is this project's.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache
from typing import Any

from scalequest.hashing import row_seed
from scalequest.llm.prompts import Prompts, fill

# The labelled fields that each prompt asks for; the last one is the result.
FIELDS = {
    "solvability": ("solution", "check", "final_question"),
    "difficulty": ("ideas", "plan", "draft", "review", "final_question"),
}
MIN_CHARACTERS = 20
# The 10 to 20 words that a harder question may gain would break any ratio for a question of five words.
SHORT_ORIGINAL = 100
MIN_NUMBERS_KEPT = 0.5
_MIN_COPIED = 25

# A question mark, or a word of asking where a clause begins: "give" and "which" inside a statement ask nothing.
_ASKS = re.compile(
    r"[?\uff1f]"
    r"|(?:^|[.!:;,)}\]$\\]|\b(?:then|and|or|to|fully|please|first|also|must|should|can|carefully|completely))\W{0,6}"
    r"(?:what|how|in how|for what|for which|at what|find|compute|calculate|determine|evaluate|solve|simplify|"
    r"prove|show|express|give|write|state|name|list|factor|factori[sz]e|expand|convert|round|estimate|approximate|"
    r"sketch|graph|plot|draw|identify|describe|explain|integrate|differentiate|verify|check|decide|multiply|"
    r"divide|subtract|add|perform|complete|construct|use|reduce|rewrite|test|classify|compare|order|count|choose|"
    r"enter|represent|derive|obtain|specify|distribute|combine|sum|build|rationali[sz]e|locate|translate|"
    r"minimi[sz]e|maximi[sz]e)\b",
    re.IGNORECASE | re.MULTILINE,
)
_SOLUTION = re.compile(
    r"\\boxed|\\fbox|^####"
    r"|^[^\w\n]{0,6}(?:final answer|answers?|solution|explanation|proof|hints?|step 1|a)[^\w\n]{0,4}:"
    r"|(?:^|[.!?:])[^\w\n]{0,6}(?:(?:so|thus|hence|therefore),? )?"
    r"the (?:final |correct )?answer is[:= ]{1,3}[-$\\(\d]",
    re.IGNORECASE | re.MULTILINE,
)
# Steps of working, which do not follow a question's last question mark; drawings do, and are full of equations.
_WORKING = re.compile(r"=\s*[-$\\]*\d|\b(?:so|therefore|thus|hence|it follows|we (?:have|get|find|know|see))\b", re.I)
_DRAWING = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
_META = re.compile(
    r"\A\W{0,6}(?:sure|certainly|of course|okay|ok|absolutely|great)\b[ ,.!:]"
    r"|\A\W{0,6}(?:here is|here['\u2019]s|below is (?:the|a|my) \w+ (?:question|problem|version)|as an ai\b)"
    r"|\A\W{0,6}(?:i have|i['\u2019]ve|i) (?:re\w+|changed|modified|made|added|fixed) (?:the|this|it|your)\b"
    r"|\A\W{0,6}(?:the )?(?:final|revised|rewritten|repaired|new|harder)[ _](?:question|problem|version)\b"
    r"|\b(?:rewritten|repaired|revised|reworded|original) (?:question|problem|version)\b"
    r"|\bto make (?:the|this|it) (?:question|problem|more|harder)\b",
    re.IGNORECASE,
)
# A LaTeX command whose single backslash JSON took for an escape: `\frac` arrives as a form feed and `rac`.
_BROKEN_ESCAPE = re.compile(r"[\b\f]|\t(?=imes|ext|heta|an\b|au\b|riangle|o\b)|\r(?=ight|ho\b|m\b)|\n(?=eq\b|abla\b)")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_UNITS = (
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"),
    *("fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_TENS = ("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred")
_NUMBER_WORDS = {
    **{word: str(n) for n, word in enumerate(_UNITS, 2)},
    **{word: str(10 * n) for n, word in enumerate(_TENS, 3)},
    "thousand": "1000",
}
_FENCE = re.compile(r"\A```[a-z]*+[^\S\n]*+\n(.*?)\n?```\Z", re.DOTALL | re.IGNORECASE)


def direction(question_id: str, share_solvability: float, seed: int) -> str:
    """`solvability` or `difficulty`, drawn from the hash of the id: the same whatever other questions there are."""
    return "solvability" if row_seed("direction", seed, question_id) < share_solvability * 2**63 else "difficulty"


def schema(which: str) -> dict[str, Any]:
    """The JSON schema of an answer in this direction: every field a text, in the prompt's order."""
    return {
        "type": "object",
        "properties": {name: {"type": "string"} for name in FIELDS[which]},
        "required": list(FIELDS[which]),
        "additionalProperties": False,
    }


def request(question: str, which: str, prompts: Prompts) -> str:
    """What the rewriter is asked for this question in this direction."""
    return fill(prompts.load(f"rewrite_{which}"), question=question)


def examine(
    question: str, raw: str, which: str, max_length_ratio: float, prompts: Prompts, *, finished: bool = True
) -> tuple[str | None, str]:
    """(rewritten question or None, reason why the pair is not usable or "") for a rewriter's answer."""
    rewritten, failure = parse(raw, which, finished=finished)
    return (None, failure) if failure else (rewritten, gate(question, rewritten, which, max_length_ratio, prompts))


def kind(failure: str) -> str:
    """What a failure is counted as: the reason without its detail."""
    return failure.split(":")[0]


def parse(raw: str, which: str, *, finished: bool = True) -> tuple[str, str]:
    """(final question, "") or ("", reason). JSON is read first, labelled text where there is none.

    `finished` is false for an answer cut at max_tokens, whose labelled text has an end that nothing marks.
    """
    text = raw.strip()
    if fenced := _FENCE.match(text):
        text = fenced[1].strip()
    if not text:
        return "", "empty answer"
    found = re.search(r'\A\{|\{\s*"(?:' + "|".join(FIELDS[which]) + ')"', text)
    question, failure = _from_json(text, found.start()) if found else _from_labels(text, which, finished)
    if failure:
        return "", failure
    try:
        question.encode()
    except UnicodeEncodeError:
        return "", "final_question is not valid Unicode"
    question = question.strip()
    return (question, "") if question else ("", "empty final_question")


def _from_json(text: str, start: int) -> tuple[str, str]:
    names: list[str] = []

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names.extend(name for name, _ in pairs)
        return dict(pairs)

    try:
        value, end = json.JSONDecoder(object_pairs_hook=as_dict, strict=False).raw_decode(text, start)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(text) or error.msg.startswith("Unterminated")
        return "", "JSON cut off" if cut else "not JSON"
    except (ValueError, RecursionError):
        return "", "not JSON"
    rest = text[end:]
    if names.count("final_question") > 1 or "final_question" in rest:
        return "", "several final questions"
    if rest.strip(" \n\t`"):
        return "", "text after the fields"
    if not isinstance(value, dict) or "final_question" not in value:
        return "", "no final_question"
    question = value["final_question"]
    return (question, "") if isinstance(question, str) else ("", "final_question is not text")


def _from_labels(text: str, which: str, finished: bool) -> tuple[str, str]:
    names = "|".join(FIELDS[which]).replace("_", "[ _]")
    # Possessive, as no repeated class holds what follows it: models fill whole answers with one mark.
    label = rf"^[ \t>*#_`-]*+(?:\d++[.)][ \t]*+)?[*_`]*+({names})[ \t*_`]*+:[ \t*`]*+"
    labels = list(re.finditer(label, text, re.IGNORECASE | re.MULTILINE))
    last = [n for n, found in enumerate(labels) if found[1].casefold().startswith("final")]
    if not last:
        return "", "no final_question"
    if len(last) > 1:
        return "", "several final questions"
    if last[0] != len(labels) - 1:
        return "", "fields out of order"
    if not finished:
        return "", "answer cut off"
    return text[labels[-1].end() :], ""


def gate(original: str, rewritten: str, which: str, max_length_ratio: float, prompts: Prompts) -> str:
    """ "" for a rewritten question that may stand beside the original, or the reason why not.

    A question and not an answer; changed; between MIN_CHARACTERS and `max_length_ratio` times the original's length
    (an original shorter than SHORT_ORIGINAL counts as that long); no talk about the task, no piece of the prompt.
    Numbers: for solvability they may change, but quantities must not vanish; for difficulty at least
    MIN_NUMBERS_KEPT of the original's distinct numbers must remain.
    """
    longest = max_length_ratio * max(len(original), SHORT_ORIGINAL)
    if len(rewritten) < MIN_CHARACTERS:
        return f"too short: {len(rewritten)} characters"
    if len(rewritten) > longest:
        return f"too long: {len(rewritten)} characters, the original has {len(original)}"
    if _BROKEN_ESCAPE.search(rewritten):
        return "broken LaTeX: its backslashes were read as escapes"
    if any((unicodedata.category(c) == "Cc" and c not in "\n\t\r") or c == "\ufffd" for c in rewritten):
        return "control characters"
    if _squeeze(rewritten) == _squeeze(original):
        return "unchanged"
    if found := _META.search(rewritten):
        return f"talks about the task: {found[0].strip()}"
    if copied := _copied(original, rewritten, prompts.load(f"rewrite_{which}")):
        return f"copies the prompt: {copied}"
    if found := _SOLUTION.search(rewritten):
        return f"holds a solution: {found[0].strip()}"
    if "?" in rewritten and len(_WORKING.findall(_DRAWING.sub("", rewritten.rpartition("?")[2]))) > 1:
        return "holds a solution: working after the question"
    if not _ASKS.search(rewritten):
        return "asks nothing"
    return _numbers_fault(original, rewritten, which)


def numbers(text: str) -> set[str]:
    """The distinct numbers of a text, spelled-out ones in digits (but not `one`, which is seldom a number)."""
    text = unicodedata.normalize("NFKC", text)
    found = {number.replace(",", "") for number in _NUMBER.findall(text)}
    return found | {_NUMBER_WORDS[word] for word in re.findall(r"[a-z]+", text.lower()) if word in _NUMBER_WORDS}


def _numbers_fault(original: str, rewritten: str, which: str) -> str:
    before, after = numbers(original), numbers(rewritten)
    if before and not after:
        return "numbers lost: none is left"
    if which == "difficulty" and len(before & after) < MIN_NUMBERS_KEPT * len(before):
        return f"numbers lost: {len(before & after)} of {len(before)} kept"
    return ""


def _squeeze(text: str) -> str:
    """The text's letters, digits and symbols alone, for comparison: no case, no space, no closing mark."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".?!")


def _copied(original: str, rewritten: str, prompt: str) -> str:
    before, after = _squeeze(original), _squeeze(rewritten)
    marks = ("final_question", "{question}", "<question>", "</question>")
    return next((piece for piece in (*marks, *_pieces(prompt)) if piece in after and piece not in before), "")


@cache
def _pieces(prompt: str) -> tuple[str, ...]:
    """The prompt's clauses, squeezed, that are long enough to be its own words and not the question's."""
    clauses = re.split(r"[.:;\n]", prompt)
    return tuple(piece for piece in map(_squeeze, clauses) if len(piece) >= _MIN_COPIED)
