"""The texts of a calibration (scripts/make_calibration.py): each seed problem whole, shuffled and cut."""

from __future__ import annotations

from scalequest.rows.tables import index_of

# What becomes of a problem, in the order of the texts' indices.
KINDS = ("whole", "shuffled", "cut")


def kind_of(name: str) -> str:
    """What a text is, by its id."""
    return KINDS[index_of(name) % len(KINDS)]
