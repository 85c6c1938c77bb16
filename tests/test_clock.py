"""Files that lie in the future stop no run, and nothing is made again for them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from scalequest.clock import pull_back
from workflow import planned, snakemake, succeeded

SEEDS = "results/seeds/seeds.parquet"


def shift(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() + seconds,) * 2)


@pytest.fixture(scope="module")
def seeds(config, tmp_path_factory) -> Path:
    """Folder of a run that got as far as the seed problems."""
    folder = tmp_path_factory.mktemp("seeds")
    succeeded(snakemake(folder, config, SEEDS))
    return folder


def test_an_input_that_lies_in_the_future_stops_no_job(seeds, config):
    """As a machine leaves it whose clock is five minutes fast: Snakemake takes what is made of it for older."""
    for path in (seeds / "results" / "datasets").glob("*.parquet"):
        shift(path, 300)
    before = (seeds / SEEDS).read_bytes()
    (seeds / SEEDS).unlink()
    assert planned(snakemake(seeds, config, "-n", SEEDS)) == {"make_seeds": 1}
    said = succeeded(snakemake(seeds, config, SEEDS))
    assert "files below results/ lay in the future" in said
    assert (seeds / SEEDS).read_bytes() == before
    assert planned(snakemake(seeds, config, "-n", SEEDS)) == {}
    assert "in the future" not in succeeded(snakemake(seeds, config, SEEDS))


def test_a_whole_run_of_tomorrow_makes_nothing_again(seeds, config):
    for path in (seeds / "results").rglob("*"):
        os.utime(path, ns=(path.stat().st_mtime_ns + 10**9 * 86400,) * 2)
    assert planned(snakemake(seeds, config, "-n", SEEDS)) == {}
    assert "make_seeds" not in succeeded(snakemake(seeds, config, SEEDS, "results/config.json"))
    assert planned(snakemake(seeds, config, "-n", SEEDS)) == {}
    assert all(path.stat().st_mtime <= time.time() for path in (seeds / "results").rglob("*.parquet"))


def test_the_order_of_times_stays(tmp_path):
    (tmp_path / "a").mkdir()
    seconds = {"past": -60, "a/third": 300, "second": 200, "fourth": 400.5, "fifth": 400.75, "also": 200}
    now = time.time()
    for name, offset in seconds.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (now + offset,) * 2)
    (tmp_path / "fresh").touch()
    (tmp_path / "link").symlink_to("past")
    os.utime(tmp_path / "link", (now + 500,) * 2, follow_symlinks=False)
    assert pull_back(tmp_path) == 6
    times = {name: (tmp_path / name).lstat().st_mtime for name in (*seconds, "fresh", "link")}
    assert times["second"] == times["also"]
    order = ["past", "fresh", "second", "a/third", "fourth", "fifth", "link"]
    assert [times[name] for name in order] == sorted({times[name] for name in order})
    assert times["link"] < time.time()
    assert times["past"] == pytest.approx(now - 60)
    assert pull_back(tmp_path) == 0


def test_a_run_that_is_just_beginning_has_nothing(tmp_path):
    assert pull_back(tmp_path / "results") == 0
