"""Times of files that lie in the future, as a machine leaves them whose clock is ahead.

Snakemake takes a job for failed whose output is older than an input, and removes the output: until the clock had
caught up, nothing could be made of such files.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path


def pull_back(folder: Path) -> int:
    """Set the times of files below a folder that lie in the future to now, and return how many these were.

    They stay in their order, a microsecond apart, so that what has to run again is the same as before. A file of
    somebody else, whose time cannot be set, is left as it is.
    """
    now = time.time_ns()
    ahead: dict[Path, int] = {}
    for place, _, names in os.walk(folder):
        for name in names:
            file = Path(place, name)
            # A job that was left behind may remove files of its own.
            with suppress(FileNotFoundError):
                if (changed := file.lstat().st_mtime_ns) > now:
                    ahead[file] = changed
    order = {changed: number for number, changed in enumerate(sorted(set(ahead.values())), 1)}
    count = 0
    for file, changed in ahead.items():
        with suppress(OSError):
            os.utime(file, ns=(now + 1000 * order[changed],) * 2, follow_symlinks=False)
            count += 1
    return count
