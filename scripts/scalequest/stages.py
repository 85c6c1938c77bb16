"""Every rule that makes rows or weights, once: whatever lists stages reads this table, or a test holds it to it.

A new stage is one line here, a rule, a program, its settings in the schema and a test (CONTRIBUTING.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# What a rule's job is. An `engine` makes rows with a model and stores them in windows; a `training` makes weights; a
# `table` makes rows from rows; `fetch` brings a model or data set to disk.
Kind = Literal["engine", "training", "table", "fetch"]


@dataclass(frozen=True)
class Stage:
    """A rule. `summary` is the stage of the run's summary in which its time is counted. `program` is the script that it
    runs, the rule's own name where empty. `by_shard`: its rows are a shard of the questions, so that its windows must
    divide a shard. `section`: of a training, its section of the config."""

    rule: str
    kind: Kind
    summary: str
    program: str = ""
    by_shard: bool = False
    section: str = ""

    @property
    def script(self) -> str:
        """Name of its program, without the ending."""
        return self.program or self.rule


# In the order of the method. A filter's time is that of the stage of its name; all filters of texts are one rule.
STAGES = (
    Stage("stage_model", "fetch", "seeds"),
    Stage("stage_data", "fetch", "seeds"),
    Stage("make_seeds", "table", "seeds"),
    Stage("tune_questions", "training", "question_tuning", section="question_tuning"),
    Stage("sample_pair_questions", "engine", "pairs", program="sample_questions"),
    Stage("judge_pair_questions", "engine", "pairs", program="judge_questions"),
    Stage("rewrite_questions", "engine", "pairs"),
    Stage("make_pairs", "table", "pairs"),
    Stage("tune_preferences", "training", "preference_tuning", section="preference_tuning"),
    Stage("sample_questions", "engine", "questions", by_shard=True),
    Stage("filter_text", "table", "language"),
    Stage("filter_duplicates", "table", "duplicates"),
    Stage("measure_fail_rates", "engine", "difficulty_scorer"),
    Stage("train_scorer", "training", "difficulty_scorer", section="difficulty"),
    Stage("score_difficulty", "engine", "difficulty", by_shard=True),
    Stage("filter_for_solvers", "table", "difficulty", program="apply_filters"),
    Stage("score_pass_rates", "table", "difficulty"),
    Stage("cut_difficulty", "table", "difficulty"),
    Stage("judge_questions", "engine", "solvability", by_shard=True),
    Stage("sample_responses", "engine", "responses", by_shard=True),
    Stage("score_responses", "engine", "reward", by_shard=True),
    # Both choose by scores that are there.
    Stage("apply_filters", "table", "selection"),
    Stage("select_responses", "table", "selection"),
    Stage("sample_solutions", "engine", "verification", program="sample_responses", by_shard=True),
    Stage("verify_answers", "table", "verification"),
    Stage("check_answers", "table", "dataset"),
    Stage("build_formats", "table", "dataset"),
    Stage("build_dataset", "table", "dataset"),
    Stage("tokenize_student", "table", "students"),
    Stage("tune_student", "training", "students", section="students"),
    Stage("count_overlap", "table", "students"),
    Stage("sample_answers", "engine", "evaluation"),
    Stage("grade_answers", "table", "grading"),
    Stage("build_table", "table", "grading"),
    # An option, `topics`.
    Stage("choose_topics", "engine", "topics"),
    Stage("choose_seed_topics", "engine", "topics", program="choose_topics"),
    # Of a calibration alone.
    Stage("make_calibration", "table", "evaluation"),
    Stage("filter_calibration", "table", "evaluation", program="filter_text"),
    Stage("judge_calibration", "engine", "evaluation", program="judge_questions"),
    Stage("score_calibration", "engine", "evaluation", program="score_responses"),
    Stage("calibrate", "table", "evaluation"),
    # Of a rehearsal alone.
    Stage("make_known_problems", "table", "evaluation"),
    Stage("answer_known_problems", "engine", "evaluation", program="sample_answers"),
    Stage("grade_known_problems", "table", "grading", program="grade_answers"),
    Stage("score_known_problems", "engine", "reward", program="score_responses"),
)
# Names that filters.order may have.
FILTERS = ("language", "length", "duplicates", "contamination", "difficulty", "solvability")
BY_RULE = {stage.rule: stage for stage in STAGES}


def of_kind(*kinds: Kind) -> list[Stage]:
    """The stages of some kinds, in the order of the method."""
    return [stage for stage in STAGES if stage.kind in kinds]


def rules_of_summary() -> dict[str, list[str]]:
    """The rules whose time is that of each stage of the summary, in the order of the method."""
    found: dict[str, list[str]] = {}
    for stage in STAGES:
        found.setdefault(stage.summary, []).append(stage.rule)
    return found
