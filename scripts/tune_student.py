"""A student: supervised fine-tuning of a model on problems with their responses, from our dataset or another one.

A sample is the prompt, which bears no loss, and the response with the token that ends it. The same prompt is put to the
student when it is measured. Source: ScaleQuest (arXiv 2410.18693), section 4.1; packing and loss as in the training
framework that it names.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from scalequest.errors import ScaleQuestError
from scalequest.llm.chat import AnswerFormat, answer_format
from scalequest.llm.models import open_model
from scalequest.runtime import job
from scalequest.settings import Device, Number, TrainingSettings, Tuning, read_settings
from scalequest.training import student_data as training_sets
from scalequest.training.launch import Training, add_arguments, publish, train, write_history
from scalequest.training.samples import Samples
from scalequest.training.student_data import Pair, Slice

log = logging.getLogger("scalequest.tune_student")
SECTION = "student_tuning"


@dataclass(frozen=True, kw_only=True)
class StudentTuning(Tuning):
    """What the config's `student_tuning` says of the training; `Asking` has the rest."""

    warmup_ratio: Number


@dataclass(frozen=True)
class Asking:
    """How a question is put to the student. `prompt` has one place, `{question}`; `format` says whether it is a user's
    turn of the chat template or plain text."""

    prompt: str
    format: Literal["chat", "plain"]


@dataclass(frozen=True)
class Settings:
    """The training, what it is on, and how trainers run."""

    student_tuning: StudentTuning
    asking: Asking
    data: Slice
    training: TrainingSettings
    device: Device


def samples(form: AnswerFormat, pairs: Sequence[Pair], max_length: int) -> Samples:
    """A sample for each pair that fits `max_length` tokens; longer ones are left out, as a cut one would not end.

    Raises ScaleQuestError where there is no pair, or none that fits.
    """
    if not pairs:
        raise ScaleQuestError(
            "the training set has no row with a question and a response: see to students.NAME.data, generators and "
            "seeds, and to fields.solution of an external dataset."
        )
    made, shortest = Samples(), None
    for _, question, response in pairs:
        prompt, end = form.prompt(question), form.response(response)
        length = len(prompt) + len(end)
        shortest = length if shortest is None else min(shortest, length)
        if length <= max_length:
            made.add(prompt, end)
    if not len(made):
        raise ScaleQuestError(
            f"none of the {len(pairs)} rows fits {SECTION}.max_length {max_length}: the shortest has {shortest} tokens "
            "with its prompt. Raise it."
        )
    return made


def main() -> None:
    """Read the training set, train, write weights, manifest and loss history."""
    parser = job.parser(__doc__ or "")
    training_sets.add_arguments(parser)
    add_arguments(parser)
    parser.add_argument("--history", required=True, type=Path, help="loss history, JSON lines")
    arguments = parser.parse_args()
    settings = read_settings(Settings, {**arguments.settings, "asking": arguments.settings[SECTION]})
    tuning, template, form = settings.student_tuning, settings.asking.prompt, settings.asking.format

    found = training_sets.read(arguments, settings.data.rows)
    base = open_model(arguments.model)
    rows = samples(answer_format(base, template, chat=form == "chat"), found.pairs, tuning.max_length)
    too_long = len(found.pairs) - len(rows)
    log.info("prompt (%s): %r", form, template)
    log.info("%d of %d rows, %d tokens; %d are too long", len(rows), found.of, rows.tokens, too_long)

    run = Training("students", SECTION, tuning, settings.training, settings.device, base, rows)
    result = train(run, arguments.weights)
    write_history(arguments.history, result)
    facts: Mapping[str, Any] = {
        # data.rows is what was asked for, `of` what there was with a solution.
        **{"rows": len(rows), "too_long": too_long, "of": found.of, "without_solution": found.without},
        "tokens_an_epoch": rows.tokens,
        **{"data": asdict(settings.data), "prompt": template, "format": form},
    }
    publish(arguments.out, run, result, name=arguments.name, **facts)


if __name__ == "__main__":
    job.run(main)
