"""What the numbering of drawn problems does to the engine: attempts in windows of the draw, and of the whole table.

    python tests/benchmarks/fail_rates.py --model results/models/smollm2.json --seeds results/seeds/seeds.parquet

The same problems are drawn and put to the solver as scripts/measure_fail_rates.py does it, by config.yaml's settings:
in windows of their numbers in the draw and, as older releases had it, of their numbers in the table of seeds. The two
take turns, `--rounds` times after a few problems that do not count; the median of the rounds' tokens/s is shown.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from common import default_config, engine_stage, print_table

import measure_fail_rates
from scalequest.domains.base import open_domain
from scalequest.rows.store import Row, RowStore, in_windows
from scalequest.rows.tables import ATTEMPTS, PROBLEMS, read_rows
from scalequest.runtime import job
from scalequest.settings import read_settings
from scalequest.tasks.solving import solver


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="manifest of a staged model")
    parser.add_argument("--seeds", required=True, type=Path, help="table of problems, of which many have an answer")
    parser.add_argument("--problems", type=int, default=64, help="problems that are drawn (64)")
    parser.add_argument("--window", type=int, default=64, help="rows of a window (64)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds that count (1)")
    args = parser.parse_args()
    solving = read_settings(measure_fail_rates.Solving, default_config()["difficulty"])
    stage = engine_stage(args.model, "measure_fail_rates")
    seeds = read_rows(args.seeds, PROBLEMS)
    drawn = measure_fail_rates.draw(seeds, args.problems)
    chosen = {row["id"] for row in drawn}
    ways = {"the draw": drawn, "the table of seeds": [row for row in seeds if row["id"] in chosen]}
    rates: dict[str, list[float]] = {name: [] for name in ways}

    def measure(problems: Sequence[Row]) -> float:
        stage.report = job.Progress("attempts")
        work = solver(stage, open_domain("math").prompts.load("respond"), solving.sampling)
        rows = measure_fail_rates.tried(list(problems), solving)
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            in_windows(rows, RowStore(folder, "fail_rates", {}, ATTEMPTS), args.window, work, each=stage.engine.each)
            return stage.report.tokens / (time.perf_counter() - begun)

    measure(drawn[:4])
    for _ in range(args.rounds):
        for name, problems in ways.items():
            rates[name].append(measure(problems))
    shown = [
        [name, str(len({row["index"] // args.window for row in ways[name]})), f"{statistics.median(found):.0f}"]
        for name, found in rates.items()
    ]
    print_table([f"{len(drawn)} of {len(seeds):,} problems, windows of", "windows", "tokens/s"], shown)


if __name__ == "__main__":
    job.run(main)
