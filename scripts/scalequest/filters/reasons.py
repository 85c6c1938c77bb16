"""How a filter says by which number it dropped a row, beside the threshold that the number was held against."""

from __future__ import annotations


def below(score: float, limit: float) -> str:
    """`0.21, below 0.25`."""
    return ", below ".join(_shown(score, limit))


def at_least(score: float, limit: float) -> str:
    """`0.84, at least 0.7`."""
    return ", at least ".join(_shown(score, limit))


def _shown(score: float, limit: float) -> tuple[str, str]:
    """Both numbers, with as many decimals of the score as it takes to stay on its side of the limit."""
    bound = f"{limit:.6g}"
    for digits in range(2, 7):
        number = f"{score:.{digits}f}"
        if (float(number) < float(bound)) == (score < limit):
            return number, bound
    return repr(float(score)), repr(float(limit))
