"""Predicted fail rate of each question, by the scorer's regression head through the pooling engine, in batches.

Scores are stored raw; which are too easy is decided later. Source: ScaleQuest (arXiv 2410.18693), section 3.3.
"""

from __future__ import annotations

import math
from pathlib import Path

from scalequest import filters, job
from scalequest.chat import load_tokenizer
from scalequest.engine import Engine
from scalequest.errors import ScaleQuestError
from scalequest.models import open_model
from scalequest.stage import StoreKey, open_store
from scalequest.store import in_windows
from scalequest.tables import QUESTIONS, SCORES, group_of, read_rows, write_table
from scalequest.training import scorer_ids


def store_key(settings: dict) -> StoreKey:
    return StoreKey("score_difficulty", SCORES, {name: settings[name] for name in ("engine", "max_length")})


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--model", required=True, type=Path, help="manifest of the difficulty scorer")
    parser.add_argument("--questions", required=True, type=Path, help="table of questions")
    filters.add_arguments(parser)
    parser.add_argument("--progress", required=True, type=Path, help="folder of finished windows")
    parser.add_argument("--out", required=True, type=Path, help="table of scores to write")
    args = parser.parse_args()
    settings = args.settings
    questions = filters.survivors(read_rows(args.questions, QUESTIONS), args)
    model = open_model(args.model)
    tokenizer = load_tokenizer(model.folder, trust_remote_code=model.trust_remote_code, chat=False)
    engine = Engine(model, settings["engine"], runner="pooling")

    def work(rows: list[dict]) -> list[dict]:
        prompts = [scorer_ids(tokenizer, row["question"], settings["max_length"]) for row in rows]
        made = []
        for row, score in zip(rows, engine.score(prompts), strict=True):
            if not math.isfinite(score):
                raise ScaleQuestError(
                    f"the difficulty score of question {row['id']} is {score}: the scorer {model.label} is broken. "
                    "Train it with a lower difficulty.learning_rate."
                )
            made.append({"id": row["id"], "score": score})
        return made

    store = open_store(args.progress, store_key(settings), model)
    rows = in_windows(
        questions,
        store,
        settings["engine"]["window"],
        work,
        group=group_of(row["id"] for row in questions),
        progress=job.Progress("difficulty scores"),
        each=engine.each,
    )
    write_table(args.out, rows, SCORES, made_in=[store.name])


if __name__ == "__main__":
    job.run(main)
