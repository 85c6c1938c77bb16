"""Snakemake's plan, handed to a function in place of being run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any


def with_plan(arguments: Sequence[str], report: Callable[[Any], str]) -> None:
    """Let Snakemake's own command line make the plan that a run with these arguments would have, and print what
    `report` says of the workflow (`workflow.dag` is the plan). Nothing is run and nothing is written.
    """
    from snakemake import cli
    from snakemake.workflow import Workflow

    out = sys.stdout

    def say(self: Any, executor_plugin: Any, **_: Any) -> None:
        self._executor_plugin = executor_plugin
        self._prepare_dag(forceall=self.dag_settings.forceall, ignore_incomplete=True, lock_warn_only=True, nolock=True)
        self._build_dag()
        print(report(self), file=out)

    # No function of Snakemake's hands over a plan. All of its command line is used but the last step, which would run
    # the plan or list its jobs.
    Workflow.execute = say
    # A dry run's own lines go where the report goes; they are moved out of its way.
    with redirect_stdout(sys.stderr):
        cli.main([*arguments, "--dry-run", "--quiet", "all"])
