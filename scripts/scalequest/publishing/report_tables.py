"""The report's tables: examples of what was dropped, agreement, cost by stage, readers' marks, settings."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scalequest.publishing.figures import KEPT, LIKE, MADE, TRAINED
from scalequest.publishing.report_figures import Run
from scalequest.rows.tables import VERDICTS, VERIFIED, iterate, read_arrow
from scalequest.visible import visible

# Examples of each kind.
EXAMPLES = 5
# Topics of a data set that are shown.
_FACTS = 50


@dataclass(frozen=True)
class Table:
    """A table of a section of the report; cells are texts and numbers. Without rows, `missing` says why."""

    title: str
    section: str
    head: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Spent:
    """A line of the cost table: the programs (or sections of trainings) and stages of the summary that it adds up, and
    what the paper says of it: GPU-hours (A100, 40 GB)."""

    name: str
    programs: tuple[str, ...]
    stages: tuple[str, ...]
    published: float | None = None


# The paper's Table 4, for a million rows (arXiv 2410.18693): its total is 522.9 GPU-hours, $680.8.
COSTS = (
    Spent("Question tuning", ("question_tuning",), ("question_tuning",), 3.9),
    Spent("Preference tuning", ("rewrite_questions", "preference_tuning"), ("preference_tuning",), 7.0),
    Spent("Questions, those for pairs too", ("sample_questions",), ("pairs", "questions"), 38.4),
    Spent(
        "Solvability and difficulty",
        ("judge_questions", "measure_fail_rates", "difficulty", "score_difficulty"),
        ("solvability", "difficulty", "difficulty_scorer"),
        110.6,
    ),
    Spent("Responses, those of solvers too", ("sample_responses",), ("responses",), 251.0),
    Spent("Rewards and selection", ("score_responses", "select_responses"), ("reward",), 112.0),
    Spent("Students", ("students",), ("students",)),
    Spent("Topics", ("choose_topics",), ("topics",)),
    Spent("Evaluation", ("sample_answers", "grade_answers"), ("evaluation", "grading")),
)


# What a policy may ask of verified answers.
_AGREEMENTS = (0.25, 0.5, 0.75, 1.0)
_BANDS: dict[str, Callable[[float], bool]] = {
    "0": lambda rate: rate == 0,
    "above 0, below 0.25": lambda rate: 0 < rate < 0.25,
    "0.25 to 0.75": lambda rate: 0.25 <= rate <= 0.75,
    "above 0.75, below 1": lambda rate: 0.75 < rate < 1,
    "1": lambda rate: rate == 1,
}


def cost(run: Run, price: float) -> Table:
    """Tokens, hours, GPU-hours and money of each stage, beside the paper's."""
    title, section = "Tokens, hours and money", "Cost"
    head = (
        "stage",
        "attempts",
        "cut short",
        "tokens generated",
        "hours",
        "GPU-hours",
        "US$",
        "paper: GPU-hours",
        "paper: US$",
    )
    summary = run.json("summary.json")
    if summary is None:
        return Table(title, section, head, (), missing="Not counted: the run's summary is not there yet.")
    attempts, stages = summary["attempts"], {entry["stage"]: entry for entry in summary["stages"]}
    rows: list[tuple[Any, ...]] = []
    known = {name for line in COSTS for name in line.programs}
    for line in (*COSTS, Spent("Other", tuple(name for name in attempts if name not in known), ())):
        own = [attempts[name] for name in line.programs if name in attempts]
        tokens = sum((stages.get(name) or {}).get("tokens") or 0 for name in line.stages)
        sums = [sum(entry[key] for entry in own) for key in ("attempts", "cut_short", "hours", "gpu_hours")]
        if own:
            paper = (line.published, line.published and round(1.29 * line.published, 1))
            rows.append((line.name, *sums[:2], tokens, *sums[2:], sums[3] * price, *paper))
    rows.append(("all", *(sum(row[column] for row in rows) for column in range(1, 7)), 522.9, 680.8))
    note = (
        f"All attempts from this folder, killed ones too. A GPU-hour is counted at ${price:g} (report.gpu_hour_usd). "
        "The paper's are for a million rows on A100s of 40 GB at $1.29; its sum has $6.2 more, for a rewriting server."
    )
    return Table(title, section, head, tuple(rows), note)


def agreement(run: Run) -> Table:
    """How often the response with the highest reward has the answer that most responses have."""
    title, section = "Rewards and the majority", KEPT
    head = ("generator", "questions", "best reward in the largest group", "by chance", "share of the largest group")
    rows = []
    for name in run.generators:
        table = run.candidates(name, ["id", "answer", "reward", "votes"]).drop_null()
        votes, rewards = table["votes"].to_numpy(), table["reward"].to_numpy()
        # The rows of a question follow each other.
        code = pc.rank(table["id"], tiebreaker="dense").to_numpy()
        order = np.lexsort((-rewards, code))
        starts = np.flatnonzero(np.diff(code[order], prepend=0))
        sizes = np.diff(starts, append=len(order))
        if not (several := sizes > 1).any():
            continue
        most = np.maximum.reduceat(votes[order], starts)
        # A response that is chosen by chance is in a largest group as often as this.
        members = np.add.reduceat(votes[order] == np.repeat(most, sizes), starts)
        shares = (votes[order][starts] == most, members / sizes, most / sizes)
        rows.append((name, int(several.sum()), *(f"{100 * share[several].mean():.1f}%" for share in shares)))
    note = "Of questions with at least two scored responses that have an answer."
    missing = "" if rows else "Not counted: no question has two scored responses with an answer."
    return Table(title, section, head, tuple(rows), note, missing)


def verified(run: Run) -> Table:
    """How many questions are left for each choice of agreement, pass rates and types of the verified answers."""
    title, section, head = "Verified answers", KEPT, ("kept", "questions", "share")
    rows = []
    for name in run.generators:
        columns = run.filtered(name, ["id", "kept"])
        kept = set(columns.filter(columns["kept"])["id"].to_pylist())
        rows += [row for path in run.files("verified", name) for row in iterate(path, VERIFIED) if row["id"] in kept]
    if not rows:
        return Table(title, section, head, (), missing="None yet: the solvers have answered no question.")
    fit = [row for row in rows if row["answer"] is not None and not row["unfit"] and not row["reason"]]
    told: list[tuple[str, int]] = [("all", len(rows))]
    unfit = Counter(row["unfit"] or ("no answer" if row["answer"] is None else row["reason"]) for row in rows)
    told += [(f"left out: {reason}", count) for reason, count in sorted(unfit.items()) if reason]
    told.append(("left for the policy", len(fit)))
    told += [(f"agreement at least {least:g}", sum(row["agreement"] >= least for row in fit)) for least in _AGREEMENTS]
    for place, solver in enumerate(entry["solver"] for entry in rows[0]["pass_rates"]):
        rates = [row["pass_rates"][place]["rate"] for row in fit]
        told += [(f"pass rate of {solver}: {text}", sum(map(inside, rates))) for text, inside in _BANDS.items()]
    told += [(f"type {name}", count) for name, count in Counter(row["answer_type"] for row in fit).most_common()]
    share = [(what, count, f"{100 * count / len(rows):.1f}%") for what, count in told]
    note = (
        "Each line by itself. Agreement is the share of all samples of all solvers that have the answer; a pass rate "
        "is that of one solver. verification.min_agreement, pass_rate and types choose; a change makes no sample anew."
    )
    return Table(title, section, head, tuple(share), note)


def scorer(run: Run) -> Table:
    """Error of the difficulty scorer on held-out problems, beside two simpler predictions."""
    title, section = "Difficulty scorer, held out", TRAINED
    head = ("predicted by", "n", "Pearson", "Spearman", "mean absolute error", "root mean square error")
    metrics = run.json("difficulty", "metrics.json")
    if metrics is None:
        return Table(title, section, head, (), missing="Not measured: there is no trained scorer.")
    names = {"scorer": "the scorer", "question_length": "the length of the question", "constant_mean": "the mean"}
    rows = [
        (shown, *(metrics[name][key] for key in ("n", "pearson", "spearman", "mae", "rmse")))
        for name, shown in names.items()
    ]
    return Table(title, section, head, tuple(rows), metrics["scorer"].get("undefined", ""))


def likeness(run: Run) -> Table:
    """Variety of the questions, and nearness to seed problems."""
    title, section = "Variety and copies", LIKE
    head = (
        *("kind", "texts", "of them", "distinct 1-grams", "2-grams", "3-grams"),
        *("nearest of its kind, median", "near one of its kind", "nearest seed problem, median", "near a seed problem"),
    )
    rows = []
    for name, entry in run.kinds().items():
        own, seeds = entry["nearest_of_its_kind"], entry.get("nearest_seed_problem")
        ngrams = (f"{100 * entry['distinct_ngrams'][size]:.1f}%" for size in "123")
        other = (seeds["p50"], seeds["near"]) if seeds else ("", "")
        rows.append((name, entry["texts"], entry["of_texts"], *ngrams, own["p50"], own["near"], *other))
    note = (
        "N-grams and similarities are of as many texts of each kind ('of them'), chosen by hash. Similarity is the "
        "Jaccard index of token 3-grams, 0 to 1, estimated from MinHash signatures; 'near' is 0.7 and more."
    )
    return Table(title, section, head, tuple(rows), note, "" if rows else "Not counted: the profile is not there yet.")


def topics(run: Run) -> Table:
    """What the model chose for the seed problems of each topic that the data names."""
    title, section = "Topics of the seed problems", LIKE
    found = (run.json("profile.json") or {}).get("topics") or {"options": [], "facts": None}
    options = [option for option in found["options"] if any(option in counts for counts in _chosen(found).values())]
    head = ("topic by the data", "problems", *(f"chosen: {visible(option, keep='')}" for option in options))
    rows = tuple(
        (fact, sum(counts.values()), *(counts.get(option, 0) for option in options))
        for fact, counts in itertools.islice(_chosen(found).items(), _FACTS)
    )
    if not rows:
        missing = "Not counted: no seed problem with a topic of its own (datasets.NAME.facts.topic) was asked about."
        return Table(title, section, head, (), missing=missing)
    agree = found["facts"]["agree"]
    note = "No topic of the data has the name of one in the list."
    if agree["problems"]:
        low, high = (f"{100 * agree[end]:.0f}" for end in ("low", "high"))
        note = (
            f"Of the {agree['problems']:,} problems whose topic has the name of one in the list, the model chose it "
            f"for {agree['count']:,}: {100 * agree['share']:.0f}% (95% interval {low} to {high}%)."
        )
    return Table(title, section, head, rows, note)


def _chosen(found: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Of the topics of a profile: the chosen ones and their counts, by the data's own."""
    return found["facts"]["chosen"] if found["facts"] else {}


def examples(run: Run, kind: str) -> Table:
    """Some questions that a filter of texts dropped or marked, with what they matched."""
    title, section = f"Examples: {kind}", MADE
    head = ("question", "text", "reason", "found")
    rows: list[tuple[Any, ...]] = []
    texts: dict[str, str] = {}
    for found in _failed(run, kind):
        rows.append((found["id"], "", found["reason"], found["evidence"] or ""))
        if len(rows) == EXAMPLES:
            break
    wanted = pa.array([row[0] for row in rows], pa.string())
    for name in run.generators if rows else ():
        table = run.filtered(name, ["id", "question"])
        some = table.filter(pc.is_in(table["id"], wanted))
        texts.update(zip(some["id"].to_pylist(), some["question"].to_pylist(), strict=True))
    shown = tuple((row[0], texts.get(row[0], ""), *row[2:]) for row in rows)
    return Table(title, section, head, shown, missing="" if shown else f"The filter {kind} found nothing.")


def marked(marks: Sequence[Mapping[str, str]]) -> Table:
    """Readers' marks."""
    rows = tuple((mark["id"], mark["mark"], mark["note"]) for mark in marks)
    good = sum(mark["mark"] == "good" for mark in marks)
    note = (
        f"{good} of {len(marks)} are good. Marks are made in the browser, and read from the folder marks."
        if rows
        else ""
    )
    missing = "" if rows else "No marks: make them in the browser, and save them into the folder marks."
    return Table("Readers' marks", MADE, ("question", "mark", "note"), rows, note, missing)


def changed_settings(config: Mapping[str, Any], default: Mapping[str, Any]) -> Table:
    """Settings that differ from the embedded default."""
    mine, theirs = dict(_leaves(config)), dict(_leaves(default))
    rows = [
        (key, _shown(mine.get(key)), _shown(theirs.get(key)))
        for key in sorted({*mine, *theirs})
        if mine.get(key) != theirs.get(key)
    ]
    missing = "" if rows else "All settings are those of config.yaml."
    return Table(
        "Settings that differ from the default", "Settings", ("key", "here", "default"), tuple(rows), missing=missing
    )


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _shown(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _failed(run: Run, kind: str) -> Iterator[dict[str, Any]]:
    """Verdicts of a filter of texts on questions that it would not keep."""
    if kind == "duplicates":
        seeds = dict.fromkeys(shard.split("/")[1] for shard in run.shards)
        paths: list[Path] = [run.results / f"filters/duplicates/{seed}.parquet" for seed in seeds]
    else:
        paths = run.files("filters/text")
    for path in paths:
        if path.is_file():
            table = read_arrow(path, VERDICTS)
            yield from table.filter(pc.and_(pc.equal(table["filter"], kind), pc.invert(table["keep"]))).to_pylist()
