"""Question fine-tuning: teach a problem solver to ask, by a short training on questions alone, without solutions.

Each sample is the bare chat prefix, the question, and the token that ends the user's turn, as ids of the model's own
tokenizer. It comes first, because everything later is sampled from what it makes.
Source: ScaleQuest (arXiv 2410.18693), section 3.1.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scalequest.errors import ScaleQuestError
from scalequest.hashing import drawn
from scalequest.llm.chat import QuestionFormat, load_tokenizer, question_format
from scalequest.llm.models import open_model
from scalequest.rows.tables import PROBLEMS, read_rows
from scalequest.runtime import job
from scalequest.settings import Device, Number, TrainingSettings, Tuning, read_settings
from scalequest.training.launch import Training, add_arguments, publish, train, write_history

log = logging.getLogger("scalequest.tune_questions")
SECTION = "question_tuning"


@dataclass(frozen=True, kw_only=True)
class QuestionTuning(Tuning):
    """The config's `question_tuning`. `loss` says which tokens bear it; `max_questions` is None for all."""

    loss: Literal["all", "question"]
    max_questions: int | None
    warmup_ratio: Number


@dataclass(frozen=True)
class Settings:
    """The training, and how trainers run."""

    question_tuning: QuestionTuning
    training: TrainingSettings
    device: Device


def chosen(problems: Sequence[Mapping[str, Any]], count: int | None, seed: int) -> list[Mapping[str, Any]]:
    """At most `count` problems (all for None), drawn by the hash of their ids, in table order."""
    if count is None:
        return list(problems)
    ids = drawn([row["id"] for row in problems], count, seed, SECTION)
    return [row for row in problems if row["id"] in ids]


def sample(form: QuestionFormat, tokenizer: Any, question: str, loss: str) -> dict[str, list[int]]:
    """`input_ids` and `labels` of one question; with loss `question` the prefix, the same in all, bears none."""
    ids = form.encode(tokenizer, question)
    masked = len(form.prefix) if loss == "question" else 0
    return {"input_ids": ids, "labels": [-100] * masked + ids[masked:]}


def samples(
    form: QuestionFormat, tokenizer: Any, problems: Sequence[Mapping[str, Any]], settings: QuestionTuning
) -> list[dict[str, list[int]]]:
    """A sample for each problem that fits `max_length` tokens; longer ones are left out, as a cut one would not end.

    Raises ScaleQuestError where there is no problem, or none that fits.
    """
    if not problems:
        raise ScaleQuestError("the seed set has no problem: check use.seeds and the sources that it names.")
    made = [sample(form, tokenizer, row["question"], settings.loss) for row in problems]
    fitting = [row for row in made if len(row["input_ids"]) <= settings.max_length]
    if not fitting:
        shortest = min(len(row["input_ids"]) for row in made)
        raise ScaleQuestError(
            f"none of the {len(made)} seed problems fits {SECTION}.max_length {settings.max_length}: the shortest "
            f"has {shortest} tokens with its prefix. Raise it."
        )
    return fitting


def main() -> None:
    """Read the seeds, train, write weights, manifest and loss history."""
    parser = job.parser(__doc__ or "")
    parser.add_argument("--seeds", required=True, type=Path, help="table of problems")
    add_arguments(parser)
    parser.add_argument("--history", required=True, type=Path, help="loss history, JSON lines")
    arguments = parser.parse_args()
    settings = read_settings(Settings, arguments.settings)
    tuning = settings.question_tuning

    problems = chosen(read_rows(arguments.seeds, PROBLEMS), tuning.max_questions, tuning.seed)
    base = open_model(arguments.model)
    tokenizer = load_tokenizer(base.folder, trust_remote_code=base.trust_remote_code)
    rows = samples(question_format(tokenizer), tokenizer, problems, tuning)
    tokens = sum(len(row["input_ids"]) for row in rows)
    log.info("%d questions of %d tokens, %d too long and left out", len(rows), tokens, len(problems) - len(rows))

    run = Training("questions", SECTION, tuning, settings.training, settings.device, base, rows)
    result = train(run, arguments.weights)
    write_history(arguments.history, result)
    facts = {"questions": len(rows), "too_long": len(problems) - len(rows), "tokens_an_epoch": tokens}
    publish(arguments.out, run, result, name=arguments.name, **facts)


if __name__ == "__main__":
    job.run(main)
