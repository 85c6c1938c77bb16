"""Measures of a model on a benchmark, pass@k and maj@k, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from scalequest.hashing import row_seed

RESAMPLES = 10_000


@dataclass(frozen=True)
class Measure:
    """A share in percent, with the 95% bootstrap interval, over `n` problems."""

    percent: float
    low: float
    high: float
    n: int


def pass_at_k(right: int, samples: int, k: int) -> float:
    """Probability that at least one of `k` answers is right, estimated without bias from `samples` answers of which
    `right` are.

    Source: Chen et al. 2021 (arXiv 2107.03374), section 2.1.
    """
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def resampled(scores: Sequence[float], name: str) -> np.ndarray:
    """Means of RESAMPLES bootstrap resamples of problems' scores, in percent; seeded by `name`.

    Source: Efron 1979, the percentile bootstrap. Scores take few values, so the count of each value in a resample is
    drawn from the multinomial distribution, which is the same as drawing problems one by one.
    """
    values, counts = np.unique(np.asarray(scores, dtype=float), return_counts=True)
    draw = np.random.default_rng(row_seed("bootstrap", name))
    return draw.multinomial(len(scores), counts / len(scores), RESAMPLES) @ values * (100 / len(scores))


def measure(scores: Sequence[float], name: str) -> Measure:
    """The mean of problems' scores (0 to 1 each) with its interval. `name` says what is measured, for the seed."""
    return Measure(100 * float(np.mean(scores)), *interval(resampled(scores, name)), len(scores))


def interval(means: np.ndarray) -> tuple[float, float]:
    """The 95% interval of bootstrap means."""
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
