"""What Snakemake would run, asked for one config after another in one process: a tenth of the time of `snakemake -n`.

`Planner` is what tests use. It talks to this file run as a program, so that no test imports Snakemake or changes its
folder. The parsing of the command line is left out, and unchanged rules are not translated again;
tests/workflow/test_reruns.py ties some answers to the real one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

Plan = dict[str, list[str]]


class Planner:
    """A process that answers; use it in a `with` statement."""

    def __enter__(self) -> Planner:
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def ask(
        self,
        checkout: Path,
        folder: Path,
        config: Mapping[str, Any],
        *,
        record: bool = False,
        costs: bool = False,
        settings: bool = False,
    ) -> dict[str, Any]:
        """The outputs of the jobs of each rule: `planned`; `taken` (of these, the ones that themselves take what has
        changed, by a param or an input, or are new without following from another); `all`. If wanted, `costs`: name,
        rows to be made and rows found of each rule that has rows; `settings`: each rule that loads a model, and the
        settings that one or more of its jobs get. Or `error`."""
        assert self.process.stdin is not None and self.process.stdout is not None
        question: dict[str, Any] = {"checkout": str(checkout), "folder": str(folder), "config": dict(config)}
        question |= {"record": record, "costs": costs, "settings": settings}
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the planner died"
        return json.loads(line)

    def plan(self, checkout: Path, folder: Path, config: Mapping[str, Any]) -> Plan:
        """For each rule that would run, the first output of each of its jobs."""
        answer = self.ask(checkout, folder, config)
        assert "error" not in answer, answer["error"]
        return answer["planned"]

    def rows(self, checkout: Path, folder: Path, config: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
        """For each rule that would run, its rows that are to be made, read or trained on, and those found stored."""
        answer = self.ask(checkout, folder, config, costs=True)
        assert "error" not in answer, answer["error"]
        return {rule: (rows, found) for rule, rows, found in answer["costs"]}

    def settings(self, checkout: Path, folder: Path, config: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Each rule of the plan that loads a model, with the settings of its jobs, each different one once."""
        answer = self.ask(checkout, folder, config, settings=True)
        assert "error" not in answer, answer["error"]
        return [(rule, json.loads(text)) for rule, text in answer["settings"]]

    def record(self, checkout: Path, folder: Path, config: Mapping[str, Any]) -> None:
        """Make the folder a finished run of this config and this checkout: missing files are made empty, and
        Snakemake's records are written as if every job had just run."""
        answer = self.ask(checkout, folder, config, record=True)
        assert "error" not in answer, answer["error"]


def _answer(question: Mapping[str, Any], path: Path) -> dict[str, Any]:
    from snakemake.api import SnakemakeApi
    from snakemake.settings import types

    path.write_text(yaml.safe_dump(question["config"]), encoding="utf-8")
    # As in profiles/local.
    triggers = {types.RerunTrigger.MTIME, types.RerunTrigger.PARAMS, types.RerunTrigger.INPUT, types.RerunTrigger.CODE}
    with SnakemakeApi(types.OutputSettings(quiet={types.Quietness.ALL})) as api:
        asked = api.workflow(
            resource_settings=types.ResourceSettings(cores=1),
            config_settings=types.ConfigSettings(configfiles=(path,)),
            snakefile=Path(question["checkout"]) / "Snakefile",
            workdir=Path(question["folder"]),
        )
        try:
            asked.dag(types.DAGSettings(rerun_triggers=frozenset(triggers), force_incomplete=True))
            workflow = asked._workflow
            workflow.execution_settings = types.ExecutionSettings(lock=False)
            # What Workflow.execute does before it starts the first job.
            workflow._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True, nolock=True)
            workflow._build_dag()
            if question["record"]:
                _record(workflow)
            return {
                "planned": _outputs(workflow.dag.needrun_jobs()),
                "all": _outputs(workflow.dag.jobs),
                "taken": _outputs(job for job in workflow.dag.jobs if job.output and _takes(job, workflow)),
                "costs": _costs(workflow) if question["costs"] else [],
                "settings": _settings(workflow) if question["settings"] else [],
            }
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}


def _takes(job: Any, workflow: Any) -> bool:
    if not all(Path(path).exists() for path in job.output):
        return not any(workflow.dag.needrun(above) for above in workflow.dag.dependencies[job])
    changed = workflow.persistence.params_changed(job), *workflow.persistence.input_changed(job)
    return any(changed)


def _outputs(jobs: Any) -> Plan:
    result: Plan = {}
    for job in jobs:
        if job.output:
            result.setdefault(job.rule.name, []).append(str(job.output[0]))
    return {rule: sorted(outputs) for rule, outputs in sorted(result.items())}


def _costs(workflow: Any) -> list[tuple[str, float, float]]:
    # The Snakefile has said where it is.
    from scalequest.workflow.estimate import Estimator
    from scalequest.workflow.planned_jobs import planned
    from scalequest.workflow.schedule import per_rule

    jobs = planned(workflow.dag, Estimator(workflow.globals["CONFIG"]))
    return [(cost.rule, cost.rows, cost.found) for cost in per_rule(jobs) if cost.rows is not None]


def _settings(workflow: Any) -> list[tuple[str, str]]:
    return sorted({(job.rule.name, job.params.settings) for job in workflow.dag.jobs if job.input.get("model")})


def _record(workflow: Any) -> None:
    jobs = [job for job in workflow.dag.jobs if job.output]
    for path in (Path(output) for job in jobs for output in job.output):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    # One time for all, logs and benchmarks included: nothing is newer than what follows from it.
    now = Path(jobs[0].output[0]).stat().st_mtime
    for path in (Path(product) for job in jobs for product in job.products()):
        # The time of a folder is that of a file that Snakemake puts into it.
        for timed in (path, path / ".snakemake_timestamp"):
            if timed.exists():
                os.utime(timed, (now, now))
    for job in jobs:
        workflow.async_run(workflow.persistence.finished(job))


def _read_faster() -> None:
    """Have Snakemake translate each of its files once as long as it stays as it is, and read configs by libyaml."""
    import snakemake.api  # noqa: F401 - snakemake.workflow cannot be the first
    from snakemake import workflow

    parse, known = workflow.parse, {}

    def parsed(path: Any, within: Any, linemap: dict[int, int], rulecount: int = 0) -> tuple[str, int]:
        file = Path(path.get_path_or_uri(secret_free=True))
        facts = file.stat()
        key = file, facts.st_ino, facts.st_size, facts.st_mtime_ns, rulecount
        if key not in known:
            lines: dict[int, int] = {}
            known[key] = (*parse(path, within, linemap=lines, rulecount=rulecount), lines)
        code, count, lines = known[key]
        linemap |= lines
        return code, count

    workflow.parse = parsed
    yaml.FullLoader = yaml.CFullLoader  # type: ignore[misc, assignment]


def _serve() -> None:
    # Standard output is for answers alone.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    _read_faster()
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            answers.write(json.dumps(_answer(json.loads(line), Path(folder) / "overlay.yaml")) + "\n")
    # Taking down what hundreds of workflows left behind would last half a minute.
    os._exit(0)


if __name__ == "__main__":
    _serve()
