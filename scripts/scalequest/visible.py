"""Texts of others, made safe to look at: hidden characters are shown by number, and no cell of a CSV is a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from decimal import Decimal

# C0 and C1 controls; marks, embeddings, overrides and isolates of direction; line and paragraph separators; characters
# without width, but for the two joiners that emoji and some scripts need; tags; lone surrogates.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
# Where some reader begins a new cell: at an end of a line, or at the separator of other locales.
_NEW_CELL = re.compile("([;\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029])")
# With these a spreadsheet takes a text for a formula; full-width and small forms too.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\ufe66", "\ufe62", "\ufe63", "\ufe6b")
Value = str | int | float | Decimal | None


def visible(text: str, keep: str = "\n\t") -> str:
    r"""The text with each hidden character but those in `keep` as its number, `\u202e`."""
    return _HIDDEN.sub(lambda found: found[0] if found[0] in keep else _number(ord(found[0])), text)


def _number(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def csv_text(rows: Iterable[Iterable[Value]]) -> str:
    """Rows as CSV, one line each whatever the cells hold. Numbers are written as they are, None as an empty cell.

    A text that a spreadsheet would take for a formula begins with an apostrophe; hidden characters and line ends are
    shown by number.
    """
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        [_harmless(value) if isinstance(value, str) else value for value in row] for row in rows
    )
    return out.getvalue()


def _harmless(text: str) -> str:
    return visible("".join(_no_formula(part) for part in _NEW_CELL.split(text)), keep="")


def _no_formula(part: str) -> str:
    start = len(part) - len(part.lstrip())
    return f"{part[:start]}'{part[start:]}" if part.startswith(_FORMULA, start) else part
