"""Whether training data and a benchmark have rows of the same source, as far as config and files tell.

The names of datasets do not tell it: one file may be in the config under two names. Texts are compared later, when both
data sets were fetched (rules compare_seeds and count_overlap).
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from scalequest.errors import ScaleQuestError
from scalequest.llm.sources import HubSource, hub_source, source_files
from scalequest.runtime.files import find_path

# In this order: where two conditions must hold, the lower answer is the answer.
NO, PERHAPS, YES = range(3)

Place = HubSource | frozenset[Any]


class Shared(NamedTuple):
    """A dataset that is trained on, the setting that names it, and a benchmark that has the same rows (YES) or may have
    some of them (PERHAPS)."""

    setting: str
    dataset: str
    benchmark: str
    certainty: int


def shared_rows(config: Mapping[str, Any]) -> Iterator[Shared]:
    """All pairs of a dataset that is trained on and a benchmark that may have rows in common."""
    learnt = [("use.seeds", name) for name in config["use"]["seeds"]]
    learnt += [(f"students.{name}.data", student["data"]) for name, student in config["students"].items()]
    # Each folder is read once.
    find = functools.cache(_place)
    for setting, name in learnt:
        for benchmark in config["use"]["benchmarks"]:
            one, two = (config["datasets"].get(which, {}) for which in (name, benchmark))
            certainty = YES if name == benchmark else _certainty(one, two, find)
            if certainty != NO:
                yield Shared(setting, name, benchmark, certainty)


def _certainty(one: Mapping[str, Any], two: Mapping[str, Any], find: Callable[[str], Place]) -> int:
    if "source" not in one or "source" not in two:
        return NO
    chosen = _same_choice(one.get("where", {}), two.get("where", {}))
    return min(chosen, _same_files(find(one["source"]), find(two["source"]))) if chosen else NO


def _same_choice(one: Mapping[str, Any], two: Mapping[str, Any]) -> int:
    """Whether two `where` choose the same rows: NO where a field must have different values, YES where one of them has
    all conditions of the other."""
    common = one.keys() & two.keys()
    if any(one[key] != two[key] for key in common):
        return NO
    return YES if len(common) == min(len(one), len(two)) else PERHAPS


def _place(source: str) -> Place:
    """What a source is compared by: its repository, or its files on disk with links resolved."""
    try:
        if source.startswith("hf:"):
            return hub_source(source)
        if source.startswith("path:"):
            files = [file.stat() for file in source_files(find_path(source.removeprefix("path:")))]
            return frozenset((file.st_dev, file.st_ino) for file in files)
    except (ScaleQuestError, OSError, ValueError, RuntimeError):
        # A missing or malformed path is reported elsewhere.
        pass
    return frozenset([source])


def _same_files(one: Place, two: Place) -> int:
    if isinstance(one, HubSource) and isinstance(two, HubSource):
        # Revisions are ignored, because most rows stay the same from one to the next.
        same = one.repository.lower() == two.repository.lower()
        return same_names(_pattern(one), _pattern(two)) if same else NO
    if isinstance(one, HubSource) or isinstance(two, HubSource):
        return NO
    return YES if one & two else NO


def _pattern(source: HubSource) -> str:
    # As the hub's client has it.
    files = source.files or "*"
    return files + "*" if files.endswith("/") else files


def same_names(one: str, two: str) -> int:
    """Whether two patterns name the same files: YES where one covers the other, as `data/*` covers `data/test-*`."""
    if fnmatch.fnmatchcase(one, two) or fnmatch.fnmatchcase(two, one):
        return YES
    return PERHAPS if _can_meet(one, two) else NO


def _can_meet(one: str, two: str) -> bool:
    """Whether some name matches both patterns; a set of characters in brackets counts as any character."""
    one, two = (re.sub(r"\[.[^]]*\]", "?", pattern) for pattern in (one, two))
    todo, seen = [(0, 0)], set[tuple[int, int]]()
    while todo:
        i, j = at = todo.pop()
        if at in seen:
            continue
        seen.add(at)
        a, b = one[i : i + 1], two[j : j + 1]
        if not a and not b:
            return True
        if a == "*" or b == "*":
            # The star ends here, or takes a character of the other.
            todo += [(i + 1, j)] * bool(a) + [(i, j + 1)] * bool(b)
        elif a and b and (a == b or "?" in (a, b)):
            todo.append((i + 1, j + 1))
    return False
