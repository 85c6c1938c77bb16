"""Questions of several kinds to be read and marked without their labels, and the marks counted afterwards.

    python tests/benchmarks/blind_reading.py draw --run RUN --kinds raw qft qpo --out docs/data/first_run
    (read docs/data/first_run/blind.txt; write marks.txt beside it, a line a question: NUMBER MATHEMATICS SOLVABLE,
    each 0 or 1)
    python tests/benchmarks/blind_reading.py count --out docs/data/first_run

50 questions a kind (--size), of seed 0, drawn by the hash of their ids from all that were sampled (or from one shard),
none picked; the order's seed is 20241018. A kind is a generator, or ARM/GENERATOR of runs in RUN/ARM. Where texts were
drawn before, more are added behind them, none of them a second time.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import common  # noqa: F401 - puts the library on the path

from scalequest.hashing import digest
from scalequest.rows.tables import FILTERED, read_rows

SEED = 20241018


def draw(run: Path, kinds: list[str], shard: str, out: Path, size: int) -> None:
    """Write `blind.txt`, numbered texts without labels, and `key.json`, what each number is; add to those of a folder
    that has them."""
    blind, key_file = out / "blind.txt", out / "key.json"
    key: dict[str, str] = json.loads(key_file.read_text(encoding="utf-8")) if key_file.is_file() else {}
    drawn, chosen = set(key.values()), []
    for kind in kinds:
        arm, _, generator = kind.rpartition("/")
        # Filtered questions are all of them, with verdicts: of the evidence these are kept.
        shards = sorted((run / arm / "results" / "filtered" / generator / "seed0").glob(f"gpu{shard}.parquet"))
        rows = [row | {"arm": arm} for path in shards for row in read_rows(path, FILTERED)]
        new = [row for row in rows if named(row) not in drawn]
        chosen += sorted(new, key=lambda row: digest("blind", row["id"]))[:size]
    random.Random(SEED).shuffle(chosen)  # noqa: S311 - an order, not a secret
    out.mkdir(parents=True, exist_ok=True)
    texts = [blind.read_text(encoding="utf-8")] if blind.is_file() else []
    for number, row in enumerate(chosen, len(key) + 1):
        texts.append(f"[{number}] {' '.join(row['question'].split())}\n")
        key[str(number)] = named(row)
    blind.write_text("".join(texts), encoding="utf-8")
    key_file.write_text(json.dumps(key, indent=1) + "\n", encoding="utf-8")


def named(row: dict[str, Any]) -> str:
    """What the key says of a question."""
    return str(Path(row["arm"]) / row["id"])


def count(out: Path) -> None:
    """Print, for each kind, how many were marked as mathematics and as solvable."""
    key = json.loads((out / "key.json").read_text(encoding="utf-8"))
    totals: dict[str, list[int]] = {}
    for line in (out / "marks.txt").read_text(encoding="utf-8").splitlines():
        number, *marks = line.split()
        total = totals.setdefault(key[number].rsplit("/", 2)[0], [0, 0, 0])
        for position, value in enumerate((1, *map(int, marks[:2]))):
            total[position] += value
    for kind, (read, mathematics, solvable) in sorted(totals.items()):
        print(f"{kind}: {read} read, {mathematics} mathematics, {solvable} solvable")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["draw", "count"])
    parser.add_argument("--run", type=Path, help="folder of the run (draw)")
    parser.add_argument("--kinds", nargs="+", help="generators, or ARM/GENERATOR (draw)")
    parser.add_argument("--shard", default="*", help="number of the shard (draw; default: all)")
    parser.add_argument("--size", type=int, default=50, help="questions of each kind (draw; default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the texts, the key and the marks")
    args = parser.parse_args()
    if args.what == "draw":
        draw(args.run, args.kinds, args.shard, args.out, args.size)
    else:
        count(args.out)


if __name__ == "__main__":
    main()
