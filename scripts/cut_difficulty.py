"""The score below which a question of one generator and seed is too easy: a number, or a quantile of the seed's scores.

The quantile is of one seed's scores, so that a new seed changes no older verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scalequest import job
from scalequest.files import write_json
from scalequest.tables import SCORES, read_rows


def cut(scores: Sequence[float], generator: str, settings: Mapping[str, Any]) -> float | None:
    """The cut for a generator by the config's `filters.difficulty`; None where nothing is cut."""
    if generator not in settings["generators"]:
        return None
    if settings["below_quantile"] is not None:
        return float(np.quantile(np.asarray(scores), settings["below_quantile"])) if scores else None
    return settings["below"]


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--scores", required=True, nargs="+", type=Path, help="score tables of the seed's shards")
    parser.add_argument("--generator", required=True, help="generator's name")
    parser.add_argument("--out", required=True, type=Path, help="JSON to write: generator -> cut")
    args = parser.parse_args()
    scores = [row["score"] for path in args.scores for row in read_rows(path, SCORES)]
    write_json(args.out, {args.generator: cut(scores, args.generator, args.settings)})


if __name__ == "__main__":
    job.run(main)
