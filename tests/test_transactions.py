"""Transactions: what they see, what they change, how they end, who may use them."""

from __future__ import annotations

import threading
import time

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import dsm_native as dsm


def test_all_writes_become_visible_at_the_end(region, shared):
    other = shared.region("other of transactions")
    region["gone"] = 1
    with region.transaction() as tx:
        tx["a"] = 100
        tx.region(other)["b"] = [1, 2]
        del tx["gone"]
        tx["array"] = np.arange(4000.0)
        assert (tx["a"], tx.region(other)["b"], "gone" in tx) == (100, [1, 2], False)
        assert ("a" in region, "b" in other, region["gone"]) == (False, False, 1)
    assert tx.state == "committed"
    assert (region["a"], other["b"], "gone" in region) == (100, [1, 2], False)
    assert region["array"].sum() == np.arange(4000.0).sum()
    assert tx.versions[region.name, "a"] == region.get_versioned("a")[1]
    assert tx.versions[other.name, "b"] == other.get_versioned("b")[1]
    other.clear()


def test_the_interface_of_a_mapping(region):
    region.update({"a": 1, "b": 2, "n": 5})
    with region.transaction() as tx:
        assert tx.pop("a") == 1
        assert tx.pop("a", 7) == 7
        with pytest.raises(dsm.KeyNotFoundError):
            tx.pop("a")
        with pytest.raises(KeyError):
            tx["a"]
        with pytest.raises(KeyError):
            del tx["a"]
        assert tx.setdefault("b", 9) == 2
        assert tx.setdefault("c", 9) == 9
        tx.update({"d": 4})
        tx.update([("e", 5)])
        assert (tx.add("n", 3), tx.add("new")) == (8, 1)
        assert tx.get("none", "default") == "default"
        with pytest.raises(TypeError):
            iter(tx)
    assert dict(region) == {"b": 2, "c": 9, "d": 4, "e": 5, "n": 8, "new": 1}


def test_a_block_that_raises_changes_nothing(region):
    seen = []

    def fail():
        with region.transaction() as tx:
            seen.append(tx)
            tx["a"] = 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen[0].state == "discarded"
    assert "a" not in region


def test_values_are_taken_as_they_are_when_written(region):
    array, names = np.zeros(3), ["a"]
    with region.transaction() as tx:
        tx["array"], tx["names"] = array, names
        array[0] = 1
        names.append("b")
        tx["names"].append("c")
        assert tx["array"][0] == 0
        assert tx["names"] == ["a"]
    assert region["array"][0] == 0
    assert region["names"] == ["a"]


def test_keys_of_other_types_are_other_keys(region):
    with region.transaction() as tx:
        tx[1], tx["1"], tx[b"1"], tx[(1,)], tx[("1",)] = range(5)
        for wrong in (True, 1.0, None, (1.0,), [1]):
            with pytest.raises(dsm.KeyTypeError):
                tx.get(wrong)
    assert [region[key] for key in (1, "1", b"1", (1,), ("1",))] == [0, 1, 2, 3, 4]


def test_a_change_of_something_read_aborts_and_is_named(region):
    region["a"] = region["b"] = 0
    tx = region.transaction()
    assert tx["a"] == 0
    tx["b"] = 5
    version = region.put("a", 9)
    with pytest.raises(dsm.TransactionAbortedError) as caught:
        tx.commit()
    assert (caught.value.key, caught.value.region, caught.value.version) == (
        "a",
        region.name,
        version,
    )
    assert 0 < caught.value.expected < version
    assert f"'a' of region {region.name!r}" in str(caught.value)
    assert (tx.state, region["b"]) == ("aborted", 0)


@pytest.mark.parametrize("change", ["put", "delete", "create"])
def test_presence_is_read_too(region, change):
    if change != "create":
        region["a"] = 0
    tx = region.transaction()
    assert ("a" in tx) == (change != "create")
    tx["b"] = 1
    if change == "delete":
        del region["a"]
    else:
        region["a"] = 1
    with pytest.raises(dsm.TransactionAbortedError):
        tx.commit()
    assert "b" not in region


def test_what_only_reads_is_checked_as_well(region):
    region.update({"a": 1, "b": 1})
    tx = region.transaction()
    assert tx["a"] == 1
    region["a"] = 2
    with pytest.raises(dsm.TransactionAbortedError):
        tx.commit()
    with region.transaction() as tx:
        assert tx["a"] + tx["b"] == 3


def test_a_block_never_sees_values_that_were_not_there_together(region):
    region.update({"a": 1, "b": -1})
    tx = region.transaction()
    assert tx["a"] == 1
    with region.transaction() as other:
        other["a"], other["b"] = 2, -2
    with pytest.raises(dsm.TransactionAbortedError):
        tx["b"]
    with pytest.raises(dsm.TransactionAbortedError):
        tx.__exit__(None, None, None)


def test_blind_writes_do_not_conflict(region):
    tx = region.transaction()
    tx["a"] = 1
    region["a"] = 2
    tx.commit()
    assert region["a"] == 1


def test_interleaved_transactions_are_independent(region):
    region.update({"a": 0, "b": 0})
    with region.transaction() as outer:
        outer["a"] = 1
        with region.transaction() as inner:
            inner["b"] = inner["a"] + 10
        assert outer["b"] == 10
    assert dict(region) == {"a": 1, "b": 10}


def test_use_after_the_end_is_an_error(region):
    tx = region.transaction()
    tx["a"] = 1
    tx.commit()
    for use in (lambda: tx["a"], lambda: tx.put("a", 2), lambda: tx.delete("a"), tx.commit):
        with pytest.raises(dsm.UsageError, match="committed"):
            use()
    tx.discard()
    assert tx.state == "committed"
    discarded = region.transaction()
    discarded.discard()
    with pytest.raises(dsm.UsageError, match="discarded"):
        discarded["a"]
    for wrong in (-1, float("nan")):
        with pytest.raises(dsm.UsageError):
            region.transaction(timeout=wrong)


def test_a_transaction_belongs_to_its_thread(region):
    tx = region.transaction()
    errors = []

    def use():
        try:
            tx["a"] = 1
        except dsm.UsageError as error:
            errors.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert "another thread" in errors[0]


def test_many_keys_of_few_stripes(region):
    keys = range(1500)
    with region.transaction() as tx:
        tx.update((key, bytes([key % 256]) * (key % 90)) for key in keys)
    assert len(region) == 1500
    with region.transaction() as tx:
        for key in keys:
            if key % 3:
                del tx[key]
            else:
                tx[key] = key
    assert dict(region) == {key: key for key in keys if key % 3 == 0}


def test_the_number_of_writes_is_limited(region):
    tx = region.transaction()
    tx.update((key, 0) for key in range(2049))
    with pytest.raises(dsm.LimitError, match="4096"):
        tx.commit()
    assert len(region) == 0


def test_large_and_small_values_together(region):
    sizes = [0, 10, 900, 1100, 5000, 100_000, 300_000]
    for _ in range(3):
        sizes = sizes[1:] + sizes[:1]
        with region.transaction() as tx:
            for number, size in enumerate(sizes):
                tx[number] = bytes([number]) * size
        assert [region[number] for number in range(7)] == [
            bytes([number]) * size for number, size in enumerate(sizes)
        ]


def test_without_pickle(shared):
    plain = shared.region("plain of transactions", allow_pickle=False)
    with plain.transaction() as tx:
        tx["a"] = 1
        with pytest.raises(dsm.ValueTypeError):
            tx["b"] = object()
    assert dict(plain) == {"a": 1}
    plain.clear()


def test_counters_have_the_limits_of_add(region):
    region.update({"text": "x", "top": (1 << 63) - 1})
    with region.transaction() as tx:
        with pytest.raises(dsm.ValueTypeError):
            tx.add("text")
        with pytest.raises(dsm.CounterOverflowError):
            tx.add("top")


def test_transact_runs_again_until_it_fits(region):
    region["n"] = 0
    runs = []

    def slowly(tx):
        runs.append(1)
        value = tx["n"]
        if len(runs) < 4:
            region.add("n", 100)
        tx["n"] = value + 1
        return value

    assert region.transact(slowly) == 300
    assert (len(runs), region["n"]) == (4, 301)


def test_transact_gives_up(region):
    region["n"] = 0

    def never(tx):
        tx["n"] += 1
        region.add("n", 10)

    with pytest.raises(dsm.TransactionAbortedError) as caught:
        region.transact(never, retries=3)
    assert caught.value.__notes__ == ["attempts made: 4"]
    assert region["n"] == 40
    start = time.monotonic()
    with pytest.raises(dsm.TransactionAbortedError):
        region.transact(never, retries=10**6, timeout=0.1)
    assert time.monotonic() - start < 5
    with pytest.raises(dsm.UsageError):
        region.transact(never, retries=-1)


def test_threads_lose_no_update(region):
    region.update({"a": 1000, "b": 0})

    def move(tx):
        tx["a"] -= 1
        tx["b"] += 1
        assert tx["a"] + tx["b"] == 1000

    def work():
        for _ in range(100):
            region.transact(move, retries=10_000)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dict(region) == {"a": 600, "b": 400}


@settings(max_examples=40, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.data())
def test_like_a_dict_that_is_replaced_as_a_whole(region, data):
    region.clear()
    model = {}
    keys = st.sampled_from(["a", "b", 1, (1, "x"), b"c"])
    values = st.one_of(st.integers(), st.binary(max_size=2000), st.lists(st.integers(), max_size=3))
    for _ in range(data.draw(st.integers(1, 6))):
        copy = dict(model)
        tx = region.transaction()
        for _ in range(data.draw(st.integers(0, 8))):
            key = data.draw(keys)
            match data.draw(st.sampled_from(["get", "put", "pop", "in", "setdefault"])):
                case "get":
                    assert tx.get(key) == copy.get(key)
                case "put":
                    copy[key] = tx[key] = data.draw(values)
                case "pop":
                    assert tx.pop(key, None) == copy.pop(key, None)
                case "in":
                    assert (key in tx) == (key in copy)
                case "setdefault":
                    assert tx.setdefault(key, 5) == copy.setdefault(key, 5)
        match data.draw(st.sampled_from(["commit", "commit", "discard", "conflict"])):
            case "commit":
                tx.commit()
                model = copy
            case "discard":
                tx.discard()
            case "conflict":
                seen = [key for _region, key in tx.reads]
                if seen:
                    changed = data.draw(st.sampled_from(seen))
                    model[changed] = data.draw(values)
                    region[changed] = model[changed]
                    with pytest.raises(dsm.TransactionAbortedError):
                        tx.commit()
        assert dict(region) == model
