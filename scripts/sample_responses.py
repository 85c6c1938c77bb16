"""k responses to each question that the filters left, each sample with its own hashed seed, the answer extracted.

A larger k keeps the samples that are there. Source: ScaleQuest (arXiv 2410.18693), section 3.4.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass

from scalequest.domains.base import open_domain
from scalequest.rows.store_key import StoreKey
from scalequest.rows.tables import ATTEMPTS, FILTERED, group_of, read_rows
from scalequest.runtime import job
from scalequest.settings import EngineSettings, Sampling, Thinking, read_settings
from scalequest.tasks import engine_stage
from scalequest.tasks.solving import answered, attempts, shaping, solver, stored_as, whole

log = logging.getLogger("scalequest.sample_responses")


@dataclass(frozen=True)
class Responses:
    """The config's `responses`, without its model; `thinking` None where it answers at once."""

    samples: int
    sampling: Sampling
    thinking: Thinking | None = None


@dataclass(frozen=True)
class Settings:
    """The responses, the engine, and the domain that the questions are of."""

    responses: Responses
    engine: EngineSettings
    domain: str


def store_key(settings: Settings) -> StoreKey:
    """What makes the rows."""
    own = settings.responses
    made_by = {"engine": asdict(settings.engine), **shaping(own.sampling, own.thinking)}
    prompts = open_domain(settings.domain).prompts.texts(["respond"])
    return StoreKey("sample_responses", stored_as(own.thinking), made_by, prompts)


def main() -> None:
    """Answer each question that the filters left."""
    parser = engine_stage.parser(__doc__ or "")
    parser.add_argument("--questions", required=True, help="table of filtered questions")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    responses, domain = settings.responses, open_domain(settings.domain)
    questions = [row for row in read_rows(args.questions, FILTERED) if row["kept"]]
    stage = engine_stage.EngineStage(args, store_key(settings), settings.engine, "responses")
    rows = stage.rows(
        attempts(questions, responses.samples, "responses", responses.sampling),
        solver(stage, domain.prompts.load("respond"), responses.sampling, responses.thinking),
        group=group_of(row["id"] for row in questions),
    )
    unfinished = sum(row["reasoning"] is not None and row["finish_reason"] == "length" for row in whole(rows))
    if responses.thinking:
        log.info("%d of %d responses were cut, or their traces did not end", unfinished, len(rows))
    stage.write(answered(rows, domain.main), table=ATTEMPTS)


if __name__ == "__main__":
    job.run(main)
