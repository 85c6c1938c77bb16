"""Predicted fail rate of each question, by the scorer's regression head through the pooling engine, in batches.

Scores are stored raw; which are too easy is decided later. Source: ScaleQuest (arXiv 2410.18693), section 3.3.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from scalequest.errors import ScaleQuestError
from scalequest.filters import decision as filters
from scalequest.rows.store_key import StoreKey
from scalequest.rows.tables import QUESTIONS, SCORES, group_of, read_rows
from scalequest.runtime import job
from scalequest.settings import EngineSettings, read_settings
from scalequest.tasks import engine_stage
from scalequest.training.scorer_text import scorer_ids


@dataclass(frozen=True)
class Settings:
    """`max_length`: tokens of a question that the scorer reads."""

    max_length: int
    engine: EngineSettings


def store_key(settings: Settings) -> StoreKey:
    """What makes the rows."""
    return StoreKey("score_difficulty", SCORES, asdict(settings))


def main() -> None:
    """Score the questions that the filters before this one left."""
    parser = engine_stage.parser(__doc__ or "")
    parser.add_argument("--questions", required=True, help="table of questions")
    filters.add_arguments(parser)
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    questions = filters.survivors(read_rows(args.questions, QUESTIONS), args)
    stage = engine_stage.EngineStage(
        args, store_key(settings), settings.engine, "difficulty scores", runner="pooling", chat=False
    )

    def work(rows: list[dict]) -> list[dict]:
        prompts = [scorer_ids(stage.tokenizer, row["question"], settings.max_length) for row in rows]
        made = []
        for row, score in zip(rows, stage.engine.score(prompts), strict=True):
            if not math.isfinite(score):
                raise ScaleQuestError(
                    f"the difficulty score of question {row['id']} is {score}: the scorer {stage.model.label} is "
                    "broken. Train it with a lower difficulty.learning_rate."
                )
            made.append({"id": row["id"], "score": score})
        return made

    stage.write(stage.rows(questions, work, group=group_of(row["id"] for row in questions)))


if __name__ == "__main__":
    job.run(main)
