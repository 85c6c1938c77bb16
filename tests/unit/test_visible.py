"""Hidden characters are shown, and no reader of a CSV finds a formula or a line that is not there."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalequest.visible import csv_text, visible

FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"
# Marks, embeddings, overrides and isolates of direction; ends of lines and paragraphs.
HIDDEN = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u2028\u2029"
HIDDEN += "\x1b\x00\x7f\x85\x9b\ufeff\u200b"
TEXTS = st.text(st.sampled_from(f"a1 ;,\"'\r\n\t\x0b\x0c\x1c\x1e\x85{FORMULA}{HIDDEN}"), max_size=30) | st.text()


@pytest.mark.parametrize("character", HIDDEN)
def test_a_hidden_character_is_shown_by_number(character: str) -> None:
    assert visible(f"a{character}b") == f"a\\u{ord(character):04x}b"


def test_what_can_be_seen_stays() -> None:
    text = "مرحبا כמה 😀 👩\u200d🔬 \U0001d4b3 é e\u0301 \u0646\u06cc\u200c\u0645\u0627 \\nu\n\tx"
    assert visible(text) == text
    assert visible("\ud800\U000e0041") == "\\ud800\\U000e0041"


@given(TEXTS)
def test_no_control_character_is_left(text: str) -> None:
    shown = visible(text, keep="")
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in shown)
    assert not any(unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI") for c in shown)


def cells(text: str, ends: str, separator: str) -> list[str]:
    """What a reader that knows no quotes takes for cells."""
    return [cell for line in re.split(ends, text) for cell in line.split(separator)]


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_each_row_is_a_line_and_no_cell_is_a_formula_for_any_reader(texts: list[str]) -> None:
    written = csv_text([texts, texts])
    assert len(written.splitlines()) == 2
    assert written == "".join(f"{line}\n" for line in written.splitlines())
    rows = list(csv.reader(io.StringIO(written, newline="")))
    assert [len(row) for row in rows] == [len(texts)] * 2
    found = [cell for row in rows for cell in row]
    # One that ends lines at CR too, and one of a country whose separator is the semicolon.
    found += cells(written, "[\r\n]", ";")
    assert not [cell for cell in found if cell.strip().startswith(tuple(FORMULA))]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x\r=1+1", "x\\u000d'=1+1"),
        ("\r=1+1", "\\u000d'=1+1"),
        (" \t=1", " \\u0009'=1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("x\n\n @a", "x\\u000a\\u000a '@a"),
        ("x;=1", "x;'=1"),
        ("\x1b]0;x\x07", "\\u001b]0;x\\u0007"),
        ("a=b-c", "a=b-c"),
        ("Level 3", "Level 3"),
    ],
)
def test_a_text_that_would_be_a_formula_begins_with_an_apostrophe(text: str, shown: str) -> None:
    assert next(csv.reader(io.StringIO(csv_text([[text]])))) == [shown]


def test_numbers_stay_numbers() -> None:
    written = csv_text([["a", "b", "c", "d"], [-1, -2.5, Decimal("-0.10"), None]])
    assert written == "a,b,c,d\n-1,-2.5,-0.10,\n"
    frame = pd.read_csv(io.StringIO(written))
    assert frame.iloc[0].tolist()[:3] == [-1, -2.5, -0.1]


def test_a_long_text_takes_no_square_of_its_length() -> None:
    assert len(csv_text([["\n" * 300_000 + "=1"]])) > 300_000
