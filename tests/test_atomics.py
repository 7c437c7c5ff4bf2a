"""Counters and atomic arrays: arithmetic as in C, orders as C11 admits them, races without loss."""

from __future__ import annotations

import itertools
import math
import operator

import numpy as np
import pytest
from children import Child
from hypothesis import given, settings
from hypothesis import strategies as st

import dsm_native as dsm

INTEGERS = ("int32", "int64", "uint32", "uint64")
FLOATS = ("float32", "float64")
ORDERS = ("relaxed", "acquire", "release", "acq_rel", "seq_cst")
CHANGES = {
    "exchange": lambda old, new: new,
    "fetch_add": operator.add,
    "fetch_sub": operator.sub,
    "fetch_and": operator.and_,
    "fetch_or": operator.or_,
    "fetch_xor": operator.xor,
}


def wrapped(number: int, dtype: str) -> int:
    bits = np.dtype(dtype).itemsize * 8
    number %= 1 << bits
    return number - (1 << bits) if dtype.startswith("i") and number >> (bits - 1) else number


@pytest.mark.parametrize("dtype", INTEGERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_integers_behave_as_in_c(shared, dtype, data):
    limits = np.iinfo(dtype)
    numbers = st.integers(int(limits.min), int(limits.max))
    array = shared.atomic(f"c {dtype}", dtype, (2, 3))
    index = data.draw(st.tuples(st.integers(-2, 1), st.integers(-3, 2)))
    model = data.draw(numbers)
    array.store(model, index)
    for name, value in data.draw(st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), numbers))):
        assert getattr(array, name)(value, index) == model
        model = wrapped(CHANGES[name](model, value), dtype)
    assert array.load(index) == model
    other = data.draw(numbers)
    assert array.compare_exchange(other, 0, index) == (other == model, model)
    array.store(model, index)
    assert array.compare_exchange(model, other, index) == (True, model)
    assert array.load(index) == other


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_are_moved_and_compared_by_their_bits(shared, dtype):
    array = shared.atomic(f"f {dtype}", dtype, 3)
    assert array.exchange(1.5, 1) == 0.0
    assert array.load(1) == 1.5
    assert array.load(0) == array.load(2) == 0.0
    assert array.compare_exchange(-0.0, 1.0, 0)[0] is False
    assert array.compare_exchange(0.0, math.nan, 0) == (True, 0.0)
    assert array.compare_exchange(math.nan, 2.0, 0)[0] is True
    with pytest.raises(dsm.UsageError, match="integers"):
        array.fetch_add(1.0, 0)


def test_orders_that_an_operation_does_not_admit(shared):
    number = shared.atomic("orders")
    for order in ORDERS:
        for name in CHANGES:
            getattr(number, name)(1, order=order)
        checked = {
            ("acquire", "relaxed", "seq_cst"): lambda order=order: number.load(order=order),
            ("release", "relaxed", "seq_cst"): lambda order=order: number.store(1, order=order),
        }
        for admitted, call in checked.items():
            if order in admitted:
                call()
            else:
                with pytest.raises(ValueError, match=order):
                    call()
    for success, failure in itertools.product(ORDERS, ORDERS):
        if failure in ("release", "acq_rel"):
            with pytest.raises(ValueError, match=failure):
                number.compare_exchange(0, 0, success=success, failure=failure)
        else:
            number.compare_exchange(0, 0, success=success, failure=failure)
        number.compare_exchange(0, 0, success=success)
    with pytest.raises(ValueError, match="consume"):
        number.load(order="consume")


def test_indices_and_ranges_are_checked(shared):
    array = shared.atomic("checked", "uint32", (2, 3))
    for wrong in ((2, 0), (0, 3), (-3, 0)):
        with pytest.raises(IndexError):
            array.load(wrong)
    for wrong in (0, (0,), (0, 0, 0), ()):
        with pytest.raises(dsm.UsageError, match="shape"):
            array.load(wrong)
    for wrong in (-1, 1 << 32):
        with pytest.raises(dsm.UsageError, match="uint32"):
            array.store(wrong, (0, 0))
    for wrong in ("1", 1.5, None):
        with pytest.raises(TypeError):
            array.store(wrong, (0, 0))
    for shape in (0, (1 << 24,), (1, 1, 1, 1, 1)):
        with pytest.raises(dsm.UsageError):
            shared.atomic("wrong", "int32", shape)
    assert array.shape == (2, 3)
    assert array.dtype == "uint32"


def test_elements_do_not_touch_each_other(shared):
    for dtype in (*INTEGERS, *FLOATS):
        array = shared.atomic(f"apart {dtype}", dtype, (3, 4, 2))
        everything = list(itertools.product(range(3), range(4), range(2)))
        for number, index in enumerate(everything):
            array.store(number, index)
        assert [array.load(index) for index in everything] == list(range(24))


def test_no_addition_is_lost_between_processes(shared):
    counter, array = shared.counter("raced"), shared.atomic("raced", "uint32", 2)

    def work(say):
        for _ in range(3000):
            counter.add(2)
            array.fetch_add(1, 0)
            before = array.load(1)
            while True:
                done, before = array.compare_exchange(before, before + 1, 1)
                if done:
                    break

    for child in [Child(work) for _ in range(3)]:
        with child:
            assert child.ends() == 0
    assert counter.get() == 18000
    assert (array.load(0), array.load(1)) == (9000, 9000)


def test_a_counter_tells_overflow(shared):
    counter = shared.counter("overflow")
    assert counter.add() == 1
    assert counter.reset((1 << 63) - 1) == 1
    with pytest.raises(OverflowError):
        counter.add()
    assert counter.get() == (1 << 63) - 1
    assert counter.add(-5) == (1 << 63) - 6
    counter.reset(-(1 << 63))
    with pytest.raises(dsm.CounterOverflowError):
        counter.add(-1)
    for wrong in (1.5, "1", 1 << 63):
        with pytest.raises(dsm.UsageError):
            counter.add(wrong)
    assert counter.reset() == -(1 << 63)
    assert counter.get() == 0
