"""Topics of questions in numbers: shares with intervals, and how far a model's choice agrees with a data set's own."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

from scalequest.rows.tables import PROBLEMS, TOPICS, iterate, read_arrow

# The fact of a seed problem (datasets.NAME.facts) that is compared with the model's choice.
FACT = "topic"
# The 97.5% quantile of the normal distribution.
_Z = 1.959963984540054


def profile(tables: Mapping[str, Path], seeds: str, problems: Path, options: Sequence[str]) -> dict[str, Any]:
    """The topics of each kind of question (`tables`, by the names of the kinds) from the list `options`; of the kind
    `seeds`, whose problems are those of the table `problems`, beside the data's own topics."""
    return {
        "options": list(options),
        "kinds": {name: shares(path, options) for name, path in tables.items()},
        "facts": agreement(tables[seeds], problems, options),
    }


def shares(path: Path, options: Sequence[str]) -> dict[str, Any]:
    """Of a table of topics: `questions` with a topic, those `without` one as they are too long, the mean `probability`
    of the chosen topic, and for each topic its count and share with the 95% interval."""
    table = read_arrow(path, TOPICS)
    known = table["topic"].drop_null().to_pylist()
    counts, total = Counter(known), len(known)
    probabilities = table["probability"].drop_null().to_pylist()
    return {
        **{"questions": total, "without": len(table) - total},
        "probability": round(sum(probabilities) / total, 6) if total else None,
        "topics": {option: share(counts[option], total) for option in options},
    }


def agreement(path: Path, problems: Path, options: Sequence[str]) -> dict[str, Any] | None:
    """For each topic of the data the topics that the model chose (`chosen`, counts), and the share of problems on which
    both agree, of those whose topic has the name of one in the list (`agree`). None where no problem has a topic."""
    own = {row["id"]: json.loads(row["facts"]).get(FACT) for row in iterate(problems, PROBLEMS)}
    names = Counter(map(plain_name, options))
    known = {plain_name(option): option for option in options if names[plain_name(option)] == 1}
    chosen: dict[str, Counter[str]] = {}
    same: list[bool] = []
    for row in iterate(path, TOPICS):
        fact = own.get(row["id"])
        if fact is None or row["topic"] is None:
            continue
        chosen.setdefault(fact, Counter())[row["topic"]] += 1
        named = fact if fact in options else known.get(plain_name(fact))
        if named is not None:
            same.append(named == row["topic"])
    counts = {fact: {name: found[name] for name in options if found[name]} for fact, found in sorted(chosen.items())}
    return {"chosen": counts, "agree": {"problems": len(same), **share(sum(same), len(same))}} if chosen else None


def share(count: int, total: int) -> dict[str, Any]:
    """`count`, its `share` of the total, and the `low` and `high` end of the 95% interval (Wilson's score interval)."""
    if not total:
        return {"count": 0, "share": None, "low": None, "high": None}
    found, square = count / total, _Z**2 / total
    middle, half = found + square / 2, _Z * sqrt(found * (1 - found) / total + square / (4 * total))
    ends = [min(max((middle + side * half) / (1 + square), 0.0), 1.0) for side in (-1, 1)]
    return {"count": count, **dict(zip(("share", "low", "high"), (round(x, 6) for x in (found, *ends)), strict=True))}


def plain_name(name: str) -> str:
    """A topic's name in small letters and digits alone, by which data sets call it the same: `Counting & Probability`
    is `counting_and_probability`."""
    return " ".join(word for word in re.findall(r"[^\W_]+", name.casefold()) if word != "and")
