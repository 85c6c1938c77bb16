"""What the run's own filters, judge and rules of selection do with problems whose answers are known.

Three tables: the share of whole, shuffled and cut problems that each filter drops; the share that the judge keeps by
threshold, and the threshold that tells whole problems best, chosen on one half of the problems and shown on the other;
the share of problems with a right response by each rule of selection.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from measure_fail_rates import judged
from scalequest.domains.base import open_domain
from scalequest.grading.measures import interval, measure, resampled
from scalequest.grading.pool import Grouping
from scalequest.grading.verdicts import grouped
from scalequest.hashing import drawn
from scalequest.rows import tables
from scalequest.rows.known_texts import KINDS, kind_of
from scalequest.runtime import job
from scalequest.runtime.files import write_text
from scalequest.settings import Grading, Number, read_settings
from select_responses import Selection, choose, is_eligible, read_rewards, with_rewards

log = logging.getLogger("scalequest")
Row = dict[str, Any]
# Shares of the texts that lie below the thresholds of the table: a judge may use but a small part of 0 to 1.
BELOW = [0.05 * step for step in range(1, 20)]
SELECTING = ("majority", "reward", "majority_then_reward", "weighted_vote")
RULES = ("random", *SELECTING, "best possible")


@dataclass(frozen=True)
class Settings:
    """The judge's threshold in the config, None for verdicts as text; how responses are selected and answers compared;
    the domain; `aggregate` as of select_responses."""

    min_probability: Number | None
    selection: Selection
    grading: Grading
    domain: str
    aggregate: str | None


def share(scores: Sequence[float], name: str) -> Row:
    """A share in percent with its 95% interval and n. `name` seeds the resampling."""
    found = measure(scores, name)
    return {"percent": round(found.percent, 1), "low": round(found.low, 1), "high": round(found.high, 1), "n": found.n}


def of_filters(verdicts: Sequence[Row]) -> list[Row]:
    """For each filter and kind of text, the share that it would drop. `verdicts` have `id`, `filter` and `keep`."""
    by: dict[tuple[str, str], list[float]] = {}
    for row in verdicts:
        by.setdefault((row["filter"], kind_of(row["id"])), []).append(not row["keep"])
    return [{"filter": f, "texts": kind, **share(dropped, f"drops {f} {kind}")} for (f, kind), dropped in by.items()]


def probability(judgement: Row) -> float:
    """P(Yes), or 1 and 0 for a verdict as text; one that cannot be read is none."""
    if judgement["verdict"] is not None:
        return float(judgement["verdict"] == "yes")
    return float(judgement["probability"])


def best_threshold(judgements: Mapping[str, float]) -> float:
    """The threshold at which the share of whole problems that are kept is most above that of the others, the lowest of
    equals: one that keeps all, or one midway between two probabilities. `judgements` are probabilities by text id."""

    def gain(limit: float) -> float:
        kept = {kind: [p >= limit for name, p in judgements.items() if kind_of(name) == kind] for kind in KINDS}
        shares = {kind: np.mean(found) if found else 0.0 for kind, found in kept.items()}
        return float(shares["whole"] - (shares["shuffled"] + shares["cut"]) / 2)

    found = sorted({round(p, 3) for p in judgements.values()})
    limits = [found[0], *(round((low + high) / 2, 4) for low, high in pairwise(found))]
    return max(limits, key=lambda limit: (round(gain(limit), 9), -limit))


def of_judge(judgements: Sequence[Row], now: float | None) -> list[Row]:
    """The shares that the judge keeps: of all problems by threshold, and of the half that did not choose it by the
    threshold that the other half chose. `now` is the config's threshold."""
    found = {row["id"]: probability(row) for row in judgements}
    problems = {name: str(tables.index_of(name) // len(KINDS)) for name in found}
    first = drawn(sorted(set(problems.values())), len(set(problems.values())) // 2, 0, "calibration halves")
    halves = [{n: p for n, p in found.items() if (problems[n] in first) == wanted} for wanted in (True, False)]
    chosen = best_threshold(halves[0]) if halves[0] else None
    limits = sorted({round(float(p), 3) for p in np.quantile([*found.values()], BELOW)}) if found else []

    def rows(limit: float | None, texts: Mapping[str, float], what: str) -> Iterator[Row]:
        if limit is None:
            return
        for kind in KINDS:
            kept = [float(p >= limit) for name, p in texts.items() if kind_of(name) == kind]
            if kept:
                yield {"threshold": limit, "of": what, "texts": kind, **share(kept, f"judge {what} {limit} {kind}")}

    return [
        *rows(chosen, halves[1], "chosen on the other half"),
        *rows(now, halves[1], "filters.solvability.min_probability"),
        *(row for limit in limits for row in rows(limit, found, "all problems")),
    ]


def picks(rows: Sequence[Row], groups: Sequence[Sequence[int]], selection: Selection) -> Row:
    """For one problem, by each rule, whether the best response that it selects is right: 1 or 0, a share for `random`.
    `rows` have `right` and `reward`, None where nothing scored."""
    eligible = [row for row in rows if is_eligible(row, selection.require_answer)]
    found: Row = {
        "random": sum(row["right"] for row in eligible) / len(eligible) if eligible else 0.0,
        "best possible": float(any(row["right"] for row in eligible)),
    }
    scored = all(row["reward"] is not None for row in eligible)
    for rule in SELECTING if scored else ("majority",):
        places = choose(rows, groups, replace(selection, rule=rule))
        found[rule] = float(bool(places) and rows[places[0]]["right"])
    return found


def of_selection(found: Sequence[Row], rule: str) -> list[Row]:
    """The share of problems whose selected response is right, by each rule, and how much that is above `random`, in
    points with its 95% interval over the same problems. `rule` is the config's."""
    rows = []
    for name in RULES if found else ():
        if name not in found[0]:
            continue
        scores = [row[name] for row in found]
        entry = {"rule": name, "of_config": name == rule, **share(scores, f"selection {name}")}
        above = [score - row["random"] for score, row in zip(scores, found, strict=True)]
        low, high = interval(resampled(above, f"gain {name}"))
        gain = {"gain": round(100 * float(np.mean(above)), 1), "gain_low": round(low, 1), "gain_high": round(high, 1)}
        rows.append({**entry, **gain})
    return rows


def selections(
    problems: Sequence[Row], attempts: Sequence[Row], rewards: Sequence[Row] | None, settings: Settings, progress: Path
) -> list[Row]:
    """`picks` of each problem that has attempts; its answers are graded and grouped, or found in the store."""
    main, limit = open_domain(settings.domain).main, settings.grading.time_limit
    ids = {row["index"]: row["id"] for row in problems}
    own = [{**row, "id": ids[tables.index_of(row["id"])]} for row in attempts]
    grades, _ = judged(main, [dict(row) for row in problems], own, progress, limit)
    right = {(row["id"], row["sample"]): row["right"] for row in grades}
    scored = sorted(
        with_rewards(attempts, rewards, settings.selection.require_answer), key=lambda row: (row["id"], row["sample"])
    )
    by = {name: list(rows) for name, rows in groupby(scored, key=lambda row: row["id"])}
    answers = [{"id": n, "index": tables.index_of(n), "answers": [r["answer"] for r in rows]} for n, rows in by.items()]
    same: Mapping[str, Grouping]
    same, _ = grouped(answers, main, group="calibration", progress=progress, time_limit=limit)
    return [
        picks(
            [{**row, "right": right[ids[tables.index_of(name)], row["sample"]]} for row in rows],
            same[name].groups,
            settings.selection,
        )
        for name, rows in by.items()
    ]


def as_csv(rows: Sequence[Row]) -> str:
    """Rows with the same keys as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["none"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def page(filters: Sequence[Row], judge: Sequence[Row], selection: Sequence[Row]) -> str:
    """The tables in a form to be read."""

    def cell(row: Row) -> str:
        return f"{row['percent']:5.1f}%  ({row['low']:.1f} to {row['high']:.1f}, n = {row['n']:,})"

    def lines(title: str, rows: Sequence[Row], label: Callable[[Row], str], more: Callable[[Row], str]) -> list[str]:
        names = [label(row) for row in rows]
        width = max(map(len, names), default=0)
        return [title, *(f"  {n:<{width}}  {cell(r)}{more(r)}" for n, r in zip(names, rows, strict=True)), ""]

    shown = [row for row in judge if row["of"] != "all problems"]
    return "\n".join(
        [
            *lines(
                "Dropped by each filter (whole problems should stay, the others should go)",
                *(filters, lambda row: f"{row['filter']}, {row['texts']}", lambda row: ""),
            ),
            *lines(
                "Kept by the judge, on the half of the problems that did not choose the threshold",
                *(shown, lambda row: f"at {row['threshold']:g} ({row['of']}), {row['texts']}", lambda row: ""),
            ),
            *lines(
                "Problems whose selected response is right, by selection.rule (* the config's)",
                *(selection, lambda row: row["rule"] + " *" * row["of_config"]),
                lambda row: f"  {row['gain']:+.1f} points ({row['gain_low']:+.1f} to {row['gain_high']:+.1f})",
            ),
        ]
    )


def main() -> None:
    """Read what was made of the problems, and write the tables and the page."""
    parser = job.parser(__doc__ or "")
    parser.add_argument("--problems", required=True, type=Path, help="table of the problems")
    parser.add_argument("--verdicts", required=True, type=Path, help="verdicts of the text filters on their texts")
    parser.add_argument("--judgements", type=Path, help="judgements on their texts")
    parser.add_argument("--responses", required=True, type=Path, help="the solver's attempts at them")
    parser.add_argument("--rewards", help="rewards of the attempts")
    parser.add_argument("--progress", required=True, type=Path, help="folder of finished windows")
    parser.add_argument("--out", required=True, type=Path, help="folder of the tables and of the page")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    judgements = tables.read_rows(args.judgements, tables.JUDGEMENTS) if args.judgements else []
    verdicts = tables.read_rows(args.verdicts, tables.VERDICTS)
    limit = 0.5 if settings.min_probability is None else settings.min_probability
    verdicts += [{**row, "filter": "solvability", "keep": probability(row) >= limit} for row in judgements]
    found = selections(
        tables.read_rows(args.problems, tables.PROBLEMS),
        tables.read_rows(args.responses, tables.ATTEMPTS),
        read_rewards(args.rewards, settings.aggregate) if args.rewards else None,
        *(settings, args.progress),
    )
    parts = {
        "filters": of_filters(verdicts),
        "judge": of_judge(judgements, settings.min_probability),
        "selection": of_selection(found, settings.selection.rule),
    }
    for name, rows in parts.items():
        write_text(args.out / f"{name}.csv", as_csv(rows))
    text = page(**parts)
    write_text(args.out / "calibration.txt", text)
    log.info("%s", text)


if __name__ == "__main__":
    job.run(main)
