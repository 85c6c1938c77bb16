"""List stored work that no result depends on, and the room that it takes; remove it on request.

Nothing else in the workflow deletes finished work. What may go: stored rows and trained or staged weights that no
result of a known working folder names and that no job has touched for some days; damaged parts that were set aside;
files that a killed job left half-written. Records of attempts stay, as they count the hours, and so do the answers of
a rewriting server, which were paid for. Run it where Snakemake runs (`make gc`, `make gc DELETE=yes`).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pyarrow as pa
import pyarrow.parquet as pq

from scalequest.errors import ScaleQuestError
from scalequest.rows.tables import made_in
from scalequest.runtime import job, lease, records
from scalequest.runtime.printable import printable
from scalequest.training.launch import RESULT

ROWS = "rows on which no result rests"
CORRUPT = "damaged parts that were set aside"
LEFT = "half-written files"
WEIGHTS = "trained weights that no manifest names"
STAGED = "staged models that no manifest names"
LEFTOVERS = "work folders of finished trainings"
CHECKPOINTS = "checkpoints of trainings that never ended"
_DAY = 86400.0
# Results of these tables were made in a store; an older release did not note in which.
_STORED = {b"questions", b"judgements", b"scores", b"attempts", b"rewards", b"rewrites"}
_TEMPORARY = re.compile(r"\..+\.(part|new|old)")
_TRAINING = re.compile(r"\.([0-9a-f]{16})\.training")


@dataclass(frozen=True)
class Item:
    """Something that can go: a file, or a folder with all that is in it; `size` in bytes."""

    kind: str
    path: Path
    size: int


@dataclass
class Uses:
    """What is in use: names of stores, folders of weights; `unseen` are working folders that were moved or are not
    visible here, with the stores and weights that their jobs worked at; `damaged` are records that name no folder, with
    what they are of."""

    stores: set[str] = field(default_factory=set)
    weights: set[Path] = field(default_factory=set)
    folders: set[Path] = field(default_factory=set)
    unseen: dict[str, set[str]] = field(default_factory=dict)
    damaged: dict[Path, str] = field(default_factory=dict)

    @property
    def kept_for_unseen(self) -> set[str]:
        """Names of stores and of trainings (`STAGE/KEY`, `NAME/KEY`) that folders may rest on which are not known."""
        return {*self.damaged.values(), *(name for names in self.unseen.values() for name in names)}


# ---------------------------------------------------------------- what is in use


def find_uses(roots: Sequence[Path], more: Iterable[Path], forget: Iterable[Path]) -> Uses:
    """What the results of this folder, of `more`, and of all folders in the attempts' records rest on.

    `forget` are working folders that are known to be gone. Raises ScaleQuestError for a run that is
    under way, and for a result that does not tell what it rests on.
    """
    uses = Uses(folders={Path.cwd(), *(path.resolve() for path in more)})
    gone = {path.absolute() for path in forget}
    for path in [path for root in roots for path in sorted(root.glob("**/attempts/*.json"))]:
        if (record := records.read(path)) is None:
            uses.damaged[path] = _unit(path)
            continue
        if _may_live(path, record):
            raise ScaleQuestError(
                f"process {record['process']} on {record['host']} may be at work ({path}): wait for it to end. If it "
                "is gone, its record counts for nothing an hour after its last sign of life."
            )
        folder = Path(record["directory"])
        if folder.is_dir():
            uses.folders.add(folder)
        # It may be on another machine, or moved: its results rest on the same work.
        elif folder not in gone:
            uses.unseen.setdefault(str(folder), set()).add(_unit(path))
    for folder in uses.folders:
        if locks := [*folder.glob(".snakemake/locks/*")]:
            raise ScaleQuestError(
                f"Snakemake is running in {folder} ({locks[0].name}): wait for it to end. If it was killed, "
                f"`snakemake --unlock --directory {folder}` says so to Snakemake."
            )
        uses.stores.update(_stores_named(folder))
        uses.weights.update(_weights_named(folder))
    return uses


def _json(path: Path) -> Mapping[str, Any]:
    """A JSON file's map; an empty one for what is none, or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return {}
    return value if isinstance(value, Mapping) else {}


def _unit(path: Path) -> str:
    """What an attempt worked at, by the path of its record: `STAGE/KEY` of a store, or `NAME/KEY` of a training."""
    folder = path.parent.parent
    is_store = (folder / "key.json").exists()
    return f"{folder.parent.name}/{folder.name}" if is_store else f"{folder.name}/{path.name.rsplit('.', 2)[0]}"


def _may_live(path: Path, record: records.Record) -> bool:
    if record["state"] not in (records.WAITING, records.RUNNING):
        return False
    known = lease.known_alive(record)
    # Of a process elsewhere only the file tells; a time in the future does not say that it is long ago.
    return _age(path) < _DAY / 24 if known is None else known


def _results(folder: Path, pattern: str) -> list[Path]:
    """Files of a working folder's results, without those that are half-written, or in a folder that is."""
    found = [(path, results) for results in _results_of(folder) for path in sorted(results.rglob(pattern))]
    return [path for path, results in found if not any(p.startswith(".") for p in path.relative_to(results).parts)]


def _results_of(folder: Path) -> Iterator[Path]:
    """A working folder's `results`, and each `PREFIX/results` of a workflow that imports this one as a module."""
    yield folder / "results"
    for place, folders, _ in os.walk(folder):
        here = Path(place)
        # Results have the manifests of their models; a folder with a .snakemake is a working folder of its own.
        if here != folder and (here / "results" / "models").is_dir() and not (here / ".snakemake").is_dir():
            yield here / "results"
        folders[:] = [name for name in folders if not name.startswith(".") and name != "results"]


def _stores_named(folder: Path) -> Iterator[str]:
    for path in _results(folder, "*.parquet"):
        try:
            stores, table = made_in(path), (pq.read_schema(path).metadata or {}).get(b"scalequest.table")
        except (OSError, pa.ArrowException) as error:
            raise ScaleQuestError(f"{path} cannot be read ({error}): remove it, and run the workflow again.") from None
        yield from stores
        if not stores and table in _STORED:
            raise ScaleQuestError(
                f"{path} does not say in which store its rows are, as an older release made it: run the workflow "
                "again, or remove the file if no run makes it any more."
            )


def _weights_named(folder: Path) -> Iterator[Path]:
    for path in _results(folder, "*.json"):
        entry = _json(path)
        if "folder" in entry and "files" in entry:
            yield (folder / str(entry["folder"])).resolve()


# ---------------------------------------------------------------- what can go


def garbage(progress: Path, models: Path, uses: Uses, days: float) -> list[Item]:
    """Everything that can go, nothing twice. Symbolic links are neither followed nor removed."""
    items = [item for root in (progress, models, Path("results")) for item in _left_over(root)]
    items += _rows(progress, uses, days)
    items += _weights(models, uses, days)
    return sorted({item.path: item for item in items}.values(), key=lambda item: (item.kind, item.path))


def _left_over(root: Path) -> Iterator[Item]:
    """Temporary files and folders older than a day, and parts that were set aside."""
    for place, folders, files in os.walk(root):
        here = Path(place)
        temporary = [name for name in folders if _TEMPORARY.fullmatch(name) or name.endswith(".part")]
        for name in [*temporary, *(name for name in files if _TEMPORARY.fullmatch(name))]:
            if not (here / name).is_symlink() and _age(here / name) >= _DAY:
                yield _item(LEFT, here / name)
        yield from (_item(CORRUPT, here / name) for name in files if name.endswith(".corrupt"))
        # What lies in a temporary folder goes with it; a training knows what of its work folder is whole.
        folders[:] = [name for name in folders if name not in temporary and not _TRAINING.fullmatch(name)]


def _rows(progress: Path, uses: Uses, days: float) -> Iterator[Item]:
    for key in sorted(progress.glob("*/*/key.json")):
        store = key.parent
        name = f"{store.parent.name}/{store.name}"
        if store.is_symlink() or store.parent.is_symlink() or name in uses.stores | uses.kept_for_unseen:
            continue
        if _age(store) >= days * _DAY:
            yield from (_item(ROWS, path) for path in sorted(store.glob("*.parquet")) if not path.is_symlink())


def _weights(models: Path, uses: Uses, days: float) -> Iterator[Item]:
    for place, folders, _ in os.walk(models):
        here = Path(place)
        for name in list(folders):
            folder = here / name
            kind = _kind_of_weights(folder, models)
            if kind is None:
                continue
            # Weights hold no other weights.
            folders.remove(name)
            unit = f"{here.name}/{name.removeprefix('.').removesuffix('.training')}"
            used = folder.resolve() in uses.weights or unit in uses.kept_for_unseen
            if not used and not folder.is_symlink() and _age(folder) >= (1 if kind == LEFTOVERS else days) * _DAY:
                yield _item(kind, folder)


def _kind_of_weights(folder: Path, models: Path) -> str | None:
    if training := _TRAINING.fullmatch(folder.name):
        return LEFTOVERS if (folder.with_name(training[1]) / RESULT).exists() else CHECKPOINTS
    if _TEMPORARY.fullmatch(folder.name) or folder.name.endswith(".part"):
        return None
    if folder.parent == models / "staged":
        return None if folder.name == "attempts" else STAGED
    return WEIGHTS if (folder / RESULT).exists() else None


def _age(path: Path) -> float:
    """Seconds since anything in it was last written; negative for a time in the future."""
    return time.time() - max((file.lstat().st_mtime for file in _files(path)), default=path.lstat().st_mtime)


def _item(kind: str, path: Path) -> Item:
    return Item(kind, path, sum(file.lstat().st_size for file in _files(path)))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return [Path(place) / name for place, _, names in os.walk(path) for name in names]


# ---------------------------------------------------------------- saying and doing


def report(items: Sequence[Item], uses: Uses, roots: Sequence[Path]) -> str:
    """Where it looked, and what can go, by kind with its bytes, largest first; what is kept for unseen folders."""
    lines = [f"Looked in {root}{'' if root.is_dir() else ', which is not there'}" for root in roots]
    lines += [f"Kept what the results of {folder} rest on" for folder in sorted(uses.folders)]
    for kind in sorted({item.kind for item in items}, key=lambda kind: -_total(items, kind)):
        lines.append(f"{_total(items, kind):>16,} bytes  {kind}")
        groups: dict[Path, list[Item]] = {}
        for item in items:
            if item.kind == kind:
                groups.setdefault(_place(item), []).append(item)
        lines += [f"{sum(i.size for i in found):>16,}          {place}" for place, found in groups.items()]
    for folder, names in sorted(uses.unseen.items()):
        lines.append(
            f"Kept for {folder}, which is not visible here: {len(names)} stores or models. If it is gone: --forget "
            f"{folder}; if it was moved, then also --folder NEW_PLACE"
        )
    lines += [
        f"Kept {name}, as the record {path} is damaged and names no folder. If nothing rests on it, remove that record"
        for path, name in sorted(uses.damaged.items())
    ]
    lines.append(f"{sum(item.size for item in items):>16,} bytes in all")
    # Paths come from disks and records that others write to.
    return "\n".join(printable(line, breaks=False) for line in lines)


def _place(item: Item) -> Path:
    return item.path.parent if item.path.is_file() else item.path


def _total(items: Sequence[Item], kind: str) -> int:
    return sum(item.size for item in items if item.kind == kind)


def clean(items: Sequence[Item], look: Callable[[], Iterable[Item]]) -> None:
    """Remove what was listed and can still go, and say how much: `look` lists anew before each place.

    Raises what `look` raises, as for a run that has started since.
    """
    freed = 0
    try:
        for _, there in groupby(items, _place):
            still = {item.path for item in look()}
            for item in there:
                if item.path in still:
                    remove(item)
                    freed += item.size
    finally:
        print(f"{freed:>16,} bytes removed")


def remove(item: Item) -> None:
    """Remove a file or a folder. Half a folder of weights is never left under a name that a job would trust."""
    if not item.path.is_dir():
        item.path.unlink(missing_ok=True)
        return
    doomed = item.path
    if not _TEMPORARY.fullmatch(doomed.name):
        doomed = doomed.rename(doomed.with_name(f".{doomed.name}.old"))
    shutil.rmtree(doomed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--progress", type=Path, default=Path("progress"), help="the config's storage.progress")
    parser.add_argument("--models", type=Path, default=Path("models"), help="the config's storage.models")
    parser.add_argument("--days", type=float, default=7.0, help="what was written since is kept (7)")
    parser.add_argument("--folder", type=Path, nargs="*", default=[], help="further working folders that share these")
    parser.add_argument("--forget", type=Path, nargs="*", default=[], help="working folders that are gone")
    parser.add_argument("--delete", action="store_true", help="remove what is listed")
    args = parser.parse_args()
    for option, folders in (("progress", [args.progress]), ("models", [args.models]), ("folder", args.folder)):
        for folder in folders:
            # A run that has made nothing yet has neither of the two that are looked for unasked.
            if not folder.is_dir() and folder != parser.get_default(option):
                raise ScaleQuestError(f"--{option} {folder}: there is no such folder. Nothing was looked at.")
    roots = progress, models = args.progress.resolve(), args.models.resolve()

    def look() -> tuple[Uses, list[Item]]:
        uses = find_uses(roots, args.folder, args.forget)
        return uses, garbage(progress, models, uses, args.days)

    uses, items = look()
    print(report(items, uses, roots))
    if args.delete:
        clean(items, lambda: look()[1])
    elif items:
        print("Nothing was removed. To remove it: make gc DELETE=yes")


if __name__ == "__main__":
    job.run(main)
