"""Regions as mappings: every operation of the public face, and what its errors say."""

from __future__ import annotations

import collections
import threading

import pytest

import dsm_native as dsm


def test_a_region_is_a_mutable_mapping(region):
    assert isinstance(region, collections.abc.MutableMapping)
    region["a"] = 1
    region["b"] = 2
    assert region["a"] == 1
    assert "a" in region
    assert "c" not in region
    assert len(region) == 2
    assert sorted(region) == sorted(region.keys()) == ["a", "b"]
    assert sorted(region.values()) == [1, 2]
    assert sorted(region.items()) == [("a", 1), ("b", 2)]
    assert ("a", 1) in region.items()
    assert 2 in region.values()
    assert 3 not in region.values()
    assert region == {"a": 1, "b": 2}
    del region["a"]
    assert list(region) == ["b"]
    assert bool(region)
    del region["b"]
    assert not bool(region)


def test_missing_keys_raise_key_error_with_the_key(region):
    for call in (region.__getitem__, region.get_versioned, region.delete, region.pop, region.view):
        with pytest.raises(KeyError) as caught:
            call("absent")
        assert isinstance(caught.value, dsm.KeyNotFoundError)
        assert caught.value.args == ("absent",)
        assert str(caught.value) == "'absent'"
    with pytest.raises(KeyError):
        del region["absent"]
    with pytest.raises(KeyError, match="empty"):
        region.popitem()


def test_get_takes_a_default(region):
    assert region.get("absent") is None
    assert region.get("absent", 5) == 5
    region["none"] = None
    assert region.get("none", 5) is None


def test_put_returns_versions_that_grow_and_never_repeat(region):
    seen = []
    for _ in range(5):
        seen.append(region.put("k", "v"))
        assert region.get_versioned("k") == ("v", seen[-1])
        seen.append(region.put("k", "w"))
        seen.append(region.delete("k"))
    assert seen == sorted(set(seen))
    assert min(seen) > 0


def test_versions_do_not_repeat_when_the_stripe_was_empty_between(region):
    first = region.put("k", 1)
    region.clear()
    assert region.put("k", 2) > first
    with pytest.raises(dsm.VersionConflictError):
        region.put("k", 3, if_version=first)


def test_if_version(region):
    version = region.put("k", 1, if_version=0)
    with pytest.raises(dsm.VersionConflictError) as caught:
        region.put("k", 2, if_version=0)
    assert caught.value.version == version
    assert "'k'" in str(caught.value)
    assert str(version) in str(caught.value)
    second = region.put("k", 2, if_version=version)
    with pytest.raises(dsm.VersionConflictError):
        region.delete("k", if_version=version)
    assert region["k"] == 2
    region.delete("k", if_version=second)
    with pytest.raises(dsm.VersionConflictError, match="found no object") as caught:
        region.put("k", 3, if_version=second)
    assert caught.value.version == 0


@pytest.mark.parametrize("bad", [-1, 1.0, "7", True, 1 << 64])
def test_if_version_is_checked(region, bad):
    with pytest.raises(dsm.UsageError, match="if_version"):
        region.put("k", 1, if_version=bad)


def test_add_counts(region):
    assert region.add("hits") == 1
    assert region.add("hits", 41) == 42
    assert region.add("hits", -50) == -8
    assert region["hits"] == -8
    region["given"] = 7
    assert region.add("given", 3) == 10


def test_add_overflow_is_an_error_and_changes_nothing(region):
    region["k"] = (1 << 63) - 1
    with pytest.raises(dsm.CounterOverflowError) as caught:
        region.add("k", 1)
    assert isinstance(caught.value, OverflowError)
    assert str((1 << 63) - 1) in str(caught.value)
    assert region["k"] == (1 << 63) - 1
    region["k"] = -(1 << 63)
    with pytest.raises(OverflowError):
        region.add("k", -1)
    assert region["k"] == -(1 << 63)
    assert region.add("k", (1 << 63) - 1) == -1


@pytest.mark.parametrize("stored", ["1", 1.0, True, None, b"x", 1 << 70, [1]])
def test_add_to_another_type_is_refused(region, stored):
    region["k"] = stored
    with pytest.raises(dsm.ValueTypeError):
        region.add("k", 1)
    assert region["k"] == stored


@pytest.mark.parametrize("summand", ["1", 1.0, True, None])
def test_add_takes_ints_only(region, summand):
    with pytest.raises(dsm.ValueTypeError):
        region.add("k", summand)
    with pytest.raises(dsm.UsageError):
        region.add("k", 1 << 63)
    assert "k" not in region


def test_get_many_keeps_the_order_asked(region):
    for number in range(50):
        region[number] = number * number
    asked = [7, 99, 3, 3, 49, "no"]
    assert region.get_many(asked) == [49, None, 9, 9, 2401, None]
    assert region.get_many(iter(asked), default=-1) == [49, -1, 9, 9, 2401, -1]
    assert region.get_many([]) == []
    assert region.get_many(range(50)) == [number * number for number in range(50)]
    with pytest.raises(dsm.KeyTypeError):
        region.get_many([1, 2.0])


def test_put_many_takes_mappings_and_pairs(region):
    region.put_many({"a": 1, "b": [2]})
    region.put_many([("c", 3), ("d", b"4")])
    region.put_many(pair for pair in [("a", 5)])
    assert dict(region.items()) == {"a": 5, "b": [2], "c": 3, "d": b"4"}


def test_put_many_stores_what_comes_before_an_error(region):
    with pytest.raises(dsm.KeyTypeError):
        region.put_many([("a", 1), (2.5, 2), ("c", 3)])
    assert dict(region.items()) == {"a": 1}


def test_put_many_from_a_generator_that_closes_the_cluster(name):
    cluster = dsm.Cluster(nodes=1, name=name, stripes=1)

    def pairs():
        for number in range(100):
            if number == 50:
                cluster.close()
            yield number, number

    with pytest.raises(dsm.ClosedError):
        cluster.default.put_many(pairs())


def test_setdefault(region):
    assert region.setdefault("k", 1) == 1
    assert region.setdefault("k", 2) == 1
    assert region.setdefault("none") is None
    assert region.setdefault("none", 5) is None


def test_pop(region):
    region["k"] = 1
    assert region.pop("k") == 1
    assert region.pop("k", 2) == 2
    assert region.pop("k", None) is None
    region["only"] = 3
    assert region.popitem() == ("only", 3)


def test_update(region):
    region.update({"a": 1}, b=2)
    region.update([("c", 3)])
    region.update(d=4)

    class Keyed:
        def keys(self):
            return ["e"]

        def __getitem__(self, key):
            return key * 2

    region.update(Keyed())
    assert dict(region.items()) == {"a": 1, "b": 2, "c": 3, "d": 4, "e": "ee"}


def test_clear(region, shared):
    other = shared.region("untouched by clear")
    other["a"] = 1
    region.update({number: number for number in range(300)})
    region.clear()
    assert len(region) == 0
    assert list(region) == []
    assert other["a"] == 1


def test_regions_are_separate_namespaces(shared):
    first, second = shared.region("first"), shared.region("second")
    first["k"] = 1
    second["k"] = 2
    del first["k"]
    assert "k" not in first
    assert second["k"] == 2


def test_a_value_read_is_a_private_copy(region):
    region["list"] = [1, 2]
    region["list"].append(3)
    assert region["list"] == [1, 2]


def test_many_objects_make_tables_grow(region):
    count = 20_000
    region.put_many((f"key {number}", number) for number in range(count))
    assert len(region) == count
    assert region.get_many([f"key {number}" for number in range(count)]) == list(range(count))
    assert len(set(region)) == count


def test_sizes_around_every_boundary(region):
    sizes = [0, 1, 7, 8, 9, 63, 64, 65, 1900, 2000, 2016, 2100, 4095, 4096, 4097, 65535, 65536]
    sizes += [100_000, 1 << 20, 3_333_333]
    for size in sizes:
        value = bytes(number & 255 for number in range(min(size, 1000))) + bytes(
            max(0, size - 1000)
        )
        region["k"] = value
        assert region["k"] == value, size
        region[("k", size)] = value
    assert [len(region[("k", size)]) for size in sizes] == sizes


def test_one_handle_serves_many_threads(region):
    rounds, threads = 300, 6
    errors = []

    def work(identity):
        try:
            for number in range(rounds):
                region.add("total")
                region[(identity, number)] = bytes(9000)
                assert region[(identity, number)] == bytes(9000)
                region.pop((identity, number))
        except BaseException as error:
            errors.append(error)

    pool = [threading.Thread(target=work, args=(identity,)) for identity in range(threads)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    assert not errors
    assert region["total"] == rounds * threads
    assert list(region) == ["total"]


def test_timeout_must_be_a_number_of_seconds(region):
    region["k"] = bytes(100_000)
    for bad in ("1", float("nan"), -1):
        with pytest.raises((dsm.UsageError, TypeError)):
            region.put("k", bytes(100_000), timeout=bad)


def test_repr_names_region_and_cluster(region, shared):
    assert repr(region) == f"<Region {region.name!r} of cluster {shared.name!r}>"


def test_a_region_is_equal_by_contents_and_not_hashable(region):
    region["a"] = 1
    assert region == {"a": 1}
    assert region != {"a": 2}
    with pytest.raises(TypeError):
        hash(region)
