"""Print what would run, why, and what it costs: `make explain`, or this file with Snakemake's arguments.

The arguments go through Snakemake's own command line, so the plan is the one that a run would have. Nothing is run and
nothing is written.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scalequest.workflow.confirm import reason_to_confirm
from scalequest.workflow.dryrun import with_plan
from scalequest.workflow.estimate import Estimator
from scalequest.workflow.planned_jobs import not_known, planned
from scalequest.workflow.schedule import duration, gpu_hours, per_rule
from scalequest.workflow.stored_rows import SCRIPTS

_CODE = re.compile(r"[0-9a-f]{16}")
_CONTENT = re.compile(r"[0-9a-f]{64}")
_ABSENT = object()
# Path of a setting, its old value and its new one.
Change = tuple[str, Any, Any]


def differences(old: Any, new: Any, path: str = "") -> Iterator[Change]:
    """The settings that differ, each as (dotted path, old value, new value); what is not there is _ABSENT."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}.{key}" if path else key)
    elif _names(old) and _names(old) == _names(new):
        for before, after in zip(old, new, strict=True):
            yield from differences(before, after, f"{path}.{before['name']}")
    elif old != new:
        yield path, old, new


def _names(value: Any) -> list[Any]:
    """The names of a list of settings that have one each, such as filters; empty for anything else."""
    return [entry.get("name") for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def shown(value: Any) -> str:
    """A value as a line shows it, cut where it is long."""
    if value is _ABSENT:
        return "none"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def in_words(change: Change, config: Iterable[Change]) -> list[str]:
    """A changed setting as a line, under the name that the config has for it where one of its changes is this one."""
    path, old, new = change
    last = path.rsplit(".", 1)[-1]
    names = [name for name, *values in config if name.rsplit(".", 1)[-1] == last and values == [old, new]]
    return [f"{name}: {shown(old)} -> {shown(new)}" for name in names or [path]]


def of_params(old: Iterable[str], new: Iterable[str], script: str, config: Iterable[Change]) -> list[str]:
    """Why params that Snakemake recorded (as `repr`, without names) differ from those of now, in lines."""
    before, after = ([ast.literal_eval(text) for text in sorted(texts)] for texts in (old, new))
    lines: list[str] = []
    settings = [[found for value in values if (found := _settings(value)) is not None] for values in (before, after)]
    for one, two in zip(*settings, strict=False):
        lines += [line for change in differences(one, two) for line in in_words(change, config)]
    rest = [[value for value in values if _settings(value) is None] for values in (before, after)]
    if any(isinstance(value, str) and _CODE.fullmatch(value) for value in rest[1]):
        lines.append(f"its code has changed: scripts/{script}.py, or what it imports")
    if any(
        _CONTENT.fullmatch(str(part)) for value in rest[1] for part in (value if isinstance(value, list) else [value])
    ):
        lines.append("a file of resources/ has changed: a prompt, examples, a template or the seed problems")
    others = [[value for value in values if not _is_hash(value)] for values in rest]
    if others[0] or others[1]:
        was, now = (", ".join(map(shown, values)) or "none" for values in others)
        lines.append(f"arguments: {was} -> {now}")
    return lines


def _settings(value: Any) -> dict[str, Any] | None:
    """The settings that a param holds, where it is the JSON of such."""
    if not isinstance(value, str) or not value.startswith("{"):
        return None
    try:
        return json.loads(value)
    except ValueError:
        return None


def _is_hash(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_hash, value))
    return isinstance(value, str) and bool(_CODE.fullmatch(value) or _CONTENT.fullmatch(value))


# ---------------------------------------------------------------- what Snakemake knows


def why(job: Any, dag: Any, config: list[Change]) -> list[str]:
    """The reasons for which Snakemake would run a job, in lines."""
    reason, recorded = dag.reason(job), dag.workflow.persistence
    if reason.forced:
        return ["asked for on the command line"]
    known = [path for path in job.output if recorded.metadata(path) is not None]
    if not known:
        return ["new: it never ran here"]
    lines = _own_reasons(job, reason, recorded, known, config)
    follows = sorted({above.rule.name for above in dag.dependencies[job] if dag.needrun(above)})
    return lines + ([f"follows from {', '.join(follows)}"] if follows else [])


def _own_reasons(job: Any, reason: Any, recorded: Any, known: list[Any], config: list[Change]) -> list[str]:
    lines = []
    if gone := sorted(map(str, reason.missing_output)):
        lines.append(f"gone: {_few(gone)}")
    if reason.incomplete_output:
        lines.append("it was cut short")
    # Snakemake looks no further once it knows that a job follows from another; the own reasons matter all the same.
    change = recorded.params_changed(job)
    if change:
        name = re.search(r"(\w+)\.py", job.rule.shellcmd or "")
        lines += of_params(change.only_old, change.only_new, name[1] if name else job.rule.name, config)
    if any(recorded.code_changed(job)):
        lines.append("its shell command has changed")
    before, now = set(recorded.input(known[0]) or ()), set(map(str, job.input))
    if before != now:
        parts = ((" no longer ", before - now), (" now also ", now - before))
        lines.append("it reads" + ",".join(word + _few(sorted(files)) for word, files in parts if files))
    if edited := sorted(map(str, reason.updated_input - reason.updated_input_run)):
        lines.append(f"changed: {_few(edited)}")
    return lines


def _few(names: list[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def config_changes(dag: Any) -> list[Change]:
    """What differs between the config that results/config.json was written for and the one of now."""
    recorded = dag.workflow.persistence
    for job in dag.jobs:
        if job.rule.name == "write_config" and recorded.metadata(job.output[0]) is not None:
            change = recorded.params_changed(job)
            if change:
                pair = [json.loads(ast.literal_eval(next(iter(texts)))) for texts in (change.only_old, change.only_new)]
                return list(differences(*pair))
    return []


# ---------------------------------------------------------------- the text


def report(workflow: Any) -> str:
    """What would run, as a text."""
    dag, settings = workflow.dag, workflow.globals["CONFIG"]
    jobs = [job for level in dag.toposorted() for job in level if dag.needrun(job) and job.output]
    if not jobs:
        return "Nothing would run: every file is there, and follows from the config and the code as they are."
    config = config_changes(dag)
    lines = []
    if config:
        lines += ["Settings that have changed since results/config.json was written:"]
        lines += [f"    {path}: {shown(old)} -> {shown(new)}" for path, old, new in config] + [""]
    estimator = Estimator(settings)
    estimates = planned(dag, estimator)
    lines += [f"Would run:{'':22} {'jobs':>5} {'work':>10} {'GPU-hours':>10}"]
    for cost in per_rule(estimates):
        lines.append(f"{cost.rule:32} {cost.jobs:5d} {duration(cost.seconds):>10} {cost.gpu_hours:10.2f}")
        if cost.rule in SCRIPTS:
            lines.append(f"    rows: at least {cost.rows:,.0f} to make, at most {cost.found:,.0f} stored already")
        own = [job for job in jobs if job.rule.name == cost.rule]
        counted = Counter(line for job in own for line in dict.fromkeys(why(job, dag, config)))
        lines += [
            f"    {line}" + ("" if number == len(own) else f" ({number} of {len(own)} jobs)")
            for line, number in counted.items()
        ]
    work, hours = sum(job.seconds for job in estimates), gpu_hours(estimates)
    lines += [
        "",
        f"In all: {len(jobs)} jobs, {duration(work)} of work one after another, {hours:.2f} GPU-hours.",
        *not_known(estimates, estimator),
        "`make plan` lists the throughputs that this is estimated from.",
    ]
    reason = reason_to_confirm(estimates, settings["operation"]["confirm_above_gpu_hours"])
    return "\n".join([*lines, *([f"It will have to be confirmed: {reason}"] if reason else [])])


if __name__ == "__main__":
    with_plan(sys.argv[1:], report)
