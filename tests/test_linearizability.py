"""The checker for strong consistency: by hand, against all orders, at full size."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_checkers import is_linearizable
from register_runs import run_atomic_store, small_run

from dsm_native.testing import HistoryError, Operation, check_linearizable
from dsm_native.testing.shrink import leave_out_of_register

ALL_KINDS = ("get", "put", "delete", "add", "cas", "put_if_version")


def op(session, kind, value=None, invoked=0, returned=None, result=None, expected=None, key="x"):
    return Operation(session, kind, key, value, invoked, returned, result, expected)


GOOD = {
    "empty": [],
    "read of an absent key": [op("a", "get", None, 0, 1)],
    "write, then read": [op("a", "put", 1, 0, 1), op("b", "get", 1, 2, 3)],
    "read overlaps the write and sees the new value": [
        op("a", "put", 1, 0, 9),
        op("b", "get", 1, 2, 3),
    ],
    "read overlaps the write and sees the old value": [
        op("a", "put", 1, 0, 9),
        op("b", "get", None, 2, 3),
    ],
    "intervals that touch overlap": [op("a", "put", 1, 0, 5), op("b", "get", None, 5, 6)],
    "open write that happened": [op("a", "put", 1, 0), op("b", "get", 1, 5, 6)],
    "open write that did not": [op("a", "put", 1, 0), op("b", "get", None, 5, 6)],
    "open write that happens late": [
        op("a", "put", 1, 0),
        op("b", "get", None, 5, 6),
        op("b", "get", 1, 7, 8),
    ],
    "open delete": [
        op("a", "put", 1, 0, 1),
        op("a", "delete", None, 2),
        op("b", "get", 1, 3, 4),
        op("b", "get", None, 5, 6),
    ],
    "counter": [
        op("a", "add", 1, 0, 9, 2),
        op("b", "add", 1, 0, 9, 1),
        op("c", "get", 2, 10, 11),
        op("c", "add", -5, 12, 13, -3),
    ],
    "counter with an open add that happened": [
        op("a", "add", 5, 0),
        op("b", "add", 1, 2, 3, 6),
    ],
    "compare and set": [
        op("a", "cas", 1, 0, 1, True, None),
        op("b", "cas", 2, 2, 3, False, 5),
        op("b", "cas", 2, 4, 5, True, 1),
        op("c", "get", 2, 6, 7),
    ],
    "versions": [
        op("a", "put_if_version", 1, 0, 1, 10, 0),
        op("b", "put_if_version", 2, 2, 3, False, 0),
        op("b", "put_if_version", 3, 4, 5, 11, 10),
        op("c", "get", 3, 6, 7, 11),
    ],
    "open conditional write whose version a reader tells": [
        op("a", "put", 1, 0, 1, 10),
        op("a", "put_if_version", 2, 2, None, None, 10),
        op("b", "get", 2, 3, 4, 11),
        op("b", "put_if_version", 3, 5, 6, 12, 11),
    ],
    "delete says what it found": [
        op("a", "delete", None, 0, 1, False),
        op("a", "put", 1, 2, 3),
        op("a", "delete", None, 4, 5, True),
        op("a", "get", None, 6, 7),
    ],
    "two open writes of one value, of which the conditional one must come first": [
        op("a", "put", 1, 0, 1),
        op("b", "put", 2, 2),
        op("c", "cas", 2, 2, None, None, 1),
        op("a", "get", 2, 3, 4),
        op("a", "put", 5, 5, 6),
        op("a", "get", 2, 7, 8),
    ],
    "values that are equal but of different types": [
        op("a", "put", 1, 0, 1),
        op("a", "put", True, 2, 3),
        op("a", "get", True, 4, 5),
    ],
}

# What is wrong, the history, and how many operations it takes to see it.
BAD = {
    "stale read": (
        [op("a", "put", 1, 0, 1), op("b", "put", 2, 2, 3), op("c", "get", 1, 4, 5)],
        3,
    ),
    "lost write": ([op("a", "put", 1, 0, 1), op("b", "get", None, 2, 3)], 2),
    "value that nobody wrote": ([op("a", "put", 1, 0, 1), op("b", "get", 7, 2, 3)], 1),
    "value read before it was written": ([op("b", "get", 1, 0, 1), op("a", "put", 1, 2, 3)], 1),
    "read that is un-read": (
        [
            op("a", "put", 1, 0, 1),
            op("a", "put", 2, 2, 20),
            op("b", "get", 2, 3, 4),
            op("c", "get", 1, 5, 6),
        ],
        4,
    ),
    "two readers that saw two orders": (
        [
            op("a", "put", 1, 0, 9),
            op("b", "put", 2, 0, 9),
            op("c", "get", 1, 10, 11),
            op("d", "get", 2, 12, 13),
        ],
        4,
    ),
    "open write that happened twice": (
        [
            op("a", "put", 1, 0),
            op("b", "get", 1, 1, 2),
            op("b", "put", 2, 3, 4),
            op("b", "get", 1, 5, 6),
        ],
        4,
    ),
    "lost add": ([op("a", "add", 1, 0, 5, 1), op("b", "add", 1, 0, 5, 1)], 2),
    "both win the compare and set": (
        [
            op("a", "cas", 1, 0, 5, True, None),
            op("b", "cas", 2, 0, 5, True, None),
        ],
        2,
    ),
    "conflict without a cause": (
        [op("a", "put", 1, 0, 1, 10), op("b", "put_if_version", 2, 2, 3, False, 10)],
        2,
    ),
    "created twice": (
        [
            op("a", "put_if_version", 1, 0, 1, 10, 0),
            op("b", "put_if_version", 2, 2, 3, 11, 0),
        ],
        2,
    ),
    "version given twice": ([op("a", "put", 1, 0, 1, 10), op("b", "put", 2, 2, 3, 10)], 2),
    "version replaced twice": (
        [
            op("a", "put", 1, 0, 1, 10),
            op("b", "put_if_version", 2, 2, 9, 11, 10),
            op("c", "put_if_version", 3, 2, 9, 12, 10),
        ],
        2,
    ),
    "deleted key comes back": (
        [
            op("a", "put", 1, 0, 1),
            op("a", "delete", None, 2, 3),
            op("b", "get", 1, 4, 5),
        ],
        3,
    ),
    "absence after several deletes and a put": (
        [
            op("a", "put", 1, 0, 1),
            op("a", "delete", None, 2, 3),
            op("a", "put", 2, 4, 5),
            op("a", "delete", None, 6, 7),
            op("a", "put", 3, 8, 9),
            op("b", "get", None, 10, 11),
        ],
        2,
    ),
    "value of another type": ([op("a", "put", 1, 0, 1), op("b", "get", True, 2, 3)], 1),
    "delete of a key that is not there": ([op("a", "delete", None, 0, 1, True)], 1),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_history_is_accepted(name):
    verdict = check_linearizable(GOOD[name])
    assert verdict, str(verdict)
    assert verdict.violation is None
    assert verdict.checked == len(GOOD[name])


@pytest.mark.parametrize("name", BAD)
def test_bad_history_is_refused_with_its_smallest_explanation(name):
    history, size = BAD[name]
    noise = [op("n", "get", None, -3, -2), op("n", "put", "unrelated", 0, 50, key="y")]
    verdict = check_linearizable([*noise, *history])
    assert not verdict
    assert len(verdict.violation.operations) == size
    assert set(verdict.violation.operations) <= set(history)


def test_the_initial_value_counts():
    read = [op("a", "get", 0, 0, 1)]
    assert not check_linearizable(read)
    assert check_linearizable(read, initial={"x": 0})
    late = [op("a", "put", 1, 0, 1), op("b", "get", 0, 2, 3)]
    assert not check_linearizable(late, initial={"x": 0})


def test_the_separating_run_of_sequential_is_not_strong():
    run = [op("P1", "put", 1, 0, 1), op("P2", "get", 0, 2, 3)]
    assert not check_linearizable(run, initial={"x": 0})


def test_conditional_write_may_follow_only_a_write_that_could_not_report_its_version():
    follower = op("a", "put_if_version", 1, 2, 3, 10, 4)
    assert not check_linearizable([follower])
    assert check_linearizable([op("b", "put", 7, 0), follower])
    assert not check_linearizable([op("b", "put", 7, 0, 1, 5), follower])


def test_versions_cannot_be_followed_where_values_repeat():
    history = [
        op("a", "put", 1, 0, 1, 10),
        op("a", "put", 1, 2, 3, 11),
        op("a", "put_if_version", 2, 4, 5, 12, 11),
    ]
    with pytest.raises(HistoryError, match="written more than once"):
        check_linearizable(history)


def test_the_timeline_shows_each_session_and_who_was_first():
    history, _ = BAD["stale read"]
    lines = check_linearizable(history).violation.timeline().splitlines()
    assert [line.split("[")[0].strip() for line in lines] == ["session a", "session b", "session c"]
    assert [line.index("[") for line in lines] == sorted(line.index("[") for line in lines)
    assert lines[0].rindex("]") < lines[1].index("[")
    assert "get(x)=1" in lines[2]


def test_the_reason_names_the_operation_and_what_the_key_held():
    history, _ = BAD["stale read"]
    reason = check_linearizable(history).violation.reason
    assert "get(x)=1 of session c" in reason
    assert reason.endswith("the key can only have been 2")


@pytest.mark.parametrize(
    "kinds",
    [
        ("get", "put"),
        ("get", "get", "put", "delete"),
        ("get", "add"),
        ("get", "put", "cas"),
        ("get", "put", "delete", "put_if_version"),
        ("get", "put", "delete", "cas"),
    ],
    ids="-".join,
)
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 40))
def test_agrees_with_the_trial_of_all_orders(kinds, seed):
    run = small_run(random.Random(seed), kinds)
    verdict = check_linearizable(run)
    assert bool(verdict) == is_linearizable(run), f"seed {seed}: {verdict}"
    if verdict:
        return
    # The explanation convinces by itself, and no operation can be left out of it.
    core = list(verdict.violation.operations)
    assert set(core) <= set(run)
    assert not is_linearizable(core), f"seed {seed}"
    for item in core:
        smaller = leave_out_of_register(core, [item], None)
        assert is_linearizable(smaller), f"seed {seed}: {item} is not needed"


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 40))
def test_leaving_out_is_sound(seed):
    """If a smaller history is refuted, so is the larger: shrinking never accuses falsely."""
    draw = random.Random(seed)
    run = small_run(draw, draw.choice([("get", "put", "delete"), ("get", "add"), ALL_KINDS[:3]]))
    run.sort(key=lambda item: item.invoked)
    chunk = draw.sample(run, draw.randint(1, len(run)))
    smaller = leave_out_of_register(run, chunk, None)
    assert not set(map(id, chunk)) & set(map(id, smaller))
    assert is_linearizable(smaller) or not is_linearizable(run), f"seed {seed}"


# What 2,000 operations on one hot key may cost: configurations, which do not depend on the machine.
HOT = [
    (5, ("get", "put"), 0.0, 60_000),
    (5, ("get", "put"), 0.05, 60_000),
    (5, ("get", "put", "delete", "cas"), 0.05, 60_000),
    (5, ("get", "put", "delete", "put_if_version"), 0.05, 60_000),
    (5, ("add", "get"), 0.05, 60_000),
    (64, ("get", "put"), 0.05, 60_000),
    (10, ("get", "put", "delete"), 0.02, 60_000),
]


@pytest.mark.parametrize(("sessions", "kinds", "kill", "effort_max"), HOT)
def test_2000_operations_on_one_key_do_not_explode(sessions, kinds, kill, effort_max):
    run = run_atomic_store(2000, sessions, 1, 7, kinds, kill)
    verdict = check_linearizable(run, effort_max=effort_max)
    assert verdict, str(verdict)


def test_one_changed_outcome_among_2000_is_found_and_explained_by_few():
    draw = random.Random(11)
    refused = 0
    for seed in range(6):
        run = run_atomic_store(2000, 5, 1, seed, ("get", "put", "delete"), 0.02)
        gets = [n for n, i in enumerate(run) if i.kind == "get" and i.value is not None]
        number = draw.choice(gets[len(gets) // 2 :])
        stale = run[gets[len(gets) // 4]]
        run[number] = run[number]._replace(value=stale.value, result=stale.result)
        verdict = check_linearizable(run)
        assert not verdict
        assert len(verdict.violation.operations) <= 4, str(verdict)
        refused += 1
    assert refused == 6


def test_100000_operations_over_many_keys_take_seconds():
    run = run_atomic_store(100_000, 5, 1000, 3, ("get", "put", "delete"), 0.001)
    begin = time.process_time()
    verdict = check_linearizable(run)
    spent_s = time.process_time() - begin
    assert verdict, str(verdict)
    assert spent_s < 20, f"{spent_s:.1f} s of processor time"
