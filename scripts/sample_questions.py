"""Sample questions from a generator: the bare prefix of a user's turn goes in, a question comes out.

An untuned generator may have a system prompt before it, which says what the user asks about. That is Magpie.

Used for the dataset's questions (a shard is a fixed block of indices) and for those that become preference pairs.
Every question has its own seed, hashed from what it is, so that shards and restarts change none.
Sources: ScaleQuest (arXiv 2410.18693), section 3; Magpie (arXiv 2406.08464), section 2.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from scalequest.errors import ScaleQuestError
from scalequest.hashing import row_seed
from scalequest.rows.store_key import StoreKey
from scalequest.rows.tables import QUESTIONS, question_id
from scalequest.runtime import job
from scalequest.settings import EngineSettings, Sampling, read_settings
from scalequest.tasks import engine_stage


@dataclass(frozen=True)
class Settings:
    """`purpose` is what the questions are for (`questions`, `pairs`): other purposes have other engine seeds.
    `system_prompt` is None where there is none."""

    purpose: str
    sampling: Sampling
    engine: EngineSettings
    system_prompt: str | None = None


def block(generator: str, seed: int, start: int, count: int, settings: Settings) -> list[dict]:
    """The questions to be sampled: their identity and the engine's seed, a hash of (purpose, sampling, seed, index)."""
    return [
        {
            "id": question_id(generator, seed, index),
            "generator": generator,
            "seed": seed,
            "index": index,
            "sampling_seed": row_seed(settings.purpose, asdict(settings.sampling), seed, index),
        }
        for index in range(start, start + count)
    ]


def check_generator(rows: list[dict], generator: str, max_tokens: int) -> None:
    """Raises ScaleQuestError for a generator that asks nothing, or that never ends a question."""
    if all(not row["question"] for row in rows):
        raise ScaleQuestError(
            f"generator '{generator}' asked nothing: all {len(rows)} questions of a window are empty. "
            "Its tuning has gone wrong (learning rate, epochs), or its chat template ends the turn at once."
        )
    if all(row["finish_reason"] == "length" for row in rows):
        raise ScaleQuestError(
            f"generator '{generator}' never stops: all {len(rows)} questions of a window were cut at max_tokens "
            f"{max_tokens}. Raise max_tokens, or tune it on questions (tuning: question), which teaches it to stop."
        )


def store_key(settings: Settings) -> StoreKey:
    """What makes the rows."""
    shaping = asdict(settings)
    if settings.system_prompt is None:
        # As before there were any.
        del shaping["system_prompt"]
    return StoreKey("sample_questions", QUESTIONS, shaping)


def main() -> None:
    """Sample the questions of one block."""
    parser = engine_stage.parser(__doc__ or "")
    parser.add_argument("--generator", required=True, help="generator's name")
    parser.add_argument("--seed", required=True, type=int, help="sampling seed of the block")
    parser.add_argument("--start", required=True, type=int, help="first index")
    parser.add_argument("--count", required=True, type=int, help="number of questions")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    what = f"questions of {args.generator}, seed {args.seed}"
    key, prompt = store_key(settings), settings.system_prompt
    stage = engine_stage.EngineStage(args, key, settings.engine, what, system_prompt=prompt)

    def sample(rows: list[dict]) -> list[dict]:
        form = stage.question_format
        seeds = [row["sampling_seed"] for row in rows]
        completions = stage.generate([form.prefix] * len(rows), seeds, settings.sampling, stops=form.stops)
        made = [
            {**row, "question": c.text.strip(), "finish_reason": c.finish_reason, "tokens": c.tokens}
            for row, c in zip(rows, completions, strict=True)
        ]
        # A few rows may all be bad by chance; a window says something about the generator.
        if len(made) >= 16:
            check_generator(made, args.generator, settings.sampling.max_tokens)
        return made

    wanted = block(args.generator, args.seed, args.start, args.count, settings)
    stage.write(stage.rows(wanted, sample, group=f"{args.generator}-s{args.seed}"))


if __name__ == "__main__":
    job.run(main)
