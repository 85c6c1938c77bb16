"""The length filter: nothing to answer, too little to be a problem, too much, or cut off before it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scalequest.filters.base import Verdict


@dataclass(frozen=True)
class Settings:
    """Both limits may be met exactly; `require_end` drops what was cut at max_tokens."""

    min_characters: int
    max_characters: int
    require_end: bool


def verdict(question: Mapping[str, Any], settings: Settings) -> Verdict:
    """The number is the length in characters. The first reason that holds is given: empty (no letter and no digit),
    cut, too short, too long."""
    text = question["question"]
    length = len(text.strip())
    if not any(character.isalnum() for character in text):
        reason = "empty"
    elif settings.require_end and question["finish_reason"] == "length":
        reason = "cut"
    elif length < settings.min_characters:
        reason = f"too short: {length} characters, below {settings.min_characters}"
    elif length > settings.max_characters:
        reason = f"too long: {length} characters, above {settings.max_characters}"
    else:
        reason = ""
    return Verdict(not reason, reason, float(length))
