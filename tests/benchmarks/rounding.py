"""What of a short training is left when the trained weights are rounded to bfloat16.

    python tests/benchmarks/rounding.py --model results/models/smollm2.json --problems results/seeds/seeds.parquet

The project's trainers run in this process, with the settings of config.yaml but for the number of steps; then the
weights are put back as trained (float32), rounded to the nearest, and rounded by chance as `training/saving` saves
them, and each time measured in float32 arithmetic on the training rows. Question tuning: the first 15 problems that
fit, one step an epoch. Preference tuning: 8 problems, each against itself with its words shuffled.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import default_config, print_table

import tune_preferences
import tune_questions
from scalequest.hashing import row_seed
from scalequest.llm.chat import load_tokenizer, question_format
from scalequest.llm.models import open_model
from scalequest.rows.tables import PROBLEMS, read_rows
from scalequest.runtime import job
from scalequest.runtime.files import read_json
from scalequest.settings import TrainingSettings, read_settings
from scalequest.training import process, saving, trainers
from scalequest.training.launch import Training, lay_down

QUESTIONS, QUESTION_STEPS = 15, 5
PAIRS, PAIR_STEPS = 8, 4
KINDS = ("before", "float32", "to the nearest", "by chance, seeded")
Row = dict[str, Any]


def log_likelihood(model: Any, ids: Sequence[int], start: int) -> float:
    """Natural logarithm of the probability of the tokens from position `start` (at least 1) on."""
    import torch

    tokens = torch.tensor([ids], device=model.device)
    with torch.no_grad():
        logits = model(input_ids=tokens, use_cache=False).logits[0, start - 1 : -1].float()
    return -torch.nn.functional.cross_entropy(logits, tokens[0, start:], reduction="sum").item()


def question_loss(model: Any, rows: Sequence[Row]) -> float:
    """Loss in nats a token, over the tokens that bear a loss."""
    starts = [max(1, row["labels"].count(-100)) for row in rows]
    found = sum(log_likelihood(model, row["input_ids"], start) for row, start in zip(rows, starts, strict=True))
    return -found / sum(len(row["input_ids"]) - start for row, start in zip(rows, starts, strict=True))


def pair_margin(model: Any, rows: Sequence[Row]) -> float:
    """Log-likelihood of the chosen question less that of the rejected one, in nats, mean over the pairs."""

    def likelihood(row: Row, which: str) -> float:
        return log_likelihood(model, row["prompt_ids"] + row[which], len(row["prompt_ids"]))

    return sum(likelihood(row, "chosen_ids") - likelihood(row, "rejected_ids") for row in rows) / len(rows)


def train_and_round(
    run: Training, rows: Sequence[Row], measure: Callable[[Any, Sequence[Row]], float]
) -> tuple[int, dict[str, float]]:
    """Train on rows, and measure the model on them before and after, by kind of rounding. Also gives the steps."""
    import torch
    from transformers import PrinterCallback

    with tempfile.TemporaryDirectory() as folder:
        lay_down(run, "benchmark", Path(folder))
        trainer = trainers.KINDS[run.kind](read_settings(trainers.Job, read_json(Path(folder) / process.JOB)))
        trainer.remove_callback(PrinterCallback)
        values = [measure(trainer.model.eval(), rows)]
        trainer.train()
    model = trainer.model.eval()
    trained = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    seed = run.settings.seed
    roundings: tuple[Callable[[str, Any], Any], ...] = (
        lambda name, weight: weight,
        lambda name, weight: weight.to(torch.bfloat16),
        lambda name, weight: saving.rounded(weight.cpu(), row_seed(seed, name)),
    )
    for rounding in roundings:
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(rounding(name, trained[name]))
        values.append(measure(model, rows))
    return trainer.state.global_step, dict(zip(KINDS, values, strict=True))


def shuffled(text: str, draw: random.Random) -> str:
    words = text.split()
    return " ".join(draw.sample(words, len(words)))


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, help="manifest of a staged model")
    parser.add_argument("--problems", required=True, type=Path, help="table of problems")
    args = parser.parse_args()
    config = default_config()
    torch.set_num_threads(config["training"]["threads"])
    model = open_model(args.model)
    common = read_settings(TrainingSettings, config["training"]), config["device"], model
    tokenizer = load_tokenizer(model.folder, trust_remote_code=model.trust_remote_code)
    form = question_format(tokenizer)
    problems = read_rows(args.problems, PROBLEMS)

    tuning = read_settings(tune_questions.QuestionTuning, config["question_tuning"])
    rows = tune_questions.samples(form, tokenizer, problems, tuning)[:QUESTIONS]
    # Packed rows are at most as many as the questions, so an epoch is one step.
    tuning = replace(tuning, rows_per_step=QUESTIONS, rows_per_device=1, epochs=QUESTION_STEPS)
    run = Training("questions", "question_tuning", tuning, *common, rows)
    steps, losses = train_and_round(run, rows, question_loss)
    label = f"QFT loss, nats a token ({len(rows)} rows, {steps} steps, {tuning.learning_rate:.0e})"
    loss_row = [label, *(f"{losses[kind]:.3f}" for kind in KINDS)]

    draw = random.Random(0)  # noqa: S311 - an order, not a secret
    texts = [
        {"id": row["id"], "chosen": row["question"], "rejected": shuffled(row["question"], draw)} for row in problems
    ]
    given = config["preference_tuning"]["dpo"] | {"seed": config["preference_tuning"]["seed"]}
    dpo = read_settings(tune_preferences.PreferenceTuning, given)
    pairs = list(tune_preferences.samples(form, tokenizer, texts, dpo.max_length).values())[:PAIRS]
    dpo = replace(dpo, epochs=PAIR_STEPS * dpo.rows_per_step / len(pairs))
    run = Training("preferences", "dpo", dpo, *common, pairs)
    steps, margins = train_and_round(run, pairs, pair_margin)
    label = f"DPO margin gained, nats ({len(pairs)} pairs, {steps} steps, {dpo.learning_rate:.0e})"
    margin_row = [label, *(f"{margins[kind] - margins['before']:.3f}" for kind in KINDS)]
    print_table(["", *KINDS], [margin_row, loss_row])


if __name__ == "__main__":
    job.run(main)
