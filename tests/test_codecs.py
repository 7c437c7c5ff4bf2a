"""Keys and values of every type, as they come back: equal, of the same type, nothing shared."""

from __future__ import annotations

import datetime
import decimal
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dsm_native as dsm
from dsm_native._native.codec import key_round_trip


class Text(str):
    """A subclass, which must come back as what it is."""


class Number(int):
    pass


class Grid(np.ndarray):
    pass


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("never")


VALUES = [
    None, True, False, 0, 1, -1, 255, -256, (1 << 63) - 1, -(1 << 63), 1 << 63, -(1 << 63) - 1,
    1 << 64, -(1 << 200), 10**400, 0.0, -0.0, 1.5, math.inf, -math.inf, 5e-324, "", "a", "héllo",
    "\0", "\U0001f600", "lone \udc80 surrogate", "x" * 5000, "é" * 70_000, b"", b"\0", b"abc",
    b"z" * 100_000, Text("t"), Number(3), bytearray(b"ab"), [], [1, [2]], (), (1, "a"), {"a": {}},
    {1, 2}, frozenset([3]), 1 + 2j, decimal.Decimal("1.10"), datetime.date(2020, 2, 29), range(5),
    [None] * 3000,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_values_come_back_equal_and_of_the_same_type(region, value):
    region["k"] = value
    back = region["k"]
    assert type(back) is type(value)
    assert back == value
    if isinstance(value, float):
        assert math.copysign(1, back) == math.copysign(1, value)
    assert region.get_many(["k"])[0] == value
    assert region.get_versioned("k")[0] == value


def test_nan_comes_back(region):
    region["k"] = math.nan
    assert math.isnan(region["k"])


GAPS = np.dtype({"names": ["a"], "formats": ["i4"], "offsets": [4], "itemsize": 16})
RECORD = np.dtype([("a", "<i4"), ("b", ">f8", (2,)), ("c", "U3")])
ARRAYS = {
    "empty": np.zeros(0),
    "empty of three columns": np.zeros((0, 3), "i2"),
    "zero dimensions": np.array(5),
    "zero dimensions text": np.array("abc"),
    "bool": np.array([True, False]),
    "small": np.arange(10, dtype="u1"),
    "large": np.arange(100_000.0).reshape(100, 1000),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "large fortran": np.asfortranarray(np.arange(1_200_000.0).reshape(300, 4000)),
    "fortran of three dimensions": np.asfortranarray(np.arange(24).reshape(2, 3, 4)),
    "strided": np.arange(100)[::7],
    "reversed": np.arange(10)[::-1],
    "transposed slice": np.arange(60).reshape(3, 4, 5).transpose(1, 2, 0)[::2],
    "broadcast": np.broadcast_to(np.arange(3), (4, 3)),
    "big endian": np.arange(5, dtype=">i8"),
    "complex": np.array([1 + 2j], "c16"),
    "half": np.array([1.5], "f2"),
    "long double": np.array([1.25], "g"),
    "dates": np.array(["2020-02-29", "NaT"], "M8[D]"),
    "spans": np.array([5, -5], "m8[ms]"),
    "text": np.array(["a", "héé"]),
    "bytes": np.array([b"a", b"abc"]),
    "structured": np.array([(1, (2, 3), "x")] * 3, RECORD),
    "structured fortran": np.asfortranarray(np.zeros((2, 3), RECORD)),
    "structured zero dimensions": np.zeros((), RECORD),
    "aligned": np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "gaps": np.zeros(2, GAPS),
    "void": np.zeros(2, "V5"),
    "no item bytes": np.zeros(3, "V0"),
    "objects": np.array([1, "a", None], object),
    "objects within": np.array([(1, [2])], [("a", int), ("b", object)]),
    "records": np.rec.array([(1, 2.0)], dtype=[("a", int), ("b", float)]),
    "record scalars": np.zeros(2, np.dtype((np.record, [("a", int)]))),
    "masked": np.ma.masked_array([1, 2], [True, False]),
    "subclass": np.arange(4).view(Grid),
    "read only": np.frombuffer(b"abcd", "u1"),
}  # fmt: skip


@pytest.mark.parametrize("label", ARRAYS)
def test_arrays_come_back_with_type_shape_and_order(region, label):
    array = ARRAYS[label]
    region["k"] = array
    back = region["k"]
    assert type(back) is type(array)
    assert back.dtype == array.dtype
    assert back.dtype.type is array.dtype.type
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes() or label.startswith("objects")
    assert np.array_equal(back, array) or array.dtype.kind in "MV"
    if array.flags.f_contiguous:
        assert back.flags.f_contiguous
    if array.flags.c_contiguous:
        assert back.flags.c_contiguous


@pytest.mark.parametrize("count", [3, 3000])
def test_arrays_read_are_private_and_writable(region, count):
    region["k"] = np.zeros(count)
    back = region["k"]
    back[0] = 1
    assert region["k"][0] == 0


def test_pickles_with_large_buffers(region):
    value = {"a": np.arange(100_000), "b": [np.ones((300, 40)), b"x" * 9000, np.zeros((0, 2))]}
    region["k"] = value
    back = region["k"]
    assert np.array_equal(back["a"], value["a"])
    assert np.array_equal(back["b"][0], value["b"][0])
    assert back["b"][1] == value["b"][1]
    assert back["b"][2].shape == (0, 2)
    back["a"][0] = 7
    assert region["k"]["a"][0] == 0


def test_scalars_of_numpy_come_back(region):
    for value in (np.float32(1.5), np.int64(3), np.str_("a"), np.bool_(True)):
        region["k"] = value
        assert type(region["k"]) is type(value)
        assert region["k"] == value


def test_a_region_can_refuse_pickle(shared):
    strict = shared.region("strict", allow_pickle=False)
    for value in (None, True, 1, 1.5, "a", b"b", 1 << 80):
        strict["k"] = value
        assert strict["k"] == value
    strict["k"] = np.arange(4)
    for value in ([1], Text("a"), np.array([None]), np.float64(1), np.ma.masked_array([1])):
        with pytest.raises(dsm.ValueTypeError, match="allow_pickle=False"):
            strict["k"] = value
    assert np.array_equal(strict["k"], np.arange(4))


def test_what_cannot_be_pickled_is_the_callers_error(region):
    region["k"] = 1
    with pytest.raises(RuntimeError, match="never"):
        region["k"] = Unpicklable()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        region["k"] = lambda: None
    assert region["k"] == 1


KEYS = [
    "", "a", "1", "é", "\udc80", "a\0b", b"", b"a", b"1", 0, 1, -1, 255, 256, (1 << 63) - 1,
    -(1 << 63), 1 << 63, -(1 << 63) - 1, 1 << 300, (), (1,), ("1",), (b"1",), ((1,),), ("a", 1),
    ("a", (1, b"x"), ""), ("", ""), ("",), "x" * 3000, b"x" * 65_535,
]  # fmt: skip


def test_distinct_keys_are_distinct(region):
    for number, key in enumerate(KEYS):
        region[key] = number
    for number, key in enumerate(KEYS):
        assert region[key] == number, key
    assert len(region) == len(KEYS)
    listed = list(region)
    assert sorted(map(repr, listed)) == sorted(map(repr, KEYS))
    assert sorted(map(repr, map(type, listed))) == sorted(map(repr, map(type, KEYS)))


@pytest.mark.parametrize(
    "key", [None, 1.0, True, Text("a"), Number(1), ["a"], {"a"}, (1, 2.0), ("a", None), np.int64(1)]
)
def test_keys_of_other_types_are_refused(region, key):
    for call in (
        region.get,
        region.__getitem__,
        region.__contains__,
        region.delete,
        region.add,
        region.view,
        lambda bad: region.put(bad, 1),
    ):
        with pytest.raises(dsm.KeyTypeError, match="a key must be"):
            call(key)
    assert issubclass(dsm.KeyTypeError, TypeError)


def test_keys_have_a_longest(region):
    region[b"x" * 65_535] = 1
    for key in (b"x" * 65_536, "é" * 40_000, ("a" * 66_000,)):
        with pytest.raises(dsm.KeyTooLongError, match="65,535"):
            region[key] = 1
        with pytest.raises(dsm.KeyTooLongError):
            region.add(key)
        assert region.get(key) is None
        assert key not in region
        with pytest.raises((dsm.KeyTooLongError, KeyError)):
            region.delete(key)
    assert len(region) == 1


plain_keys = st.recursive(
    st.text(st.characters(), max_size=20) | st.binary(max_size=20) | st.integers(),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=6,
)


@given(plain_keys)
def test_every_key_survives_its_encoding(key):
    back, _ = key_round_trip(key)
    assert back == key
    assert repr(back) == repr(key)
