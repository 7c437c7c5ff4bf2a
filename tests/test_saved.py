"""Single objects out of a checkpoint; lost ones put back into a cluster that goes on."""

from __future__ import annotations

import numpy as np
import pytest

import dsm_native as dsm


@pytest.fixture
def chain(tmp_path):
    """A whole file and two deltas; what they hold: {(region, key): (value, version)}."""
    with dsm.Cluster(nodes=2, stripes=8) as cluster:
        other = cluster.region("other")
        for i in range(60):
            cluster[i] = {"number": i}
            other[("key", i)] = bytes(i)
        cluster["large"] = b"old" * 100_000
        cluster.checkpoint(tmp_path)
        for i in range(0, 60, 4):
            del cluster[i]
            other[("key", i)] = "changed"
        cluster["large"] = np.arange(9_000)
        cluster.checkpoint(tmp_path)
        cluster["latest"] = None
        del other[("key", 7)]
        assert cluster.checkpoint(tmp_path).incremental
        held = {
            (name, key): cluster.region(name).get_versioned(key)
            for name in cluster.regions
            for key in cluster.region(name)
        }
        yield cluster, tmp_path, held


def test_every_object_is_found_with_its_version(chain):
    _, path, held = chain
    with dsm.SavedCheckpoint(path) as saved:
        assert saved.regions == ["default", "other"]
        for (region, key), (value, version) in held.items():
            found = saved.find(region, key)
            assert (found.region, found.key, found.version) == (region, key, version)
            assert np.array_equal(found.value, value)
            assert type(found.value) is type(value)
        for region, key in (("default", 0), ("other", ("key", 7)), ("default", "x"), ("none", 1)):
            with pytest.raises(dsm.KeyNotFoundError):
                saved.find(region, key)


def test_stripes_hold_each_object_once(chain):
    _, path, held = chain
    with dsm.SavedCheckpoint(path) as saved:
        found = [entry for stripe in range(saved.stripes) for entry in saved.objects(stripe)]
    places = [(entry.region, entry.key) for entry in found]
    assert len(places) == len(set(places))
    assert set(places) == set(held)
    assert {(e.region, e.key): e.version for e in found} == {k: v for k, (_, v) in held.items()}


def test_lost_objects_come_back_with_new_versions(chain):
    cluster, path, held = chain
    lost = [key for region, key in held if region == "default"][::3]
    ends = {key: cluster.default.delete(key) for key in lost}
    cluster.default.put(1, "written since")
    with dsm.SavedCheckpoint(path) as saved:
        assert saved.recover(cluster) == len(lost) - (1 in lost)
        assert saved.recover(cluster) == 0
    for key in lost:
        value, version = cluster.default.get_versioned(key)
        assert version > ends[key]
        expected = "written since" if key == 1 else held["default", key][0]
        assert np.array_equal(value, expected)
    assert cluster[1] == "written since"
    assert cluster.check().clean


def test_one_stripe_alone_comes_back(chain):
    cluster, path, _ = chain
    with dsm.SavedCheckpoint(path) as saved:
        keys = {entry.key for entry in saved.objects(3) if entry.region == "other"}
        cluster.region("other").clear()
        assert saved.recover(cluster, [3]) == len(keys)
    assert set(cluster.region("other")) == keys


def test_another_cluster_is_refused(chain, name):
    _, path, _ = chain
    with dsm.Cluster(nodes=1, stripes=8, name=name) as stranger:
        stranger.region("mine")
        with dsm.SavedCheckpoint(path) as saved, pytest.raises(dsm.UsageError, match="regions"):
            saved.recover(stranger)


def test_damage_is_told_when_it_is_met(chain):
    _, path, held = chain
    files = sorted(path.glob("*.full"))
    data = bytearray(files[0].read_bytes())
    data[len(data) // 2] ^= 1
    files[0].write_bytes(data)
    with dsm.SavedCheckpoint(path) as saved, pytest.raises(dsm.CorruptError, match=r"full.*off"):
        [saved.find(region, key) for region, key in held]
