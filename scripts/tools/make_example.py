"""Make a folder that shows a finished run, small enough for a repository: browser, report, funnel, dataset card.

    python scripts/tools/make_example.py --run runs/evidence/main --rows 500 --to example

Stops where a file has a secret, a path or a name of this machine, or where the folder is larger than --max-mb.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow.parquet as pq

from build_browser import Settings, build
from scalequest.errors import ScaleQuestError
from scalequest.publishing import browser_data
from scalequest.publishing.leaks import leaks

# Of the results: what a reader opens beside the browser. The card says the licences of models and data.
FILES = {
    **{"report.html": "report.html", "dataset/funnel.svg": "funnel.svg", "dataset/README.md": "dataset_card.md"},
    **{"dataset/pipeline.svg": "pipeline.svg", "summary.txt": "summary.txt"},
}


def index(browser: Path) -> dict[str, Any]:
    """What the run's own browser says of the run."""
    script = (browser / "data" / "index.js").read_text(encoding="utf-8")
    packed = re.fullmatch(r'scalequest\.block\("index","(.*)"\);\n', script)
    if packed is None:
        raise ScaleQuestError(f"{browser / 'data/index.js'} is not of a sample browser.")
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed[1])))
    return found


def source(results: Path, measured: list[str] | None) -> browser_data.Source:
    """The shards of a run, and what was measured in it, or those of it that are named."""
    shards = [path.relative_to(results / "filtered").with_suffix("") for path in results.glob("filtered/*/*/*.parquet")]
    grades = [path.parent.relative_to(results / "evaluation") for path in results.glob("evaluation/*/*/grades.parquet")]
    names = sorted(str(path) for path in grades if measured is None or path.parts[0] in measured)
    ordered = sorted(shards, key=lambda path: (path.parts[1], path.parts[0], int(path.name.removeprefix("gpu"))))
    options = (any(results.glob(f"{name}/*")) for name in ("topics", "verified"))
    return browser_data.Source(results, [str(path) for path in ordered], names, *options)


def make(run: Path, folder: Path, rows: int, measured: list[str] | None, max_mb: float) -> int:
    """Make the folder, and return its size in bytes. Raises ScaleQuestError as the module says."""
    results = run / "results"
    if not (results / "browser" / "data" / "index.js").is_file():
        raise ScaleQuestError(f"{results} has no browser: finish the run, or name another folder by --run.")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "browser").mkdir(parents=True)
    shown = source(results, measured)
    count = sum(pq.read_metadata(shown.table("filtered", shard)).num_rows for shard in shown.shards)
    settings = Settings(max_mb=max_mb, filters=tuple(index(results / "browser")["filters"]))
    build(shown, settings, run / "marks", folder / "browser", min(1.0, rows / count))
    for name, target in FILES.items():
        shutil.copyfile(results / name, folder / target)
    files = [(str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*")) if path.is_file()]
    if found := list(leaks(files)):
        raise ScaleQuestError("it must not be published: " + "; ".join(found))
    size = sum(path.stat().st_size for _, path in files)
    if size > max_mb * 1e6:
        raise ScaleQuestError(f"{folder} has {size / 1e6:.1f} MB, more than --max-mb {max_mb:g}: take fewer --rows.")
    return size


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, type=Path, help="folder of a finished run")
    parser.add_argument("--rows", type=int, default=500, help="questions to show at most, about (%(default)s)")
    parser.add_argument("--measured", nargs="+", help="models whose answers are shown (all)")
    parser.add_argument("--max-mb", type=float, default=5, help="size of the folder (%(default)s)")
    parser.add_argument("--to", required=True, type=Path, help="folder to make; what is there is replaced")
    args = parser.parse_args()
    try:
        size = make(args.run, args.to, args.rows, args.measured, args.max_mb)
    except ScaleQuestError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(f"{args.to}: {size / 1e6:.1f} MB; open {args.to / 'browser/index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
