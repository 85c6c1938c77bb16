"""Make the report of a run, finished or not: `make report`, or this file with Snakemake's arguments.

Of a finished run, Snakemake makes what is not there yet. Of an unfinished one, page and browser are made of what is
there, and the page lists what is missing; nothing else is run. Then `snakemake --report` packs both.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scalequest.workflow.dryrun import with_plan

ROOT = Path(__file__).resolve().parents[2]
PAGE, BROWSER, PACKED = "results/report.html", "results/browser.json", "results/report.zip"
FOLDERS = ("--results", "results", "--marks", "marks")


def main(arguments: Sequence[str]) -> int:
    """Make page, browser and the packed report; the status that it ends with."""
    here = Path.cwd()
    known: dict[str, Any] = {}

    def read(workflow: Any) -> str:
        names = workflow.globals
        known["folder"] = Path.cwd()
        known["expected"] = [
            path.replace("*", str(gpu)) for path in names["FILES"] for gpu in (names["SHARDS"] if "*" in path else [0])
        ]
        known["shards"], known["measured"] = names["SHARD_NAMES"], names["measured_places"]()
        known["report"], known["browser"] = names["report_settings"](), names["browser_settings"]()
        return ""

    with_plan(arguments, read, plan=False)
    folder = known["folder"]
    missing = [path for path in known["expected"] if path != BROWSER and not (folder / path).exists()]
    os.chdir(here)
    if missing:
        print(f"The run is not finished ({len(missing)} files are missing): the report shows what is there.")
        status = build(known, folder)
    else:
        status = subprocess.run(snakemake(arguments, BROWSER, PAGE), check=False).returncode  # noqa: S603
    if status:
        return status
    packed = [*snakemake(arguments, PAGE), "--report", str(folder / PACKED)]
    done = subprocess.run(packed, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        return done.returncode
    print(f"Report: {folder / PAGE}\nBrowser: {folder / 'results/browser/index.html'}\nBoth, packed: {folder / PACKED}")
    return 0


def snakemake(arguments: Sequence[str], *targets: str) -> list[str]:
    """Snakemake's command line for some targets."""
    return [sys.executable, "-m", "snakemake", *targets, *arguments, "--snakefile", str(ROOT / "Snakefile")]


def build(known: dict[str, Any], folder: Path) -> int:
    """Make page and browser of what is there."""
    shards = [name for name in known["shards"] if (folder / f"results/filtered/{name}.parquet").is_file()]
    measured = [name for name in known["measured"] if (folder / f"results/evaluation/{name}").is_dir()]
    browser = ["--shards", *shards, "--measured", *measured, "--folder", "results/browser", "--out", BROWSER]
    report = ["--shards", *known["shards"], "--folder", "results/report", "--out", PAGE]
    programs = [("build_report", known["report"], [*report, "--expected", *known["expected"]])]
    if shards:
        programs.insert(0, ("build_browser", known["browser"], browser))
    for name, settings, words in programs:
        line = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), "--settings", settings, *FOLDERS, *words]
        if status := subprocess.run(line, cwd=folder, check=False).returncode:  # noqa: S603
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
