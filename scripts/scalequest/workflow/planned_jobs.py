"""The jobs of Snakemake's plan, each with its estimate, and what cannot be known of them before the run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from scalequest.workflow.estimate import TRAININGS, Estimator, Job
from scalequest.workflow.stored_rows import SCRIPTS

# The output of these is taken to be new once they have run.
_RENEWING = {*TRAININGS, "stage_model", "stage_data", "make_seeds"}
# Inputs that a stored row depends on. The verdicts of the filters of texts are not among them: they cover all
# generators and shards, and do not change for older questions.
_RESTS_ON = ("model", "questions", "attempts", "scores", "judgements", "seeds", "problems")


def planned(dag: Any, estimator: Estimator) -> list[Job]:
    """The jobs that Snakemake's plan would run; those that make nothing (targets) are left out.

    Where a job above trains or stages, or has none of its rows yet, it makes something new: no stored row that rests on
    it counts.
    """
    order = [job for level in dag.toposorted() for job in level]
    numbers = {job: number for number, job in enumerate(job for job in order if dag.needrun(job) and job.output)}
    # Jobs whose output will be new.
    renewing: set[Any] = set()
    result = []
    for job in order:
        rule = job.rule.name
        # The input `model` is the manifest of the model that a job loads.
        model = str(model) if (model := job.input.get("model")) else None
        settings = json.loads(job.params.settings) if model and rule in SCRIPTS else None
        rests_on = {path for name in _RESTS_ON for path in _paths(job.input.get(name))}
        renewed = any(above in renewing for above, files in dag.dependencies[job].items() if rests_on & files)
        if job in numbers if rule in _RENEWING else renewed:
            renewing.add(job)
        if job not in numbers:
            continue
        found = estimator.job(
            rule,
            dict(job.wildcards_dict),
            model=model,
            gpus=int(job.resources.get("gpu", 0) or 0),
            settings=settings,
            renewed=renewed,
            threads=job.threads,
            local=job.is_local,
            limits=_limits(job),
            after=tuple(numbers[above] for above in dag.dependencies[job] if above in numbers),
        )
        if settings and found.rows and not found.found:
            renewing.add(job)
        result.append(found)
    return result


def _limits(job: Any) -> tuple[float, ...]:
    """Seconds of each attempt of a training, and of the first one of another job; empty where there is no limit."""
    minutes = [job.resources.get("runtime")]
    if job.rule.name in TRAININGS:
        # A profile may give each attempt more time than the one before.
        for attempt in range(2, _restarts(job) + 2):
            job.attempt = attempt
            minutes.append(job.resources.get("runtime"))
        job.attempt = 1
    return tuple(60.0 * limit for limit in minutes) if all(isinstance(limit, int) for limit in minutes) else ()


def _restarts(job: Any) -> int:
    """How often a failed job is tried again."""
    try:
        return int(job.restart_times)
    # A plan that has no executor has no settings for it either.
    except AttributeError:
        return 0


def _paths(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else list(given or ())


def at_once(workflow: Any) -> dict[str, int]:
    """What limits the jobs that run at one time: `at_once` jobs on a cluster, `cores` without one, and `gpus`."""
    settings = workflow.resource_settings
    found = {"cores": settings.cores} if settings.nodes is None else {"at_once": settings.nodes}
    # `--jobs unlimited` is the largest number there is.
    found = {name: number for name, number in found.items() if number < sys.maxsize}
    # Without a limit the resource has no value.
    gpus = workflow.global_resources.get("gpu").value
    if gpus is not None:
        found["gpus"] = int(gpus)
    return found


def not_known(jobs: Sequence[Job], estimator: Estimator) -> list[str]:
    """What cannot be known of a plan's rows and hours before it runs, as sentences."""
    rules = {job.rule for job in jobs}
    found = []
    if rules & set(TRAININGS):
        found.append("Trainings count in full, with all rows that follow, though their weights may be found again.")
    if rules & {"filter_text", "filter_duplicates"} and any(job.found for job in jobs):
        found.append("The filters of texts are taken to keep as many questions as they did: a looser one keeps more.")
    if any(job.rule == "rewrite_questions" and not job.gpus and job.local for job in jobs):
        found.append("Answers that a rewriting server has given already are counted as if it were to be asked.")
    if estimator.stores.trouble:
        found.append(f"Stored rows could not be looked up, so all count as to be made: {estimator.stores.trouble}")
    return found
