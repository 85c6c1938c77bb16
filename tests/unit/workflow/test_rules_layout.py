"""Where the rules' helpers are: what all files share stays small, and each file of rules has its own."""

from __future__ import annotations

import re

from conftest import ROOT

RULES = ROOT / "rules"
LONGEST_COMMON = 150


def test_what_all_rules_share_is_small():
    assert len((RULES / "common.smk").read_text().splitlines()) <= LONGEST_COMMON


def test_helpers_are_of_one_file_of_rules_each():
    """A file of helpers is included by the file of rules that has its name; three are shared."""
    included = {
        (path.stem, name)
        for path in RULES.glob("*.smk")
        for name in re.findall(r'^include: "helpers/(\w+)\.smk"$', path.read_text(), re.MULTILINE)
    }
    shared = {("common", "resources"), ("common", "paths"), ("common", "domain")}
    assert shared <= included
    assert all(file == helpers for file, helpers in included - shared)
    assert {helpers for _, helpers in included} == {path.stem for path in (RULES / "helpers").glob("*.smk")}


def test_each_helper_is_used_where_it_is():
    """A function in helpers/NAME.smk is used by the rules of NAME.smk, or by a function beside it."""
    for path in (RULES / "helpers").glob("*.smk"):
        text = path.read_text()
        files = RULES.rglob("*.smk") if path.stem in ("resources", "paths", "domain") else [RULES / path.name]
        users = text + "".join(file.read_text() for file in files if file != path)
        for name in re.findall(r"^def (\w+)", text, re.MULTILINE):
            assert len(re.findall(rf"\b{name}\b", users)) > 1, f"{path.name}: {name}"


def test_each_rule_that_needs_no_node_says_so_itself():
    """`localrules:` names rules as they are called here, which a workflow that imports them renames."""
    for path in [ROOT / "Snakefile", *RULES.glob("*.smk")]:
        assert "localrules:" not in path.read_text(), path
