"""What a run shows in a terminal, through a real one: a line for each rule, why jobs failed, and what to do."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT
from workflow import merged
from workflow import overlay as tiny

SEEDS = "results/seeds/seeds.parquet"


def in_terminal(folder: Path, config: Mapping[str, Any], *arguments: str) -> tuple[int, str]:
    """Status and output of Snakemake in a terminal."""
    folder.mkdir(exist_ok=True)
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    line = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", str(ROOT / "Snakefile")]
    line += ["--directory", str(folder), "--profile", str(ROOT / "profiles/local"), "--configfile", str(path)]
    ours, theirs = pty.openpty()
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "dumb"}
    with subprocess.Popen(line, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env=env) as child:  # noqa: S603
        os.close(theirs)
        said = b""
        # Linux ends a terminal without writers by an error.
        try:
            while part := os.read(ours, 65536):
                said += part
        except OSError:
            pass
    os.close(ours)
    return child.returncode, said.decode("utf-8", "replace").replace("\r\n", "\n")


@pytest.fixture(scope="module")
def seeds(tiny_model: Path) -> dict[str, Any]:
    return tiny(tiny_model)


def test_a_line_for_each_rule_and_the_rest_in_the_log(seeds, tmp_path):
    status, said = in_terminal(tmp_path / "run", seeds, SEEDS)
    assert status == 0, said
    assert re.search(r"^\d\d:\d\d:\d\d  stage_data +1 job +160 rows +\d+ s .* 1 of 2$", said, re.MULTILINE), said
    assert re.search(r"^\d\d:\d\d:\d\d  make_seeds +1 job +160 rows .* 2 of 2$", said, re.MULTILINE), said
    for line in ("rule stage_data", "jobid", "wildcards", "Select jobs", "Finished", "steps (", "scalequest: "):
        assert line not in said, said
    [log] = (tmp_path / "run/.snakemake/log").glob("*.log")
    assert "rule stage_data" in log.read_text()
    assert "2 of 2 steps (100%) done" in log.read_text()


def test_verbose_shows_everything(seeds, tmp_path):
    status, said = in_terminal(tmp_path / "run", seeds, SEEDS, "--verbose")
    assert status == 0, said
    for line in ("rule stage_data", "jobid: ", "2 of 2 steps (100%) done"):
        assert line in said


def test_a_failed_run_ends_with_the_rule_the_log_and_the_errors_own_words(seeds, tmp_path):
    (folder := tmp_path / "run").mkdir()
    (folder / "broken.jsonl").write_text("no json\n")
    broken = {"source": "path:broken.jsonl", "licence": "none", "fields": {"question": "q", "answer": "a"}}
    config = merged(seeds, {"use": {"seeds": ["broken"]}, "datasets": {"broken": broken}})
    status, said = in_terminal(folder, config, SEEDS)
    assert status == 1
    words = said[said.index("1 job failed:") :]
    assert re.search(r"stage_data \(logs/stage_data/broken\.log\): .*broken\.jsonl", words), said
    assert "start the same command again" in words
    # Neither the command nor the job's block is shown.
    assert "--settings" not in said
    assert len(said.splitlines()) < 50, said


def test_output_that_goes_elsewhere_is_snakemakes_own(seeds, tmp_path):
    """A file has all lines, and after a failure its last ones say why."""
    from workflow import snakemake

    result = snakemake(tmp_path, seeds, SEEDS)
    assert "rule stage_data" in result.stderr + result.stdout
    assert "160 rows  " not in result.stderr + result.stdout


def test_publishing_to_no_repository_stops_before_a_run_is_made_for_it(seeds, tmp_path):
    from workflow import snakemake

    result = snakemake(tmp_path, seeds, "publish")
    assert result.returncode == 1
    assert "publish.repo is not set: give it as ORGANISATION/NAME." in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "results").glob("models/*"))
