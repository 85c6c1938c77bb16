"""The length filter: nothing to answer, too little to be a problem, too much, or cut off before it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def verdict(question: str, finish_reason: str, settings: Mapping[str, Any]) -> tuple[bool, str, float]:
    """Whether to keep a question, why not (empty when kept), and its length in characters.

    `settings` is the config's `filters.length`: `min_characters` and `max_characters` (both may be met exactly) and
    `require_end`, which drops what was cut at max_tokens (`finish_reason` is `length`). A question without a letter or
    a digit is empty. The first reason that holds is given: empty, cut, too short, too long.
    """
    length = len(question.strip())
    if not any(character.isalnum() for character in question):
        reason = "empty"
    elif settings["require_end"] and finish_reason == "length":
        reason = "cut"
    elif length < settings["min_characters"]:
        reason = "too short"
    elif length > settings["max_characters"]:
        reason = "too long"
    else:
        reason = ""
    return not reason, reason, float(length)
