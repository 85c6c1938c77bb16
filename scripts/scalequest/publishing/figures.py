"""Drawing the report's figures: vector graphics that are read in grey, with units, and with n beside each series."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MADE, LIKE, KEPT = "What was made", "What the questions are like", "Responses"
TRAINED = "Trainings and measurements"
# The report's figures in their order: title and section.
FIGURES = {
    "funnel": ("Funnel", MADE),
    "difficulty": ("Difficulty", MADE),
    "solvability": ("Solvability", MADE),
    "lengths": ("Lengths of questions", LIKE),
    "answer_types": ("Answer types", LIKE),
    "duplicates": ("Duplicates as questions grow", LIKE),
    "topics": ("Topics", LIKE),
    "rewards": ("Rewards", KEPT),
    "response_lengths": ("Lengths of responses", KEPT),
    "calibration": ("Difficulty scorer, held out", TRAINED),
    "losses": ("Losses", TRAINED),
    "students": ("Students and models, measured", TRAINED),
}
# Dark to light, so that their order is seen without colour; dashes and markers tell them apart as well.
SHADES = ("#0b3c6f", "#c2571a", "#3f8f5f", "#8a6fb0", "#b39a2d", "#6f7680")
DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1)), (0, (1, 2)))
MARKERS = "os^Dvx"
# Of a distribution that is drawn as a line: percentiles.
PERCENTILES = (5, 25, 50, 75, 95)
_STYLE: dict[Any, Any] = {
    **{"svg.fonttype": "none", "svg.hashsalt": "scalequest", "font.family": "sans-serif", "font.size": 9},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd"},
    **{"axes.axisbelow": True, "legend.frameon": False, "figure.constrained_layout.use": True},
    # Names come from a config: a dollar in one begins no formula.
    **{"text.parse_math": False},
}


def figures(*, topics: bool) -> dict[str, tuple[str, str]]:
    """The figures of a run with or without topics."""
    return {name: about for name, about in FIGURES.items() if topics or name != "topics"}


@dataclass(frozen=True)
class Figure:
    """A figure: its place in the report, how to read it, its data as rows under `columns`, and the drawing, which is
    empty where `missing` says why nothing is drawn."""

    name: str
    title: str
    section: str
    caption: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    svg: str = ""
    missing: str = ""

    @property
    def csv(self) -> str:
        """The data as CSV."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.columns, *self.rows])
        return out.getvalue()


class Canvas:
    """Axes side by side, or (`tall`) one below another; `svg` gives the drawing."""

    def __init__(self, wide: int = 1, tall: int = 1, *, width: float = 6.6, height: float = 2.8):
        import matplotlib as mpl

        mpl.use("svg")
        import matplotlib.pyplot as plt

        self._plt = plt
        with plt.rc_context(_STYLE):
            self.figure, axes = plt.subplots(tall, wide, figsize=(width, height), squeeze=False)
        self.axes: list[Any] = list(axes.flat)

    def svg(self) -> str:
        """The drawing as an SVG element, without a clock."""
        out = io.StringIO()
        with self._plt.rc_context(_STYLE):
            self.figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        self._plt.close(self.figure)
        text = out.getvalue()
        return text[text.index("<svg") :]


def funnel_bars(steps: Sequence[tuple[str, int, int]], shades: Sequence[str]) -> Canvas:
    """A bar for each step (label, rows that are left, rows that it drops): filled what is left, hatched what is not."""
    canvas = Canvas(height=0.7 + 0.28 * len(steps))
    axes = canvas.axes[0]
    places = range(len(steps))
    left, dropped = [left for _, left, _ in steps], [dropped for *_, dropped in steps]
    axes.barh(places, left, color=shades)
    axes.barh(places, dropped, left=left, color="none", edgecolor="#555555", hatch="////", linewidth=0.5)
    for place, (_, kept, lost) in zip(places, steps, strict=True):
        text = f"{kept:,}" + (f" (-{lost:,})" if lost else "")
        axes.annotate(text, (kept + lost, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(places, [label for label, *_ in steps])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("questions")
    return canvas


def outline(axes: Any, series: Mapping[str, Sequence[float]], edges: Sequence[float]) -> list[tuple[Any, ...]]:
    """Draw the share of each series in bins between `edges`, and return rows of name, bin, count and share."""
    import numpy as np

    rows: list[tuple[Any, ...]] = []
    for number, (name, values) in enumerate(series.items()):
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        shares = counts / max(len(values), 1)
        style = {"color": SHADES[number % len(SHADES)], "linestyle": DASHES[number % len(DASHES)]}
        axes.stairs(100 * shares, edges, label=f"{name} (n = {len(values):,})", linewidth=1.6, **style)
        bins = zip(edges, edges[1:], counts, shares, strict=False)
        rows += [(name, float(a), float(b), int(count), float(share)) for a, b, count, share in bins]
    axes.set_ylabel("share, %")
    name_series(axes, 2)
    return rows


def spans(series: Mapping[str, Sequence[float]], unit: str) -> Canvas:
    """A line for each label from its PERCENTILES: the middle nine tenths, thick the middle half, white the median."""
    canvas = Canvas(height=0.9 + 0.35 * len(series))
    axes = canvas.axes[0]
    for place, (low, first, middle, third, high) in enumerate(series.values()):
        axes.plot([low, high], [place, place], color=SHADES[0], linewidth=1.2)
        axes.plot([first, third], [place, place], color=SHADES[0], linewidth=6, solid_capstyle="butt")
        # With an edge, so that it is seen where all lengths are equal.
        axes.plot([middle], [place], "o", color="white", markersize=5, markeredgecolor=SHADES[0])
    axes.set_yticks(range(len(series)), list(series))
    axes.set_ylim(len(series) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(unit)
    return canvas


def lines(
    axes: Any, series: Mapping[str, Iterable[tuple[float, float]]], title: str | None = None
) -> list[tuple[Any, ...]]:
    """Draw each series of (x, y), and return rows of name, x and y."""
    rows: list[tuple[Any, ...]] = []
    for number, (name, points) in enumerate(series.items()):
        points = list(points)
        few = len(points) <= 40
        axes.plot(
            *zip(*points, strict=True),
            **{"label": name, "color": SHADES[number % len(SHADES)], "linestyle": DASHES[number % len(DASHES)]},
            **{"marker": MARKERS[number % len(MARKERS)] if few else "", "markersize": 3.5, "linewidth": 1.4},
        )
        rows += [(name, x, y) for x, y in points]
    name_series(axes, title=title)
    return rows


def name_series(axes: Any, columns: int = 1, title: str | None = None) -> None:
    """Name the series above the axes, where they hide nothing."""
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2, "alignment": "left"}
    axes.legend(**place, ncols=columns, title=title, fontsize=8, title_fontsize=9, frameon=False)
