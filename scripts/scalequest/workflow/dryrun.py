"""Snakemake's plan, handed to a function instead of being run.

No public function of Snakemake hands over a plan. The private parts that are used here (and `workflow.modifier` in
rules/common.smk) were checked with one release, SNAKEMAKE.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any

from scalequest.config.files import check_files
from scalequest.errors import ScaleQuestError
from scalequest.runtime.printable import printable

SNAKEMAKE = "9.27.1"


def with_plan(arguments: Sequence[str], report: Callable[[Any], str], *, plan: bool = True) -> None:
    """Make the plan of a run with these arguments of Snakemake, and print what `report` says of the workflow.

    `workflow.dag` is the plan, which is not made without `plan`. Nothing is run and nothing is written. Exits with
    status 1 where Snakemake refuses the arguments, or `report` raises an error.
    """
    from snakemake import cli
    from snakemake.exceptions import WorkflowError, print_exception
    from snakemake.workflow import Workflow

    out = sys.stdout

    def say(self: Any, executor_plugin: Any, **_: Any) -> None:
        if "CONFIG" not in self.globals:
            raise WorkflowError(
                "This is not ScaleQuest's Snakefile. A workflow that imports ScaleQuest as a module has no plan here; "
                "give ScaleQuest's own Snakefile and config (--snakefile, --configfile)."
            )
        self._executor_plugin = executor_plugin
        if plan:
            forced = self.dag_settings.forceall
            self._prepare_dag(forceall=forced, ignore_incomplete=True, lock_warn_only=True, nolock=True)
            self._build_dag()
        if text := report(self):
            print(printable(text), file=out)

    # All of its command line is used except the last step, which would run the plan or list its jobs.
    Workflow.execute = say
    # A dry run prints to standard output, which is for the report.
    with redirect_stdout(sys.stderr):
        try:
            parser, parsed = cli.parse_args([*arguments, "--dry-run", "--quiet", "all"])
            # Snakemake loads these before it reads the Snakefile, and names neither file nor line of a broken one.
            check_files(parsed.configfile)
            done = cli.args_to_api(parsed, parser)
        except ScaleQuestError as error:
            print_exception(WorkflowError(printable(str(error))))
            sys.exit(1)
        except Exception as error:
            print_exception(error)
            sys.exit(1)
    if not done:
        sys.exit(1)
