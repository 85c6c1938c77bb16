"""The questions of a shard that have a selected response, and which of several stands for the answer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scalequest.rows.tables import CANDIDATES, iterate

Row = dict[str, Any]


def questions_with_selection(candidates: Path) -> Iterator[tuple[str, list[Row]]]:
    """Id of each question of which a response is selected, and its rows of CANDIDATES in order of sample."""
    for name, own in itertools.groupby(iterate(candidates, CANDIDATES), key=lambda row: row["id"]):
        responses = list(own)
        if any(row["selected"] for row in responses):
            yield name, responses


def best(responses: Sequence[Row]) -> int:
    """Position of the selected response of the highest reward, or the first where nothing scored them."""
    selected = [place for place, row in enumerate(responses) if row["selected"]]
    return max(selected, key=lambda i: -math.inf if (reward := responses[i]["reward"]) is None else reward)
