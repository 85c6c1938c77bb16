"""Answers of a model to a benchmark's problems, kept as generated: grading them again generates nothing.

Zero-shot, by the prompt that the config freezes. A shard is a run of whole windows of the benchmark.
Source: ScaleQuest (arXiv 2410.18693), section 4.1.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from scalequest import job
from scalequest.chat import answer_format
from scalequest.engine import Engine
from scalequest.models import open_model
from scalequest.solving import attempts, solver
from scalequest.stage import StoreKey, open_store
from scalequest.store import in_windows
from scalequest.tables import ATTEMPTS, PROBLEMS, read_rows, write_table

log = logging.getLogger("scalequest.sample_answers")


def span(count: int, number: int, of: int, window: int) -> range:
    """Indices of shard `number` (from 0) of so many: whole windows, as even as they can be dealt out."""
    windows = -(-count // window)
    first, last = (min(windows * n // of * window, count) for n in (number, number + 1))
    return range(first, last)


def shard(rows: Sequence[dict], number: int, of: int, window: int) -> Sequence[dict]:
    """The rows of a shard. One that staging left out is missing in its window."""
    mine = span(max((row["index"] for row in rows), default=-1) + 1, number, of, window)
    return [row for row in rows if row["index"] in mine]


def store_key(settings: dict) -> StoreKey:
    asking = {name: settings["evaluation"][name] for name in ("prompt", "format", "sampling")}
    return StoreKey("sample_answers", ATTEMPTS, {"engine": settings["engine"], **asking})


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--model", required=True, type=Path, help="manifest of the model that is measured")
    parser.add_argument("--problems", required=True, type=Path, help="table of the benchmark's problems")
    parser.add_argument("--shard", required=True, type=int, help="number of the shard, from 0")
    parser.add_argument("--of", required=True, type=int, help="shards in all")
    parser.add_argument("--progress", required=True, type=Path, help="folder of finished windows")
    parser.add_argument("--out", required=True, type=Path, help="table of answers to write")
    args = parser.parse_args()
    asking, engine_settings = args.settings["evaluation"], args.settings["engine"]
    problems = read_rows(args.problems, PROBLEMS)
    mine = shard(problems, args.shard, args.of, engine_settings["window"])
    model = open_model(args.model)
    form = answer_format(model, asking["prompt"], chat=asking["format"] == "chat")
    log.info("prompt (%s): %r; sampling: %s", asking["format"], asking["prompt"], asking["sampling"])
    engine = Engine(model, engine_settings)
    report = job.Progress(f"answers of {model.name} to {args.problems.stem}")
    store = open_store(args.progress, store_key(args.settings), model)
    rows = in_windows(
        attempts(mine, asking["samples"], "answers", asking["sampling"]),
        store,
        engine_settings["window"],
        solver(form, engine, asking["sampling"], report),
        group=args.problems.stem,
        progress=report,
        each=engine.each,
    )
    write_table(args.out, rows, ATTEMPTS, made_in=[store.name])


if __name__ == "__main__":
    job.run(main)
