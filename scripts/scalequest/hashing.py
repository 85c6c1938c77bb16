"""Canonical JSON, digests and row seeds: the identities on which restarts and resharding rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON text that is equal exactly when the values are: sorted keys, no spaces, no NaN.

    Raises ValueError for NaN and infinities, TypeError for what JSON has no word for.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(*parts: Any) -> str:
    """SHA-256 (64 hex digits) of the parts' canonical JSON."""
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


def row_seed(*parts: Any) -> int:
    """A 63-bit sampling seed, a hash of what the row is: the same on any machine, in any shard, after any restart.

    Hashed, not counted up, because engines derive further seeds by adding small numbers to the one that they get.
    """
    return int(digest(*parts)[:16], 16) >> 1


def drawn(ids: Sequence[str], count: int, seed: int, purpose: str) -> set[str]:
    """`count` of the ids, drawn by hash: adding a row to the table moves few others in or out."""
    return set(sorted(ids, key=lambda name: digest(purpose, seed, name))[:count])


def file_sha256(path: str | Path) -> str:
    """SHA-256 (64 hex digits) of a file's bytes."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
