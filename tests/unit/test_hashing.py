"""Identities: equal exactly when what they name is equal."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalequest.hashing import canonical_json, digest, row_seed

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=6))
def test_order_of_keys_does_not_matter(value):
    assert canonical_json(value) == canonical_json(dict(reversed(value.items())))


def test_swapped_values_are_another_setting():
    assert digest({"temperature": 1.0, "top_p": 0.7}) != digest({"temperature": 0.7, "top_p": 1.0})


def test_nan_has_no_canonical_form():
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"x": float("nan")})


@given(st.text(), st.integers())
def test_row_seed_is_63_bits(name, index):
    assert 0 <= row_seed(name, index) < 2**63


def test_row_seeds_are_distinct_and_far_apart():
    seeds = sorted(row_seed("questions", {"temperature": 1.0}, 0, index) for index in range(20_000))
    gaps = [b - a for a, b in itertools.pairwise(seeds)]
    # Engines make further seeds by adding small numbers; neighbours in the list must not collide by that.
    assert min(gaps) > 1000


def test_row_seed_is_the_same_in_every_process():
    code = "from scalequest.hashing import row_seed; print(row_seed('questions', {'b': 1, 'a': 2}, 3, 4))"
    outputs = {subprocess.check_output([sys.executable, "-c", code]) for _ in range(2)}  # noqa: S603 - our own code
    assert outputs == {f"{row_seed('questions', {'a': 2, 'b': 1}, 3, 4)}\n".encode()}
