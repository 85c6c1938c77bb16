"""k responses to each question that the filters left, each sample with its own hashed seed, the answer extracted.

A larger k keeps the samples that are there. Source: ScaleQuest (arXiv 2410.18693), section 3.4.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from scalequest.domains.base import open_domain
from scalequest.rows.store_key import StoreKey
from scalequest.rows.tables import ATTEMPTS, FILTERED, group_of, read_rows
from scalequest.runtime import job
from scalequest.settings import EngineSettings, Sampling, read_settings
from scalequest.tasks import engine_stage
from scalequest.tasks.solving import answered, attempts, solver


@dataclass(frozen=True)
class Responses:
    """The config's `responses`, without its model."""

    samples: int
    sampling: Sampling


@dataclass(frozen=True)
class Settings:
    """The responses, the engine, and the domain that the questions are of."""

    responses: Responses
    engine: EngineSettings
    domain: str


def store_key(settings: Settings) -> StoreKey:
    """What makes the rows."""
    shaping = {"engine": asdict(settings.engine), "sampling": asdict(settings.responses.sampling)}
    return StoreKey("sample_responses", ATTEMPTS, shaping, open_domain(settings.domain).prompts.texts(["respond"]))


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
        solver(stage, domain.prompts.load("respond"), responses.sampling),
        group=group_of(row["id"] for row in questions),
    )
    stage.write(answered(rows, domain.main))


if __name__ == "__main__":
    job.run(main)
