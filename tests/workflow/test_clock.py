"""Files that lie in the future stop a run before its first job, with the command that mends them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from scalequest.errors import ScaleQuestError
from scalequest.workflow import clock
from workflow import planned, snakemake, succeeded

SEEDS = "results/seeds/seeds.parquet"


def shift(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() + seconds,) * 2, follow_symlinks=False)


def mend(folder: Path, said: str) -> None:
    """Run the command that a message names, as its reader would."""
    (line,) = [line.strip() for line in said.splitlines() if line.strip().startswith("now=$(date")]
    subprocess.run(["bash", "-ec", line], cwd=folder, check=True)  # noqa: S603, S607 - our own message


@pytest.fixture(scope="module")
def seeds(config, tmp_path_factory) -> Path:
    """Folder of a run that got as far as the seed problems."""
    folder = tmp_path_factory.mktemp("seeds")
    succeeded(snakemake(folder, config, SEEDS))
    return folder


def test_an_input_that_lies_in_the_future_stops_the_run_until_it_is_mended(seeds, config):
    """As a machine leaves it whose clock is five minutes fast: Snakemake takes what is made of it for older."""
    for path in (seeds / "results" / "datasets").glob("*.parquet"):
        shift(path, 300)
    before = (seeds / SEEDS).read_bytes()
    (seeds / SEEDS).unlink()
    refused = snakemake(seeds, config, SEEDS)
    said = refused.stdout + refused.stderr
    assert refused.returncode != 0 and "rule make_seeds" not in said
    assert "1 of the files below results/ have times in the future" in said
    assert "results/datasets/embedded.parquet" in said
    mend(seeds, said)
    succeeded(snakemake(seeds, config, SEEDS))
    assert (seeds / SEEDS).read_bytes() == before
    assert planned(snakemake(seeds, config, "-n", SEEDS)) == {}


def test_a_whole_run_of_tomorrow_makes_nothing_again(seeds, config):
    for path in (seeds / "results").rglob("*"):
        os.utime(path, ns=(path.stat().st_mtime_ns + 10**9 * 86400,) * 2)
    refused = snakemake(seeds, config, SEEDS, "results/config.json")
    assert refused.returncode != 0
    mend(seeds, refused.stdout + refused.stderr)
    said = succeeded(snakemake(seeds, config, SEEDS, "results/config.json"))
    assert "make_seeds" not in said, said
    assert planned(snakemake(seeds, config, "-n", SEEDS)) == {}
    assert all(path.stat().st_mtime <= time.time() for path in (seeds / "results").rglob("*.parquet"))


def test_links_count_by_their_own_times_and_the_past_stays(tmp_path):
    (tmp_path / "a").mkdir()
    for name, offset in {"past": -60, "a/b 'c'": 300, "next": 200.5}.items():
        (tmp_path / name).touch()
        shift(tmp_path / name, offset)
    (tmp_path / "link").symlink_to("past")
    shift(tmp_path / "link", 500)
    past = (tmp_path / "past").stat().st_mtime
    with pytest.raises(ScaleQuestError, match=r"3 of the files .* up to (499|500) s ahead") as error:
        clock.refuse_future(tmp_path)
    mend(tmp_path, str(error.value))
    clock.refuse_future(tmp_path)
    assert (tmp_path / "past").stat().st_mtime == past
    assert (tmp_path / "link").lstat().st_mtime <= time.time()


def test_a_clock_that_is_a_little_ahead_is_waited_for(tmp_path):
    """A file server's clock and a node's are never quite the same."""
    (tmp_path / "new").touch()
    shift(tmp_path / "new", 1.5)
    clock.refuse_future(tmp_path)
    assert (tmp_path / "new").stat().st_mtime <= time.time()


def test_a_run_that_is_just_beginning_has_nothing(tmp_path):
    clock.refuse_future(tmp_path / "results")
