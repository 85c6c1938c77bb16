"""Sampled answers to problems: the dataset's responses, the solver's fail rates, a student's answers to a benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scalequest.answers import extract_answer
from scalequest.chat import AnswerFormat
from scalequest.engine import Engine
from scalequest.hashing import row_seed
from scalequest.job import Progress

Row = dict[str, Any]


def attempts(rows: Sequence[Row], samples: int, purpose: str, sampling: Mapping[str, Any]) -> list[Row]:
    """`samples` attempts at each row (`id`, `index`, `question`), each with its own hashed engine seed."""
    return [
        {
            **{column: row[column] for column in ("id", "index", "question")},
            "sample": sample,
            "sampling_seed": row_seed(purpose, sampling, row["id"], sample),
        }
        for row in rows
        for sample in range(samples)
    ]


def answered(rows: Sequence[Row]) -> list[Row]:
    """The rows with their final answers, extracted from the responses."""
    return [{**row, "answer": extract_answer(row["response"])} for row in rows]


def solver(
    form: AnswerFormat, engine: Engine, sampling: Mapping[str, Any], report: Progress
) -> Callable[[list[Row]], list[Row]]:
    """A function from attempts to ATTEMPTS rows, as they are stored: without their final answers, which `answered`
    adds, so that a better extraction is applied to stored responses too."""

    def work(rows: list[Row]) -> list[Row]:
        prompts = [form.prompt(row["question"]) for row in rows]
        completions = engine.generate(prompts, [row["sampling_seed"] for row in rows], stops=form.stops, **sampling)
        report.tokens += sum(c.tokens for c in completions)
        return [
            {
                "id": row["id"],
                "sample": row["sample"],
                "response": completion.text.strip(),
                "answer": None,
                "finish_reason": completion.finish_reason,
                "tokens": completion.tokens,
                "sampling_seed": row["sampling_seed"],
            }
            for row, completion in zip(rows, completions, strict=True)
        ]

    return work
