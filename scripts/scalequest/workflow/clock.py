"""Files with times in the future, which a machine leaves whose clock is ahead.

If a job's output is older than an input, Snakemake takes the job for failed and removes the output. So nothing can be
made from such a file until the clock has caught up.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from scalequest.errors import ScaleQuestError

# Seconds. Clocks of a cluster's machines differ by less, so a run waits that long.
PATIENCE = 10.0
_SHOWN = 5
# One time for all files, so that none is older than a file that it was made from.
_REMEDY = 'now=$(date +"%F %T"); find {folder} -newermt "$now" -exec touch --no-dereference --date "$now" {{}} +'


def refuse_future(folder: Path) -> None:
    """Wait for files below a folder that lie up to PATIENCE seconds in the future.

    Raises ScaleQuestError for files that lie further ahead, with the command that corrects their times.
    """
    ahead = _ahead(folder)
    if not ahead:
        return
    seconds = max(ahead.values()) - time.time()
    if seconds <= PATIENCE:
        time.sleep(max(seconds, 0.0))
        return
    names = ", ".join(map(str, sorted(ahead)[:_SHOWN])) + (", ..." if len(ahead) > _SHOWN else "")
    raise ScaleQuestError(
        f"{len(ahead)} of the files below {folder}/ have times in the future, up to {seconds:.0f} s ahead of the clock "
        f"here ({names}). Snakemake would remove what is made from them. Check the clocks of the machines that wrote "
        "them, then set their times to now and start again; this reruns nothing:\n" + _REMEDY.format(folder=folder)
    )


def _ahead(folder: Path) -> dict[Path, float]:
    """Files below a folder whose times lie in the future, with their times in seconds of the epoch."""
    now, found = time.time(), dict[Path, float]()
    for place, _, names in os.walk(folder):
        for file in (Path(place, name) for name in names):
            # A job that was left behind may remove files of its own.
            with suppress(FileNotFoundError):
                if (changed := file.lstat().st_mtime) > now:
                    found[file] = changed
    return found
