"""A hash of the code that a script reaches: syntax trees only, so that comments, docstrings and layout rerun nothing.

Snakemake sees neither what a script imports nor a script that a shell command calls; a rule passes this as a param.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from scalequest.hashing import digest, file_sha256


def code_hash(script: Path) -> str:
    """Digest (16 hex digits) of the script and of every module within its folder that it imports, at any depth."""
    reached: dict[str, str] = {}
    todo = [script]
    while todo:
        path = todo.pop()
        name = str(path.relative_to(script.parent))
        if name not in reached:
            reached[name], imports = _parse(path, script.parent)
            todo += imports
    return digest(reached)[:16]


def checkout_hash(root: Path) -> str:
    """Digest of all that a checkout's jobs run with: the code of its scripts, the files of its resources."""
    scripts, resources = root / "scripts", root / "resources"
    code = {str(path): _parse(path, scripts)[0] for path in sorted(scripts.rglob("*.py"))}
    files = {str(path): file_sha256(path) for path in sorted(resources.rglob("*")) if path.is_file()}
    return digest({str(Path(name).relative_to(root)): value for name, value in (code | files).items()})


@cache
def _parse(path: Path, root: Path) -> tuple[str, tuple[Path, ...]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = tuple(file for name in _imported(tree) if (file := _module_file(name, root)))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            del body[0]
    return digest(ast.dump(tree)), imports


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module_file(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    return next((file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()), None)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
