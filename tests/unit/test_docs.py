"""What the documentation names exists: links, anchors, make targets, paths. What it generates or counts is current."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import yaml

from conftest import ROOT
from rerun_table import PAGE, page

PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md", ".github/**/*.md")
    for path in sorted(ROOT.glob(pattern))
    if path.is_file()
]
FOLDERS = "docs|envs|presets|profiles|resources|rules|schemas|scripts|tests"
# A name in a path that stands for any: `scripts/<rule>.py`, `{a,b}`, `scripts/RULE.py`.
PLACEHOLDER = re.compile(r"[<>{}$]|\b[A-Z]{2,}\b(?!\.md)|\.\.\.|…")


def names(pages: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in pages]


def without_code(text: str) -> str:
    """The text without code, in which brackets are no links."""
    return re.sub(r"`[^`\n]+`", "", re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE))


@cache
def anchors(path: Path) -> frozenset[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^( *)```.*?^\1```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found: list[str] = []
    for heading in re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower().strip()
        anchor = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        found.append(f"{anchor}-{found.count(anchor)}" if anchor in found else anchor)
    return frozenset(found)


def broken_links(path: Path) -> list[str]:
    """Relative links of a page that lead to no file or no heading."""
    broken = []
    for target in re.findall(r"\[[^]]*\]\(([^)\s]+)\)", without_code(path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    return broken


def missing_paths(text: str) -> list[str]:
    """Paths of the checkout that a text names and that do not exist; with `*`, that match nothing."""
    found = re.findall(rf"(?<![\w/.~$-])(?:{FOLDERS})/[^\s`\"'(),;:|\]]+", text)
    paths = [name.rstrip(".").partition("#")[0] for name in found if not PLACEHOLDER.search(name)]
    return [name for name in paths if not (any(ROOT.glob(name)) if "*" in name else (ROOT / name).exists())]


@pytest.mark.parametrize("path", PAGES, ids=names(PAGES))
def test_every_link_leads_somewhere(path):
    assert broken_links(path) == []


@pytest.mark.parametrize("path", [path for path in PAGES if path.name != "CHANGELOG.md"], ids=lambda path: path.name)
def test_every_path_and_make_target_exists(path):
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert missing_paths(text) == []
    # At the start of code: "make sure" is no target.
    called = re.findall(r"(?:`|^ {4,}|&& )make ([a-z][a-z-]*)|^make ([a-z][a-z-]*) +#", text, re.MULTILINE)
    assert {name for names in called for name in names if name} <= set(targets)


def test_code_and_config_name_pages_that_exist():
    suffixes = {".py", ".smk", ".yaml", ".yml", ".toml", ".jinja", ".sh"}
    folders = ("scripts", "rules", "presets", "profiles", "resources", "schemas", "tests", "envs", ".github")
    files = [path for name in folders for path in (ROOT / name).rglob("*") if path.suffix in suffixes]
    files += [ROOT / "Makefile", ROOT / "Snakefile", ROOT / "config.yaml", ROOT / "pyproject.toml"]
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in files
        for name in re.findall(r"(?<![\w/])docs/[\w/.-]+\w", path.read_text(encoding="utf-8"))
        if not (ROOT / name).exists()
    }
    assert found == set()


def test_every_page_is_in_the_index():
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / target.partition("#")[0]).resolve()
        for target in re.findall(r"\]\(([^)\s]+)\)", index.read_text(encoding="utf-8"))
    }
    pages = {path.resolve() for path in (ROOT / "docs").rglob("*.md")} - {index.resolve()}
    assert names(sorted(pages - linked)) == []


def test_a_broken_link_and_a_missing_path_are_found(tmp_path):
    (tmp_path / "a.md").write_text("# One thing: `x`\n\n## One thing\n")
    path = tmp_path / "b.md"
    path.write_text(
        "[a](a.md#one-thing-x) [b](a.md#two) [c](c.md) [d](https://example.org) `[e](f)`\n```\n[g](h)\n```\n"
    )
    assert broken_links(path) == ["a.md#two", "c.md"]
    assert missing_paths("`rules/nosuch.smk`, rules/*.smk, `scripts/<rule>.py` and results/x") == ["rules/nosuch.smk"]


def test_the_page_of_reruns_shows_the_table():
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("<!-- table: ") == 3
    assert page(text) == text, "docs/reference/reruns.md is out of date: run `make docs`"


def test_the_readme_names_the_sizes_of_the_demo():
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    of = config["questions"]
    questions = of["shards"] * of["questions_per_shard"] * len(of["seeds"]) * len(config["use"]["generators"])
    source = ROOT / config["datasets"]["embedded"]["source"].removeprefix("path:")
    splits = Counter(json.loads(line)["split"] for line in source.read_text(encoding="utf-8").splitlines())
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for size in (f"{questions} questions", f"{splits['train']} seed problems", f"{splits['test']} held-out problems"):
        assert size in text
