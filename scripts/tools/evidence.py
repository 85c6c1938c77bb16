"""The runs of docs/evidence.md, in pieces, and its tables: `make evidence`, or this file.

Each arm of presets/evidence/arms.yaml is a run in runs/evidence/ARM; all share one storage. What is finished is found
again, so it may be stopped and started at will. After each piece the tables in docs/data/evidence/ are written anew;
what they are made of is copied to rows/ there, and what the engines made to progress/, where another machine finds it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from scalequest.runtime.files import write_text
from tools import evidence_tables

ROOT = Path(__file__).resolve().parents[2]
PRESET = ROOT / "presets" / "evidence.yaml"
ARMS = ROOT / "presets" / "evidence" / "arms.yaml"
TABLES = ROOT / "docs" / "data" / "evidence"
# The run of the preset, and the students of its rows with another training seed. These answer in float32, which is
# quick on processors of all kinds; the untouched model, which answers in both, shows what that changes.
MAIN: dict[str, dict[str, Any]] = {
    "main": {},
    "again": {"student_tuning": {"seed": 43}, "engine": {"dtype": "float32"}},
}
ROWS = "main/results/dataset/train.jsonl"
# Answered are the questions of one shard.
ANSWERED = "results/candidates/{}/seed0/gpu0.parquet"


def arms() -> dict[str, dict[str, Any]]:
    """What each arm changes of the preset, by its name."""
    found = yaml.safe_load(ARMS.read_text(encoding="utf-8"))
    return {**MAIN, **found}


def generators(overlay: Mapping[str, Any]) -> list[str]:
    """The generators of an arm."""
    preset = yaml.safe_load(PRESET.read_text(encoding="utf-8"))
    return list({**preset["use"], **overlay.get("use", {})}["generators"])


def pieces(overlays: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """What is run, in order: an arm and Snakemake's targets. Cheap answers come before expensive ones."""
    yield "known", ["calibrate"]
    own = [name for name in overlays if name not in (*MAIN, "known")]
    for name in own:
        yield name, ["filtered"]
    for name in own:
        yield name, [ANSWERED.format(generator) for generator in generators(overlays[name])]
    yield "main", ["all"]
    yield "again", ["results/evaluation/table1.csv"]


def of_rows(kept: Path) -> dict[str, Any]:
    """What trains students on the rows of `main` that are kept (`kept` is the folder of rows) and not on those of this
    run: on a processor of another kind the generator's weights, and with them its questions, would be others."""
    rows = {"source": f"path:{kept.absolute() / ROWS}", "fields": {"question": "query", "solution": "response"}}
    return {
        "datasets": {"main_rows": {**rows, "licence": "apache-2.0"}},
        "students": {"on_ours": {"data": "main_rows"}},
    }


def command(place: Path, targets: Sequence[str], own: Sequence[Path], more: Sequence[str]) -> list[str]:
    """Snakemake's command line for an arm; `own` are overlays that come last, `more` its other arguments."""
    line = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(place)]
    line += ["--profile", str(ROOT / "profiles" / "local"), *more]
    files = [PRESET, place / "overlay.yaml", *(path.absolute() for path in own)]
    return [*line, "--configfile", *map(str, files), "--", *targets]


def run(line: Sequence[str], until: float | None) -> int | None:
    """Run Snakemake until a time (seconds of the clock), and return its status; None where the time was over."""
    over = threading.Event()
    # Of a shell without job control a background process ignores it, and so would what it starts.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A session of its own, so that a signal reaches the jobs too: at SIGTERM alone Snakemake waits for their end.
    with subprocess.Popen(line, start_new_session=True) as child:  # noqa: S603 - our own arguments

        def interrupt(*_: object) -> None:
            os.killpg(child.pid, signal.SIGINT)

        def end() -> None:
            over.set()
            interrupt()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)
        timer = threading.Timer(max(0.0, until - time.time()), end) if until else None
        if timer:
            timer.start()
        status = child.wait()
        if timer:
            timer.cancel()
    return None if over.is_set() else status


def tables(runs: Path, folder: Path) -> None:
    """Keep finished rows and what the tables are made of, and write the tables."""
    copy_rows(runs / "shared" / "progress", folder / "progress")
    evidence_tables.keep(runs, folder / "rows")
    evidence_tables.write(folder / "rows", folder)


def copy_rows(source: Path, target: Path) -> None:
    """Copy finished windows with their keys, but for what says where and when they were made."""
    for path in sorted(source.glob("*/*/*")):
        copy = target / path.relative_to(source)
        if path.is_file() and not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def main() -> int:
    """Run what is not finished, as long as there is time, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="end after so many minutes; the next start goes on")
    parser.add_argument("--runs", type=Path, default=Path("runs/evidence"), help="folder of the runs (%(default)s)")
    parser.add_argument("--to", type=Path, default=TABLES, help="folder of the tables (%(default)s)")
    parser.add_argument("--only", nargs="+", help="names of arms: run these alone")
    parser.add_argument("--configfile", nargs="+", type=Path, default=[], help="overlays on top of each arm's")
    parser.add_argument("--anew", action="store_true", help="make all rows anew, also those that are kept in --to")
    parser.add_argument("--tables", action="store_true", help="run nothing, write the tables of what there is")
    args, more = parser.parse_known_args()
    until = time.time() + 60 * args.minutes if args.minutes else None
    runs, overlays = args.runs.absolute(), arms()
    if not args.anew:
        copy_rows(args.to / "progress", runs / "shared" / "progress")
    storage = {key: str(runs / "shared" / key) for key in ("models", "progress")}
    for name, targets in pieces(overlays):
        if args.tables or (args.only and name not in args.only):
            continue
        overlay = {**overlays[name], "storage": storage, **(of_rows(args.to / "rows") if name == "again" else {})}
        write_text(runs / name / "overlay.yaml", yaml.safe_dump(overlay, sort_keys=False))
        print(f"{name}: {' '.join(targets)}", flush=True)
        status = run(command(runs / name, targets, args.configfile, more), until)
        tables(runs, args.to)
        if status is None:
            print(f"The {args.minutes:g} minutes are over; the same command goes on.")
            return 0
        if status:
            return status
    tables(runs, args.to)
    return 0


if __name__ == "__main__":
    sys.exit(main())
