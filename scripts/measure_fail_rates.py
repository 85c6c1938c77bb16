"""The solver's fail rate on seed problems: the share of its sampled answers that are wrong, graded by answer.

These are what the difficulty scorer learns. Source: ScaleQuest (arXiv 2410.18693), section 3.3.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from scalequest import job
from scalequest.chat import answer_format
from scalequest.engine import Engine
from scalequest.errors import ScaleQuestError
from scalequest.hashing import digest
from scalequest.models import open_model
from scalequest.prompts import load
from scalequest.solving import answered, attempts, solver
from scalequest.stage import StoreKey, open_store
from scalequest.store import in_windows
from scalequest.tables import ATTEMPTS, FAIL_RATES, PROBLEMS, read_rows, write_table
from scalequest.verdicts import EQUIVALENCE, graded


def draw(problems: list[dict], count: int | None) -> list[dict]:
    """Problems that have an answer, at most `count` of them, drawn by the hash of their ids."""
    usable = [row for row in problems if row["answer"]]
    if not usable:
        raise ScaleQuestError(
            f"none of {len(problems)} seed problems has an answer, which fail rates need: name the field in "
            "datasets.NAME.fields.answer, or turn filters.difficulty off (enabled: false)."
        )
    return sorted(sorted(usable, key=lambda row: digest(row["id"]))[:count], key=lambda row: row["id"])


def judged(problems: list[dict], tries: list[dict], progress: Path, time_limit: float) -> tuple[list[dict], str]:
    """GRADES rows of the attempts, and the name of the store that keeps them."""
    known = {row["id"]: row for row in problems}
    answers = [
        {
            **{"id": row["id"], "sample": row["sample"], "index": known[row["id"]]["index"]},
            **{"gold": known[row["id"]]["answer"], "facts": {}, "response": row["response"], "cut": False},
        }
        for row in tries
    ]
    return graded(answers, EQUIVALENCE, group="fail_rates", progress=progress, time_limit=time_limit)


def fail_rates(problems: list[dict], grades: list[dict]) -> list[dict]:
    """FAIL_RATES rows from the graded attempts."""
    verdicts: dict[str, list[bool]] = defaultdict(list)
    for grade in grades:
        verdicts[grade["id"]].append(grade["right"])
    return [
        {
            **{column: row[column] for column in ("id", "index", "question")},
            "fail_rate": 1.0 - sum(verdicts[row["id"]]) / len(verdicts[row["id"]]),
            "samples": len(verdicts[row["id"]]),
        }
        for row in problems
    ]


def store_key(settings: dict) -> StoreKey:
    shaping = {"engine": settings["engine"], "sampling": settings["difficulty"]["sampling"]}
    return StoreKey("measure_fail_rates", ATTEMPTS, shaping, ["respond"])


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--model", required=True, type=Path, help="manifest of the solver's model")
    parser.add_argument("--seeds", required=True, type=Path, help="table of seed problems")
    parser.add_argument("--progress", required=True, type=Path, help="folder of finished windows")
    parser.add_argument("--attempts", required=True, type=Path, help="table of the solver's attempts to write")
    parser.add_argument("--out", required=True, type=Path, help="table of fail rates to write")
    args = parser.parse_args()
    settings, solving = args.settings, args.settings["difficulty"]
    problems = draw(read_rows(args.seeds, PROBLEMS), solving["problems"])
    model = open_model(args.model)
    engine = Engine(model, settings["engine"])
    report = job.Progress("solver's attempts")
    store = open_store(args.progress, store_key(settings), model)
    stored = in_windows(
        attempts(problems, solving["samples"], "fail rates", solving["sampling"]),
        store,
        settings["engine"]["window"],
        solver(answer_format(model, load("respond")), engine, solving["sampling"], report),
        group="seeds",
        progress=report,
        each=engine.each,
    )
    tries = answered(stored)
    write_table(args.attempts, tries, ATTEMPTS, made_in=[store.name])
    grades, kept = judged(problems, tries, args.progress, args.settings["grading"]["time_limit"])
    write_table(args.out, fail_rates(problems, grades), FAIL_RATES, made_in=[store.name, kept])


if __name__ == "__main__":
    job.run(main)
