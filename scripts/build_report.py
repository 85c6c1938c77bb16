"""Make the report: one page with figures and tables of a run, and each figure alone with its data.

It shows what is there. Of a run that is not finished it lists what is missing.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from scalequest.config.defaults import fill_defaults
from scalequest.default_config import default_config
from scalequest.publishing import report_figures, report_tables
from scalequest.publishing.figures import Figure
from scalequest.publishing.figures import figures as figures_of
from scalequest.publishing.marks import read_marks
from scalequest.runtime import job
from scalequest.runtime.files import CHECKOUT, write_text
from scalequest.settings import Number, read_settings
from scalequest.visible import visible

TEMPLATE = CHECKOUT / "resources/report.html.jinja"
# However large a run is, its page is not: rows of a list, and characters of a text, that are shown.
_ROWS, _CHARACTERS = 200, 600
# Filters of texts of which examples are shown.
_EXAMPLES = ("duplicates", "contamination", "language", "length")


@dataclass(frozen=True)
class Settings:
    """`filters`: for each filter that is on, its name and its section of the config. `gpu_hour_usd`: price of a
    GPU-hour. `topics`: whether a model chose topics; `verified`: whether solvers answered the questions."""

    name: str
    generators: tuple[str, ...]
    students: tuple[str, ...]
    filters: tuple[dict[str, Any], ...]
    gpu_hour_usd: Number
    topics: bool = False
    verified: bool = False


def sections(figures: Sequence[Figure], tables: Sequence[report_tables.Table]) -> list[dict[str, Any]]:
    """Figures and tables by their sections, in the order in which these first come."""
    names = dict.fromkeys([*(one.section for one in figures), *(one.section for one in tables)])
    return [
        {
            **{"title": name, "id": re.sub(r"\W+", "-", name.lower())},
            "figures": [figure for figure in figures if figure.section == name],
            "tables": [table for table in tables if table.section == name],
        }
        for name in names
    ]


def tables(run: report_tables.Run, settings: Settings, marks: Path) -> list[report_tables.Table]:
    """All tables of the report."""
    config = run.json("config.json")
    on = {rule["name"] for rule in settings.filters}
    return [
        *(report_tables.examples(run, name) for name in _EXAMPLES if name in on),
        report_tables.marked(read_marks(marks)),
        report_tables.likeness(run),
        *([report_tables.topics(run)] if settings.topics else []),
        report_tables.agreement(run),
        *([report_tables.verified(run)] if settings.verified else []),
        report_tables.scorer(run),
        report_tables.cost(run, settings.gpu_hour_usd),
        *([report_tables.changed_settings(config, _default(config))] if config else []),
    ]


def _default(config: Mapping[str, Any]) -> dict[str, Any]:
    """The embedded default, in those sections that a run's record of its config has."""
    return {key: value for key, value in fill_defaults(default_config()).items() if key in config}


def cell(value: Any) -> str:
    """A cell's text: numbers are short, a long text is cut, characters that cannot be seen are shown by number."""
    if value is None:
        return ""
    if isinstance(value, bool | str):
        text = visible(str(value))
        return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]} …"
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) < 100:
        return f"{round(value, 9):.3g}"
    return f"{value:,.1f}" if abs(value) < 10_000 else f"{value:,.0f}"


def page(settings: Settings, figures: Sequence[Figure], shown: Sequence[report_tables.Table], **more: Any) -> str:
    """The page. Every text is escaped; figures are our own drawings, in which a text is a text."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["cell"] = cell
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(name=settings.name, sections=sections(figures, shown), most=_ROWS, **more)


def commit() -> str | None:
    """The commit of the checkout; None where it is none."""
    line = ["git", "-C", str(CHECKOUT), "rev-parse", "HEAD"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() or None


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--results", required=True, type=Path, help="folder of the run's results")
    parser.add_argument("--shards", required=True, nargs="+", help="shards of the questions: GENERATOR/seedSEED/gpuGPU")
    parser.add_argument("--marks", required=True, type=Path, help="folder of the readers' marks (*.jsonl)")
    parser.add_argument("--expected", nargs="*", default=[], help="files of a finished run; missing ones are listed")
    parser.add_argument("--folder", required=True, type=Path, help="folder for the figures and their data")
    parser.add_argument("--out", required=True, type=Path, help="page to write, HTML")
    args = parser.parse_args()
    settings = read_settings(Settings, args.settings)
    run = report_figures.Run(args.results, settings.generators, args.shards, settings.filters, settings.students)
    figures = [report_figures.draw(run, name) for name in figures_of(topics=settings.topics)]
    for figure in figures:
        write_text(args.folder / f"{figure.name}.csv", figure.csv if figure.rows else "")
        write_text(args.folder / f"{figure.name}.svg", figure.svg or sentence(figure.missing))
    absent = [path for path in args.expected if not Path(path).exists()]
    browser = (args.results / "browser/index.html").is_file()
    more = {"absent": absent, "browser": browser, "commit": commit()}
    write_text(args.out, page(settings, figures, tables(run, settings, args.marks), **more))
    undrawn = [figure.name for figure in figures if not figure.svg]
    job.log.info(
        "%d figures are drawn%s", len(figures) - len(undrawn), f", not {', '.join(undrawn)}" if undrawn else ""
    )


def sentence(text: str) -> str:
    """A drawing that holds a sentence."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="40" viewBox="0 0 640 40">'
        f'<text x="8" y="25" font-family="sans-serif" font-size="14">{escaped}</text></svg>\n'
    )


if __name__ == "__main__":
    job.run(main)
