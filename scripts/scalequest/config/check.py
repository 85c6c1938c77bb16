"""Checks of the config before any job starts: first each value by the schema, then values against each other.

All problems are reported at once, each as a sentence. The Snakefile imports this in every job, so that nothing slow to
import may be used here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from scalequest.config.cross_checks import CROSS_CHECKS, PINNED
from scalequest.config.defaults import fill_defaults, without_value
from scalequest.config.schema import CATALOGUES
from scalequest.config.selectors import OURS, datasets_in_use, model_in_use, student_settings
from scalequest.config.sentences import plain, structure
from scalequest.config.shared_rows import YES, shared_rows
from scalequest.default_config import FILE
from scalequest.errors import ScaleQuestError


def check(config: Mapping[str, Any]) -> None:
    """Raise ScaleQuestError that lists every problem of the config: key, value and what to do."""
    values, problems = plain(config)
    broken, found = structure(values)
    problems += found
    # Faulty values are replaced by defaults, so that the cross-checks can run and one mistake hides no other.
    sound = fill_defaults(_without(values, broken))
    missing = without_value(sound)
    problems += [
        f"{key} has no value: {FILE} holds the default of every key, but not of this one. Restore it there."
        for key in missing
    ]
    # Without a catalogue every name would seem to be missing. An edited config.yaml may have faulty values itself.
    if not missing and not any([name] in broken for name in CATALOGUES) and not (broken and structure(sound)[0]):
        for cross_check in CROSS_CHECKS:
            problems += cross_check(sound)
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in dict.fromkeys(problems))
        count = lines.count("\n  - ") + 1
        raise ScaleQuestError(f"the config has {count} problem{'s' if count > 1 else ''}:\n{lines}")


def cautions(config: Mapping[str, Any]) -> list[str]:
    """Warnings, each a sentence: sources in use whose revision can change, benchmarks that may be trained on."""
    full = fill_defaults(config)
    used = [("models", name) for name in model_in_use(full)] + [("datasets", name) for name in datasets_in_use(full)]
    sources = [(f"{kind}.{name}.source", full[kind][name]["source"]) for kind, name in used if name in full[kind]]
    found = [
        f"{path} is {source}, a revision that can move: pin it to the 40 hexadecimal digits of a commit."
        for path, source in sources
        if source.startswith("hf:") and not PINNED.fullmatch(source)
    ]
    idle = {f"students.{name}.data" for name in set(full["students"]) - set(full["use"]["students"])}
    found += [
        f"{setting} names {name}, which may have rows of the benchmark {benchmark}: both read one source, and neither "
        "where nor the names of files tell them apart. Equal questions are counted when both are staged."
        for setting, name, benchmark, certainty in shared_rows(full)
        if certainty != YES and setting not in idle
    ]
    if not full["responses"]["thinking"]:
        found += [
            f"the student {name} is to learn traces (thinking: keep), but responses.thinking is null, so that "
            "there are none of our responses: give it a budget, or set student_tuning.thinking to drop."
            for name in full["use"]["students"]
            if name in full["students"]
            and full["students"][name]["data"] == OURS
            and student_settings(full, name)["thinking"] == "keep"
        ]
    return found


def _without(config: dict[str, Any], paths: Iterable[list[str | int]]) -> dict[str, Any]:
    """The config without the values at the paths. A faulty item removes its whole list; of a faulty entry in a
    catalogue the name stays, because references to it are right."""
    result = copy.deepcopy(config)
    for path in paths:
        at: Any = result
        for part in path[:-1]:
            if not isinstance(at.get(part), dict):
                at.pop(part, None)
                break
            at = at[part]
        else:
            if len(path) == 2 and path[0] in CATALOGUES:
                at[path[1]] = {}
            elif path:
                at.pop(path[-1], None)
    return result
