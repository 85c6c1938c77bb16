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

from scalequest import job
from scalequest.chat import AnswerFormat, answer_format
from scalequest.errors import ScaleQuestError
from scalequest.models import open_model
from scalequest.tables import CANDIDATES, FILTERED, PROBLEMS, read_arrow
from scalequest.training import Samples, Training, drawn, publish, train, write_history

log = logging.getLogger("scalequest.tune_student")
SECTION = "student_tuning"
# By it slices are drawn, whatever a training's own seed; it is that seed's default, so that older slices stay.
DRAWN_BY = 42
Pair = tuple[str, str, str]


def ours(filtered: Sequence[Path], candidates: Sequence[Path]) -> list[Pair]:
    """Id, question and selected response of each row of our dataset, in the order of ids.

    The n-th table of kept questions and the n-th of candidates are one shard. They are read in place of the dataset,
    which is written anew with every word of its card.
    """
    pairs = []
    for questions, responses in zip(filtered, candidates, strict=True):
        table = read_arrow(questions, FILTERED)
        asked = dict(zip(table["id"].to_pylist(), table["question"].to_pylist(), strict=True))
        chosen = read_arrow(responses, CANDIDATES)
        chosen = chosen.filter(chosen["selected"])
        columns = chosen["id"].to_pylist(), chosen["response"].to_pylist()
        pairs += [(name, asked[name], response) for name, response in zip(*columns, strict=True)]
    return sorted(pairs)


def others(path: Path) -> tuple[list[Pair], int]:
    """Id, question and solution of a staged dataset's problems; how many without a solution are left out."""
    table = read_arrow(path, PROBLEMS)
    columns = (table[name].to_pylist() for name in ("id", "question", "solution"))
    pairs = [pair for pair in zip(*columns, strict=True) if pair[2]]
    if without := len(table) - len(pairs):
        log.warning("%d of %d problems of %s have no solution and are left out", without, len(table), path)
    return pairs, without


def chosen(pairs: list[Pair], count: int | None) -> list[Pair]:
    """At most `count` pairs (all for None), drawn by the hash of their ids: a smaller slice is part of a larger one,
    and students of several training seeds have the same."""
    if count is None or count >= len(pairs):
        if count is not None and count > len(pairs):
            log.warning("students.NAME.rows is %d, but there are %d: all are taken", count, len(pairs))
        return pairs
    ids = drawn([pair[0] for pair in pairs], count, DRAWN_BY, SECTION)
    return [pair for pair in pairs if pair[0] in ids]


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
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--filtered", type=Path, nargs="+", help="tables of our questions, one a shard")
    source.add_argument("--problems", type=Path, help="table of another dataset's problems with their solutions")
    parser.add_argument("--candidates", type=Path, nargs="+", help="tables of responses to our questions, as many")
    parser.add_argument("--model", required=True, type=Path, help="manifest of the model to start from")
    parser.add_argument("--weights", required=True, type=Path, help="folder below which the trained model goes")
    parser.add_argument("--out", required=True, type=Path, help="manifest of the trained model")
    parser.add_argument("--history", required=True, type=Path, help="loss history, JSON lines")
    arguments = parser.parse_args()
    settings, data = dict(arguments.settings[SECTION]), arguments.settings["data"]
    template, form = settings.pop("prompt"), settings.pop("format")

    if arguments.filtered:
        found, without = ours(arguments.filtered, arguments.candidates), 0
    else:
        found, without = others(arguments.problems)
    pairs = chosen(found, data["rows"])
    base = open_model(arguments.model)
    rows = samples(answer_format(base, template, chat=form == "chat"), pairs, settings["max_length"])
    log.info("prompt (%s): %r", form, template)
    log.info("%d of %d rows, %d tokens; %d are too long", len(rows), len(found), rows.tokens, len(pairs) - len(rows))

    run = Training(
        "students", SECTION, settings, arguments.settings["training"], arguments.settings["device"], base, rows
    )
    result = train(run, arguments.weights)
    write_history(arguments.history, result)
    facts: Mapping[str, Any] = {
        # data.rows is what was asked for, `of` what there was with a solution.
        **{"rows": len(rows), "too_long": len(pairs) - len(rows), "of": len(found), "without_solution": without},
        "tokens_an_epoch": rows.tokens,
        **{"data": data, "prompt": template, "format": form},
    }
    publish(arguments.out, run, result, **facts)


if __name__ == "__main__":
    job.run(main)
