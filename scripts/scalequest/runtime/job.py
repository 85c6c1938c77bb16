"""How every stage script begins and ends: arguments, settings, environment, log lines, errors.

A stage script is a plain program; Snakemake calls it with its settings as one canonical JSON string.
"""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from scalequest.environment import go_offline
from scalequest.errors import ScaleQuestError
from scalequest.runtime import stopping
from scalequest.runtime.printable import log_handler

log = logging.getLogger("scalequest")
# Set where a terminal shows a line for each rule in place of the jobs' own (workflow/terminal.py).
BRIEF = "SCALEQUEST_BRIEF"
# Manifests name a model's folder by its path.
_MOVE = "(`make gc` says what can go), or move storage.models and storage.progress and leave a link in each old place."
_NO_FOLDER = "A plain file lies where a folder is needed: move it away, or write elsewhere (--directory, storage)."
# Troubles with a disk that are nobody's bug, and what to do.
_DISK = {
    errno.ENOSPC: f"Free some space {_MOVE}",
    errno.EDQUOT: f"Free some of your quota {_MOVE}",
    errno.EROFS: "The file system is read-only: write elsewhere (--directory, storage.models, storage.progress).",
    errno.EACCES: "See to the permissions, or write elsewhere (--directory, storage.models, storage.progress).",
    errno.ENOTDIR: _NO_FOLDER,
    errno.EEXIST: _NO_FOLDER,
    errno.EIO: "The disk or the network file system fails: see to it, then start again.",
    errno.ESTALE: "The network file system lost the file: start again.",
}


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser with what every stage has: --settings and --log."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    result.add_argument(
        "--settings", required=True, type=_settings, help="the stage's settings, JSON text or @file with such text"
    )
    result.add_argument(
        "--log", action=_LogTo, help="file to which all output is added; our own lines are shown as well"
    )
    return result


def run(main: Callable[[], None], *, offline: bool = True) -> None:
    """Run a script's main, log lines on stderr. A ScaleQuestError ends it as one sentence and status 1, and so does a
    disk that is full or read-only; a Stop (a signal, a time limit, another job) ends it with its own status.

    Only the staging scripts, which run on the login node, pass `offline=False`.
    """
    logging.basicConfig(level=logging.INFO, handlers=[log_handler(sys.stderr)])
    logging.captureWarnings(True)
    if offline:
        go_offline()
    stopping.begin()
    stopping.listen()
    try:
        main()
    except ScaleQuestError as error:
        log.error("error: %s", error)
        sys.exit(1)
    except stopping.Stop as stop:
        log.warning("stopped: %s. What is finished is kept, and the next run goes on from there.", stop.why)
        raise
    except OSError as error:
        if error.errno not in _DISK:
            log.exception("crashed: %s: %s", type(error).__name__, error)
            sys.exit(1)
        where = error.filename or "the disk"
        log.error(
            "error: %s: %s. %s What is finished is kept, and the next run goes on from there.",
            *(where, error.strerror, _DISK[error.errno]),
        )
        sys.exit(1)
    except Exception as error:
        log.exception("crashed: %s: %s", type(error).__name__, error)
        sys.exit(1)


class _LogTo(argparse.Action):
    """Send the process's output, libraries and native code included, to a file; our own log lines to both."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        path = Path(values)
        # Snakemake removes a job's log before the next attempt: what it knows is a link to what it does not.
        kept = path.parent / "attempts" / path.name
        setattr(namespace, self.dest, path)
        # No job fails for its log: where the file cannot be made, all is said on stderr.
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        except OSError as error:
            log.warning("there is no log file, as %s cannot be written (%s)", kept, error.strerror)
            return
        terminal = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
        with suppress(OSError):
            if not path.is_symlink():
                path.unlink(missing_ok=True)
                path.symlink_to(kept.relative_to(path.parent))
            os.write(handle, f"{_attempt()}\n".encode())
        for stream in (1, 2):
            os.dup2(handle, stream)
        os.close(handle)
        shown = log_handler(terminal)
        ours = {"scalequest", "__main__", Path(sys.argv[0]).stem}
        shown.addFilter(lambda record: record.name.partition(".")[0] in ours)
        if os.environ.get(BRIEF):
            # Snakemake's process says why a job has failed.
            shown.addFilter(lambda record: record.levelno == logging.WARNING)
        logging.getLogger().addHandler(shown)


def _attempt() -> str:
    """A line that parts an attempt's output from that of the one before."""
    number = os.environ.get("SLURM_JOB_ID")
    slurm = f", SLURM job {number}" if number else ""
    return f"---- {time.strftime('%Y-%m-%d %H:%M:%S')}, process {os.getpid()} on {socket.gethostname()}{slurm} ----"


class Progress:
    """A log line with rows done, rate and time left, at most one in `every` seconds and one at the end."""

    def __init__(self, what: str, every: float = 10.0):
        self.what, self.every = what, every
        self.start = self.last = time.monotonic()
        self.tokens = 0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last < self.every and done < total:
            return
        self.last = now
        seconds = max(now - self.start, 1e-9)
        left = seconds / max(done, 1) * (total - done)
        tokens = f", {self.tokens / seconds:.0f} tokens/s" if self.tokens else ""
        log.info(
            "%s: %d of %d rows, %.1f rows/s%s, %.0f s left", *(self.what, done, total, done / seconds, tokens, left)
        )


def _settings(text: str) -> dict[str, Any]:
    if text.startswith("@"):
        text = Path(text[1:]).read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
