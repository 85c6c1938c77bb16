"""Checkpoints of a training: each is sealed once it is whole, and one that is not whole is ignored."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from scalequest.runtime.files import SEAL, is_whole, seal

log = logging.getLogger(__name__)


def seal_checkpoint(folder: Path, name: str) -> None:
    """Mark a checkpoint as whole, then remove all but it and the one before, which is kept in case this is damaged."""
    seal(folder / name)
    keep_newest(folder, 2)


def keep_newest(folder: Path, count: int) -> None:
    """Remove all but the newest sealed checkpoints."""
    kept = [path for path in _newest_first(folder) if (path / SEAL).exists()][:count]
    for other in set(_newest_first(folder)) - set(kept):
        shutil.rmtree(other, ignore_errors=True)


def _newest_first(folder: Path) -> list[Path]:
    """All checkpoints of a folder."""
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), reverse=True)


def last_checkpoint(folder: Path, section: str) -> str | None:
    """Path of a folder's latest whole checkpoint, None where there is none; one process looks it up for all."""
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    found: list[str | None] = [None]
    if PartialState().is_main_process:
        for checkpoint in _newest_first(folder):
            if is_whole(checkpoint):
                log.info("%s: resuming from %s", section, checkpoint.name)
                found = [str(checkpoint)]
                break
            log.warning("%s: %s is not whole and is ignored", section, checkpoint)
    return broadcast_object_list(found)[0]
