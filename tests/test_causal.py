"""The checker for causal+ consistency: by hand, against all arbitrations, at full size."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_checkers import is_causal
from register_runs import run_atomic_store, small_run

from dsm_native.testing import (
    HistoryError,
    Operation,
    check_causal,
    check_eventual,
    check_sequential,
)


def op(session, kind, key, value, invoked, returned=None):
    return Operation(session, kind, key, value, invoked, returned)


STORE_BUFFERS = [
    op("P1", "put", "x", 1, 0, 1),
    op("P1", "get", "y", 0, 2, 3),
    op("P2", "put", "y", 1, 0, 1),
    op("P2", "get", "x", 0, 2, 3),
]
FORGETFUL = [
    op("P1", "put", "x", 1, 0, 1),
    op("P1", "get", "x", 0, 2, 3),
    op("P1", "get", "x", 1, 4, 5),
]
ZERO = {"x": 0, "y": 0}


def test_the_separating_run_is_causal_and_not_sequential():
    assert check_causal(STORE_BUFFERS, ZERO)
    assert not check_sequential(STORE_BUFFERS, ZERO)


def test_the_separating_run_of_eventual_is_not_causal():
    verdict = check_causal(FORGETFUL, ZERO)
    assert not verdict
    assert verdict.violation.operations == tuple(FORGETFUL[:2])


def test_an_answer_without_its_question_is_refused():
    """Who saw the answer must see the question, through another session and another key."""
    run = [
        op("P1", "put", "question", "?", 0, 1),
        op("P2", "get", "question", "?", 2, 3),
        op("P2", "put", "answer", "!", 4, 5),
        op("P3", "get", "answer", "!", 6, 7),
        op("P3", "get", "question", None, 8, 9),
    ]
    verdict = check_causal(run)
    assert not verdict
    assert set(verdict.violation.operations) == set(run)
    assert check_causal(run[:-1])


def test_concurrent_writes_are_arbitrated_once_for_all():
    """Causal memory would allow this; causal+ does not: the replicas would not converge."""
    run = [
        op("P1", "put", "x", 1, 0, 1),
        op("P1", "get", "x", 2, 2, 3),
        op("P2", "put", "x", 2, 0, 1),
        op("P2", "get", "x", 1, 2, 3),
    ]
    assert not check_causal(run)
    assert check_causal(run[:-1])


def test_arbitration_is_one_for_all_keys():
    run = [
        op("P1", "put", "x", 1, 0, 1),
        op("P1", "put", "y", 1, 2, 3),
        op("P2", "put", "y", 2, 0, 1),
        op("P2", "put", "x", 2, 2, 3),
        op("P1", "get", "y", 2, 4, 5),
        op("P1", "get", "x", 2, 6, 7),
        op("P2", "get", "x", 1, 8, 9),
    ]
    assert check_causal(run[:-1])
    assert not check_causal(run)


def test_values_may_not_cause_themselves():
    run = [
        op("P1", "get", "x", 1, 0, 1),
        op("P1", "put", "y", 1, 2, 3),
        op("P2", "get", "y", 1, 0, 1),
        op("P2", "put", "x", 1, 2, 3),
    ]
    verdict = check_causal(run)
    assert not verdict
    assert "before themselves" in verdict.violation.reason


def test_replicas_at_rest_hold_what_is_arbitrated_last():
    run = [
        op("P1", "put", "x", 1, 0, 1),
        op("P2", "put", "x", 2, 0, 1),
        op("P1", "get", "x", 2, 2, 3),
    ]
    assert check_causal(run, resting={1: {"x": 2}, 2: {"x": 2}})
    assert not check_causal(run, resting={1: {"x": 1}, 2: {"x": 1}})
    assert not check_causal(run, resting={1: {"x": 2}, 2: {"x": 1}})
    assert not check_causal(run, resting={1: {"x": 2}, 2: {}})


def test_an_open_write_may_be_at_rest_everywhere_or_nowhere():
    run = [op("P1", "put", "x", 1, 0, 1), op("P2", "put", "x", 2, 0)]
    for value in (1, 2):
        assert check_causal(run, resting={1: {"x": value}, 2: {"x": value}})
    assert not check_causal(run, resting={1: {"x": 1}, 2: {"x": 2}})


def test_an_open_delete_that_did_not_happen_orders_nothing():
    run = [op("P1", "put", "x", 1, 0, 1), op("P1", "delete", "x", None, 2)]
    assert check_causal(run, resting={1: {"x": 1}})
    assert check_causal(run, resting={1: {}})


def test_a_read_of_absence_finds_the_delete_that_fits():
    run = [
        op("P1", "delete", "x", None, 0, 1),
        op("P1", "put", "x", 1, 2, 3),
        op("P2", "delete", "x", None, 0, 1),
        op("P1", "get", "x", None, 4, 5),
    ]
    assert check_causal(run)
    assert not check_causal([run[0], run[1], run[3]])


@pytest.mark.parametrize("kind", ["add", "cas"])
def test_other_kinds_cannot_be_judged(kind):
    with pytest.raises(HistoryError, match="defined for get, put, delete"):
        check_causal([Operation("P1", kind, "x", 1, 0, 1, True)])


def test_values_must_be_unique():
    with pytest.raises(HistoryError, match="unique"):
        check_causal([op("P1", "put", "x", 1, 0, 1), op("P2", "put", "x", 1, 0, 1)])


@pytest.mark.parametrize("kinds", [("get", "put"), ("get", "get", "put", "delete")], ids="-".join)
@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 1 << 40), at_rest=st.booleans())
def test_agrees_with_the_trial_of_all_arbitrations(kinds, seed, at_rest):
    draw = random.Random(seed)
    run = small_run(draw, kinds, keys=draw.randint(1, 2))
    run = [item._replace(result=None) for item in run]
    resting = random_rest(run, draw) if at_rest else None
    verdict = check_causal(run, resting=resting)
    assert bool(verdict) == is_causal(run, None, resting), f"seed {seed}: {verdict}"
    if not verdict:
        core = [item for item in verdict.violation.operations if item in run]
        assert not at_rest or len(core) <= len(run)
        assert at_rest or not is_causal(core), f"seed {seed}"


def random_rest(run: list[Operation], draw: random.Random) -> dict[int, dict[str, object]]:
    """Two replicas that mostly agree, on values that were written or on absence."""
    state = {}
    for item in run:
        written = [other.value for other in run if other.key == item.key and other.kind == "put"]
        state[item.key] = draw.choice([None, *written])
    other = dict(state)
    if state and draw.random() < 0.2:
        other[draw.choice(list(state))] = None
    return {1: state, 2: other}


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 1 << 40))
def test_causal_implies_eventual(seed):
    draw = random.Random(seed)
    run = small_run(draw, ("get", "put", "delete"), keys=2)
    run = [item._replace(result=None) for item in run]
    resting = random_rest(run, draw)
    if check_causal(run, resting=resting):
        verdict = check_eventual(run, resting)
        assert verdict, f"seed {seed}: {verdict}"


def run_causal_store(count: int, sessions: int, keys: int, seed: int) -> list[Operation]:
    """A store of replicas that deliver writes late, but in causal order, the last writer winning.

    Each session has its own replica and a queue of what the others wrote; timestamps are Lamport's.
    """
    draw = random.Random(seed)
    replicas = [{} for _ in range(sessions)]
    clocks = [0] * sessions
    seen = [[0] * sessions for _ in range(sessions)]
    log = [[] for _ in range(sessions)]  # what each session wrote: key, value, stamp, dependencies
    run = []
    for now in range(count):
        me = draw.randrange(sessions)
        if draw.random() < 0.2:
            for other in draw.sample(range(sessions), sessions):
                while seen[me][other] < len(log[other]):
                    key, value, stamp, needs = log[other][seen[me][other]]
                    if any(seen[me][n] < needs[n] for n in range(sessions) if n != other):
                        break
                    seen[me][other] += 1
                    clocks[me] = max(clocks[me], stamp[0])
                    if key not in replicas[me] or replicas[me][key][1] < stamp:
                        replicas[me][key] = (value, stamp)
        key = f"k{draw.randrange(keys)}"
        if draw.random() < 0.5:
            value, _ = replicas[me].get(key, (None, None))
            run.append(op(f"s{me}", "get", key, value, 2 * now, 2 * now + 1))
        else:
            clocks[me] += 1
            stamp = (clocks[me], me)
            log[me].append((key, now, stamp, list(seen[me])))
            seen[me][me] += 1
            replicas[me][key] = (now, stamp)
            run.append(op(f"s{me}", "put", key, now, 2 * now, 2 * now + 1))
    return run


def test_2000_operations_of_a_causal_store_are_causal_and_not_sequential():
    run = run_causal_store(2000, 5, 10, 1)
    begin = time.process_time()
    verdict = check_causal(run)
    assert verdict, str(verdict)
    assert not check_sequential(run)
    assert time.process_time() - begin < 30


def test_a_changed_read_among_2000_is_found_and_explained_by_few():
    run = run_causal_store(2000, 5, 3, 2)
    gets = [n for n, item in enumerate(run) if item.kind == "get" and item.value is not None]
    victim = gets[-1]
    old = next(item for item in run if item.kind == "put" and item.key == run[victim].key)
    run[victim] = run[victim]._replace(value=old.value)
    verdict = check_causal(run)
    assert not verdict
    assert len(verdict.violation.operations) <= 20, str(verdict)


def test_50000_operations_take_seconds():
    run = run_causal_store(50_000, 5, 1000, 3)
    begin = time.process_time()
    assert check_causal(run)
    assert time.process_time() - begin < 30


def test_2000_operations_with_deletes_do_not_explode():
    run = run_atomic_store(2000, 5, 50, 6, ("get",) * 4 + ("put",) * 4 + ("delete",), 0.01)
    assert check_causal(run)
