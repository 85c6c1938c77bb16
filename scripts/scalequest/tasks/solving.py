"""Sampled answers to problems: the dataset's responses, the solver's fail rates, a student's answers to a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from scalequest.grading.graders import Grader
from scalequest.hashing import row_seed
from scalequest.llm.chat import answer_format
from scalequest.rows.store import Work
from scalequest.settings import Sampling
from scalequest.tasks.engine_stage import EngineStage

Row = dict[str, Any]


def attempts(rows: Sequence[Row], samples: int, purpose: str, sampling: Sampling) -> list[Row]:
    """`samples` attempts at each row (`id`, `index`, `question`), each with its own hashed engine seed."""
    return [
        {
            **{column: row[column] for column in ("id", "index", "question")},
            "sample": sample,
            "sampling_seed": row_seed(purpose, asdict(sampling), row["id"], sample),
        }
        for row in rows
        for sample in range(samples)
    ]


def answered(rows: Sequence[Row], grader: Grader) -> list[Row]:
    """The rows with their final answers, as a grader finds them in the responses."""
    return [{**row, "answer": grader.extract(row["response"])} for row in rows]


def solver(stage: EngineStage, template: str, sampling: Sampling, *, chat: bool = True) -> Work:
    """A function from attempts to ATTEMPTS rows, as they are stored: without their final answers, which `answered`
    adds, so that a better extraction is applied to stored responses too. `template` and `chat` as `answer_format`."""
    form = answer_format(stage.model, template, chat=chat)

    def work(rows: list[Row]) -> list[Row]:
        prompts = [form.prompt(row["question"]) for row in rows]
        completions = stage.generate(prompts, [row["sampling_seed"] for row in rows], sampling, stops=form.stops)
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
