"""The graders by name: how each finds the answer in a response, and when it counts as equal to the gold answer.

`equivalence` is strict: it takes only what a response marks as its answer, and equal answers are mathematically equal.
`paper` is for comparison with published figures: it finds an answer in nearly every response and compares within
tolerances (see the module `paper`). Stored verdicts are found by a grader's version: raise it when they change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalequest.grading import paper
from scalequest.grading.equality import decide, equal_slow
from scalequest.grading.extraction import extract_answer
from scalequest.grading.normalisation import split_answer
from scalequest.grading.pool import How, Pool
from scalequest.hashing import canonical_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Grader:
    """How answers are found and compared.

    `fast`, `slow`, `named`, `same_text`, `preload` and `warm_up` are those of a `grading.Pool`. `fast` and `slow` take
    a gold answer, an answer and, where `uses_facts`, the problem's facts as JSON. Where `whole`, a response that was
    cut at the limit of tokens has no answer. `libraries` are the packages that verdicts rest on. `name` and `version`
    name the kept verdicts, so that no two graders of any domain may have the same name.
    """

    name: str
    version: int
    extract: Callable[[str], str | None]
    fast: Callable[..., tuple[bool | None, str]]
    slow: Callable[..., bool] | None = None
    named: How = "error"
    same_text: Callable[[str], Hashable] = str
    uses_facts: bool = False
    whole: bool = False
    libraries: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    warm_up: Callable[[], object] | None = None


@dataclass(frozen=True)
class Item:
    """A response to a problem: its gold answer, further facts of the problem by name, whether the response was cut."""

    gold: str
    response: str
    facts: Mapping[str, str]
    cut: bool = False


@dataclass(frozen=True)
class Grade:
    """Whether a response is right, the answer found in it (None: none), and what decided: `none`, `string`, `number`,
    `math-verify`, `sympy`, `timeout` or `error`."""

    right: bool
    answer: str | None
    how: str


def _warm_up() -> None:
    """Build the parser's tables, so that the first pair's time is its own."""
    equal_slow(r"\sqrt{2}x", r"x\sqrt{2}")


_SYMBOLIC: dict[str, Any] = {
    "libraries": ("math-verify", "latex2sympy2-extended", "sympy"),
    "preload": ("math_verify",),
    "warm_up": _warm_up,
}
# Those of mathematics.
GRADERS: Mapping[str, Grader] = {
    grader.name: grader
    for grader in (
        Grader(
            *("equivalence", 5, extract_answer, decide, equal_slow, "math-verify"),
            same_text=split_answer,
            **_SYMBOLIC,
        ),
        Grader(
            *("paper", 4, paper.extract, paper.how_equal, paper.equal_slow, "sympy"),
            uses_facts=True,
            whole=True,
            **_SYMBOLIC,
        ),
    )
}


def _extracted(grader: Grader, item: Item) -> tuple[str | None, str]:
    """The answer found in a response, and why there is none: `none`, or `error` where the text broke the search."""
    if item.cut and grader.whole:
        return None, "none"
    try:
        return grader.extract(item.response), "none"
    except Exception as error:
        log.warning("failed (%s), counted as no answer: %.200r", type(error).__name__, item.response)
        return None, "error"


def pool_of(grader: Grader, workers: int = 1) -> Pool:
    """A pool of processes in which a grader compares answers."""
    return Pool(
        workers,
        fast=grader.fast,
        slow=grader.slow,
        named=grader.named,
        same_text=grader.same_text,
        preload=grader.preload,
        warm_up=grader.warm_up,
    )


def grade_all(grader: Grader, items: Sequence[Item], pool: Pool, *, time_limit: float) -> list[Grade]:
    """A grade for each item, in order. Each pair is compared once, within `time_limit` seconds of processor time, by
    the grader's pool (`pool_of`).

    An answer that cannot be decided in time, or that breaks the comparison, is not right. Raises ScaleQuestError where
    the pool cannot start.
    """
    found, hows = zip(*(_extracted(grader, item) for item in items), strict=True) if items else ((), ())
    pairs = [
        (item.gold, answer, *([canonical_json(dict(item.facts))] if grader.uses_facts else []))
        for item, answer in zip(items, found, strict=True)
        if answer is not None
    ]
    verdicts = iter(pool.equal_pairs(pairs, time_limit))
    result = []
    for answer, how in zip(found, hows, strict=True):
        verdict = None if answer is None else next(verdicts)
        result.append(Grade(False, None, how) if verdict is None else Grade(verdict.equal, answer, verdict.how))
    return result
