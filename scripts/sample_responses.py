"""k responses to each question that the filters left, each sample with its own hashed seed, the answer extracted.

A larger k keeps the samples that are there. Source: ScaleQuest (arXiv 2410.18693), section 3.4.
"""

from __future__ import annotations

from pathlib import Path

from scalequest import job
from scalequest.chat import answer_format
from scalequest.engine import Engine
from scalequest.models import open_model
from scalequest.prompts import load
from scalequest.solving import answered, attempts, solver
from scalequest.stage import StoreKey, open_store
from scalequest.store import in_windows
from scalequest.tables import ATTEMPTS, FILTERED, group_of, read_rows, write_table


def store_key(settings: dict) -> StoreKey:
    shaping = {"engine": settings["engine"], "sampling": settings["responses"]["sampling"]}
    return StoreKey("sample_responses", ATTEMPTS, shaping, ["respond"])


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--model", required=True, type=Path, help="manifest of the model that answers")
    parser.add_argument("--questions", required=True, type=Path, help="table of filtered questions")
    parser.add_argument("--progress", required=True, type=Path, help="folder of finished windows")
    parser.add_argument("--out", required=True, type=Path, help="table of responses to write")
    args = parser.parse_args()
    settings, sampling = args.settings, args.settings["responses"]["sampling"]
    questions = [row for row in read_rows(args.questions, FILTERED) if row["kept"]]
    model = open_model(args.model)
    engine = Engine(model, settings["engine"])
    report = job.Progress("responses")
    store = open_store(args.progress, store_key(settings), model)
    rows = in_windows(
        attempts(questions, settings["responses"]["samples"], "responses", sampling),
        store,
        settings["engine"]["window"],
        solver(answer_format(model, load("respond")), engine, sampling, report),
        group=group_of(row["id"] for row in questions),
        progress=report,
        each=engine.each,
    )
    write_table(args.out, answered(rows), ATTEMPTS, made_in=[store.name])


if __name__ == "__main__":
    job.run(main)
