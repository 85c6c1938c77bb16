"""Make the sample browser: a page that is opened from disk, with every question, kept or dropped, and every answer."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalequest.errors import ScaleQuestError
from scalequest.publishing import browser_data as data
from scalequest.publishing.marks import read_marks
from scalequest.runtime import job
from scalequest.runtime.files import CHECKOUT, write_json
from scalequest.settings import Number, read_settings

PAGE = CHECKOUT / "resources" / "browser"
# Where rows are left out, what is aimed at: their mean size is known from some of them only.
_AIM = 0.9


@dataclass(frozen=True)
class Settings:
    """`filters`: for each filter that is on, in their order, its name and its section of the config. `max_mb` limits
    the folder (megabytes of 10^6 bytes). `topics`: whether a model chose topics; `verified`: whether solvers answered.
    """

    max_mb: Number
    filters: tuple[dict[str, Any], ...]
    topics: bool = False
    verified: bool = False


def build(source: data.Source, settings: Settings, marks: Path, folder: Path, share: float = 1.0) -> dict[str, Any]:
    """Make the page in an empty folder, with at most a share of the rows, chosen by hash. Returns its record: rows
    shown of all rows, digests of the data."""
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    page = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    most = settings.max_mb * 1e6 - page
    while True:
        shutil.rmtree(folder / "data", ignore_errors=True)
        writer = data.Writer(folder / "data", most)
        try:
            counts = data.write(source, writer, share)
            index = {
                **{"counts": counts, "filters": settings.filters, "chunk": data.CHUNK},
                "cuts": data.cuts(source),
                "seed_problems": data.seed_problems(source.results / "seeds/seeds.parquet"),
            }
            writer.block("index", index, 1.0)
            break
        except data.TooLarge as large:
            share *= _AIM * large.done
            job.log.info("more than browser.max_mb: %.2f%% of the rows are shown", 100 * share)
            if share * 1e6 < 1:
                raise ScaleQuestError(
                    f"browser.max_mb is {settings.max_mb}, and not one row in a million fits: raise it."
                ) from None
    # Not among the digests: they are the reader's, and no part of the run.
    data.Writer(folder / "data").block("marks", read_marks(marks))
    shown = {kind: {"shown": entry["rows"], "of": entry["of"]} for kind, entry in counts.items()}
    return {"rows": shown, "data": writer.digests}


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--results", required=True, type=Path, help="folder of the run's results")
    parser.add_argument("--shards", required=True, nargs="+", help="shards of the questions: GENERATOR/seedSEED/gpuGPU")
    parser.add_argument("--measured", nargs="*", default=[], help="what was measured: MODEL/BENCHMARK")
    parser.add_argument("--marks", required=True, type=Path, help="folder of the readers' marks (*.jsonl)")
    parser.add_argument("--folder", required=True, type=Path, help="folder to make, with index.html")
    parser.add_argument("--out", required=True, type=Path, help="record of it to write, JSON")
    args = parser.parse_args()
    part = args.folder.with_name(f".{args.folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    settings = read_settings(Settings, args.settings)
    source = data.Source(args.results, args.shards, args.measured, settings.topics, settings.verified)
    record = build(source, settings, args.marks, part)
    shutil.rmtree(args.folder, ignore_errors=True)
    part.rename(args.folder)
    write_json(args.out, record)
    for kind, rows in record["rows"].items():
        job.log.info("%d of %d %s are shown", rows["shown"], rows["of"], kind)


if __name__ == "__main__":
    job.run(main)
