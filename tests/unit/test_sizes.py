"""Modules and functions of scripts/ stay short, and mypy asks for the types of all of them."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
SCRIPTS = ROOT / "scripts"
FILES = sorted(SCRIPTS.rglob("*.py"))
LONGEST_MODULE, LONGEST_FUNCTION = 500, 60


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and lines of each function of a file, with its docstring and without its decorators."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            yield node.name, node.end_lineno - node.lineno + 1


def test_no_module_is_long() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert [f"{name}: {size} lines" for name, size in sizes.items() if size > LONGEST_MODULE] == []


def test_no_function_is_long() -> None:
    sizes = [(path.relative_to(ROOT), name, size) for path in FILES for name, size in functions(path)]
    assert [f"{path}: {name} has {size} lines" for path, name, size in sizes if size > LONGEST_FUNCTION] == []


def test_mypy_asks_for_types_in_all_of_scripts() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    typed = next(one["module"] for one in settings["overrides"] if one.get("disallow_untyped_defs"))
    wanted = {path.stem for path in SCRIPTS.glob("*.py")}
    wanted |= {f"{path.parent.name}.*" for path in SCRIPTS.glob("*/__init__.py")}
    assert set(typed) == wanted
