"""Preference optimisation of a question generator: of two questions it learns to ask the better one (DPO).

The prompt is the bare chat prefix; chosen and rejected are questions, each ended by the token that ends the user's
turn. It follows question fine-tuning, whose model asks, and whose questions are the worse or better ones.
Source: ScaleQuest (arXiv 2410.18693), section 3.2.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scalequest.errors import ScaleQuestError
from scalequest.hashing import drawn
from scalequest.llm.chat import QuestionFormat, load_tokenizer, question_format
from scalequest.llm.models import open_model
from scalequest.rows.tables import PAIRS, read_rows
from scalequest.runtime import job
from scalequest.settings import Device, Number, TrainingSettings, Tuning, read_settings
from scalequest.training.launch import Training, add_arguments, publish, train, write_history

log = logging.getLogger("scalequest.tune_preferences")
SECTION = "preference_tuning.dpo"
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class PreferenceTuning(Tuning):
    """The config's `preference_tuning.dpo`, with the seed of `preference_tuning`. `held_out` counts pairs."""

    beta: Number
    loss: Literal["sigmoid", "hinge", "ipo"]
    warmup_steps: int
    held_out: int


@dataclass(frozen=True)
class Settings:
    """The training, and how trainers run."""

    dpo: PreferenceTuning
    training: TrainingSettings
    device: Device


def sample(form: QuestionFormat, tokenizer: Any, pair: Row) -> dict[str, list[int]]:
    """`prompt_ids`, `chosen_ids` and `rejected_ids` of one pair."""
    start = len(form.prefix)
    return {
        "prompt_ids": list(form.prefix),
        "chosen_ids": form.encode(tokenizer, pair["chosen"])[start:],
        "rejected_ids": form.encode(tokenizer, pair["rejected"])[start:],
    }


def samples(
    form: QuestionFormat, tokenizer: Any, pairs: Sequence[Row], max_length: int
) -> dict[str, dict[str, list[int]]]:
    """Samples by pair id, for the pairs of which both questions fit `max_length` tokens with the prefix.

    Longer pairs are left out, never cut: a question without its end would teach not to end.
    """
    made = {pair["id"]: sample(form, tokenizer, pair) for pair in pairs}
    room = max_length - len(form.prefix)
    return {i: row for i, row in made.items() if max(len(row["chosen_ids"]), len(row["rejected_ids"])) <= room}


def split(made: Mapping[str, Any], held_out: int, seed: int) -> tuple[list[Any], list[Any]]:
    """Rows to train on, and `held_out` rows drawn by the hash of their ids.

    Raises ScaleQuestError where none is left to train on.
    """
    if len(made) <= held_out:
        raise ScaleQuestError(
            f"{len(made)} pairs fit {SECTION}.max_length, and {SECTION}.held_out keeps {held_out} of them from "
            "training. Make more pairs (preference_tuning.questions), or lower held_out."
        )
    apart = drawn(list(made), held_out, seed, SECTION)
    return [row for i, row in made.items() if i not in apart], [row for i, row in made.items() if i in apart]


def main() -> None:
    """Read the pairs, train, write weights, manifest and loss history."""
    parser = job.parser(__doc__ or "")
    parser.add_argument("--pairs", required=True, type=Path, help="table of pairs")
    add_arguments(parser)
    parser.add_argument("--history", required=True, type=Path, help="loss history, JSON lines")
    arguments = parser.parse_args()
    stage = arguments.settings["preference_tuning"]
    settings = read_settings(Settings, {**arguments.settings, "dpo": {**stage["dpo"], "seed": stage["seed"]}})

    pairs = read_rows(arguments.pairs, PAIRS)
    base = open_model(arguments.model)
    tokenizer = load_tokenizer(base.folder, trust_remote_code=base.trust_remote_code)
    made = samples(question_format(tokenizer), tokenizer, pairs, settings.dpo.max_length)
    rows, held_out = split(made, settings.dpo.held_out, settings.dpo.seed)
    log.info("%d pairs, %d held out, %d too long and left out", len(rows), len(held_out), len(pairs) - len(made))

    run = Training("preferences", SECTION, settings.dpo, settings.training, settings.device, base, rows, held_out)
    result = train(run, arguments.weights)
    write_history(arguments.history, result)
    facts = {
        "pairs": len(rows),
        "too_long": len(pairs) - len(made),
        "tokens_an_epoch": sum(sum(map(len, row.values())) + len(row["prompt_ids"]) for row in rows),
        "held_out": {"pairs": len(held_out), **result.held_out},
    }
    publish(arguments.out, run, result, name=arguments.name, **facts)


if __name__ == "__main__":
    job.run(main)
