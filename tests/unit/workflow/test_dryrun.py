"""The private parts of Snakemake that `make plan` and `make explain` use were checked with one release."""

from __future__ import annotations

import re

from conftest import ROOT
from scalequest.workflow.dryrun import SNAKEMAKE


def test_the_locked_release_of_snakemake_is_the_checked_one():
    pinned = re.search(r"^snakemake==(\S+)", (ROOT / "envs" / "cpu.lock").read_text(), re.MULTILINE)
    assert pinned is not None
    assert pinned[1] == SNAKEMAKE, (
        f"envs/cpu.lock has snakemake {pinned[1]}, but its private parts were checked with {SNAKEMAKE}. Compare what "
        "scripts/scalequest/workflow/dryrun.py replaces (Workflow.execute, _prepare_dag, _build_dag) and "
        "`workflow.modifier` of rules/common.smk with the new release, run tests/workflow, then change SNAKEMAKE."
    )
