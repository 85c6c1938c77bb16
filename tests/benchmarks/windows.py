"""What it costs to be safe: a shard in durable windows against the bare engine on the same prompts, in one process.

    python tests/benchmarks/windows.py --model results/models/smollm2.json

Bare is one `generate` of all prompts, nothing written. The others are what a stage does: windows with their own lease
and a durable part each, drained (`determinism: windows`) or not (`none`). The ways take turns, `--rounds` times; the
figure is the median over rounds of (bare time / time). On a CPU with one thread the processor's time is compared,
which other work on the machine hardly disturbs, and the clock's beside it; on a GPU the clock's alone counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import default_config, print_table

from scalequest.chat import load_tokenizer, question_format
from scalequest.config import engine_settings
from scalequest.engine import Engine
from scalequest.hashing import row_seed
from scalequest.models import open_model
from scalequest.store import Row, RowStore, in_windows
from scalequest.tables import QUESTIONS, question_id


def rows(count: int) -> list[Row]:
    """Questions to be sampled."""
    return [
        {
            **{"id": question_id("g", 0, index), "generator": "g", "seed": 0, "index": index},
            "sampling_seed": row_seed("benchmark", index),
        }
        for index in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="manifest of the generator's model")
    parser.add_argument("--questions", type=int, default=960, help="rows of the shard")
    parser.add_argument("--windows", type=int, nargs="+", default=[48, 240, 960], help="sizes of the windows")
    parser.add_argument("--rounds", type=int, default=3, help="times that each way is measured")
    parser.add_argument("--max-tokens", type=int, default=128, help="longest question")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--max-sequences", type=int, default=48, help="rows in flight")
    parser.add_argument("--modes", nargs="+", default=["windows", "none"], help="values of engine.determinism")
    args = parser.parse_args()
    model = open_model(args.model)
    form = question_format(load_tokenizer(model.folder, trust_remote_code=model.trust_remote_code))
    config = default_config()
    config["device"] = args.device
    config["engine"] |= {"max_sequences": args.max_sequences, "enforce_eager": args.device == "cpu"}
    engine = Engine(model, engine_settings(config, model.name, "sample_questions"))
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_tokens": args.max_tokens}
    shard = rows(args.questions)

    def sample(batch: list[Row]) -> list[Row]:
        seeds = [row["sampling_seed"] for row in batch]
        made = engine.generate([form.prefix] * len(batch), seeds, stops=form.stops, **sampling)
        return [
            {**row, "question": c.text.strip(), "finish_reason": c.finish_reason, "tokens": c.tokens}
            for row, c in zip(batch, made, strict=True)
        ]

    def windowed(mode: str, window: int) -> Callable[[], list[Row]]:
        def run() -> list[Row]:
            engine.settings = {**engine.settings, "determinism": mode}
            with tempfile.TemporaryDirectory() as folder:
                store = RowStore(folder, "sample_questions", {}, QUESTIONS)
                return in_windows(shard, store, window, sample, group="g-s0", each=engine.each)

        return run

    def bare() -> list[Row]:
        engine.settings = {**engine.settings, "determinism": "none"}
        return sample(shard)

    ways = {"the bare engine": bare}
    ways |= {f"{mode}, {size} rows a window": windowed(mode, size) for mode in args.modes for size in args.windows}
    sample(shard[: args.max_sequences])
    clock: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    tokens = 0
    for _ in range(args.rounds):
        for name, way in ways.items():
            begun, used = time.perf_counter(), time.process_time()
            tokens = sum(row["tokens"] for row in way())
            clock[name].append(time.perf_counter() - begun)
            processor[name].append(time.process_time() - used)

    def ratio(times: dict[str, list[float]], name: str) -> str:
        return f"{statistics.median(b / t for b, t in zip(times['the bare engine'], times[name], strict=True)):.3f}"

    header = ["", "seconds", "tokens/s", "throughput, processor's time", "throughput, clock"]
    print_table(
        header,
        [
            [
                *(name, f"{statistics.median(clock[name]):.1f}", f"{tokens / statistics.median(clock[name]):.0f}"),
                *(ratio(processor, name), ratio(clock, name)),
            ]
            for name in ways
        ],
    )


if __name__ == "__main__":
    main()
