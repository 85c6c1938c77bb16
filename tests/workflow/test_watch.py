"""`make watch`, on real runs: one that no one has begun, one that goes on, is killed, fails, and is finished."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import forks
from conftest import ROOT
from programs import finished
from scalequest.runtime.files import read_json, write_json
from scalequest.runtime.job import Progress as JobProgress
from scalequest.workflow import run_log, run_record
from scalequest.workflow.job_logs import progress
from scalequest.workflow.run_log import RunLog
from scalequest.workflow.run_record import Plan, RunRecord
from scalequest.workflow.watching import Row, Watch, _run_ends
from tools import watch
from workflow import merged, overlay

SHARD = "results/questions/tiny/seed0/gpu0.parquet"
BROKEN = "results/datasets/broken.parquet"
# A job of minutes, which is killed; its windows are found by the short one of the run behind it.
LONG, SHORT = {"questions_per_shard": 30000}, {"questions_per_shard": 8}


def snakemake_line(folder: Path, config: Mapping[str, Any], *arguments: str) -> list[str]:
    """Snakemake's command line for a run with this overlay."""
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    line = [sys.executable, "-m", "snakemake", *arguments, "--snakefile", str(ROOT / "Snakefile")]
    return [*line, "--directory", str(folder), "--profile", str(ROOT / "profiles/local"), "--configfile", str(path)]


def watch_line(folder: Path, *arguments: str) -> list[str]:
    """The tool's command line, as `make watch` has it."""
    profile = ["--profile", str(ROOT / "profiles/local")]
    return [sys.executable, str(ROOT / "scripts/tools/watch.py"), *profile, *arguments, "--directory", str(folder)]


def once(folder: Path) -> str:
    """What --once prints to another program."""
    done = finished(watch_line(folder, "--once"), dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Terminal:
    """A terminal of 80 columns in which a folder's run is watched. `said` is all that came."""

    def __init__(self, folder: Path):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        env = {**os.environ, "TERM": "xterm"}
        line = watch_line(folder, "--every", "0.5")
        self.child = subprocess.Popen(line, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env=env)  # noqa: S603
        os.close(theirs)
        os.set_blocking(self.ours, False)
        self.said = ""

    def read(self) -> str:
        """All that came, without the codes that move the cursor and colour the text."""
        # Linux ends a terminal without writers by an error.
        try:
            while part := os.read(self.ours, 65536):
                self.said += part.decode("utf-8", "replace")
        except OSError:
            pass
        # A frame begins at the upper left corner.
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.said.replace("\r\n", "\n").replace("\x1b[H", "\n"))

    def shows(self, words: str, seconds: float = 240) -> str:
        """Wait until the words (a regular expression) have been shown; all that was shown by then."""
        end = time.monotonic() + seconds
        while not re.search(words, said := self.read()):
            assert time.monotonic() < end and self.child.poll() is None, f"no {words!r} in\n{said}"
            time.sleep(0.1)
        return said

    def ended(self) -> str:
        """Wait for the tool's own end; all that it has shown."""
        assert self.child.wait(60) == 0, self.read()
        return self.read()

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        os.close(self.ours)


@pytest.fixture(scope="module")
def shown(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a terminal showed of a folder: before a run, of one that runs and is killed, and of one that fails."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "broken.jsonl").write_text('{"q": "\\u001b[2Jno json\n')
    broken = {"source": "path:broken.jsonl", "licence": "none", "fields": {"question": "q", "answer": "a"}}
    changes = {"generators": {"tiny": {"tuning": "none"}}, "datasets": {"broken": broken}, "questions": {"shards": 1}}
    config = merged(overlay(tiny_model), {**changes, "use": {"students": [], "benchmarks": ["broken"]}})
    found: dict[str, str] = {"never": once(folder)}
    assert list(folder.iterdir()) == [folder / "broken.jsonl"]
    terminal = Terminal(folder)
    terminal.shows("No run has begun")
    with (folder / "said.txt").open("w") as output:
        long = snakemake_line(folder, merged(config, {"questions": LONG}), SHARD)
        forks.start()
        child = subprocess.Popen([forks.bin_folder() / "python", *long[1:]], stdout=output, stderr=output)  # noqa: S603
    try:
        found["running"] = terminal.shows(r"\nsample_questions +0/1 +1 +- +- +[\d,]+/30,000 +[\d.,]+/(s|min) ")
        process = read_json(folder / run_record.RECORD)["process"]["process"]
        found["process"] = str(process)
        os.kill(process, signal.SIGKILL)
        found["killed"] = terminal.ended()
        # The job that it has left behind.
        os.killpg(process, signal.SIGKILL)
    finally:
        terminal.close()
        child.kill()
        child.wait()
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    unlocked = finished([*snakemake_line(folder, config, "--unlock")], env)
    assert unlocked.returncode == 0, unlocked.stderr
    failing = finished(snakemake_line(folder, merged(config, {"questions": SHORT}), SHARD, BROKEN), env)
    assert failing.returncode == 1, failing.stderr
    found["failed"] = once(folder)
    yield found


def test_a_folder_without_a_run(shown):
    assert re.fullmatch(r"No run has begun in .+\.\n", shown["never"])


def test_a_run_that_goes_on(shown):
    """Jobs by their states, rows, rate and end, in lines that fit."""
    said = shown["running"]
    assert f": process {shown['process']} on " in said
    assert re.search(r"\n1 of 2 jobs done, 1 running, 0 waiting\.", said), said
    assert re.search(r"\nEnds about (\w+ )?\d\d:\d\d, by rates and plan\. Work: 0\.\d\d h\.", said)
    assert re.search(r"\nstage_model +1/1 ", said)
    assert max(map(len, said.splitlines())) <= 80, said


def test_a_run_that_is_killed_while_it_is_watched(shown):
    said = shown["killed"]
    end = said[said.rindex("Killed: process") :]
    assert f"process {shown['process']} on " in end
    assert "Of its jobs, 1 still work" in end.replace("\n", " ")
    assert "--unlock" in end
    assert re.search(r"\nsample_questions +0/1 +- +1 +- ", end), end


def test_a_run_that_failed(shown):
    """With the job, its log and its last words, in which no character moves the cursor."""
    said = shown["failed"]
    assert re.search(r"\nEnded at \d\d:\d\d, after .+, and is not finished\. The same command goes on", said), said
    assert re.search(r"\n\d of \d jobs done, .*1 failed", said)
    assert re.search(r"\nstage_data +0/1 +- +- +1 ", said), said
    assert re.search(r"\n1 failed:\n  stage_data \(logs/stage_data/broken\.log\): .*broken\.jsonl", said), said
    assert "\x1b" not in said
    # It was not made anew, and the rows of the killed job are there.
    assert re.search(r"\nsample_questions +1/1 +- +- +- +8 ", said), said


def test_a_finished_run(run: Path):
    said = once(run)
    assert re.search(r"\nFinished at .+, after .+\.\n(\d+) of \1 jobs done\.\nWork: \d+\.\d\d h\.\n", said)
    order = [line.split()[0] for line in said.splitlines()[6:]]
    assert [name for name in order if name in ("tune_questions", "sample_questions", "score_responses")] == [
        *("tune_questions", "sample_questions", "score_responses")
    ]
    assert re.search(r"\nsample_questions +2/2 +- +- +- +32 ", said), said
    assert re.search(r"\ntune_questions +1/1 +- +- +- +\d+ steps ", said), said
    assert max(map(len, said.splitlines())) <= 120


def test_nothing_of_the_run_is_touched(run: Path):
    def files() -> dict[Path, tuple[int, int]]:
        return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in run.rglob("*")}

    before = files()
    once(run)
    assert files() == before


# ---------------------------------------------------------------- Snakemake's log

TOY = """
rule all:
    input: "flaky", "hostile", "missing", "good"
rule flaky:
    output: "flaky"
    log: "flaky.log"
    retries: 2
    shell: "if [ -e tried ]; then touch {output}; else touch tried; exit 1; fi"
rule hostile:
    output: "hostile"
    log: "hostile.log"
    shell: "cp lines {log}; exit 1"
rule missing:
    output: "missing"
    shell: "true"
rule good:
    output: "good"
    shell: "touch {output}"
"""
# What a job may write into its log, which Snakemake shows in its own.
HOSTILE = """
[Mon Nov 30 12:00:00 2026]
rule good:
    jobid: 77
Finished jobid: 77 (Rule: good)
Error in rule good:
    jobid: 4
Complete log(s): nowhere
9 of 9 steps (100%) done
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of a run with a job that is tried again, one whose log looks like Snakemake's, one without output."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "Snakefile").write_text(TOY)
    (folder / "lines").write_text(HOSTILE)
    line = [sys.executable, "-m", "snakemake", "--directory", str(folder), "--snakefile", str(folder / "Snakefile")]
    line += ["--cores", "1", "--keep-going", "--show-failed-logs", "--latency-wait", "0"]
    assert finished(line, dict(os.environ)).returncode == 1
    [log] = (folder / ".snakemake/log").glob("*.log")
    return log


def states(log: RunLog) -> dict[str, tuple[str, int]]:
    return {job.rule: (job.state, job.attempts) for job in log.jobs.values()}


def test_the_states_of_jobs(toy: Path):
    log = RunLog(toy)
    assert log.read() and not log.read()
    assert states(log) == {
        "flaky": ("done", 2),
        "hostile": ("failed", 1),
        "missing": ("failed", 1),
        "good": ("done", 1),
    }
    assert log.counts == {"flaky": 1, "hostile": 1, "missing": 1, "good": 1, "all": 1}
    assert log.ended
    assert next(job.message for job in log.jobs.values() if job.rule == "missing").startswith("it completed")


def test_a_log_that_grows_in_the_middle_of_lines(toy: Path, tmp_path: Path):
    """And where a failed job waits for its next attempt, it has not failed."""
    whole, path = toy.read_bytes(), tmp_path / "log"
    path.touch()
    log, seen = RunLog(path), set()
    with path.open("ab", buffering=0) as file:
        for start in range(0, len(whole), 7):
            file.write(whole[start : start + 7])
            log.read()
            seen |= {(job.rule, job.state, job.attempts) for job in log.jobs.values()}
    reference = RunLog(toy)
    reference.read()
    assert states(log) == states(reference) and log.ended
    assert {("flaky", run_log.WAITING, 1), ("flaky", run_log.RUNNING, 2)} <= seen


def test_only_what_is_new_is_read(toy: Path, tmp_path: Path):
    """Of a log of 8 MB."""
    path, block = tmp_path / "log", toy.read_bytes().replace(b"Complete log(s): /", b"x")
    with path.open("wb") as file:
        for _ in range(8_000_000 // len(block)):
            file.write(block)
    log = RunLog(path)
    log.read()
    reads = path.stat().st_size
    assert log._offset == reads
    with path.open("ab") as file:
        file.write(b"Complete log(s): here\n")
    before = int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1])  # type: ignore[index]
    assert log.read() and log.ended
    after = int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1])  # type: ignore[index]
    assert after - before < 200_000


# ---------------------------------------------------------------- a job's log


def log_of(folder: Path, *lines: str) -> Path:
    path = folder / "job.log"
    path.write_text("\n".join(("---- 2026-11-30 12:00:00, process 7 on vm ----", *lines)) + "\n")
    return path


def test_the_rate_of_the_last_minutes(tmp_path):
    lines = [
        *("12:00:00 scalequest: answers: 100 of 900 rows, 10.0 rows/s, 500 tokens/s, 80 s left",),
        *("12:20:00 scalequest: answers: 200 of 900 rows, 0.2 rows/s, 400 tokens/s, 80 s left",),
        *("12:21:40 scalequest: answers: 300 of 900 rows, 0.2 rows/s, 300 tokens/s, 80 s left",),
    ]
    found = progress(log_of(tmp_path, *lines))
    assert found is not None
    assert (found.done, found.total, found.steps, found.rate, found.tokens) == (300, 900, False, 1.0, 300.0)
    # It has the loading of the model in it.
    found = progress(log_of(tmp_path, *lines[:1]))
    assert found is not None and found.rate is None
    assert progress(log_of(tmp_path, *lines, "---- 2026-11-30 13:00:00, process 8 on vm ----")) is None
    midnight = [line.replace("12:20", "23:59").replace("12:21:40", "00:00:40") for line in lines[1:]]
    found = progress(log_of(tmp_path, *midnight))
    assert found is not None and found.rate == 1.0


def test_a_trainings_steps(tmp_path):
    steps = "12:00:00 __main__: students: step 3 of 80, loss 1.2", "12:00:20 __main__: students: step 5 of 80, loss 1.1"
    found = progress(log_of(tmp_path, *steps))
    assert found is not None
    assert (found.done, found.total, found.steps, found.rate, found.tokens) == (5, 80, True, 0.1, None)


def test_the_lines_of_a_job_are_those_that_are_read(tmp_path, caplog):
    """`job.Progress` writes what `job_logs.progress` reads."""
    with caplog.at_level("INFO"):
        report = JobProgress("answers to: a: b", every=0.0)
        report.tokens = 99
        report(3, 8)
    found = progress(log_of(tmp_path, f"12:00:00 scalequest: {caplog.messages[-1]}"))
    assert found is not None
    assert (found.done, found.total, found.steps) == (3, 8, False) and found.tokens


# ---------------------------------------------------------------- what is shown


def test_a_table_that_is_too_long_for_the_terminal():
    rows = [
        *(Row(f"done{number}", 4, 0, 0, 0, 4) for number in range(9)),
        *(Row(f"runs{number}", 1, 1, 2, 0, 4) for number in range(3)),
        *(Row(f"waits{number}", 0, 0, 4, 0, 4) for number in range(9)),
    ]
    assert watch.folded(rows, None) == watch.folded(rows, 21) == rows
    assert watch.folded(rows, 19) == ["3 earlier stages are done", *rows[3:]]
    assert watch.folded(rows, 11) == ["9 earlier stages are done", *rows[9:18], "3 later stages wait"]
    assert watch.folded(rows, 3) == ["9 earlier stages are done", *rows[9:12], "9 later stages wait"]


@pytest.mark.parametrize(
    ("shown", "row"),
    [
        ("-", Row("a", 0, 0, 1, 0, 1)),
        ("-/~12", Row("a", 0, 0, 1, 0, 1, of=12, about=True)),
        ("1,200/~3.40M", Row("a", 0, 1, 1, 0, 2, rows=1200, of=3_400_000, about=True)),
        ("5/80 steps", Row("a", 0, 1, 0, 0, 1, rows=5, of=80, steps=True)),
        ("320", Row("a", 1, 0, 0, 0, 1, rows=320, of=320)),
    ],
)
def test_rows_in_words(shown, row):
    assert watch.made(row) == shown


@pytest.mark.parametrize(("shown", "rate"), [("-", None), ("2.5/s", 2.5), ("30.0/min", 0.5), ("36.0/h", 0.01)])
def test_a_rate_in_words(shown, rate):
    assert watch.speed(Row("a", 0, 1, 0, 0, 1, rate=rate)) == shown


PLAN = {"stage_data": Plan(1, None, 0, 110), "tune_questions": Plan(1, 9.0, 0, 100), "make_seeds": Plan(1, 9, 100, 130)}
RUN = RunRecord("r", {}, "log", 0.0, True, [], PLAN)


@pytest.mark.parametrize(
    ("ends", "row"),
    [
        # By its rate, and what follows by the plan; by the plan alone; it is late; a table is late; nothing runs; a job
        # failed.
        (530, Row("tune_questions", 0, 1, 0, 0, 1, rate=1.0, began=300.0, ends=500.0)),
        (460, Row("tune_questions", 0, 1, 0, 0, 1, began=330.0)),
        (None, Row("tune_questions", 0, 1, 0, 0, 1, began=200.0)),
        (420, Row("stage_data", 0, 1, 0, 0, 1, began=200.0)),
        (None, Row("tune_questions", 0, 0, 1, 0, 1)),
        (None, Row("tune_questions", 0, 1, 0, 1, 2, began=330.0)),
    ],
)
def test_when_a_run_ends(ends, row):
    assert _run_ends([row, Row("make_seeds", 0, 0, 1, 0, 1)], RUN, now=400.0) == ends


def test_of_a_process_elsewhere_nothing_is_said_but_what_its_log_shows(run: Path):
    """A log that is cut, and a record of another machine's boot: as seen from a second login node."""
    record = read_json(run / run_record.RECORD)
    log = run / record["log"]
    whole = log.read_bytes()
    try:
        log.write_bytes(whole[: len(whole) // 2])
        write_json(run / run_record.RECORD, {**record, "process": {**record["process"], "boot": "b", "host": "login7"}})
        look = Watch(run, found) if (found := run_record.read(run)) else None
        assert look is not None
        frame = look.frame()
        assert frame.alive is None and not frame.over
        assert "on login7. Whether that lives cannot be seen from here" in watch.state(frame)
        with log.open("ab") as file:
            file.write(b"Select jobs to execute...\n")
        assert look.frame().alive is True
    finally:
        log.write_bytes(whole)
        write_json(run / run_record.RECORD, record)


def test_a_damaged_record_is_none(tmp_path: Path):
    (tmp_path / ".snakemake").mkdir()
    for text in ("", "[]", '{"plan": {}}', '{"plan": {"a": {"b": 1}}}'):
        (tmp_path / run_record.RECORD).write_text(text)
        assert run_record.read(tmp_path) is None
