"""How well a judge without reasoning tells mathematics problems from what is none: AUC, and shares kept by threshold.

    python tests/benchmarks/judge.py --model results/models/smollm2.json --problems results/seeds/seeds.parquet \
        --others results/questions/raw/seed0/gpu0.parquet

Problems are real ones; the others are questions sampled from the untouched model; shuffled and cut are the problems
with their words in another order, and their first halves. 48 of each. AUC: the chance that a problem is rated above one
of the others, with the examples of resources/domains/math/prompts/judge_examples.jsonl and without.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
from common import engine_stage

from scalequest.domains.base import open_domain
from scalequest.rows.tables import PROBLEMS, QUESTIONS, read_rows
from scalequest.tasks.judging import Judge, ask_solvable, judge

SIZE = 48


def samples(problems: list[str], others: list[str]) -> dict[str, list[str]]:
    """The texts to judge, by kind."""
    draw = random.Random(0)  # noqa: S311 - a sample, not a secret
    real = draw.sample(problems, SIZE)
    words = [text.split() for text in real]
    return {
        "problems": real,
        "others": draw.sample(others, SIZE),
        "shuffled": [" ".join(draw.sample(w, len(w))) for w in words],
        "cut": [" ".join(w[: len(w) // 2]) for w in words],
    }


def auc(high: np.ndarray, low: np.ndarray) -> float:
    """Chance that a value of `high` is above one of `low`, ties counting half."""
    above, equal = high[:, None] > low[None, :], high[:, None] == low[None, :]
    return float((above + 0.5 * equal).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="manifest of the judge")
    parser.add_argument("--problems", required=True, type=Path, help="table of real problems")
    parser.add_argument("--others", required=True, type=Path, help="table of questions of an untouched model")
    args = parser.parse_args()
    prompts = open_domain("math").prompts
    at_once = Judge(verdict="choice", reasoning_tokens=0)
    stage = engine_stage(args.model, "judge_questions")
    others = [row["question"] for row in read_rows(args.others, QUESTIONS) if row["finish_reason"] == "stop"]
    kinds = samples([row["question"] for row in read_rows(args.problems, PROBLEMS)], others)
    for shown in (False, True):
        found = {}
        for kind, texts in kinds.items():
            # Without the examples, the conversation is its last turn alone.
            conversations = [ask_solvable(text, at_once, prompts)[0 if shown else -1 :] for text in texts]
            made = judge(stage, conversations, [0] * SIZE, at_once, prompts)
            found[kind] = np.array([row["probability"] for row in made])
        print("with examples" if shown else "without examples")
        for kind, values in found.items():
            kept = "  ".join(f">= {limit}: {(values >= limit).mean():.0%}" for limit in (0.2, 0.25, 0.3, 0.5))
            print(f"  {kind:<9} AUC {auc(found['problems'], values):.2f}  mean {values.mean():.2f}  kept {kept}")


if __name__ == "__main__":
    main()
