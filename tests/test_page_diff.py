"""Comparing and copying pages, against the naive way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsm_native._native.page_diff import page_diff_copy, page_diff_count, page_diff_unit

PAGE = 4096


def pages_that_differ(left: np.ndarray, right: np.ndarray) -> int:
    """Counted from the page boundaries of the left side's addresses."""
    start = left.__array_interface__["data"][0] % PAGE
    marks = (np.flatnonzero(left != right) + start) // PAGE
    return len(np.unique(marks))


@settings(max_examples=150, deadline=None)
@given(
    length=st.integers(0, 5 * PAGE),
    left_at=st.integers(0, 70),
    right_at=st.integers(0, 70),
    changed=st.lists(st.integers(0, 5 * PAGE - 1), max_size=8),
    guard=st.integers(1, 255),
)
def test_copy_and_count_against_numpy(length, left_at, right_at, changed, guard):
    source = np.zeros(6 * PAGE, np.uint8)
    target = np.full(6 * PAGE, guard, np.uint8)
    ours, theirs = target[left_at : left_at + length], source[right_at : right_at + length]
    theirs[:] = np.arange(length) % 251
    ours[:] = theirs
    for at in changed:
        if at < length:
            theirs[at] ^= 0x80
    expected = pages_that_differ(ours, theirs)
    before = source.copy()
    assert page_diff_count(ours, theirs) == expected
    assert page_diff_copy(ours, theirs) == expected
    assert (ours == theirs).all()
    assert page_diff_count(ours, theirs) == 0
    assert (source == before).all()
    assert (target[:left_at] == guard).all()
    assert (target[left_at + length :] == guard).all()


def test_every_byte_of_a_page_counts():
    source, target = np.zeros(PAGE, np.uint8), np.zeros(PAGE, np.uint8)
    for at in range(PAGE):
        source[at] = 1
        assert page_diff_copy(target, source) >= 1
        assert target[at] == 1
        source[at] = 0
        target[at] = 0


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="against"):
        page_diff_copy(bytearray(3), b"12")
    with pytest.raises(ValueError, match="against"):
        page_diff_count(b"123", b"12")
    assert page_diff_unit()
