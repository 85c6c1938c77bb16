"""Processes that have imported the large libraries and fork a child for each program: imports take longer than work.

The child runs the program's file or module with its own arguments, environment, folder, output and name spaces, as
`python` does. Tests use it through `programs.finished`. What a forked program starts as `sys.executable`, as Snakemake
starts its jobs and a training its processes, is forked too, by a stand-in for `python`. In the tests of faults and of
SLURM, and in the demo, all programs are started as users start them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER = "SCALEQUEST_TEST_FORKS"
TABLES = ("pyarrow.parquet", "numpy", "jsonschema", "yaml")
TOKENIZERS = (*TABLES, "torch", "transformers.models.auto.tokenization_auto", "transformers.models.llama")
# What each process imports beside our own modules, which are read anew by each program.
KINDS = {
    "tables": (*TABLES, "snakemake.cli", "sympy", "math_verify", "matplotlib.pyplot", "jinja2"),
    "engine": (
        *TOKENIZERS,
        *("vllm.entrypoints.llm", "vllm.v1.worker.cpu_worker", "vllm.v1.engine.llm_engine", "vllm.v1.executor"),
        *("vllm.model_executor.models.llama", "vllm.model_executor.model_loader.default_loader"),
        "vllm.model_executor.layers.quantization.online.base",
    ),
    "training": (
        *(*TOKENIZERS, "datasets", "accelerate.commands.launch", "torch.distributed.run"),
        *("transformers.trainer", "trl.trainer.sft_trainer", "trl.trainer.dpo_trainer"),
    ),
}
PROGRAMS = {
    **dict.fromkeys(("sample_questions", "sample_responses", "judge_questions", "rewrite_questions"), "engine"),
    **dict.fromkeys(("measure_fail_rates", "score_responses", "score_difficulty", "sample_answers"), "engine"),
    **dict.fromkeys(("tune_questions", "tune_preferences", "tune_student", "train_scorer"), "training"),
    # The last one is of tests/programs/test_staging.py.
    **dict.fromkeys(("choose_topics", "stage_model", "stage_quickly"), "engine"),
    "tokenize_student": "training",
    **dict.fromkeys(("accelerate.commands.launch", "scalequest.training.process"), "training"),
}
# What a child shares with the process that asks, in the order in which it can enter them.
NAME_SPACES = ("user", "net")
# A thread of pyarrow's allocator, which starts it again in a child.
OF_ARROW = "jemalloc_bg_thd"


def ask(argv: list[str], env: dict[str, str], cwd: str, out: int, err: int, signals: tuple[int, ...] = ()) -> int:
    """Have a program run to its end with this output, and return its status; it ends with the process that asks, and
    gets these signals of it."""
    with _connection(PROGRAMS.get(_program(argv), "tables")) as line:
        for number in signals:
            signal.signal(number, lambda number, _: line.send(bytes([number])))
        asked = json.dumps({"argv": argv, "env": env, "cwd": cwd}).encode()
        spaces = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in NAME_SPACES]
        socket.send_fds(line, [len(asked).to_bytes(8, "big")], [out, err, *spaces])
        for space in spaces:
            os.close(space)
        line.sendall(asked)
        answer = line.makefile().readline()
        assert answer, f"the process that forks {argv} has ended"
        return int(answer)


def _program(argv: list[str]) -> str:
    return argv[1] if argv[0] == "-m" else Path(argv[0]).stem


def _connection(kind: str) -> socket.socket:
    """A connection to the process of a kind, which the first one that asks starts."""
    import fcntl
    import subprocess

    place = Path(os.environ[FOLDER]) / kind
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            ready, end = os.pipe()
            command = [sys.executable, __file__, kind, str(end)]
            with place.with_suffix(".log").open("w") as log:
                subprocess.Popen(command, pass_fds=[end], stdout=log, stderr=log, start_new_session=True)  # noqa: S603
            os.close(end)
            assert os.read(ready, 1), place.with_suffix(".log").read_text()
            os.close(ready)
    line = socket.socket(socket.AF_UNIX)
    line.connect(str(place))
    return line


def start() -> None:
    """Start the processes of all kinds, so that none is started by a program in name spaces of its own."""
    for kind in KINDS:
        _connection(kind).close()


def bin_folder() -> Path:
    """The folder of the stand-in for `python`."""
    return Path(os.environ[FOLDER]) / "bin"


def write_stand_in() -> None:
    """Write an executable `python` that has our programs forked (`stand_in`)."""
    bin_folder().mkdir(exist_ok=True)
    path = bin_folder() / "python"
    code = f"import sys\nsys.path.append({str(Path(__file__).parent)!r})\nimport forks\nforks.stand_in()\n"
    path.write_text(f"#!{sys.executable} -IS\n{code}")
    path.chmod(0o755)


def stand_in() -> None:
    """What Snakemake's jobs and trainings start as `python`: our programs are forked, all else is started as it is."""
    words = [word for word in sys.argv[1:] if word != "-u"]
    ours = bool(words) and words[0].endswith(".py") and Path(words[0]).parent.name == "scripts"
    if not ours and not (words[:1] == ["-m"] and words[1] in {*PROGRAMS, "snakemake"}):
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])  # noqa: S606 - our own words
    status = ask(words, dict(os.environ), str(Path.cwd()), 1, 2, (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1))
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def _serve(kind: str, ready: int) -> None:
    """Import what programs of a kind need, then fork for each that asks until the tests have ended."""
    import gc
    import importlib

    own = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    installed = [folder for folder in sys.path if folder not in own]
    folder = Path(os.environ[FOLDER])
    tests = Path("/proc") / folder.name.split("-")[-1]
    # As llm/engine.py sets it before it imports vLLM.
    os.environ["VLLM_LOGGING_LEVEL"] = "WARNING"
    before = dict(os.environ)
    for name in KINDS[kind]:
        importlib.import_module(name)
    added = {name: value for name, value in os.environ.items() if before.get(name) != value}
    gc.freeze()
    # A thread would be missing in the child, with the locks that it holds.
    threads = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    assert len(threads) - threads.count(OF_ARROW) == 1, f"an import has started a thread: {threads}"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / kind))
        listener.listen(64)
        listener.settimeout(2)
        os.write(ready, b"1")
        os.close(ready)
        while folder.exists() and tests.exists():
            try:
                line, _ = listener.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                line.setblocking(True)
                break
            line.close()
        else:
            return
    # What the program starts is forked as well.
    sys.executable = str(bin_folder() / "python")
    _handle(line, added, installed)


def _handle(line: socket.socket, added: dict[str, str], installed: list[str]) -> None:
    """Run what is asked for in a child, pass signals on to it, and answer with its status."""
    import select

    head, (out, err, *spaces), _, _ = socket.recv_fds(line, 8, 2 + len(NAME_SPACES))
    asked = json.loads(line.makefile("rb").read(int.from_bytes(head, "big")))
    if (child := os.fork()) == 0:
        line.close()
        os.setsid()
        _enter(spaces)
        _run(asked, out, err, added, installed)
        return
    for handle in (out, err, *spaces):
        os.close(handle)
    ended = os.pidfd_open(child)
    waited: list[Any] = [ended, line]
    while ended not in select.select(waited, [], [])[0]:
        # A number of a signal, or the end of the one who asked.
        number = line.recv(1)
        with suppress(ProcessLookupError):
            os.killpg(child, number[0] if number else signal.SIGKILL)
        if not number:
            break
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with line:
        line.sendall(f"{status}\n".encode())
    os._exit(0)


def _enter(spaces: list[int]) -> None:
    """Enter those name spaces that are others than one's own."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    for name, space in zip(NAME_SPACES, spaces, strict=True):
        own = Path("/proc/self/ns", name).stat()
        if (own.st_ino != os.fstat(space).st_ino) and library.setns(space, 0):
            raise OSError(ctypes.get_errno(), f"setns: {name}")
        os.close(space)


def _run(asked: dict[str, Any], out: int, err: int, added: dict[str, str], installed: list[str]) -> None:
    import gc
    import runpy

    # vLLM thaws all at its end and collects twice: here that would copy the whole memory of the process that forks.
    gc.unfreeze = lambda: None

    os.environ.clear()
    os.environ.update({**added, **asked["env"]})
    os.chdir(asked["cwd"])
    for number, handle in ((0, os.open(os.devnull, os.O_RDONLY)), (1, out), (2, err)):
        os.dup2(handle, number)
        os.close(handle)
    file, *arguments = asked["argv"]
    folders = [folder for folder in asked["env"].get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.path[:] = [asked["cwd"] if file == "-m" else str(Path(file).parent), *folders, *installed]
    sys.path_importer_cache.clear()
    if file == "-m":
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [file, *arguments]
        runpy.run_path(file, run_name="__main__")


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
