"""The table beside the paper's Table 1: published rows, what was measured here, the difference, the 95% interval.

As CSV (a line for each figure), Markdown and HTML, with the benchmarks part by part and where the graders disagree.
Source of the published figures: ScaleQuest (arXiv 2410.18693), table 1 (resources/table1.csv).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scalequest.config.selectors import TABLE1, later_table, published_table
from scalequest.errors import ScaleQuestError
from scalequest.grading.measures import Measure, interval, resampled
from scalequest.publishing.card import escaped
from scalequest.rows.tables import GRADES, read_rows
from scalequest.runtime import job
from scalequest.runtime.files import read_json, write_text
from scalequest.settings import read_settings
from scalequest.visible import Value, csv_text, visible

Row = dict[str, Any]
BENCHMARKS = {
    "gsm8k": "GSM8K",
    "math": "MATH",
    "college_math": "College Math",
    "olympiadbench": "OlympiadBench",
}
# Of later work.
LATER = {"math_500": "MATH-500", "aime_2024": "AIME 2024", "aime_2025": "AIME 2025", "amc_2023": "AMC 2023"}
MEASURED = "Measured here"
COMPARED = "Published, compared with what was measured"
# The other published rows.
GROUPS = {
    "teacher": "Published: teachers",
    "general_base": "Published: general base models",
    "math_base": "Published: mathematics-specialised base models",
}
LATER_WORK = "Published: later work, by its own prompts and lengths"
AVERAGE = "average"
FIGURES = ("model", "kind", "grader", "benchmark", "n", "percent", "low", "high", "compared_with", "published")


@dataclass(frozen=True)
class Settings:
    """The benchmarks, their columns in the paper's table, the published row that each model is compared with, and the
    sampling, which is shown as the config has it, with `thinking` where models were to think first."""

    benchmarks: tuple[str, ...]
    columns: Mapping[str, str]
    compare: Mapping[str, str]
    sampling: Mapping[str, Any]
    thinking: Mapping[str, Any] | None = None


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
    """A row of the table. `grader` is empty for what was published, `group` for what was measured; `compared_with`
    names a published row."""

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


def later_lines(columns: Collection[str]) -> list[Line]:
    """The rows of later work that have a figure in one of these columns, or a note on such ones, with their sources."""
    found = []
    for row in later_table():
        cells = {name: Cell(float(row[name])) for name in LATER if name in columns and row[name]}
        if cells or (row["note"] and not LATER.keys().isdisjoint(columns)):
            synthesis = ", ".join(filter(None, (row["synthesis_model"], row["source"], row["note"])))
            found.append(Line(row["model"], "later", cells, synthesis=synthesis))
    return found


def measured_lines(scores: Mapping[tuple[str, str, str], Sequence[float]], settings: Settings) -> list[Line]:
    """A row for each model and grader. `scores` are problems' scores by (name, grader, benchmark).

    The average is that of the paper's four benchmarks, where all four were measured.
    """
    known = {line.model: line for line in published_lines()}
    lines = []
    for name, grader in dict.fromkeys((name, grader) for name, grader, _ in scores):
        other = settings.compare.get(name, "")
        published = known[other].cells if other else {}
        cells: dict[str, Cell] = {}
        means = {}
        for benchmark in settings.benchmarks:
            column, own = settings.columns.get(benchmark, benchmark), scores[name, grader, benchmark]
            means[column] = resampled(own, f"{name} {benchmark} {grader} pass@1")
            before = published[column].percent if column in published else None
            cells[column] = Cell(100 * sum(own) / len(own), *interval(means[column]), len(own), before)
        if set(BENCHMARKS) <= set(cells):
            percent = sum(cells[column].percent for column in BENCHMARKS) / len(BENCHMARKS)
            low, high = interval(np.mean([means[column] for column in BENCHMARKS], axis=0))
            n = sum(cells[column].n or 0 for column in BENCHMARKS)
            before = published[AVERAGE].percent if AVERAGE in published else None
            cells[AVERAGE] = Cell(percent, low, high, n, before)
        lines.append(Line(name, "", cells, grader, other))
    return lines


def in_order(measured: Sequence[Line], later: Sequence[Line] = ()) -> list[tuple[str, list[Line]]]:
    """Groups of lines as they are shown: what was measured, the published rows that it is compared with, the others,
    those of later work."""
    compared = {line.compared_with for line in measured}
    grouped: dict[str, list[Line]] = {MEASURED: [*measured], COMPARED: [], **{name: [] for name in GROUPS.values()}}
    for line in published_lines():
        grouped[COMPARED if line.model in compared else GROUPS[line.group]].append(line)
    return [(name, lines) for name, lines in {**grouped, LATER_WORK: [*later]}.items() if lines]


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
    rows: list[list[Value]] = [[*FIGURES, "difference"]]
    for line in (line for _, lines in groups for line in lines):
        for benchmark, cell in line.cells.items():
            origin = (line.model, line.kind, line.grader, benchmark, cell.n)
            numbers = map(hundredths, (cell.percent, cell.low, cell.high))
            rows.append([*origin, *numbers, line.compared_with, *map(hundredths, (cell.published, cell.difference))])
    return csv_text(rows)


def hundredths(number: float | None) -> Decimal | None:
    """A number with two decimals, also where these are zeros."""
    return None if number is None else Decimal(f"{number:.2f}")


def part_rows(measures: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    """pass@1 of each part of each benchmark, by model and grader."""
    for found in measures:
        for grader, parts in found["parts"].items():
            for part in parts:
                yield {"model": found["name"], "benchmark": found["benchmark"], "grader": grader, **part}


def parts_csv(rows: Sequence[Row]) -> str:
    """CSV text of the parts."""
    names, numbers = ("model", "benchmark", "fact", "value", "grader", "n"), ("percent", "low", "high")
    lines = [[*(row[name] for name in names), *(hundredths(row[name]) for name in numbers)] for row in rows]
    return csv_text([[*names, *numbers], *lines])


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
    names = {**BENCHMARKS, AVERAGE: "Average", **{name: LATER.get(name, name) for name in others}}
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
        # Not what is marked as safe, which has been through here.
        finalize=lambda value: visible(value) if type(value) is str else value,
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
    settings = read_settings(Settings, args.settings)
    staged = {path.stem: read_json(path) for path in args.staged}
    overlaps = {path.parent.name: read_json(path) for path in args.overlaps}
    measures = with_provenance([read_json(path) for path in args.measures], staged, overlaps)
    lines = measured_lines(problem_scores(args.grades), settings)
    groups = in_order(lines, later_lines(settings.columns.values()))
    parts = list(part_rows(measures))
    columns = [settings.columns.get(name, name) for name in settings.benchmarks]
    others = [column for column in columns if column not in BENCHMARKS]
    facts = {
        "columns": headings(lines, others),
        # The columns that a group has, for a form in which each group is a table of its own.
        "shown": [
            {c: shown for c, shown in headings(own, others).items() if any(c in line.cells for line in own)}
            for _, own in groups
        ],
        **{"groups": groups, "parts": sides(parts), "measures": measures, "evaluation": settings},
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
