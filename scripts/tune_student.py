"""A student: supervised fine-tuning of a model on problems with their responses, from our dataset or another one.

A sample is the prompt, which bears no loss, and the response with the token that ends it. The same prompt is put to the
student when it is measured. Source: ScaleQuest (arXiv 2410.18693), section 4.1; packing and loss as in the training
framework that it names.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scalequest import job, training_sets
from scalequest.chat import AnswerFormat, answer_format
from scalequest.errors import ScaleQuestError
from scalequest.models import open_model
from scalequest.training import Samples, Training, publish, train, write_history
from scalequest.training_sets import Pair

log = logging.getLogger("scalequest.tune_student")
SECTION = "student_tuning"


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
    parser.add_argument("--model", required=True, type=Path, help="manifest of the model to start from")
    parser.add_argument("--weights", required=True, type=Path, help="folder below which the trained model goes")
    parser.add_argument("--out", required=True, type=Path, help="manifest of the trained model")
    parser.add_argument("--history", required=True, type=Path, help="loss history, JSON lines")
    arguments = parser.parse_args()
    settings, data = dict(arguments.settings[SECTION]), arguments.settings["data"]
    template, form = settings.pop("prompt"), settings.pop("format")

    found = training_sets.read(arguments, data["rows"])
    base = open_model(arguments.model)
    rows = samples(answer_format(base, template, chat=form == "chat"), found.pairs, settings["max_length"])
    too_long = len(found.pairs) - len(rows)
    log.info("prompt (%s): %r", form, template)
    log.info("%d of %d rows, %d tokens; %d are too long", len(rows), found.of, rows.tokens, too_long)

    run = Training(
        "students", SECTION, settings, arguments.settings["training"], arguments.settings["device"], base, rows
    )
    result = train(run, arguments.weights)
    write_history(arguments.history, result)
    facts: Mapping[str, Any] = {
        # data.rows is what was asked for, `of` what there was with a solution.
        **{"rows": len(rows), "too_long": too_long, "of": found.of, "without_solution": found.without},
        "tokens_an_epoch": rows.tokens,
        **{"data": data, "prompt": template, "format": form},
    }
    publish(arguments.out, run, result, **facts)


if __name__ == "__main__":
    job.run(main)
