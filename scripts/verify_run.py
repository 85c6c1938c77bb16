"""Compare a finished run with the checksums of another: which files differ, are missing, are extra."""

from __future__ import annotations

import logging
from pathlib import Path

from scalequest.errors import ScaleQuestError
from scalequest.publishing import checksums
from scalequest.runtime import job
from scalequest.runtime.operation import operation

log = logging.getLogger("scalequest.verify_run")
CONFIG = "results/config.json"


def checksums_of(against: str | None) -> Path:
    """The checksums file that `operation.verify_against` names, itself or by the folder of its run.

    Raises ScaleQuestError where the config names none.
    """
    if against is None:
        raise ScaleQuestError(
            "operation.verify_against is null: name the other run's folder or its checksums file in an overlay "
            "(operation: {verify_against: PATH}), and give that with --configfile OVERLAY."
        )
    path = Path(against).expanduser()
    return path / "results" / "checksums.txt" if path.is_dir() else path


def verdict(found: checksums.Comparison, other: Path) -> str:
    """The one sentence on a run that differs."""
    counts = {"differ": found.differing, "are missing": found.missing, "are extra": found.extra}
    told = ", ".join(f"{len(paths)} {what}" for what, paths in counts.items() if paths)
    if any(path.endswith(CONFIG) for path in found.differing):
        why = "The two runs have different configs."
    elif found.same_rows and not found.missing and not found.extra:
        why = "All rows of all tables are equal: only the card, manifests or the encoding of files differ."
    else:
        why = "docs/explanation/reproducibility.md says what may be expected."
    return f"this run is not equal to {other}: {told} (listed above). {why}"


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--checksums", required=True, type=Path, help="checksums of this run")
    args = parser.parse_args()
    other = checksums_of(operation()["verify_against"])
    mine, theirs = checksums.read(args.checksums), checksums.read(other)
    found = checksums.compare(mine, theirs)
    if found.resharded:
        log.info("the shards are others: rows are compared, not the files of single shards nor the card")
    for what, paths in (("differs", found.differing), ("missing", found.missing), ("extra", found.extra)):
        for path in paths:
            log.info("%s: %s", what, path)
    if not found.equal:
        raise ScaleQuestError(verdict(found, other))
    log.info("equal to %s, all %d digests", other, len(mine))


if __name__ == "__main__":
    job.run(main)
