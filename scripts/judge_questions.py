"""A judge's view of each question: is it a mathematics problem, and can it be solved from what it gives?

The probability is stored raw; thresholds are applied where it is used (the solvability filter, the ranking of pairs),
so that another threshold judges nothing again. Source: ScaleQuest (arXiv 2410.18693), section 3.3.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from scalequest.domains.base import open_domain
from scalequest.errors import ScaleQuestError
from scalequest.filters import decision as filters
from scalequest.hashing import row_seed
from scalequest.rows.store_key import StoreKey
from scalequest.rows.tables import JUDGEMENTS, QUESTIONS, group_of, read_rows
from scalequest.runtime import job
from scalequest.settings import EngineSettings, Number, read_settings
from scalequest.tasks import engine_stage
from scalequest.tasks.judging import Judge, ask_solvable, judge, parse_verdict, solvability_prompts


@dataclass(frozen=True)
class Settings:
    """The judge, its engine, the domain that the questions are of, and the share of verdicts that may be unreadable."""

    judge: Judge
    engine: EngineSettings
    domain: str
    max_unparsed: Number = 1


def check_parsable(rows: list[dict], name: str, most: float) -> None:
    """Raises ScaleQuestError, with three examples, where a share of more than `most` of the judge's free-text verdicts
    could not be read."""
    unparsed = [row["reasoning"] for row in rows if row["verdict"] == "unparsed"]
    # A few may be unreadable by chance.
    if len(rows) >= 16 and len(unparsed) > max(most * len(rows), 4):
        ends = ", ".join(repr(text[-80:]) for text in unparsed[:3])
        raise ScaleQuestError(
            f"judge '{name}': {len(unparsed)} of {len(rows)} verdicts end in neither Yes nor No, more than "
            f"filters.solvability.max_unparsed ({most:g}) allows. The first ones end: {ends}. Raise "
            "filters.solvability.reasoning_tokens where they were cut, set filters.solvability.verdict: choice, or "
            "raise max_unparsed; the judgements are stored."
        )


def store_key(settings: Settings) -> StoreKey:
    """What makes the rows."""
    prompts = open_domain(settings.domain).prompts.texts(solvability_prompts(settings.judge))
    shaping = {"judge": asdict(settings.judge), "engine": asdict(settings.engine)}
    return StoreKey("judge_questions", JUDGEMENTS, shaping, prompts)


def main() -> None:
    """Judge the questions that the filters before this one left."""
    parser = engine_stage.parser(__doc__ or "")
    parser.add_argument("--questions", required=True, help="table of questions")
    filters.add_arguments(parser)
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    questions = filters.survivors(read_rows(args.questions, QUESTIONS), args)
    prompts = open_domain(settings.domain).prompts
    stage = engine_stage.EngineStage(args, store_key(settings), settings.engine, "judgements")

    def work(rows: list[dict]) -> list[dict]:
        conversations = [ask_solvable(row["question"], settings.judge, prompts) for row in rows]
        seeds = [row_seed("judge", row["id"]) for row in rows]
        made = judge(stage, conversations, seeds, settings.judge, prompts)
        # A free-text verdict is read after the store, so that a better reading is applied to stored reasoning too.
        return [{"id": row["id"], "verdict": None, **judgement} for row, judgement in zip(rows, made, strict=True)]

    rows = stage.rows(questions, work, group=group_of(row["id"] for row in questions))
    if settings.judge.verdict == "text":
        rows = [{**row, "verdict": parse_verdict(row["reasoning"])} for row in rows]
        check_parsable(rows, stage.model.name, settings.max_unparsed)
    stage.write(rows)


if __name__ == "__main__":
    job.run(main)
