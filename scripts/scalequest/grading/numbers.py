"""Answers that are plain numbers, read exactly: integers, decimals, fractions, percentages, numbers in a base."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from scalequest.grading.latex import LONGEST

_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_DECIMAL = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?:"
    r"(?P<whole>[0-9]+) ?\\frac\{(?P<part>[0-9]+)\}\{(?P<parts>[0-9]+)\}"
    r"|(?P<whole2>[0-9]+) (?P<part2>[0-9]+)/(?P<parts2>[0-9]+)"
    rf"|\\frac\{{(?P<top>[+-]?{_DECIMAL})\}}\{{(?P<bottom>[+-]?{_DECIMAL})\}}"
    rf"|(?P<top2>{_DECIMAL})/(?P<bottom2>[+-]?{_DECIMAL})"
    r"|(?P<head>[0-9]*)\.(?P<tail>[0-9]*)\\(?:overline|bar)(?:\{(?P<cycle>[0-9]+)\}|(?P<cycle2>[0-9]))"
    rf"|(?P<decimal>{_DECIMAL})(?:\\(?:times|cdot)10\^\{{(?P<power>[+-]?[0-9]{{1,3}})\}}|[eE](?P<power2>[+-]?[0-9]{{1,3}}))?"
    rf"(?P<scale>{'|'.join(_SCALES)})?"
    r")(?P<percent>%?)"
)


@dataclass(frozen=True)
class Number:
    """An exact number as written, before a percent sign is applied."""

    value: Fraction
    percent: bool


def number(text: str) -> Number | None:
    """The exact number that a normalised answer is (integer, decimal, repeating decimal, fraction, mixed number, power
    of ten); None for anything else, for a division by zero and for text over LONGEST. Never raises."""
    # Normalisation may lengthen an answer, so the callers' texts are not bounded.
    found = _NUMBER.fullmatch(text) if len(text) <= LONGEST else None
    if not found:
        return None
    group = found.groupdict()
    whole, part, parts = (group[k] or group[k + "2"] for k in ("whole", "part", "parts"))
    cycle = group["cycle"] or group["cycle2"]
    top, bottom = group["top"] or group["top2"], group["bottom"] or group["bottom2"]
    try:
        if whole is not None:
            value = int(whole) + Fraction(int(part), int(parts))
        elif top is not None:
            value = Fraction(top) / Fraction(bottom)
        elif cycle is not None:
            head, tail = group["head"] or "0", group["tail"]
            # 0.1666... is 0.1 and a tenth of 6/9.
            value = Fraction(int(head + tail), 10 ** len(tail))
            value += Fraction(int(cycle), 10 ** len(tail) * (10 ** len(cycle) - 1))
        else:
            value = Fraction(group["decimal"]) * Fraction(10) ** int(group["power"] or group["power2"] or 0)
            value *= _SCALES.get(group["scale"], 1)
    except ZeroDivisionError:
        return None
    return Number(-value if group["sign"] == "-" else value, bool(group["percent"]))


# A number with its base, which math-verify drops.
_BASED = re.compile(r"\+?(-?)\(?(?=[A-Z.]*[0-9])([0-9A-Z.]+)\)?_\{([0-9]+|[a-z]+)\}")
_BASES = {
    name: str(base)
    for base, name in enumerate(("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 2)
}


def in_base(text: str) -> tuple[str, str] | None:
    """The digits and the base of a number that is written with one."""
    found = _BASED.fullmatch(text)
    return (found[1] + found[2], _BASES.get(found[3], found[3])) if found else None


def equal_numbers(a: Number, b: Number) -> bool:
    """Whether two numbers are equal; a percentage equals its number with or without the sign (50% is 1/2 and 50)."""
    if a.percent == b.percent:
        return a.value == b.value
    percentage, plain = (a, b) if a.percent else (b, a)
    return plain.value in (percentage.value, percentage.value / 100)
