"""The tables of docs/evidence.md, from the runs that scripts/tools/evidence.py made: shares with 95% intervals and n.

What the tables are made of is kept beside them, so that they can be made anew without a run. An arm that is not there
yet has no rows.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scalequest.grading.graders import GRADERS, pool_of
from scalequest.grading.measures import RESAMPLES, interval, measure, resampled
from scalequest.hashing import row_seed
from scalequest.rows.tables import ATTEMPTS, CANDIDATES, FILTERED, PAIRS, REWRITES, read_rows
from scalequest.runtime.files import write_text

Row = dict[str, Any]
FILTERS = ("language", "length", "duplicates", "contamination", "solvability")
# Of the four answers to a question, so many are equal where a question counts as one on which answers agree.
AGREEING = 3
CALIBRATION = ("filters.csv", "judge.csv", "selection.csv")
# Of a run's results, what the tables are made of.
KEPT = (
    *("filtered/*/seed0/*.parquet", "candidates/*/seed0/*.parquet", "calibration/*.csv", "dataset/train.jsonl"),
    *("difficulty/metrics.json", "difficulty/attempts.parquet"),
    *("preference_tuning/*/pairs.*", "preference_tuning/*/rewrites.parquet", "evaluation/*/*/grades.parquet"),
)


def keep(runs: Path, rows: Path) -> None:
    """Copy what the tables are made of from the runs into the folder `rows`; of runs that are not here it stays."""
    for pattern in KEPT:
        for source in sorted(runs.glob(f"*/results/{pattern}")):
            target = rows / source.relative_to(runs)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def share(scores: Sequence[float], name: str) -> Row:
    """A share in percent with its interval and n; without rows, n alone. `name` seeds the resampling."""
    if not scores:
        return {"percent": None, "low": None, "high": None, "n": 0}
    found = measure(scores, name)
    return {"percent": round(found.percent, 1), "low": round(found.low, 1), "high": round(found.high, 1), "n": found.n}


def questions(runs: Path) -> dict[tuple[str, str], list[Row]]:
    """The questions with their verdicts of each arm and generator that is filtered."""
    found = {}
    for folder in sorted(runs.glob("*/results/filtered/*/seed0")):
        arm, generator = folder.parts[-5], folder.parts[-2]
        rows = [row for path in sorted(folder.glob("gpu*.parquet")) for row in read_rows(path, FILTERED)]
        found[arm, generator] = rows
    return found


def agreement(runs: Path, arm: str, generator: str) -> dict[str, tuple[float, bool]]:
    """For each answered question of an arm's first shard, the share of its responses in the largest group of equal
    answers (0 without an answer), and whether AGREEING of them are equal."""
    path = runs / arm / "results" / "candidates" / generator / "seed0" / "gpu0.parquet"
    groups: dict[str, list[int]] = defaultdict(list)
    for row in read_rows(path, CANDIDATES) if path.is_file() else ():
        groups[row["id"]].append(row["votes"] if row["answer"] is not None else 0)
    return {name: (max(votes) / len(votes), max(votes) >= AGREEING) for name, votes in groups.items()}


def known_agreement(runs: Path) -> list[tuple[float, bool]]:
    """As `agreement`, of the first four attempts at each known problem: what the numbers are on real problems."""
    path = runs / "main" / "results" / "difficulty" / "attempts.parquet"
    answers: dict[str, list[str | None]] = defaultdict(list)
    for row in read_rows(path, ATTEMPTS) if path.is_file() else ():
        if row["sample"] < 4:
            answers[row["id"]].append(row["answer"])
    with pool_of(GRADERS["equivalence"]) as pool:
        groupings = pool.group_all(list(answers.values()), 5.0)
    sizes = [
        max((len(group) for group in found.groups if own[group[0]] is not None), default=0)
        for own, found in zip(answers.values(), groupings, strict=True)
    ]
    return [(size / 4, size >= AGREEING) for size in sizes]


def failed(row: Row) -> list[str]:
    """The filters that a question fails, whether they drop it or only mark it."""
    return [name for name in (*row["marks"].split(","), row["dropped_by"]) if name]


def of_arms(runs: Path) -> Iterator[Row]:
    """What the questions of each arm are like."""
    for (arm, generator), rows in questions(runs).items():
        about = {"arm": arm, "generator": generator}
        found = agreement(runs, arm, generator)
        measures = {
            **{f"fails {name}": [float(name in failed(row)) for row in rows] for name in FILTERS},
            "passes all filters": [float(not failed(row)) for row in rows],
            f"{AGREEING} of 4 answers agree": [float(agreed) for _, agreed in found.values()],
            "answers in the largest group": [size for size, _ in found.values()],
            "predicted fail rate": [row["difficulty"] for row in rows if row["difficulty"] is not None],
        }
        for name, scores in measures.items():
            yield {**about, "measure": name, **share(scores, f"{arm} {generator} {name}")}
    known = known_agreement(runs)
    measures = {
        f"{AGREEING} of 4 answers agree": [float(agreed) for _, agreed in known],
        "answers in the largest group": [size for size, _ in known],
    }
    for name, scores in measures.items() if known else ():
        yield {"arm": "gsm8k", "generator": "none", "measure": name, **share(scores, f"gsm8k {name}")}


def of_filters(runs: Path) -> Iterator[Row]:
    """Whether answers agree less on questions that a filter would drop, over all arms of tuned generators."""
    agreed: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for (arm, generator), rows in questions(runs).items():
        found = agreement(runs, arm, generator)
        if generator == "raw" or arm in ("main", "again"):
            continue
        for row in rows:
            if row["id"] in found:
                for name in FILTERS:
                    agreed[name, name in failed(row)].append(float(found[row["id"]][1]))
    for name in FILTERS if agreed else ():
        for fails in (False, True):
            shown = {"filter": name, "questions": "failing" if fails else "passing"}
            yield {**shown, **share(agreed[name, fails], f"agreed {name} {fails}")}


def correlation(pairs: Sequence[Sequence[float]], name: str) -> Row:
    """Spearman's correlation with its bootstrap interval, and the mean absolute error."""
    values = np.asarray(pairs, dtype=float)
    draw = np.random.default_rng(row_seed("bootstrap", name))
    found = [_spearman(values[draw.integers(0, len(values), len(values))]) for _ in range(RESAMPLES // 10)]
    low, high = np.nanpercentile(found, (2.5, 97.5))
    error = float(np.abs(values[:, 0] - values[:, 1]).mean())
    return {
        **{"spearman": round(_spearman(values), 3), "low": round(float(low), 3), "high": round(float(high), 3)},
        **{"mean_absolute_error": round(error, 3), "n": len(values)},
    }


def _spearman(values: np.ndarray) -> float:
    ranks = [pd.Series(column).rank().to_numpy() for column in values.T]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def of_scorer(runs: Path) -> Iterator[Row]:
    """The difficulty scorer on held-out problems, and on generated questions, where the share of answers outside of the
    largest group stands for the fail rate."""
    path = runs / "main" / "results" / "difficulty" / "metrics.json"
    if path.is_file():
        metrics = json.loads(path.read_text(encoding="utf-8"))
        yield {"predicted_by": "scorer", "of": "held-out problems", **correlation(metrics["predictions"], "scorer")}
        for name in ("question_length", "constant_mean"):
            known = metrics[name]
            shown = {"spearman": known["spearman"], "low": None, "high": None, "mean_absolute_error": known["mae"]}
            yield {"predicted_by": name, "of": "held-out problems", **_rounded(shown), "n": known["n"]}
    for (arm, generator), rows in questions(runs).items():
        found = agreement(runs, arm, generator)
        pairs = [(row["difficulty"], 1 - found[row["id"]][0]) for row in rows if row["id"] in found]
        if len(pairs) > 1 and all(score is not None for score, _ in pairs) and arm not in ("main", "again"):
            of = f"questions of {arm}/{generator}"
            yield {"predicted_by": "scorer", "of": of, **correlation(pairs, of)}


def _rounded(row: Row) -> Row:
    return {key: None if value is None else round(value, 3) for key, value in row.items()}


def of_pairs(runs: Path) -> Iterator[Row]:
    """How many preference pairs there were, and how many of them prefer the better question after training."""
    for path in sorted(runs.glob("*/results/preference_tuning/*/pairs.json")):
        summary = json.loads(path.read_text(encoding="utf-8"))
        rows = read_rows(path.with_name("pairs.parquet"), PAIRS)
        longer = [float(len(row["chosen"]) > len(row["rejected"])) for row in rows]
        yield {
            **{"arm": path.parts[-5], "method": summary["method"], "pairs": summary["pairs"]},
            **{"dropped": sum(summary["dropped"].values()), "margin_median": summary["margin_median"]},
            **{f"chosen_longer_{key}": value for key, value in share(longer, f"longer {path.parts[-5]}").items()},
        }


def rewrites(runs: Path) -> str:
    """The first ten rewritten questions, none picked, each below what it was made of."""
    path = runs / "rewrite" / "results" / "preference_tuning" / "preferred" / "rewrites.parquet"
    rows = read_rows(path, REWRITES)[:10] if path.is_file() else []
    return "".join(
        f"## {row['id']} ({row['direction']})\n\n{_quoted(row['question'])}\n\n"
        f"{_quoted(row['rewritten']) if row['rewritten'] else 'No question: ' + row['failure']}\n\n"
        for row in rows
    )


def _quoted(text: str) -> str:
    """A model's text as an indented block, which Markdown does not read."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def of_students(runs: Path) -> Iterator[Row]:
    """Shares of right answers by grader of each student and training seed, and of both seeds together (`both`); and the
    gain over the untouched model, in points, over the same problems."""
    right: dict[tuple[str, str, str], dict[str, float]] = {}
    for arm in ("main", "again"):
        for path in sorted((runs / arm / "results" / "evaluation").glob("*/*/grades.parquet")):
            for row in pd.read_parquet(path).itertuples():
                right.setdefault((arm, path.parts[-3], row.grader), {})[row.id] = float(row.right)
    for _, name, grader in [key for key in right if key[0] == "again"]:
        first, second = (right.get((arm, name, grader), {}) for arm in ("main", "again"))
        if both := {problem: (first[problem] + second[problem]) / 2 for problem in first if problem in second}:
            right["both", name, grader] = both
    for (arm, name, grader), found in right.items():
        entry = {"run": arm, "model": name, "grader": grader, **share(list(found.values()), f"{arm} {name} {grader}")}
        before = right.get((arm, "smollm2", grader))
        if before and name != "smollm2":
            gains = [found[problem] - before[problem] for problem in found]
            low, high = interval(resampled(gains, f"gain {arm} {name} {grader}"))
            mean = 100 * float(np.mean(gains))
            entry |= {"gain": round(mean, 1), "gain_low": round(low, 1), "gain_high": round(high, 1)}
        yield entry


def of_reading(runs: Path, folder: Path) -> Iterator[Row]:
    """What a reader who did not know where a text was from found of it (tests/benchmarks/blind_reading.py): by arm, and
    over all tuned arms by whether a filter would drop it. `folder` has the key and the marks, a line for a text: its
    number, whether it asks mathematics, whether it can be solved."""
    if not (folder / "marks.txt").is_file():
        return
    key = json.loads((folder / "key.json").read_text(encoding="utf-8"))
    verdicts = {pair: {row["id"]: failed(row) for row in rows} for pair, rows in questions(runs).items()}
    agreed = {pair: agreement(runs, *pair) for pair in verdicts}
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for line in (folder / "marks.txt").read_text(encoding="utf-8").splitlines():
        number, asks, solvable = line.split()[:3]
        # Marks come before their key.
        if number not in key:
            continue
        arm, _, name = key[number].partition("/")
        pair = (arm, name.partition("/")[0])
        agrees = float(agreed[pair][name][1]) if name in agreed.get(pair, {}) else float("nan")
        marks = (float(asks), float(solvable), agrees)
        found["/".join(pair)].append(marks)
        if pair[1] != "raw" and pair in verdicts:
            for which in FILTERS:
                found[f"{which}: {'failing' if which in verdicts[pair][name] else 'passing'}"].append(marks)
        found["solvable to the reader" if marks[1] else "not solvable to the reader"].append(marks)
    for texts, read in found.items():
        for place, measure_name in enumerate(("asks mathematics", "solvable", f"{AGREEING} of 4 answers agree")):
            scores = [row[place] for row in read if not np.isnan(row[place])]
            yield {"texts": texts, "measure": measure_name, **share(scores, f"reading {texts} {measure_name}")}


def write(runs: Path, folder: Path) -> None:
    """Write each table of which there are rows."""
    tables: Mapping[str, Iterator[Row]] = {
        **{"arms": of_arms(runs), "filters_agreement": of_filters(runs), "scorer": of_scorer(runs)},
        **{"pairs": of_pairs(runs), "students": of_students(runs), "reading": of_reading(runs, folder)},
    }
    for name, rows in tables.items():
        table = pd.DataFrame(list(rows))
        if not table.empty:
            write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    if text := rewrites(runs):
        write_text(folder / "rewrites.md", f"# The first ten rewritten questions\n\n{text.rstrip()}\n")
    for name in CALIBRATION:
        source = runs / "known" / "results" / "calibration" / name
        if source.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / f"calibration_{name}")
