"""Answers of a model to a benchmark's problems, kept as generated: grading them again generates nothing.

Zero-shot, by the prompt that the config freezes. A shard is a run of whole windows of the benchmark.
Source: ScaleQuest (arXiv 2410.18693), section 4.1.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from scalequest.rows.spans import span
from scalequest.rows.store_key import StoreKey
from scalequest.rows.tables import ATTEMPTS, PROBLEMS, read_rows
from scalequest.runtime import job
from scalequest.settings import EngineSettings, Sampling, Thinking, read_settings
from scalequest.tasks import engine_stage
from scalequest.tasks.solving import attempts, shaping, solver, stored_as, whole

log = logging.getLogger("scalequest.sample_answers")


@dataclass(frozen=True)
class Asking:
    """The config's `evaluation` as one model is asked. `prompt` has one place, `{question}`; `format` says whether it
    is a user's turn of the chat template or plain text."""

    prompt: str
    format: Literal["chat", "plain"]
    samples: int
    sampling: Sampling
    thinking: Thinking | None = None


@dataclass(frozen=True)
class Settings:
    """How the model is asked, and its engine."""

    evaluation: Asking
    engine: EngineSettings


def shard(rows: Sequence[dict], number: int, of: int, window: int) -> Sequence[dict]:
    """The rows of a shard. One that staging left out is missing in its window."""
    mine = span(max((row["index"] for row in rows), default=-1) + 1, number, of, window)
    return [row for row in rows if row["index"] in mine]


def store_key(settings: Settings) -> StoreKey:
    """What makes the rows."""
    asking = settings.evaluation
    how = {"prompt": asking.prompt, "format": asking.format, **shaping(asking.sampling, asking.thinking)}
    return StoreKey("sample_answers", stored_as(asking.thinking), {"engine": asdict(settings.engine), **how})


def main() -> None:
    """Answer the problems of a shard of a benchmark."""
    parser = engine_stage.parser(__doc__ or "")
    parser.add_argument("--problems", required=True, type=Path, help="table of the benchmark's problems")
    parser.add_argument("--shard", required=True, type=int, help="number of the shard, from 0")
    parser.add_argument("--of", required=True, type=int, help="shards in all")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    asking = settings.evaluation
    mine = shard(read_rows(args.problems, PROBLEMS), args.shard, args.of, settings.engine.window)
    log.info("prompt (%s): %r; sampling: %s", asking.format, asking.prompt, asdict(asking.sampling))
    what = f"answers to {args.problems.stem}"
    stage = engine_stage.EngineStage(args, store_key(settings), settings.engine, what)
    rows = stage.rows(
        attempts(mine, asking.samples, "answers", asking.sampling),
        solver(stage, asking.prompt, asking.sampling, asking.thinking, chat=asking.format == "chat"),
        group=args.problems.stem,
    )
    stage.write(whole(rows), table=ATTEMPTS)


if __name__ == "__main__":
    job.run(main)
