"""Show how far a run is, until it ends: `make watch`, or this file with the arguments that the run had.

Of Snakemake's arguments only --directory counts. --once shows the run as it is now and ends, and so does output to a
file or another program; --every N looks again every N seconds (5). Nothing is locked and nothing is written.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scalequest.runtime.printable import printable
from scalequest.workflow import run_record
from scalequest.workflow.schedule import duration
from scalequest.workflow.watching import Frame, Row, Watch

# Columns of output that is no terminal, and those from which on a table has all its columns.
PLAIN, WIDE = 120, 100
# Failed jobs that are shown, and the most characters of a reason.
FAILURES, REASON = 5, 300


def main(arguments: Sequence[str]) -> None:
    """Show the run of the folder that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--once", action="store_true", help="show the run as it is now, and end")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two looks", metavar="N")
    own, rest = parser.parse_known_args(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=PLAIN, highlight=False)
    view = View(directory(rest))
    if console.is_terminal and not own.once:
        with suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
            while not view.over:
                live.update(view.look(console.width, console.height), refresh=True)
                time.sleep(0.0 if view.over else max(own.every, 0.2))
    # What stays on the terminal, whole.
    console.print(view.look(console.width))


def directory(arguments: Sequence[str]) -> Path:
    """The folder of the run that has these arguments of Snakemake."""
    from snakemake import cli

    # It says which profile it reads, and in time why it refuses.
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            parsed = cli.parse_args(list(arguments))[1]
    except SystemExit:
        print(said.getvalue(), file=sys.stderr, end="")
        raise
    return Path(parsed.directory or ".").absolute()


class View:
    """What is shown of a folder's last run. `over`: nothing will come any more."""

    def __init__(self, folder: Path):
        self.folder, self.over = folder, False
        self._watch: Watch | None = None

    def look(self, width: int, height: int | None = None) -> Group:
        """The run as it is now, for so many columns and lines (None: any number)."""
        record = run_record.read(self.folder)
        if record is None:
            return Group(Text(printable(f"No run has begun in {self.folder}.")))
        if self._watch is None or self._watch.record.run != record.run:
            self._watch = Watch(self.folder, record)
        frame = self._watch.frame()
        self.over = frame.over
        return picture(frame, self.folder, width, height)


def picture(frame: Frame, folder: Path, width: int, height: int | None = None) -> Group:
    """A frame as text: the run, its stages, and the jobs that failed."""
    head = [Text(printable(line)) for line in (str(folder), state(frame), jobs(frame), times(frame))]
    head[0].stylize("bold")
    foot = [Text(), *failures(frame)] if frame.failures else []
    # Beside them an empty line and the table's head; the last line of a terminal stays empty.
    around = 3 + sum(1 + len(line) // width for line in [*head, *foot])
    body = table(frame.rows, width, None if height is None else height - around)
    return Group(*head, Text(), body, *foot)


def state(frame: Frame) -> str:
    """How the run is, as a sentence."""
    found, now = frame.record.process, time.time()
    process = f"process {found['process']} on {found['host']}"
    if found["slurm_job"]:
        process += f", SLURM job {found['slurm_job']}"
    took = duration(frame.last - frame.record.began)
    if frame.good:
        return f"Finished at {clock(frame.last)}, after {took}."
    if frame.ended:
        return f"Ended at {clock(frame.last)}, after {took}, and is not finished. The same command goes on from there."
    if frame.alive is False:
        behind = f" Of its jobs, {frame.left_behind} still work, and store what they make." if frame.left_behind else ""
        return (
            f"Killed: {process} is gone, and its log, last written at {clock(frame.last)}, says nothing of an end."
            f"{behind} Once with --unlock, then the same command goes on from there."
        )
    said = f"Running for {duration(now - frame.record.began)}: {process}."
    if frame.alive is None:
        said = (
            f"Begun {duration(now - frame.record.began)} ago: {process}. Whether that lives cannot be seen from here; "
            f"its log was last written {duration(max(0.0, now - frame.last))} ago."
        )
    return said + (" It was told to end, and waits for the jobs that run." if frame.stopping else "")


def jobs(frame: Frame) -> str:
    """How many jobs are in which state."""
    if not frame.rows:
        return "Its log says nothing of jobs (--quiet keeps them out of it)."
    done, running, waiting, failed, total = (
        sum(getattr(row, name) for row in frame.rows) for name in ("done", "running", "waiting", "failed", "total")
    )
    left = [f"{waiting} not done"] * bool(waiting) if frame.over else [f"{running} running, {waiting} waiting"]
    parts = [f"{done} of {total} jobs done", *left, *([f"{failed} failed"] * bool(failed))]
    return f"{', '.join(parts)}{f'; {frame.again} tried again' if frame.again else ''}."


def times(frame: Frame) -> str:
    """When the run ends, and the hours of engines, trainings and grading."""
    gpus = f", {frame.gpu_hours:,.2f} GPU-h" if frame.gpu_hours else ""
    ends = "" if frame.over else f"Ends about {clock(frame.ends)}, by rates and plan. " if frame.ends else "Ends: -. "
    return f"{ends}Work: {frame.hours:,.2f} h{gpus}."


def table(rows: Sequence[Row], width: int, lines: int | None) -> Table:
    """A line for each stage; where there is no room for all, those that are done or wait become one each."""
    wide = width >= WIDE
    found = Table(box=None, padding=(0, 2 if wide else 1, 0, 0), header_style="bold")
    found.add_column("stage", no_wrap=True, min_width=22)
    names = (
        ("done", "running", "waiting", "failed", "rows", "rate", "tokens/s", "ends")
        if wide
        else (*("done", "run", "wait", "fail", "rows", "rate", "ends"),)
    )
    for name in names:
        found.add_column(name, justify="right", no_wrap=True)
    for row in folded(rows, lines):
        if isinstance(row, str):
            found.add_row(row, style="dim")
            continue
        cells = [f"{row.done}/{row.total}", *(count(n) for n in (row.running, row.waiting, row.failed))]
        cells += [made(row), speed(row)]
        if wide:
            cells.append(f"{row.tokens:,.0f}" if row.tokens else "-")
        style = "bold red" if row.failed else "green" if row.running else "dim" if row.done == row.total else ""
        found.add_row(row.name, *cells, clock(row.ends), style=style)
    return found


def folded(rows: Sequence[Row], lines: int | None) -> list[Row | str]:
    """The rows, in at most so many lines where that can be done: first stages that are done become one line, as many as
    need to, then those that wait longest."""
    result: list[Row | str] = list(rows)
    for kind, words in (("done", "earlier stages are done"), ("waiting", "later stages wait")):
        own = [row for row in result if isinstance(row, Row) and getattr(row, kind) == row.total]
        number = min(len(own), len(result) - lines + 1) if lines is not None else 0
        if number > 1:
            fold = own[:number] if kind == "done" else own[-number:]
            result[result.index(fold[0])] = f"{number} {words}"
            result = [row for row in result if row not in fold]
    return result


def failures(frame: Frame) -> list[Text]:
    """The jobs that failed last, with their logs and reasons."""
    found = [Text(f"{len(frame.failures)} failed:", style="bold red")]
    for failure in frame.failures[-FAILURES:]:
        log = f" ({failure.log})" if failure.log else ""
        why = failure.why if len(failure.why) <= REASON else f"{failure.why[: REASON - 3]}..."
        found.append(Text(printable(f"  {failure.rule}{log}: {why}", breaks=False)))
    return found


def made(row: Row) -> str:
    """Rows (or steps) that are done, and of how many."""
    if row.rows is None:
        return f"-/{'~' * row.about}{short(row.of)}" if row.of else "-"
    of = f"/{'~' * row.about}{short(row.of)}" if row.of and row.of != row.rows else ""
    return f"{short(row.rows)}{of}{' steps' if row.steps else ''}"


def speed(row: Row) -> str:
    """Rows (or steps) in a unit of time that fits."""
    if not row.rate:
        return "-"
    for unit, seconds in (("s", 1), ("min", 60)):
        if row.rate * seconds >= 1:
            return f"{row.rate * seconds:,.1f}/{unit}"
    return f"{row.rate * 3600:,.1f}/h"


def count(number: int) -> str:
    """A number of jobs."""
    return str(number) if number else "-"


def short(number: int) -> str:
    """A number in at most seven characters."""
    return f"{number:,}" if number < 1_000_000 else f"{number / 1e6:.2f}M" if number < 100e6 else f"{number / 1e6:.0f}M"


def clock(when: float | None) -> str:
    """The time of day, with the day where it is not today."""
    if when is None:
        return "-"
    then, today = time.localtime(when), time.localtime()
    if then[:3] == today[:3]:
        return time.strftime("%H:%M", then)
    return time.strftime("%a %H:%M" if 0 <= when - time.time() < 6 * 86400 else "%d %b %H:%M", then)


if __name__ == "__main__":
    main(sys.argv[1:])
