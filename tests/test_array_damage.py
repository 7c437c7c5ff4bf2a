"""Zeroed copies of arrays, and what `check(repair=True)` makes of them."""

from __future__ import annotations

import os

import numpy as np
import pytest

import dsm_native as dsm
from dsm_native.sweep import FOLDER

SHAPE = (64, 4096)


def segments_of_array(name: str) -> list[str]:
    """Paths of the copies of the cluster's one array, the primary first."""
    found = [entry for entry in os.listdir(FOLDER) if f"-{name}-a" in entry]
    return [os.path.join(FOLDER, entry) for entry in sorted(found)]


def overwrite(path: str, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize("copy", [0, 1])
def test_a_zeroed_copy_is_filled_again(name, copies, copy):
    with dsm.Cluster(nodes=3, name=name) as cluster:
        grid = cluster.array("grid", SHAPE, "i4", replication_factor=min(copies, 2))
        expected = np.arange(grid.size, dtype="i4").reshape(SHAPE)
        with grid.writing() as block:
            block[:] = expected
        path = segments_of_array(name)[copy]
        overwrite(path, 0, bytes(os.path.getsize(path)))
        assert not cluster.check(repair=True).clean
        assert cluster.check().clean
        assert np.array_equal(grid.snapshot(), expected)
        with grid.writing(slice(3, 9)) as block:
            block += 1
        expected[3:9] += 1
        assert np.array_equal(cluster.array("grid").snapshot(), expected)
        assert cluster.check().clean
