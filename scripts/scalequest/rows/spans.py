"""Which rows are a shard's. Nothing heavy is imported here, as the Snakefile asks how large shards are."""

from __future__ import annotations


def span(count: int, number: int, of: int, window: int) -> range:
    """Indices of shard `number` (from 0) of so many: whole windows, as even as they can be dealt out."""
    windows = -(-count // window)
    first, last = (min(windows * n // of * window, count) for n in (number, number + 1))
    return range(first, last)
