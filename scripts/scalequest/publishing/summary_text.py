"""The numbers of a run as a table for people, on one screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WIDTH = 100
COLUMNS = (("in", 11), ("dropped", 11), ("marked", 10), ("out", 11), ("seconds", 10), ("tokens", 14), ("tokens/s", 10))
# What rules of no stage are.
OTHER = "other rules"
# What is counted of attempts.
WORK = ("attempts", "cut_short", "rows", "hours", "gpu_hours")


def text(summary: Mapping[str, Any]) -> str:
    """The one-screen table: at most 24 lines of 100 columns for the six filters of the method."""
    lines = [_line("rows in and out of each", [name for name, _ in COLUMNS])]
    for entry in _rows(summary["stages"]):
        numbers = [entry[key] for key in ("in", "dropped", "marked", "out", "seconds", "tokens", "tokens_per_second")]
        lines.append(_line(_label(entry), map(_shown, numbers)))
    blank = ["", "", "", ""]
    if summary["other_seconds"] is not None:
        lines.append(_line(OTHER, [*blank, _shown(summary["other_seconds"]), "", ""]))
    total = [*blank, _shown(summary["total_seconds"]), _shown(summary["total_tokens"]), ""]
    lines.append(_line(f"all {summary['jobs']} jobs, summed", total))
    shares = [
        f"{name} {100 * counts['solvable_share']:.1f}% of {counts['judged']:,}"
        for name, counts in summary["generators"].items()
        if counts.get("solvable_share") is not None
    ]
    if shares:
        lines.append(f"Judged solvable (P(Yes) >= {summary['solvable_from']}): {', '.join(shares)}")
    if verdicts := summary["verdicts"]:
        share = verdicts["unparsed"] / verdicts["verdicts"]
        count = f"{verdicts['unparsed']:,} of {verdicts['verdicts']:,}"
        lines.append(f"Verdicts that could not be read: {count} ({100 * share:.1f}%)")
    if summary["scorer"]:
        lines.append(_scorer_line(summary["scorer"]))
    work = {key: sum(entry[key] for entry in summary["attempts"].values()) for key in WORK}
    lines.append(
        f"Seconds: of each job's last start. Engines, trainings, grading, all {work['attempts']} attempts: "
        f"{work['hours']:.2f} h, {work['gpu_hours']:.2f} GPU-h"
    )
    lines = [line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..." for line in lines]
    # Paths are never cut, or they would lead nowhere.
    return "\n".join([*lines, f"Dataset: {summary['dataset']}. All numbers: {summary['summary']}"]) + "\n"


def _rows(stages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The stages as the table shows them: selection and dataset, which have the same rows, on one line."""
    result: list[dict[str, Any]] = []
    for entry in stages:
        if entry["stage"] == "dataset" and result and result[-1]["stage"] == "selection":
            both = [own["seconds"] for own in (result[-1], entry) if own["seconds"] is not None]
            result[-1] = {**result[-1], "stage": "selection and dataset", "seconds": sum(both) if both else None}
        else:
            result.append(entry)
    return result


def _scorer_line(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    own, mean = metrics["scorer"], metrics["constant_mean"]
    return (
        f"Difficulty scorer, {own['n']} problems held out: Pearson {shown(own['pearson'])}, Spearman "
        f"{shown(own['spearman'])}, RMSE {shown(own['rmse'])} (constant: {shown(mean['rmse'])})"
    )


def _label(entry: Mapping[str, Any]) -> str:
    """The stage's name, with what its rows are made into where that is something else."""
    name = entry["stage"].replace("_", " ")
    made = entry.get("responses", entry.get("pairs"))
    return name if made is None else f"{name} ({made:,})"


def _line(name: str, cells: Iterable[str]) -> str:
    widths = (width for _, width in COLUMNS)
    return (f"{name:<23}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))).rstrip()


def _shown(number: float | None) -> str:
    return "" if number is None else f"{number:,.0f}"
