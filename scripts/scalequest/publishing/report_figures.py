"""The report's figures, each from the tables of a run: what it shows, its data, or why it is not drawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scalequest.grading.answer_types import TYPES
from scalequest.publishing import card
from scalequest.publishing.figures import (
    FIGURES,
    MARKERS,
    PERCENTILES,
    SHADES,
    Canvas,
    Figure,
    funnel_bars,
    lines,
    name_series,
    outline,
    spans,
)
from scalequest.rows.known_texts import kind_of
from scalequest.rows.tables import CANDIDATES, FAIL_RATES, FILTERED, JUDGEMENTS, read_arrow
from scalequest.runtime.files import CHECKOUT, read_json
from scalequest.visible import visible

# Fewer values say nothing of a distribution.
FEWEST = 10
# Points of a curve, each the mean of as many values; and problems that are drawn as points.
_POINTS, _PROBLEMS = 400, 1000
# What each kind of training counts as its loss.
_LOSSES = {
    "question tuning": "cross entropy, nats a token",
    "preference tuning": "preference loss, nats a pair",
    "difficulty scorer": "squared error of the fail rate",
    "students": "cross entropy, nats a token",
}

# How to read each figure: NAME.rst, which `snakemake --report` shows too.
CAPTIONS = CHECKOUT / "report"


@dataclass
class Run:
    """What a run has made so far. `filters`: its filters that are on, each with its section of the config."""

    results: Path
    generators: Sequence[str]
    shards: Sequence[str]
    filters: Sequence[Mapping[str, Any]]
    students: Sequence[str]

    def files(self, folder: str, generator: str | None = None) -> list[Path]:
        """The shards' tables in a folder, as far as they are there; those of one generator."""
        shards = [shard for shard in self.shards if generator is None or shard.split("/")[0] == generator]
        paths = [self.results / folder / f"{shard}.parquet" for shard in shards]
        return [path for path in paths if path.is_file()]

    def filtered(self, generator: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of all filtered questions of a generator."""
        tables = [read_arrow(path, FILTERED, columns) for path in self.files("filtered", generator)]
        return pa.concat_tables(tables) if tables else FILTERED.schema.empty_table().select(columns)

    def candidates(self, generator: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of all responses to a generator's questions."""
        tables = [read_arrow(path, CANDIDATES, columns) for path in self.files("candidates", generator)]
        return pa.concat_tables(tables) if tables else CANDIDATES.schema.empty_table().select(columns)

    def thresholds(self, name: str, generator: str) -> list[float]:
        """Below what a question of a generator fails the filter `difficulty` or `solvability`, for each seed that has
        such a number: that of difficulty may be a quantile of its scores."""
        rule = next((rule for rule in self.filters if rule["name"] == name), {})
        if name == "difficulty" and rule:
            seeds = dict.fromkeys(shard.split("/")[1] for shard in self.shards if shard.split("/")[0] == generator)
            cuts = (self.json("filters", "cuts", generator, f"{seed}.json") for seed in seeds)
            return [cut[generator] for cut in cuts if cut and cut.get(generator) is not None]
        return [] if rule.get("min_probability") is None else [rule["min_probability"]]

    def json(self, *parts: str) -> Any:
        """A JSON file of the results; None where it is not there yet."""
        path = self.results.joinpath(*parts)
        return read_json(path) if path.is_file() else None

    def kinds(self) -> dict[str, Any]:
        """The profile's numbers of each kind of question, generators first."""
        found = (self.json("profile.json") or {"kinds": {}})["kinds"]
        return {name: found[name] for name in sorted(found, key=lambda name: name not in self.generators)}


Draw = Callable[[Run], Figure]
# Columns of a histogram's data.
_BINS = ("series", "from", "to", "count", "share")


def funnel(run: Run) -> Figure:
    """Questions that are left after each filter."""
    figure = _about("funnel")
    order = [str(rule["name"]) for rule in run.filters]
    rows: list[tuple[Any, ...]] = []
    shades = []
    for number, name in enumerate(run.generators):
        verdicts = card.count_verdicts(run.filtered(name, ["generator", "kept", "dropped_by", "marks"]))
        if not (total := sum(verdicts.values())):
            continue
        steps = [(name, "questions", total, 0, 0)]
        steps += [(name, step.name, step.rows_out, step.dropped, step.marked) for step in card.funnel(verdicts, order)]
        if run.files("candidates", name):
            candidates = run.candidates(name, ["id", "selected"])
            selected = pc.count_distinct(candidates.filter(candidates["selected"])["id"]).as_py()
            steps.append((name, "with a selected response", selected, steps[-1][2] - selected, 0))
        rows += steps
        shades += [SHADES[number % len(SHADES)]] * len(steps)
    if not rows:
        return _not(figure, "no question has been filtered yet")
    canvas = funnel_bars([(f"{name}: {step}", left, dropped) for name, step, left, dropped, _ in rows], shades)
    return _drawn(figure, canvas, ("generator", "step", "out", "dropped", "marked"), rows)


def difficulty(run: Run) -> Figure:
    """Fail rates before and after the filters, and measured ones of seed problems."""
    path = run.results / "difficulty/fail_rates.parquet"
    measured = read_arrow(path, FAIL_RATES, ["fail_rate"])["fail_rate"].to_numpy() if path.is_file() else ()
    label = "fail rate (of seed problems measured)"
    seeds = {"seed problems, measured": measured}
    return _before_and_after(run, "difficulty", "difficulty", np.linspace(-0.5, 1.5, 41), label, seeds)


def solvability(run: Run) -> Figure:
    """The judge's P(Yes) before and after the filters, and of the seed problems where a calibration judged them."""
    path = run.results / "calibration/judgements.parquet"
    judged = read_arrow(path, JUDGEMENTS, ["id", "probability"]).to_pylist() if path.is_file() else ()
    whole = [row["probability"] for row in judged if kind_of(row["id"]) == "whole" and row["probability"] is not None]
    label = "P(solvable), by the judge"
    return _before_and_after(run, "solvability", "solvable", np.linspace(0, 1, 41), label, {"seed problems": whole})


def rewards(run: Run) -> Figure:
    """Rewards of selected and of other responses."""
    figure = _about("rewards")
    table = pa.concat_tables([run.candidates(name, ["reward", "selected"]) for name in run.generators])
    series = {
        "selected": _finite(table.filter(table["selected"])["reward"]),
        "other responses": _finite(table.filter(pc.invert(table["selected"]))["reward"]),
    }
    everything = np.concatenate(list(series.values()))
    if len(everything) < FEWEST:
        return _not(figure, f"{len(everything)} responses have a reward")
    low, high = float(everything.min()), float(everything.max())
    canvas = Canvas()
    known = {name: values for name, values in series.items() if len(values)}
    rows = outline(canvas.axes[0], known, np.linspace(low, max(high, low + 1e-6), 31).tolist())
    canvas.axes[0].set_xlabel("reward")
    return _drawn(figure, canvas, _BINS, rows)


def response_lengths(run: Run) -> Figure:
    """Tokens of selected and of other responses, and the share of those that were cut."""
    figure = _about("response_lengths")
    rows: list[tuple[Any, ...]] = []
    for name in run.generators:
        table = run.candidates(name, ["tokens", "selected", "finish_reason"])
        for kind, chosen in (("selected", table["selected"]), ("other", pc.invert(table["selected"]))):
            own = table.filter(chosen)
            if len(own) >= FEWEST:
                cut = pc.sum(pc.equal(own["finish_reason"], "length")).as_py()
                quantiles = np.percentile(own["tokens"].to_numpy(), PERCENTILES)
                rows.append((name, kind, len(own), *(float(value) for value in quantiles), cut))
    if not rows:
        return _not(figure, f"fewer than {FEWEST} responses are known")
    labels = [f"{name}, {kind} (n = {count:,}, {100 * row[-1] / count:.1f}% cut)" for name, kind, count, *row in rows]
    canvas = spans({label: row[3:8] for label, row in zip(labels, rows, strict=True)}, "tokens")
    columns = ("generator", "responses", "n", *(f"p{percent}" for percent in PERCENTILES), "cut")
    return _drawn(figure, canvas, columns, rows)


def calibration(run: Run) -> Figure:
    """Predicted against measured fail rates of the problems that the scorer did not learn from."""
    figure = _about("calibration")
    metrics = run.json("difficulty", "metrics.json")
    rows = (metrics or {}).get("predictions") or []
    if len(rows) < 2:
        return _not(figure, "there is no trained scorer" if metrics is None else f"it has {len(rows)} predictions")
    canvas = Canvas(width=4.2, height=4)
    axes = canvas.axes[0]
    predicted = [guess for guess, _ in rows]
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, label="perfect")
    # They come in the order of their ids: every so many of them are of all sources.
    shown = rows[:: -(-len(rows) // _PROBLEMS)]
    said = f"{len(shown):,} of " if len(shown) < len(rows) else ""
    label = f"problems ({said}n = {len(rows):,})"
    axes.plot(*zip(*shown, strict=True), "o", color=SHADES[0], markersize=4, alpha=0.6, label=label)
    data = [("problem", *row) for row in shown]
    if len(rows) >= 10 * FEWEST:
        tenths = np.array_split(np.array(rows)[np.argsort(predicted, kind="stable")], 10)
        means = [(float(x), float(y)) for x, y in (tenth.mean(axis=0) for tenth in tenths)]
        data += [("mean of a tenth", *mean) for mean in means]
        axes.plot(*zip(*means, strict=True), "-s", color=SHADES[1], markersize=5, label="means of tenths, of all")
    axes.set_xlabel("predicted fail rate")
    axes.set_ylabel("measured fail rate")
    name_series(axes)
    return _drawn(figure, canvas, ("of", "predicted", "measured"), data)


def losses(run: Run) -> Figure:
    """Loss of each training by its steps."""
    figure = _about("losses")
    kinds = {
        "question tuning": {name: run.results / "question_tuning" / name for name in run.generators},
        "preference tuning": {name: run.results / "preference_tuning" / name for name in run.generators},
        "difficulty scorer": {"scorer": run.results / "difficulty"},
        "students": {name: run.results / "students" / name for name in run.students},
    }
    found = {}
    for kind, folders in kinds.items():
        files = {name: folder / "loss.jsonl" for name, folder in folders.items()}
        known = {name: _curve(path) for name, path in files.items() if path.is_file()}
        if any(known.values()):
            found[kind] = dict(_means(name, points) for name, points in known.items() if points)
    if not found:
        return _not(figure, "no training has ended yet")
    tall = -(-len(found) // 2)
    canvas = Canvas(min(len(found), 2), tall, height=2.8 * tall)
    rows: list[tuple[Any, ...]] = []
    for axes in canvas.axes[len(found) :]:
        axes.set_visible(False)
    for axes, (kind, curves) in zip(canvas.axes, found.items(), strict=False):
        rows += [(kind, *row) for row in lines(axes, curves, kind)]
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("step")
        axes.set_ylabel(_LOSSES[kind])
    return _drawn(figure, canvas, ("training", "model", "step", "loss"), rows)


def lengths(run: Run) -> Figure:
    """Characters of questions and problems."""
    figure = _about("lengths")
    kinds = run.kinds()
    rows = [
        (name, entry["texts"], *(entry["characters"][f"p{percent}"] for percent in PERCENTILES))
        for name, entry in kinds.items()
        if entry["texts"] >= FEWEST
    ]
    if not rows:
        return _not(figure, f"no kind of question has {FEWEST} texts yet")
    canvas = spans({f"{name} (n = {count:,})": row for name, count, *row in rows}, "characters")
    return _drawn(figure, canvas, ("kind", "texts", *(f"p{percent}" for percent in PERCENTILES)), rows)


def answer_types(run: Run) -> Figure:
    """What kinds of final answers there are."""
    figure = _about("answer_types")
    kinds = run.kinds()
    counted = {name: entry["answer_types"] for name, entry in kinds.items() if sum(entry["answer_types"].values())}
    if not counted:
        return _not(figure, "no answer is known yet")
    canvas = Canvas(height=1.1 + 0.35 * len(counted))
    axes = canvas.axes[0]
    hatches = ("", "////", "....", "xxxx", "\\\\\\\\", "----", "")
    left = np.zeros(len(counted))
    rows = []
    for number, kind in enumerate(TYPES):
        shares = [100 * types.get(kind, 0) / sum(types.values()) for types in counted.values()]
        shade = SHADES[number] if number < len(SHADES) else "#dddddd"
        axes.barh(
            range(len(counted)), shares, left=left, color=shade, hatch=hatches[number], edgecolor="white", label=kind
        )
        left += shares
        rows += [(name, kind, types.get(kind, 0)) for name, types in counted.items()]
    totals = [f"{name} (n = {sum(types.values()):,})" for name, types in counted.items()]
    axes.set_yticks(range(len(counted)), totals)
    axes.invert_yaxis()
    axes.set_xlabel("share of answers, %")
    axes.grid(axis="y", visible=False)
    canvas.figure.legend(loc="outside upper center", ncols=len(TYPES), fontsize=8, frameon=False, handlelength=1.2)
    return _drawn(figure, canvas, ("kind", "answer_type", "answers"), rows)


def duplicates(run: Run) -> Figure:
    """How many of a generator's first n questions repeat an earlier one."""
    figure = _about("duplicates")
    rates = (run.json("profile.json") or {"duplicates": {}})["duplicates"]
    series = {
        f"{name} (n = {found[-1][0]:,})": [(n, 100 * share) for n, share in found]
        for name, found in rates.items()
        if len(found) > 1
    }
    if not series:
        return _not(figure, "the near-duplicate filter is off, or has seen too few questions")
    canvas = Canvas()
    rows = lines(canvas.axes[0], series)
    canvas.axes[0].set_xscale("log", base=2)
    canvas.axes[0].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    canvas.axes[0].set_xlabel("questions, as they were sampled")
    canvas.axes[0].set_ylabel("repeat an earlier one, %")
    canvas.axes[0].set_ylim(bottom=0)
    return _drawn(figure, canvas, ("generator", "n", "percent"), rows)


def topics(run: Run) -> Figure:
    """The share of each topic by kind of question, with its interval."""
    figure = _about("topics")
    found = (run.json("profile.json") or {}).get("topics", {"options": [], "kinds": {}})
    kinds = {name: found["kinds"][name] for name in run.kinds() if name in found["kinds"]}
    kinds = {name: entry for name, entry in kinds.items() if entry["questions"] >= FEWEST}
    if not kinds:
        return _not(figure, f"no kind of question has {FEWEST} topics yet")
    options = found["options"]
    canvas = Canvas(height=1.1 + (0.16 + 0.14 * len(kinds)) * len(options))
    axes = canvas.axes[0]
    rows: list[tuple[Any, ...]] = []
    for number, (name, entry) in enumerate(kinds.items()):
        style = {"color": SHADES[number % len(SHADES)], "linewidth": 1.4}
        places = [place + 0.7 * ((number + 0.5) / len(kinds) - 0.5) for place in range(len(options))]
        shares = [entry["topics"][option] for option in options]
        axes.hlines(places, [100 * one["low"] for one in shares], [100 * one["high"] for one in shares], **style)
        axes.plot(
            [100 * one["share"] for one in shares],
            places,
            MARKERS[number % len(MARKERS)],
            **{"color": style["color"], "markersize": 4, "label": f"{name} (n = {entry['questions']:,})"},
        )
        rows += [
            (name, option, one["count"], entry["questions"], one["share"], one["low"], one["high"])
            for option, one in zip(options, shares, strict=True)
        ]
    axes.set_yticks(range(len(options)), [visible(option, keep="") for option in options])
    axes.set_ylim(len(options) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("share, %")
    axes.legend(fontsize=8)
    return _drawn(figure, canvas, ("kind", "topic", "count", "questions", "share", "low", "high"), rows)


def students(run: Run) -> Figure:
    """What was measured, with intervals, beside the published rows that it is compared with."""
    figure = _about("students")
    path = run.results / "evaluation/table1.csv"
    rows = _table_rows(path) if path.is_file() else []
    measured = [row for row in rows if row["kind"] == "measured" and row["percent"] not in ("", None)]
    if not measured:
        return _not(figure, "nothing has been measured yet")
    benchmarks = list(dict.fromkeys(row["benchmark"] for row in measured))
    names = list(dict.fromkeys((row["model"], row["grader"]) for row in measured))
    canvas = Canvas(len(benchmarks), width=max(3.2 * len(benchmarks), 5), height=0.9 + 0.32 * len(names))
    data = []
    for axes, benchmark in zip(canvas.axes, benchmarks, strict=True):
        own = {(row["model"], row["grader"]): row for row in measured if row["benchmark"] == benchmark}
        for place, key in enumerate(names):
            if not (row := own.get(key)):
                continue
            value, low, high = (float(row[name] or "nan") for name in ("percent", "low", "high"))
            axes.plot([low, high], [place, place], color=SHADES[0], linewidth=1.5)
            axes.plot([value], [place], MARKERS[0], color=SHADES[0], markersize=4)
            if row["published"]:
                axes.plot([float(row["published"])], [place], MARKERS[5], color=SHADES[1], markersize=6)
            data.append((*key, benchmark, row["n"], value, low, high, row["published"] or None))
        sizes = {row["n"] for row in own.values()}
        axes.set_title(f"{benchmark} (n = {', '.join(sorted(sizes))})", fontsize=9)
        axes.set_yticks(
            range(len(names)),
            [f"{model}, {grader}" for model, grader in names] if axes is canvas.axes[0] else [""] * len(names),
        )
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("right, %")
    return _drawn(figure, canvas, ("model", "grader", "benchmark", "n", "percent", "low", "high", "published"), data)


def draw(run: Run, name: str) -> Figure:
    """One of FIGURES."""
    own: Draw = globals()[name]
    return own(run)


def _before_and_after(
    run: Run, name: str, column: str, edges: Any, label: str, seeds: Mapping[str, Sequence[float]]
) -> Figure:
    """A panel for each generator: a filter's number of its questions before the filters and after them, that of the
    seed problems where it is known (`seeds`, by what they are called), and the filter's threshold."""
    figure = _about(name)
    panels = {}
    for generator in run.generators:
        table = run.filtered(generator, [column, "kept"])
        before, kept = _finite(table[column]), _finite(table.filter(table["kept"])[column])
        if len(before) >= FEWEST:
            own = {f"{generator}, before filters": before, f"{generator}, kept": kept}
            own |= seeds
            panels[generator] = {series: values for series, values in own.items() if len(values)}
    if not panels:
        return _not(figure, f"fewer than {FEWEST} values of a generator are known")
    canvas = Canvas(tall=len(panels), height=0.3 + 2.6 * len(panels))
    rows: list[tuple[Any, ...]] = []
    for axes, (generator, series) in zip(canvas.axes, panels.items(), strict=True):
        rows += outline(axes, series, edges)
        if limits := run.thresholds(name, generator):
            low, high = min(limits), max(limits)
            style = {"color": "#333333", "linewidth": 1}
            if low == high:
                axes.axvline(low, label=f"threshold {low:.3g}", **style)
            else:
                axes.axvspan(low, high, alpha=0.3, label=f"thresholds {low:.3g} to {high:.3g}, by seed", **style)
            name_series(axes, 2)
    canvas.axes[-1].set_xlabel(label)
    # Seed problems are in each panel.
    return _drawn(figure, canvas, _BINS, list(dict.fromkeys(rows)))


def _finite(column: pa.ChunkedArray) -> Any:
    """The values of a column of numbers, less those that are none."""
    values = column.drop_null().to_numpy()
    return values[np.isfinite(values)]


def _curve(path: Path) -> list[tuple[float, float]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row["step"], row["loss"]) for row in rows if row.get("loss") is not None]


def _means(name: str, points: Sequence[tuple[float, float]]) -> tuple[str, list[tuple[float, float]]]:
    """A curve of at most _POINTS points, each the mean of as many that follow each other, with what it is called."""
    step = -(-len(points) // _POINTS)
    parts = [np.mean(points[start : start + step], axis=0) for start in range(0, len(points), step)]
    said = f", means of {step}" if step > 1 else ""
    return f"{name} ({len(points):,} steps{said})", [(float(x), float(y)) for x, y in parts]


def _table_rows(path: Path) -> list[dict[str, str]]:
    import csv

    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def _about(name: str) -> Figure:
    caption = " ".join((CAPTIONS / f"{name}.rst").read_text(encoding="utf-8").split())
    return Figure(name, *FIGURES[name], caption)


def _not(figure: Figure, why: str) -> Figure:
    return Figure(figure.name, figure.title, figure.section, figure.caption, missing=f"Not drawn: {why}.")


def _drawn(figure: Figure, canvas: Canvas, columns: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> Figure:
    data = tuple(tuple(row) for row in rows)
    return Figure(figure.name, figure.title, figure.section, figure.caption, columns, data, canvas.svg())
