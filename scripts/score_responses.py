"""A reward for each response: a verifier's probability of Yes, or a reward model's unactivated score.

Source: ScaleQuest (arXiv 2410.18693), section 3.4, where the reward model is internlm2-7b-reward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from scalequest import job
from scalequest.chat import encode_chat, load_tokenizer
from scalequest.engine import Engine
from scalequest.errors import ScaleQuestError
from scalequest.files import read_json
from scalequest.hashing import row_seed
from scalequest.judging import judge
from scalequest.models import Model, open_model
from scalequest.prompts import fill, load
from scalequest.stage import StoreKey, open_store
from scalequest.store import in_windows
from scalequest.tables import ATTEMPTS, FILTERED, REWARDS, group_of, read_rows, write_table

Score = Callable[[list[dict]], list[float]]


def by_verifier(model: Model, engine: Engine) -> Score:
    """Scores rows (`question`, `response`) by the probability that the model says Yes to "is the answer correct?"."""
    tokenizer = load_tokenizer(model.folder, trust_remote_code=model.trust_remote_code)
    settings = {"verdict": "choice", "reasoning_tokens": 0}

    def score(rows: list[dict]) -> list[float]:
        conversations = [
            [{"role": "user", "content": fill(load("verify"), question=row["question"], response=row["response"])}]
            for row in rows
        ]
        seeds = [row_seed("verify", row["id"], row["sample"]) for row in rows]
        return [made["probability"] for made in judge(engine, tokenizer, conversations, seeds, settings)]

    return score


def by_reward_model(model: Model, engine: Engine) -> Score:
    """Scores rows by a reward model's head over the conversation in the model's own chat format."""
    tokenizer = load_tokenizer(model.folder, trust_remote_code=model.trust_remote_code)
    # InternLM2's reward models read the score at a token of their own, which its code appends to the conversation.
    last = read_json(model.folder / "config.json").get("reward_token_id")

    def score(rows: list[dict]) -> list[float]:
        prompts = [
            encode_chat(
                tokenizer,
                [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["response"]}],
                reply=False,
            )
            + ([last] if last is not None else [])
            for row in rows
        ]
        return engine.score(prompts)

    return score


def checked(score: Score, model: Model) -> Callable[[list[dict]], list[dict]]:
    """A function from attempts to REWARDS rows. Raises ScaleQuestError naming a response whose reward is no number."""

    def work(rows: list[dict]) -> list[dict]:
        made = []
        for row, reward in zip(rows, score(rows), strict=True):
            if not math.isfinite(reward):
                raise ScaleQuestError(
                    f"the reward of response {row['sample']} to {row['id']} is {reward}: the model {model.label} "
                    "cannot score it. Check reward.model and engine.dtype (float16 overflows in some reward models)."
                )
            made.append({"id": row["id"], "sample": row["sample"], "reward": reward})
        return made

    return work


def store_key(settings: dict) -> StoreKey:
    kind = settings["reward"]["kind"]
    prompts = ["verify"] if kind == "verifier" else []
    return StoreKey("score_responses", REWARDS, {"engine": settings["engine"], "kind": kind}, prompts)


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--model", required=True, type=Path, help="manifest of the reward model or verifier")
    parser.add_argument("--questions", required=True, type=Path, help="table of filtered questions")
    parser.add_argument("--attempts", required=True, type=Path, help="table of responses")
    parser.add_argument("--progress", required=True, type=Path, help="folder of finished windows")
    parser.add_argument("--out", required=True, type=Path, help="table of rewards to write")
    args = parser.parse_args()
    settings, verifier = args.settings, args.settings["reward"]["kind"] == "verifier"
    questions = {row["id"]: row for row in read_rows(args.questions, FILTERED) if row["kept"]}
    # What the model reads and nothing more: a better extraction of answers asks for no reward anew.
    rows = [
        {
            **{name: attempt[name] for name in ("id", "sample", "response")},
            **{name: questions[attempt["id"]][name] for name in ("index", "question")},
        }
        for attempt in read_rows(args.attempts, ATTEMPTS)
    ]
    model = open_model(args.model)
    engine = Engine(model, settings["engine"], runner="generate" if verifier else "pooling")
    store = open_store(args.progress, store_key(settings), model)
    made = in_windows(
        rows,
        store,
        settings["engine"]["window"],
        checked((by_verifier if verifier else by_reward_model)(model, engine), model),
        group=group_of(questions),
        progress=job.Progress("rewards"),
        each=engine.each,
    )
    write_table(args.out, made, REWARDS, made_in=[store.name])


if __name__ == "__main__":
    job.run(main)
