"""Time for a question that is in many benchmark items: items of one text, and items that begin alike.

    python tests/benchmarks/shared_items.py

The least processor time of five questions counts.
"""

from __future__ import annotations

import argparse
import time

import common

from scalequest.filters.contamination import BenchmarkIndex
from scalequest.runtime import job

QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips did "
    "Natalia sell altogether in April and May?"
)
KINDS = {"one text": QUESTION, "one beginning": QUESTION + " Item {}."}


def milliseconds(item: str, count: int, section: dict) -> float:
    """Least time to look a question up among so many items."""
    problems = [{"source": "b", "id": f"b/{number}", "question": item.format(number)} for number in range(count)]
    index, least = BenchmarkIndex(problems, section["ngram"]), float("inf")
    for _ in range(5):
        begun = time.process_time()
        index.matches(QUESTION, section["min_overlap"])
        least = min(least, time.process_time() - begun)
    return 1000 * least


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    section, counts = common.default_config()["filters"]["contamination"], (500, 1000, 2000, 4000)
    rows = [
        [name, *(f"{milliseconds(item, count, section):.1f} ms" for count in counts)] for name, item in KINDS.items()
    ]
    common.print_table(["items of", *(f"{count:,} items" for count in counts)], rows)


if __name__ == "__main__":
    job.run(main)
