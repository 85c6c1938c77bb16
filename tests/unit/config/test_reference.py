"""The generated pages of docs/reference/: what the code says, complete and up to date."""

from __future__ import annotations

import pytest

from conftest import ROOT
from scalequest.config.schema import all_keys
from scalequest.rows.published import TABLES
from tools import write_reference


@pytest.mark.parametrize("name", ["config.md", "tables.md"])
def test_the_page_is_what_make_docs_writes(name):
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert written == write_reference.pages()[name], "run `make docs`"


def test_every_key_has_a_line():
    page = write_reference.config_page()
    sections = [key for key in all_keys() if "." not in key]
    assert all(f"\n## {name}\n" in page for name in sections)
    # A section is a heading, any other key a line.
    assert [key for key in all_keys() if "." in key and f"\n| `{key}` |" not in page] == []
    assert "\n| `students.NAME.tuning.learning_rate` | a number, above 0, at most 1 | not set |" in page
    assert '\n| `use.seeds` | a list, not empty | `["embedded"]` |' in page


def test_every_table_is_where_the_page_says():
    rules = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "rules").glob("*.smk"))
    assert set(write_reference.PLACES) == set(TABLES)
    for name, places in write_reference.PLACES.items():
        assert [place for place in places if f'"{place}"' not in rules] == [], name
