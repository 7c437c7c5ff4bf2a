"""The checker for sequential consistency: by hand, against all orders, at full size."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_checkers import is_sequential
from register_runs import run_atomic_store, small_run

from dsm_native.testing import (
    Operation,
    UndecidedError,
    check_causal,
    check_linearizable,
    check_sequential,
)


def op(session, kind, key, value, invoked, returned=None, result=None, expected=None):
    return Operation(session, kind, key, value, invoked, returned, result, expected)


STALE_READ = [op("P1", "put", "x", 1, 0, 1), op("P2", "get", "x", 0, 2, 3)]
STORE_BUFFERS = [
    op("P1", "put", "x", 1, 0, 1),
    op("P1", "get", "y", 0, 2, 3),
    op("P2", "put", "y", 1, 0, 1),
    op("P2", "get", "x", 0, 2, 3),
]
ZERO = {"x": 0, "y": 0}


def test_the_separating_run_is_sequential_and_not_strong():
    assert check_sequential(STALE_READ, ZERO)
    assert not check_linearizable(STALE_READ, ZERO)


def test_the_separating_run_of_causal_is_not_sequential():
    verdict = check_sequential(STORE_BUFFERS, ZERO)
    assert not verdict
    assert set(verdict.violation.operations) == set(STORE_BUFFERS)


def test_no_one_key_tells_them_apart_although_two_do():
    for key in "xy":
        assert check_sequential([item for item in STORE_BUFFERS if item.key == key], ZERO)


def test_a_session_that_goes_back_is_refused():
    run = [
        op("P1", "put", "x", 1, 0, 1),
        op("P2", "get", "x", 1, 2, 3),
        op("P2", "get", "x", 0, 4, 5),
        op("P3", "get", "x", 0, 6, 7),
    ]
    verdict = check_sequential(run, ZERO)
    assert not verdict
    assert set(verdict.violation.operations) == set(run[:3])


def test_two_readers_must_see_the_same_order():
    run = [
        op("P1", "put", "x", 1, 0, 1),
        op("P2", "put", "x", 2, 0, 1),
        op("P3", "get", "x", 1, 2, 3),
        op("P3", "get", "x", 2, 4, 5),
        op("P4", "get", "x", 2, 2, 3),
        op("P4", "get", "x", 1, 4, 5),
    ]
    assert not check_sequential(run)
    assert check_sequential(run[:-1])


def test_an_open_write_may_have_happened_or_not():
    opened = op("P1", "put", "x", 1, 0)
    assert check_sequential([opened, op("P2", "get", "x", 1, 2, 3)])
    assert check_sequential([opened, op("P2", "get", "x", None, 2, 3)])


def test_counters_and_conditional_writes_are_judged_too():
    adds = [op("P1", "add", "n", 1, 0, 1, 2), op("P2", "add", "n", 1, 2, 3, 1)]
    assert check_sequential(adds)
    assert not check_linearizable(adds)
    assert not check_sequential([adds[0], adds[1]._replace(result=2)])
    swaps = [op(f"P{n}", "cas", "x", n, n, n + 1, True, None) for n in (1, 2)]
    assert not check_sequential(swaps)


def test_a_value_that_nobody_wrote_is_named():
    verdict = check_sequential([op("P1", "get", "x", 7, 0, 1), op("P1", "get", "y", None, 2, 3)])
    assert not verdict
    assert [item.value for item in verdict.violation.operations] == [7]
    assert "nobody wrote" in verdict.violation.reason


@pytest.mark.parametrize(
    "kinds",
    [
        ("get", "put"),
        ("get", "get", "put", "delete"),
        ("get", "add"),
        ("get", "put", "cas"),
        ("get", "put", "delete", "put_if_version"),
    ],
    ids="-".join,
)
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 40))
def test_agrees_with_the_trial_of_all_orders(kinds, seed):
    draw = random.Random(seed)
    run = small_run(draw, kinds, keys=draw.randint(1, 2))
    verdict = check_sequential(run)
    assert bool(verdict) == is_sequential(run), f"seed {seed}: {verdict}"
    if not verdict:
        core = list(verdict.violation.operations)
        assert set(core) <= set(run)
        assert not is_sequential(core), f"seed {seed}"


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 40))
def test_agrees_with_the_trial_of_all_orders_when_values_repeat(seed):
    draw = random.Random(seed)
    run = [
        item._replace(
            value=None if item.value is None else item.value % 3,
            expected=None if item.expected is None else item.expected % 3,
        )
        for item in small_run(draw, ("get", "put", "delete", "cas"), keys=2)
    ]
    verdict = check_sequential(run)
    assert bool(verdict) == is_sequential(run), f"seed {seed}: {verdict}"


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 1 << 40))
def test_the_levels_contain_each_other(seed):
    """Strong implies sequential implies causal, on histories good and bad."""
    draw = random.Random(seed)
    run = small_run(draw, ("get", "get", "put"), keys=2)
    levels = [bool(check(run)) for check in (check_linearizable, check_sequential, check_causal)]
    assert levels == sorted(levels), f"seed {seed}"


def with_old_replicas(run: list[Operation], lag: int) -> list[Operation]:
    """The run of a store whose reads come ``lag`` time units late: times move, outcomes do not.

    Each session keeps its order, so an atomic run stays sequential, but no longer strong.
    """
    return [
        item._replace(invoked=item.invoked + lag, returned=item.returned + lag)
        if item.session == "s0"
        else item
        for item in run
        if item.returned is not None
    ]


def test_2000_operations_over_5_sessions_do_not_explode():
    run = with_old_replicas(run_atomic_store(2000, 5, 20, 3, ("get", "get", "put")), 500)
    assert not check_linearizable(run)
    verdict = check_sequential(run, effort_max=5_000)
    assert verdict, str(verdict)


def test_a_changed_read_among_2000_is_found():
    run = run_atomic_store(2000, 5, 1, 4, ("get", "put"))
    gets = [n for n, item in enumerate(run) if item.kind == "get" and item.value is not None]
    run[gets[-1]] = run[gets[-1]]._replace(value=run[gets[0]].value)
    verdict = check_sequential(run, effort_max=5_000)
    assert not verdict
    assert len(verdict.violation.operations) <= 8, str(verdict)


def test_a_search_without_end_says_so():
    run = run_atomic_store(60, 6, 2, 5, ("get", "put", "delete", "cas"))
    with pytest.raises(UndecidedError, match="dead ends"):
        check_sequential(run, effort_max=3)
