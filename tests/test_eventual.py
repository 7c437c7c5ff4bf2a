"""The checker for eventual consistency: by hand and against its definition."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_checkers import is_eventual
from register_runs import run_atomic_store, small_run
from test_causal import FORGETFUL, random_rest

from dsm_native.testing import (
    HistoryError,
    Operation,
    UndecidedError,
    check_causal,
    check_eventual,
    last_write_wins,
)

ZERO = {"x": 0, "y": 0}


def op(session, kind, key, value, invoked, returned=None, result=None):
    return Operation(session, kind, key, value, invoked, returned, result)


def test_the_separating_run_is_eventual_and_not_causal():
    assert check_eventual(FORGETFUL, {1: {"x": 1}, 2: {"x": 1}}, initial=ZERO)
    assert not check_causal(FORGETFUL, ZERO)


def test_a_value_out_of_thin_air_is_refused():
    verdict = check_eventual([op("a", "put", "x", 1, 0, 1), op("b", "get", "x", 2, 2, 3)])
    assert not verdict
    assert [item.value for item in verdict.violation.operations] == [2]


def test_values_that_cause_each_other_are_out_of_thin_air():
    run = [
        op("a", "get", "x", 1, 0, 1),
        op("a", "put", "y", 1, 2, 3),
        op("b", "get", "y", 1, 0, 1),
        op("b", "get", "z", None, 2, 3),
        op("b", "put", "x", 1, 4, 5),
    ]
    verdict = check_eventual(run)
    assert not verdict
    assert set(verdict.violation.operations) == set(run) - {run[3]}


CONCURRENT = [
    op("a", "put", "x", 1, 0, 1, 10),
    op("b", "put", "x", 2, 0, 1, 20),
    op("b", "put", "x", 3, 2, 3, 30),
    op("c", "put", "x", 4, 0, None),
]


@pytest.mark.parametrize(("value", "is_survivor"), [(1, True), (2, False), (3, True), (4, True)])
def test_any_survivor_will_do_without_a_resolver(value, is_survivor):
    verdict = check_eventual(CONCURRENT, {1: {"x": value}, 2: {"x": value}})
    assert bool(verdict) == is_survivor


@pytest.mark.parametrize(("value", "is_last"), [(1, False), (2, False), (3, True), (4, True)])
def test_the_resolver_picks_among_the_survivors(value, is_last):
    verdict = check_eventual(CONCURRENT, {1: {"x": value}, 2: {"x": value}}, last_write_wins)
    assert bool(verdict) == is_last


def test_a_resolver_may_merge():
    def largest_sum(key, survivors):
        return sum(item.value for item in survivors)

    run = [op("a", "put", "x", 1, 0, 1), op("b", "put", "x", 2, 0, 1)]
    assert check_eventual(run, {1: {"x": 3}, 2: {"x": 3}}, largest_sum)
    assert not check_eventual(run, {1: {"x": 2}, 2: {"x": 2}}, largest_sum)


def test_replicas_must_agree():
    run = [op("a", "put", "x", 1, 0, 1), op("b", "put", "x", 2, 0, 1)]
    verdict = check_eventual(run, {1: {"x": 1}, 2: {"x": 2}})
    assert not verdict
    assert "disagree" in verdict.violation.reason


def test_an_acknowledged_write_does_not_vanish():
    run = [op("a", "put", "x", 1, 0, 1)]
    assert not check_eventual(run, {1: {}, 2: {}})
    assert check_eventual([run[0]._replace(returned=None)], {1: {}, 2: {}})


def test_a_write_after_a_read_supersedes_what_was_read():
    run = [
        op("a", "put", "x", 1, 0, 1),
        op("b", "get", "x", 1, 2, 3),
        op("b", "put", "x", 2, 4, 5),
    ]
    assert check_eventual(run, {1: {"x": 2}})
    verdict = check_eventual(run, {1: {"x": 1}})
    assert not verdict
    assert {item.value for item in verdict.violation.operations} == {1, 2}


def test_what_another_key_told_does_not_supersede():
    run = [
        op("a", "put", "x", 1, 0, 1),
        op("a", "put", "y", 1, 2, 3),
        op("b", "get", "y", 1, 4, 5),
        op("b", "put", "x", 2, 6, 7),
    ]
    assert check_eventual(run, {1: {"x": 1, "y": 1}})


def test_last_write_wins_needs_timestamps():
    run = [op("a", "put", "x", 1, 0, 1), op("b", "put", "x", 2, 0, 1)]
    with pytest.raises(HistoryError, match="no timestamp"):
        check_eventual(run, {1: {"x": 1}}, last_write_wins)


def test_too_many_open_writes_are_undecided():
    run = [op(f"s{n}", "put", "x", n, 0) for n in range(13)]
    with pytest.raises(UndecidedError, match="13 writes"):
        check_eventual(run, {1: {"x": "none of them"}})


@pytest.mark.parametrize("kinds", [("get", "put"), ("get", "put", "delete")], ids="-".join)
@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 1 << 40), at_rest=st.booleans())
def test_agrees_with_the_definition(kinds, seed, at_rest):
    draw = random.Random(seed)
    run = small_run(draw, kinds, keys=draw.randint(1, 2))
    run = [item._replace(result=None) for item in run]
    resting = random_rest(run, draw) if at_rest else None
    verdict = check_eventual(run, resting)
    assert bool(verdict) == is_eventual(run, None, resting), f"seed {seed}: {verdict}"


def test_a_long_run_that_comes_to_rest_at_its_last_writes():
    run = run_atomic_store(5000, 5, 50, 2, ("get", "put"))
    state = {}
    for item in run:
        if item.kind == "put" and item.returned is not None:
            state[item.key] = max(state.get(item.key, item), item, key=lambda i: i.result)
    rest = {key: item.value for key, item in state.items()}
    assert check_eventual(run, {1: rest, 2: dict(rest)}, last_write_wins)
    first = next(item for item in run if item.kind == "put" and item.key == run[0].key)
    old = {**rest, first.key: first.value}
    verdict = check_eventual(run, {1: old, 2: dict(old)}, last_write_wins)
    assert not verdict
    assert len(verdict.violation.operations) <= 12, str(verdict)
