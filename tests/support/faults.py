"""The fault table: every stage, interrupted in five ways at random moments in mid-shard, and run again.

    make test-faults          or          python tests/support/faults.py --stages judge_questions --moments 1

A trial starts a stage's own command on a tiny model, waits for a random number of stored parts and a random part of a
window, holds all its processes (SIGSTOP), and counts: it is a trial only if some parts are there and some are missing.
Then comes the fault, then the same command until it ends well, and the store and the output are compared with those of
a run that nothing disturbed. What was made again is told by the attempts' records: a window that is made twice has the
same bytes, hence the same name, and the store does not show it. For a training a checkpoint is what a part is for the
others, and there is one a step; its log tells where it went on.
A full disk needs the right to mount a small tmpfs, which root has. Trials that trials.jsonl has are not run again:
remove it after a change of the code.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests"), str(ROOT / "tests" / "support")]

import pyarrow.parquet as pq  # noqa: E402 - the path above is for the imports below
import yaml  # noqa: E402

from conftest import SMALL_CACHE  # noqa: E402
from fault_stages import STAGES, Models, Stage, config  # noqa: E402
from scalequest.hashing import file_sha256  # noqa: E402
from scalequest.runtime.files import read_json  # noqa: E402
from scalequest.runtime.lease import process_start  # noqa: E402
from scalequest.runtime.operation import OPERATION  # noqa: E402

FAULTS = ("sigterm", "sigkill", "snakemake", "full_disk", "corrupt")
SAID = {
    "sigterm": "SIGTERM",
    "sigkill": "SIGKILL",
    "snakemake": "SIGKILL of Snakemake",
    "full_disk": "full disk",
    "corrupt": "corrupt part",
}
# A checkpoint each step, and quick signs of life.
OPERATING = {"checkpoint_minutes": 0, "lease_seconds": 3.0, **SMALL_CACHE}
DISK_BYTES = 400 << 20
# What the processor time of a window may differ by from the same window's in the undisturbed run, as a share of it.
NOISE = 0.25
DAMAGES: Mapping[str, Callable[[bytes, random.Random], bytes]] = {
    "cut short": lambda data, chance: data[: chance.randrange(1, len(data))],
    "emptied": lambda data, chance: b"",
    "one byte changed": lambda data, chance: _flipped(data, chance.randrange(len(data))),
}


class Unavailable(Exception):
    """A fault that cannot be made here, and why."""


class Missed(Exception):
    """The moment was not in mid-shard."""


@dataclass
class Trial:
    """What one fault did. `twice` is rows that were made, or are stored, more than once without need. Of the window in
    hand (for a training, the step) `in_hand_seconds` of the processor, which other work on the machine hardly changes,
    were thrown away, a share of `in_hand`; `again` is finished windows (steps) that were made again."""

    stage: str
    fault: str
    moment: int
    seed: int
    parts: int = 0
    of: int = 0
    how: str = ""
    status: int | None = None
    said: str = ""
    runs_after: int = 0
    lost: int = 0
    twice: int = 0
    in_hand_seconds: float = 0.0
    in_hand: float = 0.0
    again: float = 0.0
    equal: bool = False
    troubles: list[str] = field(default_factory=list)

    @property
    def repeated_windows(self) -> float:
        return self.in_hand + self.again

    @property
    def good(self) -> bool:
        """Nothing lost, nothing twice, the same bytes, and at most one window repeated: what was counted exactly, what
        was timed within the clock's noise."""
        if self.lost or self.twice or self.troubles or not self.equal:
            return False
        return self.again <= 1 and self.repeated_windows <= 1 + NOISE


# ---------------------------------------------------------------- processes
def family(pid: int) -> list[int]:
    """A process and all its descendants, the eldest first."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def hold(pid: int) -> dict[int, int | None]:
    """Stop a process and its descendants where they are, and see that they stand; ids and starts of all."""
    held: dict[int, int | None] = {}
    while new := [one for one in family(pid) if one not in held]:
        for one in new:
            held[one] = process_start(one)
            send(one, signal.SIGSTOP)
    end = time.monotonic() + 10
    while not all(stands(one) for one in held) and time.monotonic() < end:
        time.sleep(0.001)
    return held


def stands(pid: int) -> bool:
    """Whether a process is stopped or has ended; one that waits for the disk finishes that first."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TZX"
    except OSError:
        return True


def send(pid: int, number: int) -> None:
    """Signal a process, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def processor_seconds(pid: int) -> float:
    """Time that a process and its living descendants were on a processor."""
    total = 0
    for one in family(pid):
        for task in Path(f"/proc/{one}/task").glob("*/schedstat"):
            with suppress(OSError):
                total += int(task.read_text().split()[0])
    return total / 1e9


def script_of(pid: int, name: str, seconds: float = 120) -> int:
    """The process of scripts/{name}.py among a process's descendants, once it is there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for one in family(pid):
            with suppress(OSError):
                words = Path(f"/proc/{one}/cmdline").read_bytes().split(b"\0")
                if len(words) > 1 and words[1].endswith(f"/{name}.py".encode()):
                    return one
        time.sleep(0.2)
    raise RuntimeError(f"{name}.py was not started within {seconds:.0f} s")


@contextmanager
def ended_at_last(children: list[subprocess.Popen]) -> Iterator[list[subprocess.Popen]]:
    """A list of processes, each in a session of its own, of which none is left behind."""
    try:
        yield children
    finally:
        for child in children:
            for one in [*family(child.pid), *_session(child.pid)]:
                send(one, signal.SIGKILL)
            child.wait()


def _session(number: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == number:
                    found.append(int(entry.name))
    return found


# ---------------------------------------------------------------- one stage in one folder
@dataclass(frozen=True)
class Place:
    """A stage's working folder: its inputs, its store or weights, its outputs; and the checkout that works there."""

    stage: Stage
    folder: Path
    checkout: Path = ROOT

    def snakemake(self, *arguments: str) -> list[str]:
        """The command line of the stage's target and nothing else."""
        line = [sys.executable, "-m", "snakemake", "--snakefile", str(self.checkout / "Snakefile"), "--directory"]
        line += [str(self.folder), "--profile", str(self.checkout / "profiles" / "local"), "--cores", "1"]
        line += ["--configfile", str(self.folder / "overlay.yaml"), "--allowed-rules", self.stage.name]
        return [*line, *arguments] if arguments else [*line, "--", f"results/{self.stage.outputs[0]}"]

    def start(self, line: list[str], log: str) -> subprocess.Popen:
        """Start a command here, its output in a file."""
        path = Path(sys.executable).parent
        environment = {**os.environ, OPERATION: json.dumps(OPERATING), "PATH": f"{path}:{os.environ['PATH']}"}
        environment["OMP_NUM_THREADS"] = "1"
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(  # noqa: S603 - our own programs
                line, cwd=self.folder, stdout=output, stderr=output, env=environment, start_new_session=True
            )

    def parts(self) -> int:
        """Stored parts, or the number of the last whole checkpoint."""
        if self.stage.table:
            return len(self.stored())
        found = [int(path.parent.name.split("-")[1]) for path in self.checkpoints()]
        return max(found, default=0)

    def stored(self) -> list[Path]:
        """The parts in all stores of the stage."""
        return sorted((self.folder / "progress" / self.stage.name).glob("*/[!.]*.parquet"))

    def checkpoints(self) -> list[Path]:
        """The seals of whole checkpoints, the last one last."""
        while True:
            try:
                found = list((self.folder / "models").glob("*/**/checkpoints/checkpoint-*/.whole.json"))
                break
            except FileNotFoundError:
                # The trainer removed a checkpoint while its folder was looked through.
                continue
        return sorted(found, key=lambda path: int(path.parent.name.split("-")[1]))

    def attempts(self) -> list[dict[str, Any]]:
        """The records of attempts at the stage's own rows, in all its stores, or at weights."""
        if self.stage.table:
            paths = (self.folder / "progress" / self.stage.name).glob("*/attempts/*.json")
        else:
            paths = (self.folder / "models").glob("**/attempts/*.json")
        return [read_json(path) for path in sorted(paths)]

    def made(self, process: int | None = None) -> int:
        """Rows that were stored by all attempts, or by those of one process, as they counted them."""
        return sum(record["rows"] for record in self.attempts() if process in (None, record["process"]))

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each output."""
        results = self.folder / "results"
        return {name: file_sha256(results / name) for name in self.stage.outputs if (results / name).exists()}

    def rows(self) -> list[tuple]:
        """Store and key of all stored rows, as often as they are stored; the steps of a training's history."""
        if self.stage.table:
            columns = list(self.stage.table.key)
            tables = [(path.parent.name, pq.read_table(path, columns=columns)) for path in self.stored()]
            return [(store, *row.values()) for store, table in tables for row in table.to_pylist()]
        (result,) = (self.folder / "models").glob("**/.training.json")
        return [(row["step"],) for row in read_json(result)["result"]["history"]]


@dataclass(frozen=True)
class Reference:
    """An undisturbed run of a stage: its folder's inputs, its command, and what it made."""

    stage: Stage
    inputs: Path
    command: str
    hashes: Mapping[str, str]
    rows: frozenset[tuple]
    of: int
    # Processor seconds since the start, and clock, by the number of parts that were there.
    cost: Mapping[int, tuple[float, float]]

    def window_seconds(self, after: int, clock: bool = False) -> float:
        """What the window after so many parts took: the mean of it and its two neighbours, as a part is seen a little
        after it is there."""
        known = sorted(self.cost)
        before = max([n for n in known if n <= after - 1], default=known[0])
        later = min([n for n in known if n > after + 1], default=known[-1])
        if later == before:
            before, later = known[0], known[-1]
        which = int(clock)
        return (self.cost[later][which] - self.cost[before][which]) / max(later - before, 1)


def watch(
    place: Place, child: subprocess.Popen, script: int, until: float = math.inf, longer: float = 0.0
) -> dict[int, tuple]:
    """Watch parts come until so many are there and for some seconds more, or until the process ends; processor seconds
    and clock of each number."""
    seen: dict[int, tuple[float, float]] = {}
    end = math.inf
    while child.poll() is None and time.monotonic() < end:
        found = place.parts()
        if found and found not in seen:
            seen[found] = (processor_seconds(script), time.monotonic())
        if found >= until and end == math.inf:
            end = time.monotonic() + longer
        # Seldom while the engine loads, which takes most of the time.
        time.sleep(0.003 if found else 0.02)
    return seen


def prepared(stage: Stage, models: Models, folder: Path) -> Place:
    """A folder with the stage's inputs and the overlay."""
    stage.prepare(folder / "results", models, stage.rows)
    (folder / "overlay.yaml").write_text(yaml.safe_dump({**config(models), "operation": OPERATING}), encoding="utf-8")
    return Place(stage, folder)


def undisturbed(stage: Stage, models: Models, folder: Path) -> Reference:
    """Run a stage by Snakemake to its end. Raises RuntimeError where it fails, or its record lacks rows."""
    inputs = prepared(stage, models, folder / "inputs").folder
    place = Place(stage, folder / "undisturbed")
    shutil.copytree(inputs, place.folder)
    with ended_at_last([]) as children:
        child = place.start(place.snakemake(), "snakemake.txt")
        children.append(child)
        seen = watch(place, child, script_of(child.pid, stage.name))
    if child.returncode:
        raise RuntimeError(f"{stage.name} fails undisturbed: {tail(place.folder / 'snakemake.txt')}")
    records = [read_json(path) for path in (place.folder / ".snakemake/metadata").rglob("*") if path.is_file()]
    command = next(record["shellcmd"] for record in records if record["rule"] == stage.name)
    rows = place.rows()
    if stage.table and (made := place.made()) != len(rows):
        raise RuntimeError(f"{stage.name}: {made} rows in the records of attempts, {len(rows)} in the store")
    of = len(place.stored()) if stage.table else len(rows)
    return Reference(stage, inputs, command, place.hashes(), frozenset(rows), of, seen)


def tail(path: Path, characters: int = 3000) -> str:
    return path.read_text(encoding="utf-8", errors="replace")[-characters:]


# ---------------------------------------------------------------- a trial
def trial(reference: Reference, fault: str, moment: int, seed: int, folder: Path, checkout: Path = ROOT) -> Trial:
    """Interrupt the stage once and run it to its end. Raises Unavailable where the fault cannot be made here."""
    chance = random.Random(f"{seed} {reference.stage.name} {fault} {moment}")  # noqa: S311 - not for secrets
    for number in range(8):
        name = f"{reference.stage.name}-{fault}-{moment}-{number}"
        place = Place(reference.stage, folder / name, checkout)
        shutil.copytree(reference.inputs, place.folder)
        result = Trial(reference.stage.name, fault, moment, seed, of=reference.of)
        try:
            with ExitStack() as stack:
                if fault == "full_disk":
                    stack.enter_context(small_disk(place.folder))
                _Run(reference, place, fault, chance, result).through()
        except Missed:
            continue
        finally:
            shutil.rmtree(place.folder, ignore_errors=True)
        return result
    raise RuntimeError(f"{reference.stage.name}, {fault}: no moment in mid-shard was met in 8 tries")


class _Run:
    """One trial under way."""

    def __init__(self, reference: Reference, place: Place, fault: str, chance: random.Random, result: Trial):
        self.reference, self.place, self.fault, self.chance, self.result = reference, place, fault, chance, result
        self.children: list[subprocess.Popen] = []
        # The process that is interrupted, and the rows that it had counted by then.
        self.script = self.counted = 0
        # Rows that it stored and did not live to count, and rows of the part that was damaged.
        self.uncounted = self.damaged = 0
        # Parts, or the last checkpoint's number, that the next run met.
        self.met = 0
        # Bash gives way to the script, so that its process is the script's.
        prefix = f"scripts={place.checkout / 'scripts'}; models=models; progress=progress; exec "
        self.direct = ["bash", "-c", prefix + reference.command]

    def through(self) -> None:
        with ended_at_last(self.children):
            line = self.place.snakemake() if self.fault == "snakemake" else self.direct
            child = self.start(line, "first.txt")
            self.script = script_of(child.pid, self.place.stage.name)
            held, seconds = self.interrupt_at_a_moment(child)
            getattr(self, f"_{self.fault}")(child, held)
            self.note_in_hand(seconds)
            self.until_it_ends_well()
        self.compare()

    def start(self, line: list[str], log: str) -> subprocess.Popen:
        child = self.place.start(line, log)
        self.children.append(child)
        return child

    def interrupt_at_a_moment(self, child: subprocess.Popen) -> tuple[dict[int, int | None], float]:
        """Hold the processes at a random moment; what was held, and the processor seconds of the window in hand."""
        until = self.chance.randint(1, self.reference.of - 1)
        longer = self.chance.random() * self.reference.window_seconds(until, clock=True)
        seen = watch(self.place, child, self.script, until, longer)
        held = hold(self.script)
        now, parts = processor_seconds(self.script), self.place.parts()
        self.result.parts, self.counted = parts, self.place.made(self.script)
        if child.poll() is not None or not seen or not 0 < parts < self.reference.of:
            raise Missed
        # The last parts may have come between two looks: what they cost is known from the undisturbed run.
        known = max(seen)
        between = sum(self.reference.window_seconds(number) for number in range(known, parts))
        return held, max(0.0, now - seen[known][0] - between)

    def go_on(self, held: Mapping[int, int | None]) -> None:
        for pid, start in held.items():
            if process_start(pid) == start:
                send(pid, signal.SIGCONT)

    def end_of(self, child: subprocess.Popen, seconds: float, expected: set[int]) -> None:
        """Wait for the first run's end, and note how it ended."""
        try:
            status = child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{self.where()}: still running after {seconds:.0f} s") from None
        self.result.status = status
        if status not in expected:
            self.result.troubles.append(f"ended with status {status}, not {sorted(expected)}")
        if self.place.stage.table and self.fault != "snakemake":
            self.uncounted = max(0, len(self.place.rows()) - self.place.made())

    def attempts(self, of_script: bool) -> list[dict[str, Any]]:
        """The records of the interrupted process, or those of all others."""
        return [record for record in self.place.attempts() if (record["process"] == self.script) == of_script]

    def where(self) -> str:
        return f"{self.result.stage}, {self.result.fault}, moment {self.result.moment}"

    # ------------------------------------------------------------ the faults
    def _sigterm(self, child: subprocess.Popen, held: Mapping[int, int | None]) -> None:
        send(self.script, signal.SIGTERM)
        self.go_on(held)
        self.end_of(child, 40, {128 + signal.SIGTERM})
        self.no_traceback()

    def _sigkill(self, child: subprocess.Popen, held: Mapping[int, int | None]) -> None:
        send(self.script, signal.SIGKILL)
        self.end_of(child, 20, {-signal.SIGKILL})
        # A training's own processes end when they see that their supervisor is gone, some steps later.
        self.go_on(held)
        self.wait(lambda: not any(process_start(pid) == start for pid, start in held.items()), 30)

    def _snakemake(self, child: subprocess.Popen, held: Mapping[int, int | None]) -> None:
        """The stage's script lives on; a new Snakemake starts it a second time, and the older one gives way."""
        send(child.pid, signal.SIGKILL)
        self.end_of(child, 20, {-signal.SIGKILL})
        unlock = self.start(self.place.snakemake("--unlock"), "unlock.txt")
        self.end_of(unlock, 120, {0})
        newcomer = self.start(self.place.snakemake(), "again.txt")
        self.wait(lambda: self.attempts(of_script=False) or newcomer.poll() is not None, 180)
        # A training's own processes are let go after their supervisor, so that they do not end before it looks up.
        self.go_on({self.script: held[self.script]})
        if not self.place.stage.table:
            self.wait(lambda: list(self.place.folder.glob("models/**/.*.training/stop")), 30)
        self.go_on(held)
        self.wait(lambda: process_start(self.script) != held[self.script], 120)
        self.result.status = None
        # The window in hand may have been the last one.
        last = self.result.parts == self.result.of - 1
        states = {record["state"] for record in self.attempts(of_script=True)}
        if "stopped" not in states and not (last and states == {"done"}):
            self.result.troubles.append(f"the older job's attempt ended as {', '.join(sorted(states))}")

    def _full_disk(self, child: subprocess.Popen, held: Mapping[int, int | None]) -> None:
        ballast = self.place.folder / "small" / "ballast"
        fill(ballast)
        self.go_on(held)
        self.end_of(child, 180, {1})
        self.no_traceback()
        said = [line for line in tail(self.place.folder / "first.txt", 20000).splitlines() if "error: " in line]
        self.result.said = said[0].partition("error: ")[2] if len(said) == 1 else ""
        if len(said) != 1 or "No space left on device" not in said[0] or "Free some space" not in said[0]:
            self.result.troubles.append(f"not one sentence that says what to do: {said}")
        elif not any(folder in said[0] for folder in ("progress/", "models/")):
            self.result.troubles.append(f"no path: {said[0]}")
        ballast.unlink()

    def _corrupt(self, child: subprocess.Popen, held: Mapping[int, int | None]) -> None:
        # Ends after the window in hand, so that the damage alone is seen.
        send(self.script, signal.SIGUSR1)
        self.go_on(held)
        self.end_of(child, 120, {128 + signal.SIGUSR1, 0})
        if child.returncode == 0:
            raise Missed("the window in hand was the last one")
        if self.place.stage.table:
            damaged = self.chance.choice(self.place.stored())
            self.damaged = pq.read_metadata(damaged).num_rows
        else:
            newest = self.place.checkpoints()[-1].parent
            damaged = self.chance.choice(sorted(path for path in newest.rglob("*") if path.is_file()))
        how = self.chance.choice(sorted(DAMAGES))
        self.result.how = f"{damaged.name}: {how}"
        damaged.write_bytes(DAMAGES[how](damaged.read_bytes(), self.chance))

    def wait(self, condition: Callable[[], Any], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(f"{self.where()}: waited {seconds:.0f} s in vain")
            time.sleep(0.02)

    def no_traceback(self) -> None:
        logs = [self.place.folder / "first.txt", *(self.place.folder / "logs").rglob("*.log")]
        if any("Traceback" in tail(path, 10**6) for path in logs):
            self.result.troubles.append("a traceback in the log")

    # ------------------------------------------------------------ afterwards
    def note_in_hand(self, seconds: float) -> None:
        """What of the window in hand has to be worked again; the processor seconds are those until the hold."""
        result, self.met = self.result, self.place.parts()
        whole = self.reference.window_seconds(result.parts)
        older = self.fault == "snakemake" and self.place.stage.table is not None
        # A training that came to its end has no checkpoints any more.
        stored = self.place.made(self.script) > self.counted if older else self.met != result.parts
        if self.fault == "full_disk" or (stored and self.fault == "sigkill"):
            # It was worked to its end, and could not be written; or other steps were begun, the last one to no end.
            seconds = whole
        elif stored:
            seconds = 0.0
        elif older:
            if seconds < 0.1 * whole:
                raise Missed("it was held between two windows")
            result.troubles.append("the older job stored nothing")
        result.in_hand_seconds, result.in_hand = seconds, seconds / whole

    def until_it_ends_well(self) -> None:
        if self.fault == "snakemake":
            newcomer = self.children[-1]
            self.result.runs_after = 1
            if newcomer.wait(timeout=400):
                raise RuntimeError(f"{self.where()}: {tail(self.place.folder / 'again.txt')}")
            return
        for number in range(1, 4):
            self.result.runs_after = number
            if self.start(self.direct, "again.txt").wait(timeout=400) == 0:
                return
        raise RuntimeError(f"{self.where()}: {tail(self.place.folder / 'again.txt')}")

    def compare(self) -> None:
        """Set the final store and outputs beside those of the undisturbed run."""
        result, rows = self.result, self.place.rows()
        result.lost = len(self.reference.rows - set(rows))
        result.twice = len(rows) - len(set(rows))
        result.equal = self.place.hashes() == self.reference.hashes
        if self.place.stage.table:
            self.count_rows_again()
        else:
            self.count_steps_again()
        if self.damaged and not list(self.place.folder.glob("progress/**/*.corrupt")):
            result.troubles.append("the damaged part was not set aside")

    def count_rows_again(self) -> None:
        """Rows that all attempts stored, over those that there are."""
        result, rows = self.result, len(self.reference.rows)
        again = self.place.made() + self.uncounted - rows
        result.twice = max(result.twice, again - self.damaged)
        result.again = again / (self.damaged or rows / result.of)
        if again < self.damaged:
            result.troubles.append(f"{self.damaged - again} rows fewer were made than the store lacked")

    def count_steps_again(self) -> None:
        """Steps from the checkpoint that the next run went on from to the last one that it met, by its log."""
        if not any(record["rows"] for record in self.attempts(of_script=False)):
            # At its last step, the older one ended with the model, which was found.
            self.result.in_hand_seconds = self.result.in_hand = 0.0
            return
        log = "".join(tail(path, 10**6) for path in (self.place.folder / "logs").rglob("attempts/*.log"))
        resumed = [int(line.rpartition("-")[2]) for line in log.splitlines() if "resuming from checkpoint-" in line]
        self.result.again = float(self.met - min(resumed, default=0))
        if self.fault == "corrupt" and self.result.again < 1:
            self.result.troubles.append("the damaged checkpoint was taken for whole")


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


# ---------------------------------------------------------------- a small disk
@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A tmpfs on which the folder's store, weights and logs lie. Raises Unavailable where mounting is not allowed."""
    small = folder / "small"
    small.mkdir()
    mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(small))
    try:
        for name in ("progress", "models", "logs"):
            (small / name).mkdir()
            (folder / name).symlink_to(small / name)
        yield
    finally:
        unmount(small)


def mount(*words: str) -> None:
    """Mount. Raises Unavailable with the reason where that is not allowed."""
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise Unavailable(f"mounting is not allowed here: {done.stderr.strip()}")


def unmount(folder: Path) -> None:
    """Unmount, also where a process that is about to end still has a file open."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607


def fill(ballast: Path) -> None:
    """Leave not a byte on a disk."""
    with ballast.open("wb", buffering=0) as handle:
        for size in (1 << 20, 4096, 1):
            with suppress(OSError):
                while True:
                    handle.write(b"\0" * size)


# ---------------------------------------------------------------- the table
def table(trials: list[Trial], skipped: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Lines of a Markdown table: a row for each stage and fault."""
    head = ("stage", "fault", "moments (parts of all)", "lost", "twice", "repeated, in windows: median, most", "bytes")
    for cells in (head, ("---",) * len(head)):
        yield "| " + " | ".join(cells) + " |"
    for name in STAGES:
        for fault in FAULTS:
            some = [t for t in trials if (t.stage, t.fault) == (name, fault)]
            if some:
                yield "| " + " | ".join((name, SAID[fault], *_figures(some))) + " |"
            elif (name, fault) in skipped:
                yield f"| {name} | {SAID[fault]} | skipped: {skipped[name, fault]} | | | | |"


def _figures(some: list[Trial]) -> tuple[str, ...]:
    windows = [t.repeated_windows for t in some]
    same = sum(t.equal for t in some)
    return (
        f"{', '.join(str(t.parts) for t in some)} of {some[0].of}",
        str(sum(t.lost for t in some)),
        str(sum(t.twice for t in some)),
        f"{statistics.median(windows):.2f}, {max(windows):.2f}",
        f"equal in {same} of {len(some)}",
    )


def all_trials(args: argparse.Namespace, work: Path, lines: Path) -> tuple[list[Trial], dict[tuple[str, str], str]]:
    """Run all trials of the table that the file of lines lacks; each is written down as soon as it is over."""
    models = Models.make(work / "models")
    done = [Trial(**json.loads(line)) for line in lines.read_text("utf-8").splitlines()] if lines.exists() else []
    known = {(t.stage, t.fault, t.moment, t.seed) for t in done}
    # All stages and faults once, then all of them again, so that what was begun is a table.
    wanted = [
        (name, fault, moment)
        for moment in range(args.moments)
        for name in args.stages
        for fault in args.faults
        if (name, fault, moment, args.seed) not in known
    ]
    skipped: dict[tuple[str, str], str] = {}

    def one(reference: Reference, fault: str, moment: int) -> None:
        name = reference.stage.name
        try:
            result = trial(reference, fault, moment, args.seed, work / "trials")
        except Unavailable as reason:
            skipped[name, fault] = str(reason)
            return
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            result = Trial(name, fault, moment, args.seed, of=reference.of, troubles=[str(error)])
        done.append(result)
        with lines.open("a", encoding="utf-8") as output:
            output.write(json.dumps(asdict(result)) + "\n")
        print("ok " if result.good else "BAD", result, file=sys.stderr, flush=True)

    pool = ThreadPoolExecutor(args.jobs)
    try:
        needed = [name for name in args.stages if any(name == stage for stage, _, _ in wanted)]
        made = pool.map(lambda name: undisturbed(STAGES[name], models, work / name), needed)
        references = dict(zip(needed, made, strict=True))
        waiting = [pool.submit(one, references[name], fault, moment) for name, fault, moment in wanted]
        for future in waiting:
            future.result()
    finally:
        # Trials under way end and clean up behind them, also after Ctrl-C or SIGTERM.
        pool.shutdown(cancel_futures=True)
    return sorted(done, key=lambda t: t.moment), skipped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE")
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--moments", type=int, default=5, help="random moments for each stage and fault")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time")
    parser.add_argument("--to", type=Path, default=Path("runs/faults"), help="folder of table.md and trials.jsonl")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    args.to.mkdir(parents=True, exist_ok=True)
    lines = args.to / "trials.jsonl"
    with tempfile.TemporaryDirectory(prefix="faults") as work:
        trials, skipped = all_trials(args, Path(work), lines)
    text = "\n".join(table(trials, skipped)) + "\n"
    (args.to / "table.md").write_text(text, encoding="utf-8")
    print(text)
    if bad := [t for t in trials if not t.good]:
        sys.exit(f"{len(bad)} of {len(trials)} trials are not as they should be: {lines}")


if __name__ == "__main__":
    main()
