"""What `engine.determinism` costs and gives: a shard in durable windows against the bare engine on the same prompts.

    python tests/benchmarks/windows.py --model results/models/smollm2.json

Bare is one `generate` of all prompts, nothing written. The others are what a stage does: windows with their own lease
and a durable part each, drained (`determinism: windows`) or not (`none`). The ways of one engine take turns, `--rounds`
times after one that does not count; the figure is the median over rounds of (bare time / time). On a CPU with one
thread the processor's time is compared, which other work on the machine hardly disturbs, and the clock's beside it; on
a GPU the clock's alone counts. The last columns say what share of a way's texts are those of the bare engine, and the
same in all of its own rounds.

`batch_invariant` is another engine (a process of its own), and a GPU's alone: its first row is that engine, bare.
Where no model is at hand that fits the machine, tests/benchmarks/random_model.py makes one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from common import default_config, print_table

from scalequest.config.selectors import engine_settings
from scalequest.hashing import row_seed
from scalequest.llm.chat import load_tokenizer, question_format
from scalequest.llm.engine import Engine
from scalequest.llm.models import open_model
from scalequest.rows.store import Row, RowStore, in_windows
from scalequest.rows.tables import QUESTIONS, question_id
from scalequest.settings import EngineSettings, read_settings

BARE = "the bare engine"


@dataclass
class Measured:
    """One way: seconds by the clock and of the processor for each round, tokens, and each round's texts."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    tokens: int = 0
    texts: list[list[str]] = field(default_factory=list)


def rows(count: int) -> list[Row]:
    """Questions to be sampled."""
    return [
        {
            **{"id": question_id("g", 0, index), "generator": "g", "seed": 0, "index": index},
            "sampling_seed": row_seed("benchmark", index),
        }
        for index in range(count)
    ]


def measure(args: argparse.Namespace, modes: Sequence[str]) -> dict[str, Measured]:
    """Load an engine in this process and take each of its ways in turn."""
    model = open_model(args.model)
    form = question_format(load_tokenizer(model.folder, trust_remote_code=model.trust_remote_code))
    config = default_config()
    config["device"] = args.device
    config["engine"] |= {"max_sequences": args.max_sequences, "enforce_eager": args.device == "cpu"}
    invariant = "batch_invariant" in modes
    # Seen by vLLM as it is imported, so that the modes of one process are either all of it or none.
    config["engine"]["determinism"] = "batch_invariant" if invariant else "windows"
    engine = Engine(model, read_settings(EngineSettings, engine_settings(config, model.name, "sample_questions")))
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_tokens": args.max_tokens}
    shard = rows(args.questions)

    def sample(batch: list[Row]) -> list[Row]:
        seeds = [row["sampling_seed"] for row in batch]
        made = engine.generate([form.prefix] * len(batch), seeds, stops=form.stops, **sampling)
        return [
            {**row, "question": c.text.strip(), "finish_reason": c.finish_reason, "tokens": c.tokens}
            for row, c in zip(batch, made, strict=True)
        ]

    def windowed(mode: Any, window: int) -> Callable[[], list[Row]]:
        def run() -> list[Row]:
            engine.settings = replace(engine.settings, determinism=mode)
            with tempfile.TemporaryDirectory() as folder:
                store = RowStore(folder, "sample_questions", {}, QUESTIONS)
                return in_windows(shard, store, window, sample, group="g-s0", each=engine.each)

        return run

    def bare() -> list[Row]:
        engine.settings = replace(engine.settings, determinism="batch_invariant" if invariant else "none")
        return sample(shard)

    ways = {f"{BARE}, batch-invariant kernels" if invariant else BARE: bare}
    ways |= {f"`{mode}`, {size} rows a window": windowed(mode, size) for mode in modes for size in args.windows}
    found = {name: Measured() for name in ways}
    for number in range(args.rounds + 1):
        for name, way in ways.items():
            begun, used = time.perf_counter(), time.process_time()
            made = sorted(way(), key=lambda row: row["index"])
            # In the first round kernels are compiled and memory is taken.
            if number:
                found[name].clock.append(time.perf_counter() - begun)
                found[name].processor.append(time.process_time() - used)
            found[name].tokens = sum(row["tokens"] for row in made)
            found[name].texts.append([row["question"] for row in made])
    return found


def same(*rounds: Sequence[str]) -> str:
    """Share of the rows whose texts are the same in all of these rounds."""
    return f"{sum(len(set(texts)) == 1 for texts in zip(*rounds, strict=True)) / len(rounds[0]):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="manifest of the generator's model")
    parser.add_argument("--questions", type=int, default=960, help="rows of the shard")
    parser.add_argument("--windows", type=int, nargs="+", default=[48, 240, 960], help="sizes of the windows")
    parser.add_argument("--rounds", type=int, default=3, help="times that each way is measured")
    parser.add_argument("--max-tokens", type=int, default=128, help="longest question")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--max-sequences", type=int, default=48, help="rows in flight")
    modes = ["windows", "none", "batch_invariant"]
    parser.add_argument("--modes", nargs="+", choices=modes, default=modes[:2], help="values of engine.determinism")
    args = parser.parse_args()
    if args.device == "cpu" and "batch_invariant" in args.modes:
        parser.error("batch_invariant needs --device gpu: its kernels are a GPU's.")
    # The plain engine always, as all figures are over its bare one.
    groups = [[mode for mode in args.modes if mode != "batch_invariant"]]
    if "batch_invariant" in args.modes:
        groups.append(["batch_invariant"])
    found: dict[str, Measured] = {}
    for modes in groups:
        # A fresh process for each engine, which gives its memory back.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found |= pool.submit(measure, args, modes).result()

    def ratio(name: str, kind: str) -> str:
        times = zip(getattr(found[BARE], kind), getattr(found[name], kind), strict=True)
        return f"{statistics.median(bare / time for bare, time in times):.3f}"

    header = ["", "seconds", "tokens/s", "throughput, processor's time", "throughput, clock"]
    print_table(
        [*header, "texts of the bare engine", "texts of all rounds"],
        [
            [
                *(name, f"{statistics.median(way.clock):.1f}", f"{way.tokens / statistics.median(way.clock):.0f}"),
                *(ratio(name, "processor"), ratio(name, "clock")),
                *(same(way.texts[0], found[BARE].texts[0]), same(*way.texts)),
            ]
            for name, way in found.items()
        ],
    )


if __name__ == "__main__":
    main()
