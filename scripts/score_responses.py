"""A reward for each response, by the kind that the config names (`scalequest.tasks.rewards`).

A kind that scores each step of a response stores all of them: `select_responses` makes one reward of them.
Source: ScaleQuest (arXiv 2410.18693), section 3.4.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from scalequest.domains.base import open_domain
from scalequest.errors import ScaleQuestError
from scalequest.llm.heads import check_reward_model
from scalequest.rows.store_key import StoreKey
from scalequest.rows.tables import ATTEMPTS, FILTERED, REWARDS, STEP_REWARDS, Table, group_of, read_rows, write_table
from scalequest.runtime import job
from scalequest.settings import EngineSettings, read_settings
from scalequest.tasks import engine_stage
from scalequest.tasks.rewards import KINDS, Reward


@dataclass(frozen=True)
class Kind:
    """The config's `reward`, without its model and what is done with the scores later."""

    kind: str


@dataclass(frozen=True)
class Settings:
    """The kind of reward, the engine of its model where it needs one, and the domain that the questions are of."""

    reward: Kind
    engine: EngineSettings | None
    domain: str


def table_of(kind: str) -> Table:
    """The table of a kind's scores: one for each response, or one for each of its steps."""
    return STEP_REWARDS if kind == "process" else REWARDS


def scored(reward: Reward, rows: list[dict], table: Table, label: str) -> list[dict]:
    """Rows of `table` for attempts. Raises ScaleQuestError naming a response whose reward is no finite number."""
    made = []
    column = "steps" if table is STEP_REWARDS else "reward"
    for row, value in zip(rows, reward.score(rows), strict=True):
        if not all(map(math.isfinite, value if isinstance(value, list) else [value])):
            raise ScaleQuestError(
                f"the reward of response {row['sample']} to {row['id']} is {value}: {label} cannot score it. Check "
                "reward.model and engine.dtype (float16 overflows in some reward models)."
            )
        made.append({"id": row["id"], "sample": row["sample"], column: value})
    return made


def store_key(settings: Settings) -> StoreKey:
    """What makes the rows, of a kind that needs a model."""
    kind = settings.reward.kind
    shaping = {"engine": settings.engine and asdict(settings.engine), "kind": kind}
    prompts = open_domain(settings.domain).prompts.texts(KINDS[kind].prompts)
    return StoreKey("score_responses", table_of(kind), shaping, prompts)


def main() -> None:
    """Score each response to the questions that the filters left."""
    parser = engine_stage.parser(__doc__ or "", model_required=False)
    parser.add_argument("--questions", required=True, help="table of filtered questions")
    parser.add_argument("--attempts", required=True, help="table of responses")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    questions = {row["id"]: row for row in read_rows(args.questions, FILTERED) if row["kept"]}
    # What the model reads and nothing more: a better extraction of answers asks for no reward anew.
    rows = [
        {
            **{name: attempt[name] for name in ("id", "sample", "response")},
            **{name: questions[attempt["id"]][name] for name in ("index", "question")},
        }
        for attempt in read_rows(args.attempts, ATTEMPTS)
    ]
    table = table_of(settings.reward.kind)
    kind, prompts = KINDS[settings.reward.kind], open_domain(settings.domain).prompts
    if settings.engine is None:
        # Without a model nothing is expensive, and nothing is stored.
        label = f"reward.kind {settings.reward.kind}"
        write_table(args.out, scored(kind(None, prompts), rows, table, label), table)
        return
    stage = engine_stage.EngineStage(args, store_key(settings), settings.engine, "rewards", runner=kind.runner)
    check_reward_model(stage.model.folder, stage.model.name, settings.reward.kind)
    reward = kind(stage, prompts)
    label = f"the model {stage.model.label}"
    stage.write(stage.rows(rows, lambda some: scored(reward, some, table, label), group=group_of(questions)))


if __name__ == "__main__":
    job.run(main)
