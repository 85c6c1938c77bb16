"""The graders by name: how each finds the answer in a response, and when it takes it for the gold one.

`equivalence` is for trust: what it takes for an answer is marked as one, and equal answers are mathematically equal.
`paper` is for comparing with published figures: it finds an answer nearly everywhere and compares within tolerances
(`paper_answers` says after what description). A version names a grader's verdicts: raise it when they change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scalequest import answers, paper_answers
from scalequest.grading import How, Pool
from scalequest.hashing import canonical_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Grader:
    """How answers are found and compared. `fast` and `slow` are those of a `grading.Pool`, of a gold answer, an answer
    and, where `uses_facts`, the problem's facts as JSON; `named` is what `slow` goes by. Where `whole`, a response that
    was cut at the limit of tokens has no answer."""

    name: str
    version: int
    extract: Callable[[str], str | None]
    fast: Callable[..., tuple[bool | None, str]]
    slow: Callable[..., bool]
    named: How
    uses_facts: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Item:
    """A response to a problem: its gold answer, further facts of the problem by name, whether the response was cut."""

    gold: str
    response: str
    facts: Mapping[str, str]
    cut: bool = False


@dataclass(frozen=True)
class Grade:
    """Whether a response is right, the answer that was found in it (None: none), and what decided: `none`, `string`,
    `number`, `math-verify` or `sympy`, `timeout`, `error`."""

    right: bool
    answer: str | None
    how: str


GRADERS: Mapping[str, Grader] = {
    grader.name: grader
    for grader in (
        Grader("equivalence", 4, answers.extract_answer, answers.decide, answers.equal_slow, "math-verify"),
        Grader(
            *("paper", 4, paper_answers.extract, paper_answers.how_equal, paper_answers.equal_slow, "sympy"),
            uses_facts=True,
            whole=True,
        ),
    )
}


def _extracted(rules: Grader, item: Item) -> tuple[str | None, str]:
    """The answer found in a response, and what says so where there is none: `none`, or `error` where it broke the
    search."""
    if item.cut and rules.whole:
        return None, "none"
    try:
        return rules.extract(item.response), "none"
    except Exception as error:
        log.warning("failed (%s), counted as no answer: %.200r", type(error).__name__, item.response)
        return None, "error"


def pool_of(grader: str, workers: int = 1) -> Pool:
    """The processes in which a grader compares answers."""
    rules = GRADERS[grader]
    return Pool(workers, rules.fast, rules.slow, rules.named)


def grade_all(grader: str, items: Sequence[Item], pool: Pool, *, time_limit: float) -> list[Grade]:
    """A grade for each item, in order; equal pairs are judged once, each within `time_limit` seconds, by the grader's
    pool (`pool_of`).

    What cannot be decided in time, or breaks the comparison, is not right.
    """
    rules = GRADERS[grader]
    found, hows = zip(*(_extracted(rules, item) for item in items), strict=True) if items else ((), ())
    pairs = [
        (item.gold, answer, *([canonical_json(dict(item.facts))] if rules.uses_facts else []))
        for item, answer in zip(items, found, strict=True)
        if answer is not None
    ]
    verdicts = iter(pool.equal_pairs(pairs, time_limit))
    result = []
    for answer, how in zip(found, hows, strict=True):
        verdict = None if answer is None else next(verdicts)
        result.append(Grade(False, None, how) if verdict is None else Grade(verdict.equal, answer, verdict.how))
    return result
