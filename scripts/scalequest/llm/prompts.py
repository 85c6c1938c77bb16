"""Prompts: text files with named places that a row's text fills.

Text from a model goes into a prompt by literal replacement in one pass: its braces mean nothing, and a question that
says `{response}` keeps saying so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scalequest.errors import ScaleQuestError
from scalequest.runtime.files import read_text

# `\boxed{}` is no place: a place has a name.
_PLACE = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Prompts:
    """The prompts of a folder, by name."""

    folder: Path

    @cache  # noqa: B019 - a few short texts, for the process
    def load(self, name: str) -> str:
        """The text of {name}.txt (or .jsonl: examples), without white space at its ends.

        Raises ScaleQuestError naming the file that is missing, empty or not UTF-8.
        """
        examples = self.folder / f"{name}.jsonl"
        path = examples if examples.exists() else self.folder / f"{name}.txt"
        text = read_text(path, "the prompt").strip()
        if not text:
            raise ScaleQuestError(f"the prompt {path} is empty.")
        return text

    def texts(self, names: Iterable[str]) -> dict[str, str]:
        """Some prompts, by name."""
        return {name: self.load(name) for name in names}


def fill(template: str, **fields: str) -> str:
    """The template with each `{name}` replaced by that field's text, which itself is never expanded.

    Raises ScaleQuestError if the template has a place without a field, or a field has no place.
    """
    places = set(_PLACE.findall(template))
    if places != set(fields):
        raise ScaleQuestError(
            f"the prompt that begins {template[:60]!r} has the places {sorted(places)}, and is filled with "
            f"{sorted(fields)}: the two must be the same."
        )
    return _PLACE.sub(lambda place: fields[place.group(1)], template)
