"""A hash of the code that a script reaches, by syntax trees, so that comments, docstrings and layout rerun nothing.

Snakemake tracks neither a script that a shell command calls nor what it imports, so a rule passes this hash as a param.
Imports are followed as Python does: relative ones too, and importing `a.b` runs `a/__init__.py` first. A module that is
imported by a computed name (a domain, a filter of texts) is not seen: the rule names it. What says only how a program
runs (leases, signals, logs) is not counted, so that a fix there reruns nothing; what it imports from elsewhere is
(tests/unit/test_layers.py holds what may stand there).
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from scalequest.hashing import digest, file_sha256

# Below the folder of the scripts.
NOT_COUNTED = "scalequest/runtime"
# What a run's jobs inherit: a digest of the files' bytes, and the digest of the code that was found of them.
_KNOWN = "SCALEQUEST_CHECKOUT"


@cache
def code_hash(script: Path, *modules: str) -> str:
    """Digest (16 hex digits) of the script and of every module within its folder that it imports, at any depth, except
    for those in NOT_COUNTED. `modules` are paths below that folder of modules that it imports by a computed name."""
    root = script.parent
    files = [script, *(root / module for module in modules)]
    trees = {path.relative_to(root): tree for file in files for path, tree in reached(file, root).items()}
    return digest({str(path): tree for path, tree in trees.items() if not path.is_relative_to(NOT_COUNTED)})[:16]


def reached(script: Path, root: Path | None = None) -> dict[Path, str]:
    """The script and every module within `root` (its own folder) that it imports, at any depth, with their digests."""
    found: dict[Path, str] = {}
    todo = [script]
    while todo:
        path = todo.pop()
        if path not in found:
            found[path], imports = _parse(path, root or script.parent)
            todo += imports
    return found


def checkout_hash(root: Path) -> str:
    """Digest of all that a checkout's jobs run with: the code of its scripts, without tools/, and its resources. Where
    the process that started this one found it of the same bytes, nothing is parsed."""
    scripts, resources = root / "scripts", root / "resources"
    used = [path for path in sorted(scripts.rglob("*.py")) if not path.is_relative_to(scripts / "tools")]
    others = [path for path in sorted(resources.rglob("*")) if path.is_file()]
    files = {str(path.relative_to(root)): file_sha256(path) for path in (*used, *others)}
    known, _, found = os.environ.get(_KNOWN, "").partition(" ")
    if known != (content := digest(files)):
        found = digest(files | {str(path.relative_to(root)): _parse(path, scripts)[0] for path in used})
        os.environ[_KNOWN] = f"{content} {found}"
    return found


@cache
def _parse(path: Path, root: Path) -> tuple[str, tuple[Path, ...]]:
    """Digest of a file's syntax tree, and the files within `root` that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = path.parent.relative_to(root).parts
    imports = tuple(file for name in _imported(tree, package) for file in _module_files(name, root))
    for node in _blocks(tree):
        body = getattr(node, "body", None)
        if body and _is_docstring(body[0]):
            del body[0]
    return digest(ast.dump(tree)), imports


def _blocks(node: ast.AST) -> Iterator[ast.AST]:
    """A node, the statements in it, and what else has statements (handlers, cases): expressions are most of a tree, and
    have none."""
    yield node
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, part, ()):
            yield from _blocks(inner)


def _imported(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Names of all modules that the code of a package's module may import, by their parts."""
    for node in _blocks(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # One dot is the package itself, each further dot the one above it.
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = above + tuple(node.module.split(".") if node.module else ())
            yield from ((*module, alias.name) for alias in node.names)


def _module_files(name: tuple[str, ...], root: Path) -> Iterator[Path]:
    """The files that an import of this name runs: those of its packages from the outermost on, and its own."""
    for length in range(1, len(name) + 1):
        base = root.joinpath(*name[:length])
        yield from (file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file())


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
