"""The difficulty scorer: a regression head that tells a question's fail rate from its text alone.

The fail rates that it learns from are those of a solver on the seed problems; scoring a million questions with it is
a forward pass each, where measuring would be many generations. How far it can be trusted is measured here, on
problems held out, beside what the mean and the question's length alone would tell.
Source: ScaleQuest (arXiv 2410.18693), section 3.3.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scalequest.errors import ScaleQuestError
from scalequest.hashing import drawn
from scalequest.llm.chat import load_tokenizer
from scalequest.llm.models import open_model
from scalequest.rows.tables import FAIL_RATES, read_rows
from scalequest.runtime import job
from scalequest.runtime.files import write_json
from scalequest.settings import Device, Number, TrainingSettings, Tuning, read_settings
from scalequest.training.launch import Training, add_arguments, publish, train, write_history
from scalequest.training.scorer_text import scorer_ids, scorer_pad

log = logging.getLogger("scalequest.train_scorer")
SECTION = "difficulty"
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ScorerTuning(Tuning):
    """What the config's `difficulty` says of the training; the rest is about the solver. `held_out` is a share."""

    held_out: Number
    warmup_ratio: Number


@dataclass(frozen=True)
class Settings:
    """The training, and how trainers run."""

    difficulty: ScorerTuning
    training: TrainingSettings
    device: Device


def split(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows to train on and rows held out, a `share` (0 to 1) drawn by the hash of their ids.

    Raises ScaleQuestError where none is left to train on.
    """
    count = round(share * len(rows))
    if count >= len(rows):
        raise ScaleQuestError(
            f"{len(rows)} problems have a fail rate, and {SECTION}.held_out {share} keeps {count} of them from "
            f"training: raise {SECTION}.problems, or lower held_out."
        )
    apart = drawn([row["id"] for row in rows], count, seed, SECTION)
    return [row for row in rows if row["id"] not in apart], [row for row in rows if row["id"] in apart]


def agreement(predicted: Sequence[float], observed: Sequence[float]) -> dict[str, Any]:
    """Pearson and Spearman correlation, MAE and RMSE of predictions (fail rates, 0 to 1).

    A measure that is undefined is None, and `undefined` says why.
    """
    guess, truth = np.asarray(predicted, float), np.asarray(observed, float)
    result: dict[str, Any] = {"n": len(truth), "pearson": None, "spearman": None, "mae": None, "rmse": None}
    if not len(truth):
        return {**result, "undefined": "nothing was held out"}
    errors = guess - truth
    result |= {"mae": float(np.abs(errors).mean()), "rmse": float(np.sqrt((errors**2).mean()))}
    for what, values in (("held-out fail rates", truth), ("predictions", guess)):
        if np.ptp(values) == 0:
            return {**result, "undefined": f"no correlation: the {len(values)} {what} are all {values[0]:g}"}
    ranks = [pd.Series(values).rank() for values in (guess, truth)]
    result |= {"pearson": float(np.corrcoef(guess, truth)[0, 1]), "spearman": float(np.corrcoef(*ranks)[0, 1])}
    return result


def by_length(train_lengths: Sequence[int], train_rates: Sequence[float], lengths: Sequence[int]) -> list[float]:
    """Fail rates told from the length alone, by a straight line fitted to the training rows."""
    if np.ptp(train_lengths) == 0:
        return [float(np.mean(train_rates))] * len(lengths)
    slope, intercept = np.polyfit(train_lengths, train_rates, 1)
    return [float(intercept + slope * length) for length in lengths]


def metrics(learnt: Sequence[Row], apart: Sequence[Row], predicted: Sequence[float]) -> dict[str, Any]:
    """How well the scorer, the training rows' mean, and the question's length (characters) tell held-out fail rates."""
    rates, observed = [row["fail_rate"] for row in learnt], [row["fail_rate"] for row in apart]
    lengths, others = [len(row["question"]) for row in learnt], [len(row["question"]) for row in apart]
    return {
        "trained_on": len(learnt),
        "held_out": len(apart),
        "scorer": agreement(predicted, observed),
        "constant_mean": agreement([float(np.mean(rates))] * len(apart), observed),
        "question_length": agreement(by_length(lengths, rates, others), observed),
        # [predicted, measured] of each held-out problem.
        "predictions": [[round(float(p), 6), o] for p, o in zip(predicted, observed, strict=True)],
    }


def main() -> None:
    """Read the fail rates, train, write weights, manifest, held-out metrics and loss history."""
    parser = job.parser(__doc__ or "")
    parser.add_argument("--fail-rates", required=True, type=Path, help="table of fail rates")
    add_arguments(parser)
    parser.add_argument("--metrics", required=True, type=Path, help="held-out metrics, JSON")
    parser.add_argument("--history", required=True, type=Path, help="loss history, JSON lines")
    arguments = parser.parse_args()
    settings = read_settings(Settings, arguments.settings)
    tuning = settings.difficulty

    learnt, apart = split(read_rows(arguments.fail_rates, FAIL_RATES), tuning.held_out, tuning.seed)
    base = open_model(arguments.model)
    tokenizer = load_tokenizer(base.folder, trust_remote_code=base.trust_remote_code, chat=False)

    def samples(rows: Sequence[Row]) -> list[dict[str, Any]]:
        ids = [scorer_ids(tokenizer, row["question"], tuning.max_length) for row in rows]
        return [{"input_ids": i, "labels": float(row["fail_rate"])} for i, row in zip(ids, rows, strict=True)]

    run = Training(
        "scorer",
        SECTION,
        tuning,
        settings.training,
        settings.device,
        base,
        samples(learnt),
        samples(apart),
        scorer_pad(tokenizer),
    )
    log.info("%d problems, %d held out", len(learnt), len(apart))
    result = train(run, arguments.weights)
    found = metrics(learnt, apart, result.predictions)
    write_json(arguments.metrics, found)
    write_history(arguments.history, result)
    publish(arguments.out, run, result, name=arguments.name, problems=len(learnt), held_out=found["scorer"])


if __name__ == "__main__":
    job.run(main)
