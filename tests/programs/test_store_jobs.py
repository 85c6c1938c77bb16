"""The row store under several jobs at once, and under one that is told to end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter

import pyarrow.parquet as pq

from programs import SCRIPTS, operating
from scalequest.runtime.files import read_json

# A job at rows from one index to another, so many seconds a window of four.
SLOW = """
import sys, time
from scalequest.runtime import job
from scalequest.rows.store import RowStore, in_windows
from scalequest.rows.tables import SCORES
def work(rows):
    time.sleep(float(sys.argv[4]))
    return [{"id": row["id"], "score": 1.0} for row in rows]
def main():
    rows = [{"id": f"g/s0/{i:09d}", "index": i} for i in range(int(sys.argv[2]), int(sys.argv[3]))]
    in_windows(rows, RowStore(sys.argv[1], "score", {}, SCORES), 4, work, group="g-s0")
job.run(main)
"""


def slow(folder, first, last, seconds=0.1):
    line = [sys.executable, "-c", SLOW, str(folder), str(first), str(last), str(seconds)]
    environment = {**operating(lease_seconds=6.0), "PYTHONPATH": str(SCRIPTS)}
    return subprocess.Popen(line, env=environment, cwd=folder)  # noqa: S603 - our own program


def test_a_job_of_another_cut_into_shards_makes_no_row_twice(tmp_path):
    # Still at it when the others have started on a busy machine.
    older = slow(tmp_path, 4, 24, 2.0)
    while not list(tmp_path.rglob("*.parquet")):
        time.sleep(0.05)
    newcomer = slow(tmp_path, 0, 24)
    beside = slow(tmp_path, 24, 32)
    assert (older.wait(60), newcomer.wait(60), beside.wait(60)) == (75, 0, 0)
    parts = [pq.read_table(path) for path in tmp_path.rglob("*.parquet")]
    rows = Counter(name for part in parts for name in part["id"].to_pylist())
    assert len(rows) == 32
    assert max(rows.values()) == 1


# A job that is told to end as soon as its first part is stored.
TOLD = """
import os, signal, sys
from scalequest.runtime import job
from scalequest.rows.store import RowStore, in_windows
from scalequest.rows.tables import SCORES
class Told(RowStore):
    def write(self, *window):
        super().write(*window)
        os.kill(os.getpid(), signal.SIGTERM)
def work(rows):
    return [{"id": row["id"], "score": 1.0} for row in rows]
def main():
    rows = [{"id": f"g/s0/{i:09d}", "index": i} for i in range(12)]
    in_windows(rows, Told(sys.argv[1], "score", {}, SCORES), 4, work, group="g-s0")
job.run(main)
"""


def test_a_job_that_is_told_to_end_has_counted_what_it_stored(tmp_path):
    line = [sys.executable, "-c", TOLD, str(tmp_path)]
    environment = {**operating(), "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    (part,) = tmp_path.rglob("*.parquet")
    (record,) = [read_json(path) for path in tmp_path.rglob("attempts/*.json")]
    assert (pq.read_metadata(part).num_rows, record["rows"], record["state"]) == (4, 4, "stopped")
