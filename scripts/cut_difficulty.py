"""The score below which a question of one generator and seed is too easy: a number, or a quantile of the seed's scores.

The quantile is of one seed's scores, so that a new seed changes no older verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalequest.rows.tables import SCORES, read_rows
from scalequest.runtime import job
from scalequest.runtime.files import write_json
from scalequest.settings import Number, read_settings


@dataclass(frozen=True)
class Settings:
    """What the config's `filters.difficulty` says of the cut: for which generators, and where."""

    generators: tuple[str, ...]
    below: Number | None
    below_quantile: float | None


def cut(scores: Sequence[float], generator: str, settings: Settings) -> float | None:
    """The cut for a generator; None where nothing is cut."""
    if generator not in settings.generators:
        return None
    if settings.below_quantile is not None:
        return float(np.quantile(np.asarray(scores), settings.below_quantile)) if scores else None
    return settings.below


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--scores", required=True, nargs="+", type=Path, help="score tables of the seed's shards")
    parser.add_argument("--generator", required=True, help="generator's name")
    parser.add_argument("--out", required=True, type=Path, help="JSON to write: generator -> cut")
    args = parser.parse_args()
    scores = [row["score"] for path in args.scores for row in read_rows(path, SCORES)]
    write_json(args.out, {args.generator: cut(scores, args.generator, read_settings(Settings, args.settings))})


if __name__ == "__main__":
    job.run(main)
