"""Fail rate of each question by the samples of the solvers of `verification`, in place of the scorer's prediction.

It is 1 less the mean of the solvers' pass rates against the answer of most samples; 1 where no sample has an answer.
Source of the idea: Big-Math (arXiv 2502.17387), section 3.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from scalequest.rows.tables import SCORES, VERIFIED, iterate, write_table
from scalequest.runtime import job


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--verified", type=Path, required=True, help="table of verified answers")
    parser.add_argument("--out", type=Path, required=True, help="table of scores to write")
    args = parser.parse_args()
    rows = [
        # Rounded, so that 4 right of 5 is the fail rate 0.2 of a threshold and not 0.19999999999999996.
        {"id": row["id"], "score": round(1 - fmean(entry["rate"] for entry in row["pass_rates"]), 9)}
        for row in iterate(args.verified, VERIFIED)
    ]
    write_table(args.out, rows, SCORES)
    if rows:
        job.log.info("mean fail rate of %d questions: %.3f", len(rows), fmean(row["score"] for row in rows))


if __name__ == "__main__":
    job.run(main)
