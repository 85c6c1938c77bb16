"""The code hash sees what a script reaches, and not how it is written down."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from scalequest.workflow import codehash

SCRIPTS = ROOT / "scripts"

SCRIPT = '"""Doc."""\nfrom lib import helper\n\ndef main():\n    """Say."""\n    return helper.f(1)\n'
HELPER = "def f(x):\n    return x + 1\n"


def hash_of(tmp_path, script=SCRIPT, helper=HELPER, unrelated="y = 1\n"):
    codehash._parse.cache_clear()
    codehash.code_hash.cache_clear()
    (tmp_path / "lib").mkdir(exist_ok=True)
    (tmp_path / "lib" / "__init__.py").write_text("")
    (tmp_path / "lib" / "helper.py").write_text(helper)
    (tmp_path / "lib" / "unrelated.py").write_text(unrelated)
    (tmp_path / "stage.py").write_text(script)
    return codehash.code_hash(tmp_path / "stage.py")


@pytest.mark.parametrize(
    "change",
    [
        {"script": SCRIPT.replace("Say.", "Say more, at length.")},
        {"script": SCRIPT.replace("Doc.", "Another docstring.")},
        {"script": "# a comment\n" + SCRIPT},
        {"helper": "def f( x ):  # why\n\n    return x+1\n"},
        {"helper": 'def f(x):\n    """Now with words."""\n    return x + 1\n'},
        {"unrelated": "y = 2\n"},
    ],
)
def test_words_and_layout_change_nothing(tmp_path, change):
    assert hash_of(tmp_path) == hash_of(tmp_path, **change)


@pytest.mark.parametrize(
    "change", [{"script": SCRIPT.replace("f(1)", "f(2)")}, {"helper": HELPER.replace("+ 1", "+ 2")}]
)
def test_code_at_any_depth_counts(tmp_path, change):
    assert hash_of(tmp_path) != hash_of(tmp_path, **change)


PACKAGE = {
    "stage.py": "from lib import a\n\nprint(a.f())\n",
    "lib/__init__.py": "",
    "lib/a.py": "from .b import g\n\n\ndef f():\n    return g()\n",
    "lib/b.py": "def g():\n    return 1\n",
    "lib/deep/__init__.py": "SCALE = 1\n",
    "lib/deep/c.py": "from .. import b\nfrom ..a import f\n",
}


def package_hash(root, **changed):
    codehash._parse.cache_clear()
    codehash.code_hash.cache_clear()
    for name, text in {**PACKAGE, **changed}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return codehash.code_hash(root / "stage.py")


IMPORTS = [
    "from lib import a",
    "import lib.a",
    "from lib.a import f",
    "from lib.deep import c",
    "from lib.deep.c import b",
    "import lib.deep.c as other",
]


@pytest.mark.parametrize("line", IMPORTS)
@pytest.mark.parametrize("changed", ["lib/__init__.py", "lib/b.py"])
def test_relative_imports_and_the_packages_own_files_count(tmp_path, line, changed):
    """As Python runs them: what is behind `from .b import g` at any depth, and each package's `__init__.py`."""
    script = {"stage.py": f"{line}\n"}
    before = package_hash(tmp_path, **script)
    assert package_hash(tmp_path, **script, **{changed: "def g():\n    return 2\n"}) != before


def test_a_package_that_is_not_imported_does_not_count(tmp_path):
    assert package_hash(tmp_path) == package_hash(tmp_path, **{"lib/deep/__init__.py": "SCALE = 2\n"})


def test_what_says_how_a_program_runs_does_not_count_but_what_it_imports_does(tmp_path):
    files = {
        "stage.py": "from scalequest.runtime import lease\n",
        "scalequest/runtime/lease.py": "from scalequest.environment import f\n",
        "scalequest/environment.py": "THREADS = 1\n",
    }
    before = package_hash(tmp_path, **files)
    lease, environment = "scalequest/runtime/lease.py", "scalequest/environment.py"
    assert package_hash(tmp_path, **{**files, lease: files[lease] + "BEATS = 2\n"}) == before
    assert package_hash(tmp_path, **{**files, environment: "THREADS = 2\n"}) != before


def test_every_loaded_module_of_ours_is_counted(tmp_path):
    """A script of each kind, imported for real: Python loads no module of ours that the hash does not follow."""
    names = ["sample_questions", "train_scorer", "grade_answers", "build_dataset", "stage_data"]
    for name in names:
        line = f"import sys, {name}; print(*(m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)))"
        done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)  # noqa: S603
        loaded = {Path(file) for file in done.stdout.split() if Path(file).is_relative_to(SCRIPTS)}
        assert loaded <= codehash.reached(SCRIPTS / f"{name}.py").keys(), name


def test_a_job_parses_nothing_that_its_run_has_parsed(tmp_path, monkeypatch):
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "prompt.txt").write_text("Say.")
    (tmp_path / "scripts").mkdir()
    hash_of(tmp_path / "scripts")
    monkeypatch.delenv("SCALEQUEST_CHECKOUT", raising=False)
    found = codehash.checkout_hash(tmp_path)
    monkeypatch.setattr(codehash, "_parse", lambda *_: pytest.fail("parsed again"))
    assert codehash.checkout_hash(tmp_path) == found
    # Other bytes are looked at again: a comment is the same code, another prompt is not.
    monkeypatch.undo()
    (tmp_path / "scripts" / "stage.py").write_text("# a comment\n" + SCRIPT)
    codehash._parse.cache_clear()
    (tmp_path / "resources" / "prompt.txt").write_text("Ask.")
    assert codehash.checkout_hash(tmp_path) != found
