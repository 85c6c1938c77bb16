"""The share of questions that each filter keeps: of the questions filtered in this folder, or assumed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from scalequest.workflow.throughputs import throughputs

# Columns of the filtered questions whose numbers a threshold is compared with.
_SCORES = {"difficulty": "difficulty", "solvability": "solvable"}


def kept_shares(config: Mapping[str, Any], folder: Path = Path()) -> tuple[dict[str | None, dict[str, float]], str]:
    """For each filter the share of the questions reaching it that it keeps, and the source of these shares; by
    generator and by shard (GENERATOR/seedN/gpuN), and under None for all others.

    They are counted in this folder's filtered questions, whose scores are compared with the present thresholds. Without
    such questions they are the paper's, and 1 where it gives none.
    """
    order = config["filters"]["order"]
    paths = sorted((folder / "results" / "filtered").glob("*/seed*/gpu*.parquet"))
    if paths:
        import pyarrow.parquet as pq

        tallies: defaultdict[str | None, Counter[tuple[str, str]]] = defaultdict(Counter)
        for _, shards in groupby(paths, lambda path: path.parent):
            tables = {path: pq.read_table(path, columns=["dropped_by", *_SCORES.values()]) for path in shards}
            thresholds = _thresholds(config["filters"], list(tables.values()))
            for path, table in tables.items():
                tally = _tally(table, thresholds)
                for name in (None, path.parts[-3], "/".join(path.with_suffix("").parts[-3:])):
                    tallies[name].update(tally)
        count = sum(number for (kind, _), number in tallies[None].items() if kind == "dropped by")
        known = {name: _shares(order, tally) for name, tally in tallies.items()}
        return known, f"as of {count:,} questions that were filtered here"
    assumed = throughputs()["kept"]
    shares = {name: assumed["shares"].get(name, 1.0) for name in order}
    quantile = config["filters"]["difficulty"]["below_quantile"]
    if quantile is not None:
        shares["difficulty"] = 1 - quantile
    elif config["filters"]["difficulty"]["below"] is None:
        shares["difficulty"] = 1.0
    return {None: shares}, assumed["source"]


def _thresholds(filters: Mapping[str, Any], tables: Sequence[Any]) -> dict[str, float]:
    """The lowest score that is kept, for the filters that decide by a score; `tables` (FILTERED) are all shards of a
    generator and seed."""
    import numpy as np

    found = {"difficulty": filters["difficulty"]["below"]}
    if (quantile := filters["difficulty"]["below_quantile"]) is not None:
        scores = np.concatenate([table[_SCORES["difficulty"]].drop_null().to_numpy() for table in tables])
        found["difficulty"] = float(np.quantile(scores, quantile)) if len(scores) else None
    if filters["solvability"]["verdict"] == "choice":
        found["solvability"] = filters["solvability"]["min_probability"]
    return {name: threshold for name, threshold in found.items() if threshold is not None}


def _tally(table: Any, thresholds: Mapping[str, float]) -> Counter[tuple[str, str]]:
    """How many questions of a table (FILTERED) each filter dropped, and how many of those with its score pass."""
    dropped = table["dropped_by"].value_counts().to_pylist()
    tally = Counter({("dropped by", found["values"]): found["counts"] for found in dropped})
    for name, threshold in thresholds.items():
        scores = table[_SCORES[name]].drop_null().to_numpy()
        tally["scored by", name] += len(scores)
        tally["passed by", name] += int((scores >= threshold).sum())
    return tally


def _shares(order: Sequence[str], tally: Counter[tuple[str, str]]) -> dict[str, float]:
    """The share of the questions reaching each filter that it keeps."""
    shares: dict[str, float] = {}
    left = sum(number for (kind, _), number in tally.items() if kind == "dropped by")
    for name in order:
        dropped, scored = tally["dropped by", name], tally["scored by", name]
        shares[name] = tally["passed by", name] / scored if scored else 1 - dropped / left if left else 1.0
        left -= dropped
    return shares
