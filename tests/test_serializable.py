"""The checker of transactions: against a naive one, and on histories that are known to be wrong."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from dsm_native.testing import TransactionRecord, check_strictly_serializable


def record(name, invoked, returned, reads=None, writes=None):
    return TransactionRecord(name, invoked, returned, reads or {}, writes or {})


def naive(transactions):
    """Tries every order of those that returned. No open ones."""
    for order in itertools.permutations(transactions):
        if any(
            later.returned < earlier.invoked
            for place, earlier in enumerate(order)
            for later in order[place + 1 :]
        ):
            continue
        state = {}
        for item in order:
            if any(state.get(key, (0, "")) != seen for key, seen in item.reads.items()):
                break
            if any(version <= state.get(key, (0, ""))[0] for key, version in item.writes.items()):
                break
            state.update({key: (version, item.name) for key, version in item.writes.items()})
        else:
            return True
    return False


@st.composite
def histories(draw):
    """Transactions executed one after another, then some times and some reads are changed."""
    state, found = {}, []
    for number in range(draw(st.integers(1, 5))):
        keys = draw(st.lists(st.sampled_from("xyz"), unique=True, max_size=3))
        reads = {key: state.get(key, (0, "")) for key in keys}
        writes = {}
        for key in draw(st.lists(st.sampled_from("xyz"), unique=True, max_size=2)):
            writes[key] = state.get(key, (0, ""))[0] + draw(st.integers(1, 2))
            state[key] = (writes[key], f"t{number}")
        start = 10 * number
        found.append([f"t{number}", start, start + draw(st.integers(1, 35)), reads, writes])
    for _ in range(draw(st.integers(0, 2))):
        victim = found[draw(st.integers(0, len(found) - 1))]
        if victim[3] and draw(st.booleans()):
            key = draw(st.sampled_from(sorted(victim[3])))
            written = [(item[4][key], item[0]) for item in found if key in item[4]]
            victim[3][key] = draw(st.sampled_from([*written, (0, "")]))
        else:
            victim[1] += draw(st.integers(-30, 30))
            victim[2] = victim[1] + draw(st.integers(1, 30))
    # One that reads what it wrote itself has not read before it wrote.
    for item in found:
        item[3] = {key: seen for key, seen in item[3].items() if seen[1] != item[0]}
    return [record(*item) for item in found]


@settings(max_examples=150, deadline=None)
@given(histories())
def test_the_same_as_trying_every_order(transactions):
    versions = [(key, version) for item in transactions for key, version in item.writes.items()]
    assert len(versions) == len(set(versions))
    assert bool(check_strictly_serializable(transactions)) == naive(transactions)


def test_a_serial_history_is_correct():
    verdict = check_strictly_serializable(
        [
            record("a", 0, 1, {"x": (0, "")}, {"x": 1, "y": 1}),
            record("b", 2, 3, {"x": (1, "a"), "y": (1, "a")}, {"x": 2}),
            record("c", 4, 5, {"x": (2, "b"), "y": (1, "a")}),
        ]
    )
    assert verdict
    assert str(verdict) == "strictly serializable: 3 transactions"


def test_a_lost_update_is_found():
    verdict = check_strictly_serializable(
        [
            record("a", 0, 9, {"x": (0, "")}, {"x": 1}),
            record("b", 0, 9, {"x": (0, "")}, {"x": 2}),
        ]
    )
    assert not verdict
    assert set(verdict.cycle) == {"a", "b"}


def test_write_skew_is_found():
    assert not check_strictly_serializable(
        [
            record("a", 0, 9, {"x": (0, ""), "y": (0, "")}, {"x": 1}),
            record("b", 0, 9, {"x": (0, ""), "y": (0, "")}, {"y": 1}),
        ]
    )


def test_a_half_seen_transaction_is_found():
    assert not check_strictly_serializable(
        [
            record("a", 0, 9, {}, {"x": 1, "y": 1}),
            record("b", 0, 9, {"x": (1, "a"), "y": (0, "")}),
        ]
    )


def test_a_stale_read_is_serializable_but_not_strictly():
    late = record("b", 5, 6, {"x": (0, "")})
    assert not check_strictly_serializable([record("a", 0, 1, {}, {"x": 1}), late])
    assert check_strictly_serializable([record("a", 0, 7, {}, {"x": 1}), late])


def test_open_ones_happen_as_a_whole_or_not_at_all():
    first = record("a", 0, 1, {}, {"x": 1, "y": 1})
    cut = record("cut", 2, None, {}, {"x": None, "y": None})
    neither = record("end", 9, 10, {"x": (1, "a"), "y": (1, "a")})
    both = record("end", 9, 10, {"x": (2, "cut"), "y": (2, "cut")})
    torn = record("end", 9, 10, {"x": (2, "cut"), "y": (1, "a")})
    assert check_strictly_serializable([first, cut, neither])
    assert check_strictly_serializable([first, cut, both])
    assert not check_strictly_serializable([first, cut, torn])
    # Overwritten before anybody looked: then it may have happened.
    over = record("over", 3, 4, {}, {"y": 3})
    hidden = record("end", 9, 10, {"x": (2, "cut"), "y": (3, "over")})
    assert check_strictly_serializable([first, cut, over, hidden])


def test_values_must_be_those_of_their_versions():
    wrong = record("b", 5, 6, {"x": (7, "a")})
    assert (
        "did not write"
        in check_strictly_serializable([record("a", 0, 1, {}, {"x": 1}), wrong]).reason
    )
    assert (
        "two writers"
        in check_strictly_serializable(
            [record("a", 0, 1, {}, {"x": 1}), record("b", 2, 3, {}, {"x": 1})]
        ).reason
    )
