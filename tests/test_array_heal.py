"""Lost files of arrays: unlinked, cut, zeroed, with and without somebody who has them open."""

from __future__ import annotations

import os

import numpy as np
import pytest
from processes import eventually, said, started
from test_array_damage import SHAPE, overwrite, segments_of_array

import dsm_native as dsm

HOLDER = """
import dsm_native as dsm, numpy as np, sys
cluster = dsm.attach(sys.argv[1])
grid = cluster.array("grid")
raw = np.asarray(grid) if sys.argv[2] == "raw" else None
with grid.writing(slice(0, 8)) as block:
    block[:4] = 70
    print("inside", flush=True)
    sys.stdin.readline()
    block[4:] = 70
print("published", flush=True)
for line in sys.stdin:
    raw[9] = 71
    print("stored", flush=True)
"""
HURTS = ["unlinked", "cut to nothing", "cut in half", "zeroed", "header zeroed", "words zeroed"]


def hurt(path: str, how: str) -> None:
    size = os.path.getsize(path)
    if how == "unlinked":
        os.unlink(path)
    elif how == "cut to nothing":
        os.truncate(path, 0)
    elif how == "cut in half":
        os.truncate(path, size // 2 // 4096 * 4096)
    elif how == "zeroed":
        overwrite(path, 0, bytes(size))
    elif how == "header zeroed":
        overwrite(path, 0, bytes(4096))
    else:
        overwrite(path, 4096, bytes(size - 4096))


def filled(cluster: dsm.Cluster, copies: int) -> np.ndarray:
    grid = cluster.array("grid", SHAPE, "i4", replication_factor=copies)
    expected = np.arange(grid.size, dtype="i4").reshape(SHAPE) + 1
    with grid.writing() as block:
        block[:] = expected
    return expected


def whole(cluster: dsm.Cluster, expected: np.ndarray, copies: int) -> None:
    """The array can be read and written, has all its copies, and nothing is found wrong."""
    grid = cluster.array("grid")
    assert np.array_equal(grid.snapshot(), expected)
    with grid.writing(slice(3, 40)) as block:
        block += 1
    expected[3:40] += 1
    assert np.array_equal(cluster.array("grid").snapshot(), expected)
    paths = segments_of_array(cluster.name)
    assert len(paths) == max(copies, 2)
    assert len({os.path.getsize(path) for path in paths}) == 1
    report = cluster.check()
    assert report.clean, report.texts


@pytest.mark.parametrize("copy", [0, 1])
def test_the_keeper_makes_a_lost_file_anew(name, copy):
    """Nobody touches the array but `check`, which finds what the kernel cannot tell."""
    with dsm.Cluster(nodes=2, replication_factor=2, name=name) as cluster:
        for how in HURTS:
            expected = filled(cluster, 2)
            hurt(segments_of_array(name)[copy], how)
            if "zeroed" in how:
                assert not cluster.check(repair=True).clean
            eventually(lambda: whole_files(name), f"{how}: the keeper makes the file anew")
            whole(cluster, expected, 2)
            cluster.array("grid").delete()


@pytest.mark.parametrize("copy", [0, 1])
def test_who_meets_a_lost_file_makes_it_anew(name, copy):
    with dsm.Cluster(nodes=2, replication_factor=2, name=name, recovery="none") as cluster:
        for how in HURTS:
            if (how, copy) == ("words zeroed", 1):
                continue  # elements of a backup alone are compared by check
            expected = filled(cluster, 2)
            hurt(segments_of_array(name)[copy], how)
            whole(cluster, expected, 2)
            cluster.array("grid").delete()


def whole_files(name: str) -> bool:
    paths = segments_of_array(name)
    return len(paths) == 2 and len({os.path.getsize(path) for path in paths}) == 1


@pytest.mark.parametrize("copy", [0, 1])
def test_a_block_that_is_open_while_its_file_goes_is_not_lost(name, copy):
    with dsm.Cluster(nodes=2, replication_factor=2, name=name) as cluster:
        expected = filled(cluster, 2)
        with started(HOLDER, name, "") as holder:
            said(holder, "inside")
            os.unlink(segments_of_array(name)[copy])
            # Whoever opens it meanwhile uses the files that the holder has open.
            assert np.array_equal(cluster.array("grid").snapshot(), expected)
            assert len(segments_of_array(name)) == 1
            holder.stdin.write("\n")
            holder.stdin.flush()
            said(holder, "published")
            expected[:8] = 70
            eventually(lambda: whole_files(name), "the keeper makes the file anew")
            whole(cluster, expected, 2)


@pytest.mark.parametrize("copy", [0, 1])
def test_a_killed_holder_of_a_file_that_is_gone(name, copy):
    with dsm.Cluster(nodes=2, replication_factor=2, name=name) as cluster:
        expected = filled(cluster, 2)
        with started(HOLDER, name, "") as holder:
            said(holder, "inside")
            os.unlink(segments_of_array(name)[copy])
            holder.kill()
            holder.wait()
        eventually(lambda: whole_files(name), "the keeper makes the file anew")
        grid = cluster.array("grid")
        if copy == 0:
            whole(cluster, expected, 2)  # the backup had it as it was before the block
            return
        # The image went with the only one who had it open: what the block left is said to be torn.
        with pytest.raises(dsm.TornWriteError):
            grid.snapshot()
        grid.accept()
        assert np.array_equal(grid.snapshot()[8:], expected[8:])
        expected = grid.snapshot()
        whole(cluster, expected, 2)


def test_views_of_a_sound_primary_stay_the_array(name):
    with dsm.Cluster(nodes=2, replication_factor=2, name=name) as cluster:
        expected = filled(cluster, 2)
        with started(HOLDER, name, "raw") as holder:
            said(holder, "inside")
            holder.stdin.write("\n")
            holder.stdin.flush()
            said(holder, "published")
            os.unlink(segments_of_array(name)[1])
            eventually(lambda: whole_files(name), "the keeper makes the file anew")
            holder.stdin.write("\n")
            holder.stdin.flush()
            said(holder, "stored")
        expected[:8], expected[9] = 70, 71
        assert np.array_equal(cluster.array("grid").snapshot(), expected)


def test_a_block_in_a_primary_that_is_zeroed_is_refused(name):
    with dsm.Cluster(nodes=2, replication_factor=2, name=name, recovery="none") as cluster:
        expected = filled(cluster, 2)
        grid = cluster.array("grid")
        block = grid.writing(slice(0, 8))
        block.__enter__()[:] = 5
        hurt(segments_of_array(name)[0], "zeroed")
        assert np.array_equal(cluster.array("grid").snapshot(), expected)
        with pytest.raises(dsm.CorruptError, match="nothing of the block was published"):
            block.__exit__(None, None, None)
        whole(cluster, expected, 2)


def test_what_no_copy_is_left_of_is_named_and_others_go_on(name):
    with dsm.Cluster(nodes=2, replication_factor=1, name=name) as cluster:
        cluster["key"] = "value"
        filled(cluster, 1)
        hurt(segments_of_array(name)[0], "cut to nothing")
        other = cluster.array("other", (10,), "f8")
        with pytest.raises(dsm.NoReplicasAvailableError, match="'grid'"):
            cluster.array("grid")
        with pytest.raises(dsm.NoReplicasAvailableError, match="'grid'"):
            cluster.array("grid", SHAPE, "i4")
        assert cluster.check(repair=True).problems == 1
        other.fill(2.0)
        assert (cluster["key"], other.snapshot().sum()) == ("value", 20.0)
        eventually(
            lambda: [e.amount for e in cluster.events() if e.kind == "array_lost"] == [1],
            "the loss is told once",
        )
        assert cluster.lost().arrays == ["grid"]
        assert cluster.accept_loss().arrays == ["grid"]
        assert not cluster.lost()
        assert cluster.arrays == ["other"]
        filled(cluster, 1)
        assert cluster.check().clean
        assert cluster.stats()["recovery"]["arrays_lost"] == 1


@pytest.mark.parametrize("undo", [True, False])
def test_an_unlinked_single_copy_is_taken_from_who_has_it(name, undo):
    with dsm.Cluster(nodes=2, name=name) as cluster:
        grid = cluster.array("grid", (100, 30), "f8", replication_factor=1, undo=undo)
        grid.fill(3.0)
        versions = grid.versions()
        for path in segments_of_array(name):
            os.unlink(path)
        eventually(lambda: len(segments_of_array(name)) == 1 + undo, "the files are made anew")
        assert cluster.array("grid").snapshot().sum() == 9000.0
        assert all(new > old for new, old in zip(grid.versions(), versions, strict=True))
        eventually(
            lambda: cluster.stats()["recovery"]["array_copies_mended"] == 1 + undo, "it is counted"
        )
        assert sum(e.amount for e in cluster.events() if e.kind == "array_mended") == 1 + undo


@pytest.mark.parametrize("copy", [0, 1])
def test_a_flipped_bit_is_told_from_the_right_one_once_it_was_scrubbed(name, copy):
    with dsm.Cluster(nodes=2, replication_factor=2, name=name) as cluster:
        expected = filled(cluster, 2)
        scrubbed = lambda: cluster.stats()["recovery"]["array_scrub_rounds"]  # noqa: E731
        eventually(lambda: scrubbed() > 0, "a round of scrubbing")
        path = segments_of_array(name)[copy]
        overwrite(path, os.path.getsize(path) - 4096, b"\xa5")
        report = cluster.check(repair=True)
        assert (report.problems, report.repaired) == (1, 1), report.texts
        assert np.array_equal(cluster.array("grid").snapshot(), expected)
        whole(cluster, expected, 2)
