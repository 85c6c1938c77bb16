"""The solver's fail rate on seed problems: the share of its sampled answers that are wrong, graded by answer.

These are what the difficulty scorer learns. Source: ScaleQuest (arXiv 2410.18693), section 3.3.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

from scalequest.domains.base import open_domain
from scalequest.errors import ScaleQuestError
from scalequest.grading.graders import Grader
from scalequest.grading.verdicts import graded
from scalequest.hashing import digest
from scalequest.rows.store import stored
from scalequest.rows.store_key import StoreKey
from scalequest.rows.tables import ATTEMPTS, FAIL_RATES, PROBLEMS, read_rows, write_table
from scalequest.runtime import job
from scalequest.settings import EngineSettings, Grading, Sampling, read_settings
from scalequest.tasks import engine_stage
from scalequest.tasks.solving import answered, attempts, solver, stored_as


@dataclass(frozen=True)
class Solving:
    """How the solver tries the seed problems: `problems` is how many (None: all), `samples` the attempts at each."""

    problems: int | None
    samples: int
    sampling: Sampling


@dataclass(frozen=True)
class Settings:
    """The solver's attempts, how they are graded, the engine, and the domain that the problems are of."""

    difficulty: Solving
    grading: Grading
    engine: EngineSettings
    domain: str


def draw(problems: list[dict], count: int | None) -> list[dict]:
    """Problems that have an answer, at most `count` of them, drawn by the hash of their ids and numbered in that order.

    So the drawn ones fill whole windows, and a larger `count` only adds windows at the end.
    """
    usable = [row for row in problems if row["answer"]]
    if not usable:
        raise ScaleQuestError(
            f"none of {len(problems)} seed problems has an answer, which fail rates need: name the field in "
            "datasets.NAME.fields.answer, or turn filters.difficulty off (enabled: false)."
        )
    drawn = sorted(usable, key=lambda row: digest(row["id"]))[:count]
    return sorted(({**row, "index": number} for number, row in enumerate(drawn)), key=lambda row: row["id"])


def tried(problems: list[dict], solving: Solving) -> list[dict]:
    """The solver's attempts at problems, before they are made."""
    return attempts(problems, solving.samples, "fail rates", solving.sampling)


def judged(
    grader: Grader, problems: list[dict], tries: list[dict], progress: Path, time_limit: float
) -> tuple[list[dict], str]:
    """GRADES rows of the attempts by a grader, and the name of the store that keeps them."""
    known = {row["id"]: row for row in problems}
    answers = [
        {
            **{"id": row["id"], "sample": row["sample"], "index": known[row["id"]]["index"]},
            **{"gold": known[row["id"]]["answer"], "facts": {}, "response": row["response"], "cut": False},
        }
        for row in tries
    ]
    return graded(answers, grader, group="fail_rates", progress=progress, time_limit=time_limit)


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


def store_key(settings: Settings) -> StoreKey:
    """What makes the solver's attempts."""
    shaping = {"engine": asdict(settings.engine), "sampling": asdict(settings.difficulty.sampling)}
    return StoreKey(
        "measure_fail_rates", stored_as(None), shaping, open_domain(settings.domain).prompts.texts(["respond"])
    )


def main() -> None:
    """Have the solver try the seed problems, grade its answers, and write both tables."""
    parser = engine_stage.parser(__doc__ or "")
    parser.add_argument("--seeds", required=True, help="table of seed problems")
    parser.add_argument("--rates", required=True, help="table of fail rates to write")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    solving, window = settings.difficulty, settings.engine.window
    domain = open_domain(settings.domain)
    seeds = read_rows(args.seeds, PROBLEMS)
    problems = draw(seeds, solving.problems)
    stage = engine_stage.EngineStage(args, store_key(settings), settings.engine, "solver's attempts")
    # Older releases numbered the problems as the seeds are numbered.
    chosen = {row["id"] for row in problems}
    older = stored(tried([row for row in seeds if row["id"] in chosen], solving), stage.store, window, group="seeds")
    known = {stage.store.key(row) for row in older}
    made = stage.rows(
        [row for row in tried(problems, solving) if stage.store.key(row) not in known],
        solver(stage, domain.prompts.load("respond"), solving.sampling),
        group="seeds",
    )
    tries = answered([*older, *made], domain.main)
    stage.write(tries, table=ATTEMPTS)
    grades, kept = judged(domain.main, problems, tries, args.progress, settings.grading.time_limit)
    write_table(args.rates, fail_rates(problems, grades), FAIL_RATES, made_in=[stage.store.name, kept])


if __name__ == "__main__":
    job.run(main)
