"""How often a model's forced choice of a topic agrees with the topics of the checkout's 240 seed problems, and how much
the place in the list counts.

    python tests/benchmarks/topics.py --model results/models/smollm2.json --list own

Lists: `own`, the eight topics that the seed problems themselves name, and `domain`, the domain's, of which some have
the same names.
Ways to choose: the list as it is; divided by the probabilities for an empty question (Zhao et al. 2021, arXiv
2102.09690); the mean over all turns of the list, as scripts/choose_topics.py does it; and that mean divided by its own
for an empty question.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import CHECKOUT, engine_stage, print_table
from numpy.typing import NDArray

from scalequest.domains.base import open_domain
from scalequest.publishing.topics import plain_name, share
from scalequest.tasks.engine_stage import EngineStage
from scalequest.tasks.judging import choose
from scalequest.tasks.topics import LETTERS, ask_topic

DOMAIN = CHECKOUT / "resources/domains/math"


def turns(stage: EngineStage, questions: Sequence[str], options: Sequence[str]) -> NDArray[np.float64]:
    """Probabilities by turn of the list, question and letter."""
    prompts, found = open_domain("math").prompts, []
    for turn in range(len(options)):
        listed = [*options[turn:], *options[:turn]]
        asked = [ask_topic(question, listed, prompts) for question in questions]
        found.append(choose(stage, asked, [0] * len(asked), LETTERS[: len(options)]))
    return np.array(found)


def by_topic(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same by turn, question and topic."""
    return np.array([np.roll(one, turn, axis=1) for turn, one in enumerate(found)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="manifest of the model that chooses")
    parser.add_argument("--list", required=True, choices=("own", "domain"), help="topics to choose from")
    args = parser.parse_args()
    stage = engine_stage(args.model, "choose_topics")
    rows = [json.loads(line) for line in (DOMAIN / "seed_problems.jsonl").read_text(encoding="utf-8").splitlines()]
    if args.list == "own":
        options = sorted({row["topic"].replace("_", " ") for row in rows})
    else:
        options = (DOMAIN / "topics.txt").read_text(encoding="utf-8").splitlines()
    letters = turns(stage, [row["problem"] for row in rows], options)
    found, empty = by_topic(letters), by_topic(turns(stage, [""], options))
    places, facts = [plain_name(option) for option in options], [plain_name(row["topic"]) for row in rows]
    gold = np.array([places.index(fact) if fact in places else -1 for fact in facts])
    ways = {
        "the list as it is": found[0],
        "divided by the empty question's": found[0] / empty[0],
        "mean over all turns": found.mean(axis=0),
        "mean, divided by the empty question's": found.mean(axis=0) / empty.mean(axis=0),
    }
    lines = []
    for way, probabilities in ways.items():
        chosen, known = probabilities.argmax(axis=1), gold >= 0
        right = share(int((chosen == gold)[known].sum()), int(known.sum()))
        counts = np.bincount(chosen, minlength=len(options))
        agreed = f"{right['share']:.1%} ({right['low']:.1%} to {right['high']:.1%}) of {known.sum()}"
        lines.append([way, agreed, f"{counts.max() / len(rows):.0%}", str((counts > 0).sum())])
    print(", ".join(options))
    print(f"mean probability of each letter: {' '.join(f'{p:.2f}' for p in letters.mean(axis=(0, 1)))}\n")
    print_table(["way", "agreement (95% interval)", "share of the most frequent topic", "topics chosen at all"], lines)


if __name__ == "__main__":
    main()
