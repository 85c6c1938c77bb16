"""Sample questions from a generator: the bare prefix of a user's turn goes in, a question comes out.

Used for the dataset's questions (a shard is a fixed block of indices) and for those that become preference pairs.
Every question has its own seed, hashed from what it is, so that shards and restarts change none.
Source: ScaleQuest (arXiv 2410.18693), section 3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scalequest import job
from scalequest.chat import load_tokenizer, question_format
from scalequest.engine import Engine
from scalequest.errors import ScaleQuestError
from scalequest.hashing import row_seed
from scalequest.models import open_model
from scalequest.stage import StoreKey, open_store
from scalequest.store import in_windows
from scalequest.tables import QUESTIONS, question_id, write_table


def block(generator: str, seed: int, start: int, count: int, settings: dict[str, Any]) -> list[dict]:
    """The questions to be sampled: their identity and the engine's seed, a hash of (purpose, sampling, seed, index)."""
    return [
        {
            "id": question_id(generator, seed, index),
            "generator": generator,
            "seed": seed,
            "index": index,
            "sampling_seed": row_seed(settings["purpose"], settings["sampling"], seed, index),
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


def store_key(settings: dict[str, Any]) -> StoreKey:
    return StoreKey("sample_questions", QUESTIONS, settings)


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--model", required=True, type=Path, help="manifest of the generator's model")
    parser.add_argument("--generator", required=True, help="generator's name")
    parser.add_argument("--seed", required=True, type=int, help="sampling seed of the block")
    parser.add_argument("--start", required=True, type=int, help="first index")
    parser.add_argument("--count", required=True, type=int, help="number of questions")
    parser.add_argument("--progress", required=True, type=Path, help="folder of finished windows")
    parser.add_argument("--out", required=True, type=Path, help="table of questions to write")
    args = parser.parse_args()
    settings, sampling = args.settings, args.settings["sampling"]
    model = open_model(args.model)
    tokenizer = load_tokenizer(model.folder, trust_remote_code=model.trust_remote_code)
    form = question_format(tokenizer)
    engine = Engine(model, settings["engine"])
    report = job.Progress(f"questions of {args.generator}, seed {args.seed}")

    def sample(rows: list[dict]) -> list[dict]:
        seeds = [row["sampling_seed"] for row in rows]
        completions = engine.generate([form.prefix] * len(rows), seeds, stops=form.stops, **sampling)
        report.tokens += sum(c.tokens for c in completions)
        made = [
            {**row, "question": c.text.strip(), "finish_reason": c.finish_reason, "tokens": c.tokens}
            for row, c in zip(rows, completions, strict=True)
        ]
        # A few rows may all be bad by chance; a window says something about the generator.
        if len(made) >= 16:
            check_generator(made, args.generator, sampling["max_tokens"])
        return made

    wanted = block(args.generator, args.seed, args.start, args.count, settings)
    store = open_store(args.progress, store_key(settings), model)
    rows = in_windows(
        wanted,
        store,
        settings["engine"]["window"],
        sample,
        group=f"{args.generator}-s{args.seed}",
        progress=report,
        each=engine.each,
    )
    write_table(args.out, rows, QUESTIONS, made_in=[store.name])


if __name__ == "__main__":
    job.run(main)
