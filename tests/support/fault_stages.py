"""The stages that tests/support/faults.py interrupts: for each its inputs, on a tiny model, its target and its config.

Inputs are written by hand and Snakemake is allowed the one rule alone, so that no stage waits for those before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalequest.grading.verdicts import WINDOW
from scalequest.llm.models import write_manifest
from scalequest.rows.tables import (
    ATTEMPTS,
    CANDIDATES,
    FAIL_RATES,
    FILTERED,
    GRADES,
    GROUPS,
    JUDGEMENTS,
    PAIRS,
    PROBLEMS,
    QUESTIONS,
    REWARDS,
    REWRITES,
    SCORES,
    Table,
    question_id,
    write_table,
)
from scalequest.training.samples import Samples
from tiny import make_tiny_model, make_tiny_scorer

SEED_PROBLEMS = Path(__file__).resolve().parents[2] / "resources" / "domains" / "math" / "seed_problems.jsonl"
# Many moments between the first window and the last, and windows of tenths of a second: the clock of a processor is too
# coarse for hundredths. So a window has more rows where a row is little work.
PARTS = 16
WINDOWS = {
    **{"sample_questions": 32, "rewrite_questions": 4, "judge_questions": 64, "measure_fail_rates": 4},
    **{"score_difficulty": 512, "sample_responses": 4, "score_responses": 64, "sample_answers": 128},
}
# Their windows are of one size. One pair in so many is left to algebra.
GRADING = {"grade_answers": WINDOW, "select_responses": WINDOW}
HARD = 8
TRAINING_ROWS = 64
SHORT = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 160}
SHARD = "tiny/seed0/gpu0.parquet"
Row = dict[str, Any]


@dataclass(frozen=True)
class Models:
    """Folders of the tiny models, which all trials read."""

    solver: Path
    scorer: Path

    @classmethod
    def make(cls, folder: Path) -> Models:
        return cls(make_tiny_model(folder / "solver"), make_tiny_scorer(folder / "scorer"))


@dataclass(frozen=True)
class Stage:
    """One rule and its script, both of that name. `outputs` are below results/, the first one is Snakemake's target;
    `prepare` writes inputs of so many rows below a results folder; `table` is its store's, None for a training."""

    name: str
    outputs: tuple[str, ...]
    prepare: Callable[[Path, Models, int], None]
    table: Table | None = None

    @property
    def rows(self) -> int:
        """Questions or problems that it is given."""
        windows = WINDOWS | GRADING
        return PARTS * windows[self.name] if self.name in windows else TRAINING_ROWS


def config(models: Models) -> Row:
    """The overlay of config.yaml that all stages run with."""
    off = ("language", "length", "duplicates", "contamination", "difficulty", "solvability")
    training: Row = {"epochs": 2, "max_length": 128, "rows_per_step": 2, "rows_per_device": 2}
    return {
        "use": {"generators": ["tiny"], "students": ["pupil"]},
        "models": {"tiny": {"source": f"path:{models.solver}", "licence": "none"}},
        "generators": {"tiny": {"model": "tiny", "tuning": "none"}},
        "engine": {
            **{"window": WINDOWS["sample_questions"]},
            **{"stage_windows": {name: rows for name, rows in WINDOWS.items() if name != "sample_questions"}},
            **{"max_sequences": 32, "max_model_len": 1024, "max_batched_tokens": 1024},
        },
        "question_tuning": training,
        "preference_tuning": {
            "rank": {"model": "tiny"},
            "rewrite": {"model": "tiny", "sampling": {**SHORT, "temperature": 0.0}},
            "dpo": {**training, "held_out": 2},
        },
        "questions": {
            "seeds": [0],
            "shards": 1,
            "questions_per_shard": PARTS * WINDOWS["sample_questions"],
            "sampling": SHORT,
        },
        "filters": {name: {"enabled": False} for name in off} | {"solvability": {"enabled": False, "model": "tiny"}},
        "difficulty": {
            **{**training, "held_out": 0.1, "solver": "tiny", "base": "tiny"},
            **{"problems": PARTS * WINDOWS["measure_fail_rates"], "samples": 2, "sampling": SHORT},
        },
        "responses": {"model": "tiny", "samples": 2, "sampling": SHORT},
        "reward": {"model": "tiny"},
        "students": {"pupil": {"model": "tiny"}},
        "student_tuning": training,
        "evaluation": {"models": ["tiny"], "sampling": {**SHORT, "temperature": 0.0}, "shards": 1},
    }


def problems(count: int) -> list[Row]:
    """So many problems: the seed problems, and again with another beginning where they do not suffice."""
    found = [json.loads(line) for line in SEED_PROBLEMS.read_text(encoding="utf-8").splitlines()]
    rows = []
    for index in range(count):
        row, again = found[index % len(found)], index // len(found)
        problem = {"id": f"{row['id']}-{again}", "index": index, "source": "seeds", "facts": "{}"}
        question = f"({again}) {row['problem']}" if again else row["problem"]
        rows.append({**problem, "question": question, "solution": row["solution"], "answer": row["answer"]})
    return rows


def _questions(count: int) -> list[Row]:
    return [
        {
            **{"id": question_id("tiny", 0, row["index"]), "generator": "tiny", "seed": 0, "index": row["index"]},
            **{"question": row["question"], "finish_reason": "stop", "tokens": 40, "sampling_seed": row["index"]},
        }
        for row in problems(count)
    ]


def _model(results: Path, models: Models, at: str = "models/tiny.json") -> None:
    scorer = at == "difficulty/model.json"
    folder = models.scorer if scorer else models.solver
    write_manifest(results / at, folder, name=folder.name, source="test")


def _for_sampling(results: Path, models: Models, rows: int) -> None:
    _model(results, models)


def _for_rewriting(results: Path, models: Models, rows: int) -> None:
    _model(results, models)
    write_table(results / "preference_tuning/tiny/questions.parquet", _questions(rows), QUESTIONS)


def _for_judging(results: Path, models: Models, rows: int) -> None:
    _model(results, models)
    write_table(results / "questions" / SHARD, _questions(rows), QUESTIONS)


def _for_solving(results: Path, models: Models, rows: int) -> None:
    _model(results, models)
    write_table(results / "seeds/seeds.parquet", problems(rows), PROBLEMS)


def _for_difficulty(results: Path, models: Models, rows: int) -> None:
    _model(results, models, "difficulty/model.json")
    write_table(results / "questions" / SHARD, _questions(rows), QUESTIONS)


def _for_responses(results: Path, models: Models, rows: int) -> None:
    _model(results, models)
    found = {"kept": True, "dropped_by": "", "marks": "", "reason": "", "difficulty": None, "solvable": None}
    kept = [{k: row[k] for k in ("id", "generator", "seed", "index", "question")} | found for row in _questions(rows)]
    write_table(results / "filtered" / SHARD, kept, FILTERED)


def _for_rewards(results: Path, models: Models, rows: int) -> None:
    _for_responses(results, models, rows)
    made = [
        {
            **{
                "id": row["id"],
                "sample": sample,
                "reasoning": None,
                "response": f"It is {row['index'] + sample}.",
                "answer": None,
            },
            **{"finish_reason": "stop", "tokens": 5, "sampling_seed": sample},
        }
        for row in _questions(rows)
        for sample in range(2)
    ]
    write_table(results / "responses" / SHARD, made, ATTEMPTS)


def _for_preferences(results: Path, models: Models, rows: int) -> None:
    _model(results, models, "question_tuning/tiny/model.json")
    texts = [row["question"] for row in problems(rows)]
    pairs = [
        {"id": question_id("tiny", 0, i), "chosen": a, "rejected": b, "direction": "rank", "margin": 0.1}
        for i, (a, b) in enumerate(zip(texts[::2], texts[1::2], strict=True))
    ]
    write_table(results / "preference_tuning/tiny/pairs.parquet", pairs, PAIRS)


def _for_scorer(results: Path, models: Models, rows: int) -> None:
    _model(results, models)
    rates = [
        {
            **{k: row[k] for k in ("id", "index", "question")},
            **{"fail_rate": row["index"] % 5 / 4, "samples": 4},
        }
        for row in problems(rows)
    ]
    write_table(results / "difficulty/fail_rates.parquet", rates, FAIL_RATES)


def _for_student(results: Path, models: Models, rows: int) -> None:
    _model(results, models)
    _for_responses(results, models, rows)
    made = [
        {
            **{
                "id": row["id"],
                "sample": 0,
                "reasoning": None,
                "response": f"It is {row['index']}.",
                "answer": None,
                "reward": None,
            },
            **{"votes": 1, "selected": True, "tokens": 5, "finish_reason": "stop"},
        }
        for row in _questions(rows)
    ]
    write_table(results / "candidates" / SHARD, made, CANDIDATES)


def _for_training(results: Path, models: Models, rows: int) -> None:
    """The samples of a student, as tokenize_student makes them of such questions."""
    _for_student(results, models, rows)
    samples = Samples()
    for row in _questions(rows):
        # Tokens of any number will do.
        samples.add([1, 4 + row["index"] % 100], [5 + k % 200 for k in range(8 + row["index"] % 5)])
    samples.write(results / "students/pupil/tokens.parquet", {"rows": rows})


def _for_answers(results: Path, models: Models, rows: int) -> None:
    _model(results, models)
    write_table(results / "datasets/embedded_test.parquet", problems(rows), PROBLEMS)


def _said(index: int, other: bool = False) -> str:
    """An answer to a problem, in one of two ways that are equal."""
    if index % HARD:
        return str(index)
    return f"x^2+{2 * index}x+{index**2}" if other else f"(x+{index})^2"


def _for_grading(results: Path, models: Models, rows: int) -> None:
    found = [row | {"answer": _said(row["index"])} for row in problems(rows)]
    write_table(results / "datasets/embedded_test.parquet", found, PROBLEMS)
    made = [
        {
            **{
                "id": row["id"],
                "sample": 0,
                "reasoning": None,
                "response": rf"It is $\boxed{{{_said(row['index'], True)}}}$.",
            },
            **{"answer": None, "finish_reason": "stop", "tokens": 5, "sampling_seed": 0},
        }
        for row in found
    ]
    write_table(results / "evaluation/tiny/embedded_test/answers0.parquet", made, ATTEMPTS)


def _for_selection(results: Path, models: Models, rows: int) -> None:
    made = [
        {
            **{"id": row["id"], "sample": sample, "answer": _said(row["index"], bool(sample))},
            **{
                "reasoning": None,
                "response": "It is so.",
                "finish_reason": "stop",
                "tokens": 5,
                "sampling_seed": sample,
            },
        }
        for row in _questions(rows)
        for sample in range(2)
    ]
    write_table(results / "responses" / SHARD, made, ATTEMPTS)
    scores = [{"id": row["id"], "sample": row["sample"], "reward": float(row["sample"])} for row in made]
    write_table(results / "rewards" / SHARD, scores, REWARDS)


_TUNED = ("model.json", "loss.jsonl")
_GRADES, _ENDS = ("grades.parquet", "measures.json", "disagreements.jsonl"), ("parquet", "json")
_ALL = (
    Stage("sample_questions", (f"questions/{SHARD}",), _for_sampling, QUESTIONS),
    Stage("rewrite_questions", ("preference_tuning/tiny/rewrites.parquet",), _for_rewriting, REWRITES),
    Stage("judge_questions", (f"filters/solvability/{SHARD}",), _for_judging, JUDGEMENTS),
    Stage(
        "measure_fail_rates", ("difficulty/fail_rates.parquet", "difficulty/attempts.parquet"), _for_solving, ATTEMPTS
    ),
    Stage("score_difficulty", (f"filters/difficulty/{SHARD}",), _for_difficulty, SCORES),
    Stage("sample_responses", (f"responses/{SHARD}",), _for_responses, ATTEMPTS),
    Stage("score_responses", (f"rewards/{SHARD}",), _for_rewards, REWARDS),
    Stage("tune_questions", tuple(f"question_tuning/tiny/{name}" for name in _TUNED), _for_solving),
    Stage("tune_preferences", tuple(f"preference_tuning/tiny/{name}" for name in _TUNED), _for_preferences),
    Stage("train_scorer", ("difficulty/model.json", "difficulty/metrics.json", "difficulty/loss.jsonl"), _for_scorer),
    Stage("tune_student", tuple(f"students/pupil/{name}" for name in _TUNED), _for_training),
    Stage("sample_answers", ("evaluation/tiny/embedded_test/answers0.parquet",), _for_answers, ATTEMPTS),
    Stage(
        "grade_answers",
        tuple(f"evaluation/tiny/embedded_test/{name}" for name in _GRADES),
        _for_grading,
        GRADES,
    ),
    Stage("select_responses", tuple(f"candidates/tiny/seed0/gpu0.{end}" for end in _ENDS), _for_selection, GROUPS),
)
STAGES: Mapping[str, Stage] = {stage.name: stage for stage in _ALL}
