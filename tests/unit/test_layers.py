"""The packages of the library, from the lowest to the highest: a module imports nothing of a higher one."""

from __future__ import annotations

import ast
import sys

import grimp
import pytest

from conftest import ROOT

LIBRARY = ROOT / "scripts" / "scalequest"
# Those of one line know nothing of each other.
LAYERS = [
    {"errors", "hashing", "default_config", "environment", "settings", "stages", "visible"},
    {"runtime"},
    {"llm"},
    {"rows"},
    {"filters", "grading"},
    {"domains"},
    {"tasks"},
    {"training"},
    {"publishing"},
    {"config"},
    {"workflow"},
]


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("scalequest", cache_dir=None)


def test_every_module_has_its_layer():
    found = {path.stem for path in LIBRARY.glob("*.py")} | {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert found - {"__init__"} == set().union(*LAYERS)


def test_no_module_imports_one_of_a_higher_layer(graph):
    layers = [grimp.Layer(*sorted(layer), independent=len(layer) > 1 and "errors" not in layer) for layer in LAYERS]
    found = graph.find_illegal_dependencies_for_layers(layers=layers[::-1], containers={"scalequest"})
    assert sorted(f"{d.importer} imports {d.imported}" for d in found) == []


def test_no_module_takes_part_in_a_cycle(graph):
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            assert not graph.chain_exists(importer=imported, imported=module), f"{module} and {imported}"


# What code hashes leave out must shape no row: it may use Python's own library and the lowest layer, no arrays and no
# models, and may set no variable of the environment but its own.
OWN_VARIABLES = {"_BEGAN"}


@pytest.mark.parametrize("path", sorted((LIBRARY / "runtime").glob("*.py")), ids=lambda path: path.stem)
def test_what_the_code_hash_leaves_out_cannot_shape_a_row(path):
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    below = tuple(f"scalequest.{name}" for name in (*LAYERS[0], "runtime"))
    assert [n for n in imported if n.partition(".")[0] not in sys.stdlib_module_names and not n.startswith(below)] == []
    assert set_variables(tree) <= OWN_VARIABLES


def set_variables(tree: ast.AST) -> set[str]:
    """What is written to `os.environ`, by the expression that names it, or "?" where another call changes it."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) == "os.environ"
        ):
            names.add(ast.unparse(node.slice))
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if called in {"os.environ.update", "os.environ.setdefault", "os.environ.pop", "os.putenv", "os.unsetenv"}:
            names.add(f"? {called}")
    return names
