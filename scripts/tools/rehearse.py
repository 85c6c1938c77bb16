"""Rehearse a run: `make rehearse`, or this file with Snakemake's arguments.

Every stage runs on the run's own models with a few rows, in the folder `rehearsal`, and shares the staged models with
the run. It ends with a page of what was found, and with status 1 where something failed. With -n it is only planned.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from scalequest.runtime.files import write_json, write_text
from scalequest.runtime.printable import printable
from scalequest.workflow.dryrun import with_plan
from scalequest.workflow.rehearsal import FOLDER, RECORD, check_server, loaded, overlay, rehearsed
from scalequest.workflow.rehearsal_findings import Findings, find
from scalequest.workflow.rehearsal_page import page

SNAKEFILE = Path(__file__).resolve().parents[2] / "Snakefile"
OVERLAY, PAGE = "overlay.yaml", "rehearsal.txt"


def main(arguments: Sequence[str]) -> int:
    """Run the rehearsal, and return the status that it ends with."""
    # Paths of the arguments are seen from here, and the workflow goes to the run's folder.
    here, known = Path.cwd(), {}

    def read(workflow: Any) -> str:
        known["config"], known["folder"] = workflow.globals["CONFIG"], Path.cwd()
        check_server(known["config"])
        return ""

    with_plan(arguments, read, plan=False)
    os.chdir(here)
    config, folder = known["config"], known["folder"]
    place = folder / FOLDER
    write_text(place / OVERLAY, yaml.safe_dump(overlay(config, folder), sort_keys=False, allow_unicode=True))
    begun = time.time()
    status = run(command(arguments, place))
    if planned_only(arguments):
        return status
    os.chdir(place)
    smaller = rehearsed(config, folder)
    found = find(smaller, Path(), begun, status)
    text = printable(page(found))
    write_text(PAGE, text + "\n")
    write_json(RECORD, record(config, found))
    print(f"\n{text}\n\nThis page is {place / PAGE}.")
    return 1 if found.errors or (found.warnings and config["rehearsal"]["strict"]) else 0


def run(line: Sequence[str]) -> int:
    """Run Snakemake to its end, and return its status. Signals that end a run reach it, and it ends its jobs."""
    with subprocess.Popen(line) as child:  # noqa: S603 - our own arguments
        # The terminal sends Ctrl-C to both.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        return child.wait()


def parsed(arguments: Sequence[str]) -> Any:
    """Snakemake's reading of its arguments."""
    from snakemake import cli

    return cli.parse_args(list(arguments))[1]


def planned_only(arguments: Sequence[str]) -> bool:
    """Whether the arguments ask for a plan alone (-n)."""
    return bool(parsed(arguments).dryrun)


def command(arguments: Sequence[str], place: Path) -> list[str]:
    """Snakemake's command line: the run's own, with the rehearsal's folder, target and overlay behind."""
    files = [str(Path(path).absolute()) for path in parsed(arguments).configfile or ()]
    line = [sys.executable, "-m", "snakemake", "rehearsed", *arguments, "--snakefile", str(SNAKEFILE)]
    # One that fails does not stop the others, so that one rehearsal finds as much as it can.
    line += ["--directory", str(place), "--keep-going", "--rerun-incomplete"]
    return [*line, "--configfile", *files, str(place / OVERLAY)]


def record(config: Any, found: Findings) -> dict[str, Any]:
    """What later plans read of a rehearsal. Sources are those of the run's own config, whose paths the plan knows."""
    kept = ("what", "model", "rows_per_hour", "seconds")
    measured = [
        {
            **{key: row[key] for key in kept},
            **{"gpus": row.get("gpus", 0), "engine": loaded(row["engine"]) if "engine" in row else None},
        }
        for row in [*found.engines, *found.trainings]
        if "rows_per_hour" in row
    ]
    return {
        **{"errors": found.errors, "warnings": found.warnings, "measured": measured},
        "models": {model["name"]: config["models"][model["name"]]["source"] for model in found.models},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
