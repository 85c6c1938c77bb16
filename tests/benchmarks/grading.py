"""How good and how fast the graders are on real gold answers: docs/reference/graders.md's tables.

    python tests/benchmarks/grading.py gsm8k=data/gsm8k_test.jsonl math=data/math_test.jsonl \
        college_math=data/college_math_test.jsonl olympiadbench=data/olympiadbench_test.jsonl

Gold against itself, as a model would write it; gold of other problems as wrong answers, those that count as right
listed; pairs a second of one core, beside math-verify alone with the gold wrapped in dollars.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "scripts")]

from scalequest.grading.extraction import extract_answer  # noqa: E402 - the path above is for the imports below
from scalequest.grading.graders import GRADERS, Grade, Item, grade_all, pool_of  # noqa: E402

# Field of the gold answer, and whether it has to be read out of a worked solution.
GOLD = {"gsm8k": "answer", "math": "solution", "college_math": "answer", "olympiadbench": "final_answer"}
FACTS = {"answer_type": "answer_type", "unit": "unit", "error": "error"}
PAIRS = 500


def problems(name: str, path: Path) -> list[tuple[str, dict[str, str]]]:
    """Gold answer and facts of each problem."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    result = []
    for row in rows:
        gold = row[GOLD[name]]
        if name in ("gsm8k", "math"):
            gold = extract_answer(gold)
        gold = ", ".join(gold) if isinstance(gold, list) else gold
        facts = {fact: row[field] for fact, field in FACTS.items() if row.get(field) is not None}
        result.append((gold, {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}))
    return result


def said(answer: str) -> str:
    """An answer as a model writes it at the end of its reasoning."""
    plain = answer.strip()
    plain = plain[1:-1] if plain.startswith("$") and plain.endswith("$") and plain.count("$") == 2 else plain
    return rf"Putting these together, we find that the result is $\boxed{{{plain}}}$."


def by_math_verify(items: Sequence[Item]) -> list[bool]:
    """math-verify by itself: the gold answer in dollars, the response as it is, everything at its defaults."""
    from math_verify import parse, verify

    return [bool(verify(parse(f"${item.gold}$"), parse(item.response))) for item in items]


def wrong(known: Sequence[tuple[str, dict[str, str]]], every: bool = False) -> list[Item]:
    """Gold of another problem in place of an answer: seeded random pairs, or every one."""
    if every:
        numbers = [(i, j) for i in range(len(known)) for j in range(len(known)) if i != j]
    else:
        draw = random.Random(0)  # noqa: S311 - a draw, not a secret
        drawn = [draw.sample(range(len(known)), 2) for _ in range(PAIRS)]
        numbers = [(i, j) for i, j in drawn]
    return [Item(known[i][0], said(known[j][0]), known[i][1]) for i, j in numbers]


def judged(grader: str, items: Sequence[Item], time_limit: float = 5.0) -> list[Grade]:
    """Grades by one worker, started for them."""
    with pool_of(GRADERS[grader]) as pool:
        return grade_all(GRADERS[grader], items, pool, time_limit=time_limit)


def rows(head: Sequence[str], table: Sequence[Sequence[Any]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in table:
        print("| " + " | ".join(map(str, row)) + " |")
    print(flush=True)


Known = dict[str, list[tuple[str, dict[str, str]]]]


def gold_against_itself(found: Known) -> None:
    table, missed = [], []
    for name, known in found.items():
        items = [Item(gold, said(gold), facts) for gold, facts in known]
        shares = []
        for grader in GRADERS:
            grades = judged(grader, items)
            shares.append(f"{100 * sum(g.right for g in grades) / len(items):.2f}%")
            missed += [(name, grader, i.gold, g.how) for i, g in zip(items, grades, strict=True) if not g.right]
        alone = by_math_verify(items)
        table.append([name, len(items), *shares, f"{100 * sum(alone) / len(items):.2f}%"])
    print("Gold against itself\n")
    rows(["set", "answers", *GRADERS, "math-verify alone"], table)
    for miss in missed:
        print("missed:", *miss, sep=" | ")


def gold_of_another_problem(found: Known) -> None:
    table, equal = [], []
    for name, known in found.items():
        counts = []
        for grader in GRADERS:
            every = name == "olympiadbench"
            items = wrong(known, every)
            # Hundreds of thousands of pairs, of which few take long and none of these is equal.
            grades = judged(grader, items, time_limit=1.0 if every else 5.0)
            pairs = {(i.gold, g.answer) for i, g in zip(items, grades, strict=True) if g.right}
            same = {pair for pair in pairs if said(pair[0]) == said(str(pair[1]))}
            equal += [(name, grader, *pair) for pair in sorted(pairs - same, key=str)]
            undecided = sum(g.how == "timeout" for g in grades)
            counts.append(
                f"{sum(g.right for g in grades)} of {len(items):,} ({len(pairs - same)} not the same text; "
                f"{undecided} not decided)"
            )
        table.append([name, *counts])
    print("Gold of another problem\n")
    rows(["set", *GRADERS], table)
    print("Pairs that count as equal and are not the same text\n")
    rows(["set", "grader", "gold", "gold of another problem"], [[n, g, f"`{a}`", f"`{b}`"] for n, g, a, b in equal])


def speed(found: Known) -> None:
    table = []
    for name, known in found.items():
        # Half right, half wrong.
        draw = random.Random(1)  # noqa: S311 - a draw, not a secret
        right = [Item(gold, said(gold), facts) for gold, facts in draw.sample(known, PAIRS)]
        items = [*right, *wrong(known)]
        speeds = []
        sides: list[Callable[[list[Item]], Any]] = [*(partial(judged, grader) for grader in GRADERS), by_math_verify]
        for side in sides:
            begun = time.perf_counter()
            side(items)
            speeds.append(len(items) / (time.perf_counter() - begun))
        told = [f"{speed:,.0f} ({speed / speeds[-1]:.1f})" for speed in speeds]
        table.append([name, len(items), *told])
    print("Pairs a second of one core (and over math-verify alone)\n")
    rows(["set", "pairs", *GRADERS, "math-verify alone"], table)


PARTS: dict[str, Callable[[Known], None]] = {
    "itself": gold_against_itself,
    "another": gold_of_another_problem,
    "speed": speed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", metavar="NAME=FILE", help=f"names of {', '.join(GOLD)}")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="measure these alone")
    args = parser.parse_args()
    found = {name: problems(name, Path(path)) for name, path in (word.split("=", 1) for word in args.sets)}
    for part in args.parts:
        PARTS[part](found)


if __name__ == "__main__":
    main()
