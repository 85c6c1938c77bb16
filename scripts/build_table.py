"""The table beside the paper's Table 1: published rows, what was measured here, the difference, the 95% interval.

As CSV (a line for each figure), Markdown and HTML, with the benchmarks part by part and where the graders disagree.
Source of the published figures: ScaleQuest (arXiv 2410.18693), table 1 (resources/table1.csv).
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scalequest import job
from scalequest.card import escaped
from scalequest.config import TABLE1, published_table
from scalequest.errors import ScaleQuestError
from scalequest.files import read_json, write_text
from scalequest.measures import Measure, interval, resampled
from scalequest.tables import GRADES, read_rows

Row = dict[str, Any]
BENCHMARKS = {
    "gsm8k": "GSM8K",
    "math": "MATH",
    "college_math": "College Math",
    "olympiadbench": "OlympiadBench",
}
GROUPS = {
    "teacher": "Teachers",
    "general_base": "General base models",
    "math_base": "Mathematics-specialised base models",
    "": "Measured here, compared with no published row",
}
AVERAGE = "average"
FIGURES = ("model", "kind", "grader", "benchmark", "n", "percent", "low", "high", "compared_with", "published")


# With these a spreadsheet takes a text for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True)
class Cell:
    """Percent correct on one benchmark; measured here with an interval, and less what was published, in points."""

    percent: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    published: float | None = None

    @property
    def difference(self) -> float | None:
        return None if self.published is None else self.percent - self.published


@dataclass(frozen=True)
class Line:
    """A row of the table. `grader` is empty for what was published; `compared_with` names a published row."""

    model: str
    group: str
    cells: Mapping[str, Cell]
    grader: str = ""
    compared_with: str = ""
    synthesis: str = field(default="")

    @property
    def kind(self) -> str:
        return "measured" if self.grader else "published"


def published_lines() -> list[Line]:
    """The rows of the paper's table, in its order."""
    return [
        Line(
            row["model"],
            row["group"],
            {name: Cell(float(row[name])) for name in (*BENCHMARKS, AVERAGE) if row[name]},
            synthesis=row["synthesis_model"],
        )
        for row in published_table()
    ]


def measured_lines(scores: Mapping[tuple[str, str, str], Sequence[float]], settings: Mapping[str, Any]) -> list[Line]:
    """A row for each model and grader. `scores` are problems' scores by (name, grader, benchmark).

    The average is that of the paper's four benchmarks, where all four were measured.
    """
    known = {line.model: line for line in published_lines()}
    lines = []
    for name, grader in dict.fromkeys((name, grader) for name, grader, _ in scores):
        other = settings["compare"].get(name, "")
        published = known[other].cells if other else {}
        cells: dict[str, Cell] = {}
        means = {}
        for benchmark in settings["benchmarks"]:
            column, own = settings["columns"].get(benchmark, benchmark), scores[name, grader, benchmark]
            means[column] = resampled(own, f"{name} {benchmark} {grader} pass@1")
            before = published[column].percent if column in published else None
            cells[column] = Cell(100 * sum(own) / len(own), *interval(means[column]), len(own), before)
        if set(BENCHMARKS) <= set(cells):
            percent = sum(cells[column].percent for column in BENCHMARKS) / len(BENCHMARKS)
            low, high = interval(np.mean([means[column] for column in BENCHMARKS], axis=0))
            n = sum(cells[column].n or 0 for column in BENCHMARKS)
            before = published[AVERAGE].percent if AVERAGE in published else None
            cells[AVERAGE] = Cell(percent, low, high, n, before)
        lines.append(Line(name, known[other].group if other else "", cells, grader, other))
    return lines


def in_order(measured: Sequence[Line]) -> list[tuple[str, list[Line]]]:
    """Groups of lines as they are shown: each published row, and below it what is compared with it."""
    grouped: dict[str, list[Line]] = defaultdict(list)
    for line in published_lines():
        grouped[line.group] += [line, *(own for own in measured if own.compared_with == line.model)]
    grouped[""] = [line for line in measured if not line.compared_with]
    return [(GROUPS[group], grouped[group]) for group in GROUPS if grouped[group]]


def problem_scores(paths: Sequence[Path]) -> dict[tuple[str, str, str], list[float]]:
    """Share of right answers to each problem, by (name, grader, benchmark), of files NAME/BENCHMARK/grades.parquet."""
    result = {}
    for path in paths:
        name, benchmark = path.parts[-3:-1]
        verdicts: dict[tuple[str, str], list[bool]] = defaultdict(list)
        for row in read_rows(path, GRADES):
            verdicts[row["grader"], row["id"]].append(row["right"])
        for grader in dict.fromkeys(grader for grader, _ in verdicts):
            own = [sum(right) / len(right) for (by, _), right in verdicts.items() if by == grader]
            result[name, grader, benchmark] = own
    return result


def figures(groups: Sequence[tuple[str, Sequence[Line]]]) -> str:
    """CSV text: a line for each figure, published and measured."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*FIGURES, "difference"])
    for line in (line for _, lines in groups for line in lines):
        for benchmark, cell in line.cells.items():
            numbers = (cell.percent, cell.low, cell.high)
            shown = ["" if number is None else f"{number:.2f}" for number in numbers]
            compared = ["" if number is None else f"{number:.2f}" for number in (cell.published, cell.difference)]
            origin = [line.model, line.kind, line.grader, benchmark, "" if cell.n is None else cell.n]
            writer.writerow([*origin, *shown, line.compared_with, *compared])
    return out.getvalue()


def part_rows(measures: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """pass@1 of each part of each benchmark, by model and grader."""
    for found in measures:
        for grader, parts in found["parts"].items():
            for part in parts:
                yield {"model": found["name"], "benchmark": found["benchmark"], "grader": grader, **part}


def parts_csv(rows: Sequence[Row]) -> str:
    """CSV text of the parts."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["model", "benchmark", "fact", "value", "grader", "n", "percent", "low", "high"])
    for row in rows:
        names = [row[key] for key in ("model", "benchmark", "fact")]
        # The one text that is not ours: a fact of the benchmark.
        value = "'" + row["value"] if row["value"].startswith(FORMULA) else row["value"]
        writer.writerow(
            [*names, value, row["grader"], row["n"], *(f"{row[key]:.2f}" for key in ("percent", "low", "high"))]
        )
    return out.getvalue()


def sides(rows: Sequence[Row]) -> list[Row]:
    """The parts with the graders side by side: model, benchmark, fact, value, n, and a Measure for each grader."""
    found: dict[tuple, Row] = {}
    for row in rows:
        names = tuple(row[key] for key in ("model", "benchmark", "fact", "value", "n"))
        entry = dict(zip(("model", "benchmark", "fact", "value", "n"), names, strict=True)) | {"by": {}}
        shown = found.setdefault(names, entry)
        shown["by"][row["grader"]] = Measure(row["percent"], row["low"], row["high"], row["n"])
    return list(found.values())


def headings(lines: Sequence[Line], others: Sequence[str]) -> dict[str, str]:
    """Columns and what stands above them: the paper's benchmarks and their average, then others; with the number of
    problems where one was measured, which every model answers."""
    names = {**BENCHMARKS, AVERAGE: "Average", **{name: name for name in others}}
    sizes = {column: cell.n for line in lines for column, cell in line.cells.items() if cell.n and column != AVERAGE}
    # No line ends within "n = 8".
    return {
        column: f"{name} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{sizes[column]:,})" if column in sizes else name
        for column, name in names.items()
    }


def with_provenance(measures: Sequence[Row], staged: Mapping[str, Row], overlaps: Mapping[str, Row]) -> list[Row]:
    """The measures, each with how many rows of its benchmark staging left out (`left_out`), and what of it was in the
    training set (`overlap`, as count_overlap has it; none for a model as it is)."""
    result = []
    for found in measures:
        left_out = staged[found["benchmark"]]["left_out"]
        seen = overlaps[found["name"]]["benchmarks"][found["benchmark"]] if found["name"] in overlaps else None
        bad = sum(count for reason, count in left_out.items() if reason != "where")
        result.append({**found, "left_out": bad, "overlap": seen})
    return result


def several(measured: Iterable[str]) -> list[str]:
    """Names of measures of several answers among these, as they are shown: pass@k by k, then maj@k."""
    names = [name for name in measured if "@" in name]
    return sorted(names, key=lambda name: (name.startswith("maj"), int(name.partition("@")[2])))


def render(template: str, **facts: Any) -> str:
    """A template of resources/ filled in; what it shows is escaped for HTML, or for a Markdown table's cell."""
    environment = Environment(
        loader=FileSystemLoader(TABLE1.parent),
        undefined=StrictUndefined,
        autoescape=template.endswith(".html.jinja"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = escaped
    return environment.get_template(template).render(facts)


def main() -> None:
    """Read grades and measures of all that was measured, write the table in three forms and the parts."""
    parser = job.parser(__doc__ or "")
    parser.add_argument("--grades", required=True, nargs="*", type=Path, help="tables of grades, NAME/BENCHMARK/...")
    parser.add_argument("--measures", required=True, nargs="*", type=Path, help="measures, in the same order")
    parser.add_argument("--staged", required=True, nargs="*", type=Path, help="manifests of the benchmarks")
    parser.add_argument("--overlaps", required=True, nargs="*", type=Path, help="counts of overlap, NAME/overlap.json")
    parser.add_argument("--csv", required=True, type=Path, help="figures to write, a line each")
    parser.add_argument("--parts", required=True, type=Path, help="figures by part of a benchmark to write, CSV")
    parser.add_argument("--markdown", required=True, type=Path, help="table to write as Markdown")
    parser.add_argument("--html", required=True, type=Path, help="table to write as HTML")
    args = parser.parse_args()
    if not args.measures:
        raise ScaleQuestError(
            "nothing is measured, so there is no table: name a model in evaluation.models or a student in use.students."
        )
    staged = {path.stem: read_json(path) for path in args.staged}
    overlaps = {path.parent.name: read_json(path) for path in args.overlaps}
    measures = with_provenance([read_json(path) for path in args.measures], staged, overlaps)
    lines = measured_lines(problem_scores(args.grades), args.settings)
    groups = in_order(lines)
    parts = list(part_rows(measures))
    others = [name for name in args.settings["benchmarks"] if name not in args.settings["columns"]]
    facts = {
        "columns": headings(lines, others),
        # The columns that a group has, for a form in which each group is a table of its own.
        "shown": [
            {c: shown for c, shown in headings(own, others).items() if any(c in line.cells for line in own)}
            for _, own in groups
        ],
        **{"groups": groups, "parts": sides(parts), "measures": measures, "evaluation": args.settings},
        "graders": list(measures[0]["graders"]),
        "held_by": next((found["contamination"] for found in overlaps.values()), None),
        "several": several(next(iter(measures[0]["graders"].values()))),
    }
    write_text(args.csv, figures(groups))
    write_text(args.parts, parts_csv(parts))
    write_text(args.markdown, render("table1.md.jinja", **facts))
    write_text(args.html, render("table1.html.jinja", **facts))


if __name__ == "__main__":
    job.run(main)
