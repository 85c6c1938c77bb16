"""What models, servers, files and other runs say reaches log and terminal without control characters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from fake_server import serving
from programs import ENGINE, SCRIPTS, refused, script
from scalequest.default_config import default_config
from scalequest.llm.models import write_manifest
from scalequest.rows.tables import QUESTIONS, question_id, write_table
from scalequest.runtime.files import write_json
from scalequest.runtime.operation import OPERATION
from scalequest.runtime.printable import printable
from tools import collect_garbage
from workflow import snakemake

# Colours, a window's title by ESC and by C1, a line written over, one deleted, text turned around, a hidden sign.
HOSTILE = "\x1b[31m\x1b]0;title\x07\x9b2J\r\x7f\b\u202egpj\u2066\u200b\u2028"
ESCAPED = "\\u001b[31m\\u001b]0;title\\u0007\\u009b2J\\u000d\\u007f\\u0008\\u202egpj\\u2066\\u200b\\u2028"
RAW = [c for c in HOSTILE if not c.isprintable()]
PROGRAM = """
import logging, sys, warnings
from scalequest.runtime import job
from scalequest.errors import ScaleQuestError
hostile = HOSTILE
def main():
    job.parser("").parse_args()
    BODY
job.run(main)
"""


def clean(text: str) -> str:
    assert not [c for c in RAW if c in text], text
    return text


def ran(tmp_path: Path, body: str) -> tuple[str, str, int]:
    """What a program that does this shows and logs, and its status."""
    program = PROGRAM.replace("HOSTILE", repr(HOSTILE)).replace("BODY", body)
    command = [sys.executable, "-c", program, "--settings", "{}", "--log", str(tmp_path / "a.log")]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - our own program
    return done.stderr.decode(), (tmp_path / "a.log").read_text(), done.returncode


def test_texts_that_people_write_stay_as_they_are() -> None:
    for text in ("", "plain", "Что больше: 2 или 3?\n\t三 \u00a0é \U0001f600 \\x1b", "∫_0^∞ e^{-x}\n"):
        assert printable(text) == text
    assert printable(HOSTILE) == ESCAPED
    assert printable("half \ud800 a\nb") == "half \\ud800 a\nb"
    assert printable("a\nb\tc", breaks=False) == "a\\u000ab\tc"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("job.log.info('seen: %s', hostile)", f" scalequest: seen: {ESCAPED}\n"),
        ("raise ScaleQuestError(hostile)", f" scalequest: error: {ESCAPED}\n"),
        ("raise OSError(28, 'full', hostile)", f" scalequest: error: {ESCAPED}: full."),
        ("raise ValueError(hostile)", f"ValueError: {ESCAPED}"),
        ("raise SystemError(chr(0xd800))", "SystemError: \\ud800"),
    ],
    ids=["message", "sentence", "disk", "traceback", "half a surrogate pair"],
)
def test_log_and_terminal_are_clean(tmp_path: Path, body: str, shown: str) -> None:
    terminal, log, _ = ran(tmp_path, body)
    assert shown in clean(terminal) and shown in clean(log)
    assert "Logging error" not in log


def test_lines_of_libraries_are_clean(tmp_path: Path) -> None:
    """vLLM and transformers have handlers of their own; warnings come by logging."""
    body = "; ".join(
        [
            "lib = logging.getLogger('lib')",
            "lib.propagate = False",
            "lib.addHandler(logging.StreamHandler())",
            "lib.warning('by its own: %s', hostile)",
            "logging.getLogger('other').warning('by ours: %s', hostile)",
            "warnings.warn(hostile)",
        ]
    )
    terminal, log, status = ran(tmp_path, body)
    assert status == 0
    assert f"by its own: {ESCAPED}\n" in clean(log)
    assert f"other: by ours: {ESCAPED}\n" in log and f"UserWarning: {ESCAPED}" in log
    clean(terminal)


def test_a_line_break_in_a_message_begins_no_line_of_ours(tmp_path: Path) -> None:
    terminal, log, _ = ran(tmp_path, "job.log.info('%s', 'seen\\n12:00:00 scalequest: error: forged')")
    for text in (terminal, log):
        assert "scalequest: seen\n    12:00:00 scalequest: error: forged\n" in text


def test_an_http_error_is_shown_clean(tmp_path: Path) -> None:
    row = {"id": question_id("g", 0, 0), "generator": "g", "seed": 0, "index": 0, "question": "What is 1 plus 1?"}
    write_table(tmp_path / "q.parquet", [{**row, "finish_reason": "stop", "tokens": 1, "sampling_seed": 1}], QUESTIONS)
    rewrite = {
        **{"backend": "server", "server_model": "m", "share_solvability": 0.5, "structured": False},
        **{"sampling": {"temperature": 0.0, "top_p": 1.0, "max_tokens": 4}, "max_length_ratio": 4.0},
    }
    with serving(lambda body, tries: (400, {}, json.dumps({"error": {"message": HOSTILE}}))) as fake:
        server = {**default_config()["operation"]["server"], "base_url": fake.url}
        done = subprocess.run(  # noqa: S603 - our own script
            [
                *(sys.executable, str(SCRIPTS / "rewrite_questions.py"), "--questions", str(tmp_path / "q.parquet")),
                *("--progress", str(tmp_path / "progress"), "--out", str(tmp_path / "out.parquet")),
                *("--settings", json.dumps({"rewrite": rewrite, "engine": None, "seed": 1, "domain": "math"})),
            ],
            env={**os.environ, OPERATION: json.dumps({"server": server})},
            capture_output=True,
            text=True,
            check=False,
        )
    assert f"HTTP 400, Error code: 400 - {ESCAPED}" in clean(refused(done))


def test_a_files_name_is_shown_clean(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_json(folder / "config.json", {})
    (folder / f"{HOSTILE}.safetensors").write_text("x")
    write_manifest(tmp_path / "m.json", folder, name="m", source="test")
    (folder / f"{HOSTILE}.safetensors").unlink()
    paths = {"questions": tmp_path / "q.parquet", "progress": tmp_path / "p", "out": tmp_path / "o.parquet"}
    write_table(paths["questions"], [], QUESTIONS)
    rewrite = {
        **{"backend": "engine", "share_solvability": 0.5, "structured": False, "max_length_ratio": 4.0},
        "sampling": {"temperature": 0.0, "top_p": 1.0, "max_tokens": 4},
    }
    settings = {"rewrite": rewrite, "engine": ENGINE, "seed": 1}
    message = refused(script("rewrite_questions", settings, model=tmp_path / "m.json", **paths))
    assert f"{ESCAPED}.safetensors is missing" in clean(message)


def test_what_a_template_says_is_shown_clean(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").write_text("{{ raise_exception('" + HOSTILE.replace("\u2028", "") + "') }}")
    write_manifest(tmp_path / "m.json", folder, name="m", source="test")
    row = {"id": question_id("g", 0, 0), "generator": "g", "seed": 0, "index": 0, "question": "What is 1 plus 1?"}
    write_table(tmp_path / "q.parquet", [{**row, "finish_reason": "stop", "tokens": 1, "sampling_seed": 1}], QUESTIONS)
    engine: dict[str, Any] = {
        **{"determinism": "windows", "window": 4, "max_model_len": 512, "dtype": "bfloat16", "threads": 1},
        **{"max_sequences": 4, "max_batched_tokens": 512, "tensor_parallel": 1, "enforce_eager": True, "device": "cpu"},
    }
    rewrite = {
        **{"backend": "engine", "share_solvability": 0.5, "structured": False, "max_length_ratio": 4.0},
        "sampling": {"temperature": 0.0, "top_p": 1.0, "max_tokens": 4},
    }
    paths = {"questions": tmp_path / "q.parquet", "progress": tmp_path / "p", "out": tmp_path / "o.parquet"}
    settings = {"rewrite": rewrite, "engine": engine, "seed": 1}
    message = refused(script("rewrite_questions", settings, model=tmp_path / "m.json", **paths))
    assert "\\u001b[31m" in clean(message)


def test_another_runs_checksums_are_shown_clean(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine.txt", tmp_path / "other.txt"
    # Line separators end its lines.
    name = HOSTILE.replace("\r", "").replace("\u2028", "")
    mine.write_text(f"{'0' * 64}  results/a\n")
    other.write_text(f"{'0' * 64}  results/{name}\n")
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, str(SCRIPTS / "verify_run.py"), "--settings", "{}", "--checksums", str(mine)],
        env={**os.environ, OPERATION: json.dumps({"verify_against": str(other)})},
        capture_output=True,
        text=True,
        check=False,
    )
    refused(done)
    assert f"missing: results/{printable(name)}\n" in clean(done.stderr)


def test_a_key_of_the_config_is_shown_clean(tiny_model: Path, tmp_path: Path) -> None:
    config = {"models": {"tiny": {"source": f"path:{tiny_model}", "licence": "none"}}, HOSTILE: 1}
    done = snakemake(tmp_path, config, "-n")
    assert done.returncode == 1
    assert f"unknown key {ESCAPED}" in clean(done.stdout + done.stderr)


def test_folders_that_records_name_are_shown_clean() -> None:
    uses = collect_garbage.Uses(folders={Path("/a\n12:00:00 all is well")}, unseen={f"/{HOSTILE}": {"x"}})
    lines = clean(collect_garbage.report([], uses, [Path(f"/{HOSTILE}")])).splitlines()
    assert len(lines) == 4 and f"Looked in /{ESCAPED}, which is not there" in lines


def test_a_plan_is_shown_clean(tmp_path: Path) -> None:
    """`make explain` prints by the same function."""
    path = tmp_path / "overlay.yaml"
    path.write_text(json.dumps({"storage": {"progress": f"{tmp_path}/{HOSTILE}"}}))
    command = [
        sys.executable,
        str(SCRIPTS / "tools" / "plan.py"),
        "--snakefile",
        str(ROOT / "Snakefile"),
        "--directory",
    ]
    command += [str(tmp_path), "--profile", str(ROOT / "profiles" / "local"), "--configfile", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/{ESCAPED}" in clean(done.stdout)
