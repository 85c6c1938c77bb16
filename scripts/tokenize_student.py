"""Token ids of a student's training set, made on a CPU so that no GPU waits for them.

A sample is the prompt, which bears no loss, and the response with the token that ends it. The same prompt is put to the
student when it is measured. Source: ScaleQuest (arXiv 2410.18693), section 4.1.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from scalequest.errors import ScaleQuestError
from scalequest.llm.chat import AnswerFormat, answer_format
from scalequest.llm.models import open_model
from scalequest.llm.thinking import trace_form
from scalequest.runtime import job
from scalequest.settings import read_settings
from scalequest.training import student_data as training_sets
from scalequest.training.samples import Samples
from scalequest.training.student_data import Pair, Slice

log = logging.getLogger("scalequest.tokenize_student")
SECTION = "student_tuning"


@dataclass(frozen=True)
class Asking:
    """How a question is put to the student. `prompt` has one place, `{question}`; `format` says whether it is a user's
    turn of the chat template or plain text. `max_length` tokens are the most of a row. `thinking`: whether the traces
    of responses are learned too."""

    prompt: str
    format: Literal["chat", "plain"]
    max_length: int
    thinking: Literal["drop", "keep"] = "drop"


@dataclass(frozen=True)
class Settings:
    """How questions are put, and which rows are taken."""

    student_tuning: Asking
    data: Slice


def samples(form: AnswerFormat, pairs: Sequence[Pair], max_length: int, *, traces: bool = False) -> Samples:
    """A sample for each pair that fits `max_length` tokens; longer ones are left out, as a cut one would not end. With
    `traces` those of the responses are part of it.

    Raises ScaleQuestError where there is no pair, or none that fits.
    """
    if not pairs:
        raise ScaleQuestError(
            "the training set has no row with a question and a response: see to students.NAME.data, generators and "
            "seeds, and to fields.solution of an external dataset."
        )
    made, shortest = Samples(), None
    trace = trace_form(form) if traces else None
    for pair in pairs:
        prompt = form.prompt(pair.question)
        if trace is None or pair.reasoning is None:
            end = form.response(pair.response)
        else:
            end = trace.response(pair.reasoning, pair.response)
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
    """Read the training set, write its token ids."""
    parser = job.parser(__doc__ or "")
    training_sets.add_arguments(parser)
    parser.add_argument("--model", required=True, type=Path, help="manifest of the model that the student starts from")
    parser.add_argument("--out", required=True, type=Path, help="samples to write")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    asking = settings.student_tuning

    found = training_sets.read(args, settings.data.rows)
    base = open_model(args.model)
    form = answer_format(base, asking.prompt, chat=asking.format == "chat")
    rows = samples(form, found.pairs, asking.max_length, traces=asking.thinking == "keep")
    too_long = len(found.pairs) - len(rows)
    log.info("prompt (%s): %r", asking.format, asking.prompt)
    log.info("%d of %d rows, %d tokens; %d are too long", len(rows), found.of, rows.tokens, too_long)
    rows.write(
        args.out,
        {
            # data.rows is what was asked for, `of` what there was with a solution.
            **{"rows": len(rows), "too_long": too_long, "of": found.of, "without_solution": found.without},
            "tokens_an_epoch": rows.tokens,
            **{"data": asdict(settings.data), "prompt": asking.prompt, "format": asking.format},
        },
    )


if __name__ == "__main__":
    job.run(main)
