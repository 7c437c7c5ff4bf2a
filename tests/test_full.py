"""A full /dev/shm: a clear error, nothing lost, and the store works on after deletes.

Each scenario is a script in a mount namespace of its own, with 64 MiB on /dev/shm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache

import pytest
from processes import environment

import dsm_native as dsm

MIB = 1 << 20


@cache
def namespaces_refusal() -> str:
    """Why this system gives no mount namespace; empty if it does."""
    if not shutil.which("unshare"):
        return "there is no `unshare` program"
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", "--mount", *user, "mount", "-t", "tmpfs", "none", "/dev/shm"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return result.stderr.strip()


def in_full_house(source: str, size: int = 64 * MIB, prelude: str = "") -> str:
    """Runs the script with a small /dev/shm; its output. It must end well and leave nothing.

    `prelude`: commands of the shell that end in `&&`, for more of what only this script shall see.
    """
    refusal = namespaces_refusal()
    if refusal:
        pytest.xfail(f"the test needs a private mount namespace, which is refused: {refusal}")
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    mount = f"mount -t tmpfs -o size={size} none /dev/shm &&"
    script = f'{mount} {prelude} "$0" -c "$1" && ls -A /dev/shm'
    result = subprocess.run(
        ["unshare", "--mount", *user, "sh", "-c", script, sys.executable, source],
        env=environment(), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def test_a_full_store_says_so_loses_nothing_and_works_on():
    output = in_full_house("""
import dsm_native as dsm, os, random
draw = random.Random(7)
with dsm.Cluster(nodes=2, replication_factor=2, stripes=256) as cluster:
    region, kept = cluster.default, {}
    def fill(sizes):
        number = 0
        while True:
            key, value = (number, draw.choice(sizes)), None
            value = draw.randbytes(key[1])
            try:
                region[key] = value
            except dsm.StoreFullError as error:
                assert isinstance(error, MemoryError)
                assert key not in region
                return str(error)
            kept[key] = value
            number += 1
    for sizes in ([1 << 20], [100_000, 5_000], [100, 1000, 3000], [10]):
        message = fill(sizes)
        assert "node " in message and "bytes" in message and "/dev/shm has" in message, message
    assert len(kept) > 40
    # Overwriting fails as a whole, too; the old value stays.
    large = next(key for key in kept if key[1] == 1 << 20)
    for size in (1 << 20, 3 << 20):
        try:
            region[large] = bytes(size)
            kept[large] = bytes(size)
        except dsm.StoreFullError:
            pass
    assert dict(region.items()) == kept
    report = cluster.check()
    assert report.clean, report.texts
    # It works on after deletes.
    victims = draw.sample(sorted(kept), len(kept) // 2)
    for key in victims:
        del region[key], kept[key]
    for number in range(5):
        region[("again", number)] = kept[("again", number)] = draw.randbytes(500_000)
    assert dict(region.items()) == kept
    assert region.add("counter", 3) == 3
    del region["counter"]
    for turn in range(20):          # churn near the limit
        for key in list(kept)[:10]:
            kept[key] = draw.randbytes(len(kept[key]))
            try:
                region[key] = kept[key]
            except dsm.StoreFullError:
                del region[key], kept[key]
    assert dict(region.items()) == kept
    report = cluster.check()
    assert report.clean, report.texts
    region.clear()
    for number in range(8):
        region[number] = bytes(1 << 20)
    assert len(region) == 8
print("done")
""")
    assert output == "done\n"


def test_the_message_names_node_and_bytes():
    output = in_full_house("""
import dsm_native as dsm
with dsm.Cluster(nodes=1, stripes=64) as cluster:
    for key, size in (("first", 65_900_000), ("second", 300 << 20)):
        try:
            cluster[key] = bytes(size)
        except dsm.StoreFullError as error:
            print(error)
    cluster["small"] = 1
    print(cluster["small"])
""")
    first, second, third = output.splitlines()
    assert "node 0 asked for" in first
    assert "bytes for 'first'; " in first
    assert "/dev/shm has" in first
    assert "larger than a node's segment" in second
    assert f"'second' takes {300 * MIB:,} bytes" in second
    assert third == "1"


def test_a_cluster_that_does_not_fit_is_refused_and_leaves_nothing():
    output = in_full_house("""
import dsm_native as dsm, os
def fill(left):
    with open("/dev/shm/ballast", "wb") as ballast:
        free = os.statvfs("/dev/shm")
        ballast.write(bytes(free.f_bavail * free.f_frsize - left))
for left in (0, 4096, 65536, 1 << 20, 4 << 20, 5 << 20):
    fill(left)
    try:
        with dsm.Cluster(nodes=2, stripes=4096) as cluster:
            try:
                cluster["k"] = 1
                assert cluster["k"] == 1
            except dsm.StoreFullError:
                assert "k" not in cluster
            print("opened")
    except dsm.StoreFullError as error:
        assert "bytes" in str(error), error
        print("refused")
    os.remove("/dev/shm/ballast")
    assert os.listdir("/dev/shm") == [], os.listdir("/dev/shm")
with dsm.Cluster(nodes=2) as cluster:
    cluster["k"] = 1
""")
    answers = output.split()
    assert answers == sorted(answers, reverse=True)  # refused while there is too little, then not
    assert answers[0] == "refused"


def test_attaching_to_a_full_store_is_refused_in_order():
    output = in_full_house("""
import dsm_native as dsm
with dsm.Cluster(nodes=1, stripes=64) as cluster:
    number = 0
    try:
        while True:
            cluster[number] = bytes(1 << 20)
            number += 1
    except dsm.StoreFullError:
        pass
    try:
        while True:
            cluster[number] = bytes(4096)
            number += 1
    except dsm.StoreFullError:
        pass
    try:
        other = dsm.attach(cluster.name)
        other.close()
    except dsm.StoreFullError as error:
        assert "bytes" in str(error), error
    del cluster[0]
    cluster["k"] = b"still served"
    assert cluster["k"] == b"still served"
    assert cluster.check().clean
print("done")
""")
    assert output == "done\n"


def test_a_segment_that_is_full_by_itself(name):
    """The segment's reserved size is a limit as well, whatever /dev/shm has left."""
    with dsm.Cluster(nodes=1, name=name, stripes=64, segment_bytes=8 * MIB) as small:
        with pytest.raises(dsm.StoreFullError, match="node 0"):
            small.default.put_many((number, bytes(100_000)) for number in range(100))
        number = len(small.default)
        assert 40 < number < 84
        assert set(small.default) == set(range(number))
        small.default.clear()
        small["k"] = bytes(500_000)
        assert small.check().clean


def test_a_memory_limit_that_would_kill_is_a_full_store():
    # The kernel's files for the limit and the use of a control group, as a container shows them.
    limit, used = 300 * MIB, 100 * MIB
    prelude = (
        "mount -t tmpfs none /sys/fs/cgroup && "
        f"echo {limit} > /sys/fs/cgroup/memory.max && "
        f"echo {used} > /sys/fs/cgroup/memory.current &&"
    )
    source = """
import dsm_native as dsm
with dsm.Cluster(nodes=1, replication_factor=1, segment_bytes=1 << 30) as cluster:
    try:
        cluster["large"] = bytes(200 << 20)
    except dsm.StoreFullError as error:
        print(error)
    cluster["small"] = b"still works"
    assert cluster["small"] == b"still works" and "large" not in cluster
    assert cluster.check().clean
"""
    message = in_full_house(source, 1024 * MIB, prelude)
    assert "node 0" in message
    assert "bytes" in message
