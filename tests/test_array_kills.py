"""SIGKILL of an array's writers and readers at random instants, under load.

DSM_KILL_SECONDS lengthens the load (default 6 s in all); DSM_KILL_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import environment, eventually, segments_of

import dsm_native as dsm

SECONDS = float(os.environ.get("DSM_KILL_SECONDS", "6"))
SEED = int(os.environ.get("DSM_KILL_SEED", str(random.randrange(1, 10_000))))
CLIENTS = Path(__file__).with_name("array_clients.py")
ROWS, COLUMNS = 32, 1500


@pytest.mark.parametrize("raw", [False, True], ids=["sessions only", "raw views"])
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_no_block_is_torn_or_lost(name, tmp_path, replicas, raw):
    print(f"DSM_KILL_SEED={SEED}")
    with dsm.Cluster(nodes=3, replication_factor=replicas, name=name, stripes=64) as cluster:
        array = cluster.array("raced", (ROWS, COLUMNS), "i8", tile_rows=6)
        if raw:
            np.asarray(array)
        result = subprocess.run(
            [sys.executable, CLIENTS, name, tmp_path, str(SECONDS / 6), str(SEED + replicas)],
            env=environment(), capture_output=True, text=True, timeout=SECONDS + 60, check=False,
        )  # fmt: skip
        assert (result.returncode, result.stderr) == (0, ""), f"DSM_KILL_SEED={SEED}"
        assert int(result.stdout) >= SECONDS / 6 * 4
        diaries = [np.fromfile(path, "i8").reshape(-1, 2) for path in tmp_path.iterdir()]
        begun, done = sum(diaries).T
        with array.writing(timeout=10) as block:
            rows = block.copy()
        assert (rows == rows[:, :1]).all()
        counts = rows[:, 0].reshape(len(begun), -1)
        assert (counts == counts[:, :1]).all()
        # What was acknowledged is there; of the rest each happened or did not.
        assert (done <= counts[:, 0]).all(), (done, counts[:, 0])
        assert (counts[:, 0] <= begun).all(), (begun, counts[:, 0])
        assert done.sum() > 20 * int(result.stdout)
        eventually(lambda: len(cluster.stats()["participants"]) == 4, "the dead are retired")
        stats = array.stats()
        assert (stats["writers"], stats["readers"]) == (0, 0)
        report = cluster.check()
        assert report.clean, (SEED, report.texts)
        array.delete()
        assert not [found for found in segments_of(name) if "-a" in found]


LIVES = """
import dsm_native as dsm, os, random, sys
cluster = dsm.attach(sys.argv[1])
draw = random.Random(int(sys.argv[2]))
print("ready", flush=True)
while True:
    size = draw.choice([(10, 2000), (200, 1000), (30, 30)])
    try:
        array = cluster.array(f"n{draw.randrange(3)}", size, "i4")
        if draw.random() < 0.3:
            array.delete(timeout=20)
        elif draw.random() < 0.5:
            array.resize(draw.choice([(10, 2000), (200, 1000), (30, 30)]), timeout=20)
        else:
            with array.writing(timeout=20) as block:
                block += 1
    except (dsm.KeyNotFoundError, dsm.UsageError):
        pass  # deleted meanwhile, or there with another shape
"""


@pytest.mark.parametrize("replicas", [1, 2])
def test_makers_and_removers_killed_leave_nothing(name, replicas):
    draw = random.Random(SEED)
    with dsm.Cluster(nodes=2, replication_factor=replicas, name=name, stripes=64) as cluster:
        for turn in range(int(6 * max(1.0, SECONDS / 6))):
            lives = [
                subprocess.Popen(
                    [sys.executable, "-c", LIVES, name, str(SEED + turn + lane)],
                    env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )
                for lane in range(2)
            ]  # fmt: skip
            for life in lives:
                assert life.stdout.readline() == b"ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                lives[0].wait(draw.uniform(0.02, 0.2))
            for life in lives:
                life.kill()
                assert life.communicate()[1] == b""
        eventually(lambda: len(cluster.stats()["participants"]) == 3, "the dead are retired")
        expected = 2 * len(cluster.arrays)  # with one replica there is the undo image
        eventually(
            lambda: len([found for found in segments_of(name) if "-a" in found]) == expected,
            "builds of the dead are removed",
        )
        assert cluster.check().clean
        for found in cluster.arrays:
            cluster.array(found).delete()
        assert not [found for found in segments_of(name) if "-a" in found]
