"""SIGKILL under load, at random instants, of clients, nodes, the owner and everything at once.

DSM_KILL_SECONDS lengthens the load (default 9 s in all); DSM_KILL_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from kill_clients import judge
from processes import (
    environment,
    eventually,
    gone,
    node_pids,
    run,
    said,
    segments_of,
    started,
)

import dsm_native as dsm

SECONDS = float(os.environ.get("DSM_KILL_SECONDS", "9"))
SEED = int(os.environ.get("DSM_KILL_SEED", str(random.randrange(1, 10_000))))
CLIENTS = Path(__file__).with_name("kill_clients.py")
SHARES = 6  # tests that divide the seconds among themselves


@pytest.mark.parametrize("keys", [4, 400])
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_histories_under_kills_are_linearizable(name, tmp_path, replicas, keys):
    seed = SEED + 10 * replicas + keys
    print(f"DSM_KILL_SEED={SEED}")
    with dsm.Cluster(nodes=3, replication_factor=replicas, name=name, stripes=16) as cluster:
        result = subprocess.run(
            [sys.executable, CLIENTS, name, tmp_path, str(keys), str(SECONDS / SHARES), str(seed)],
            env=environment(), capture_output=True, text=True, timeout=SECONDS + 60, check=False,
        )  # fmt: skip
        assert (result.returncode, result.stderr) == (0, "")
        kills = int(result.stdout)
        assert kills >= SECONDS / SHARES * 4
        assert judge(cluster, tmp_path, SEED) > 20 * kills
        eventually(lambda: len(cluster.stats()["participants"]) == 4, "the dead are retired")
        assert all(entry["pins"] == 0 for entry in cluster.stats()["participants"])


def test_nodes_killed_under_load_lose_nothing(name):
    with dsm.Cluster(nodes=3, replication_factor=2, name=name, stripes=64) as cluster:
        region, draw = cluster.default, random.Random(SEED)
        expected: dict[int, bytes] = {}
        for pid in [node.pid for node in cluster.nodes]:
            for _ in range(1500):
                key = draw.randrange(200)
                expected[key] = draw.randbytes(draw.choice([10, 500, 9000]))
                region[key] = expected[key]
            os.kill(pid, signal.SIGKILL)
        assert dict(region.items()) == expected
        region["after"] = expected["after"] = b"all nodes are dead"
        assert dict(region.items()) == expected
        report = cluster.check()
        assert report.clean, report.texts


OWNER = """
import dsm_native as dsm, sys, os
cluster = dsm.Cluster(nodes=3, name=sys.argv[1], stripes=64)
cluster.default.update({number: bytes(5000) for number in range(100)})
print("ready", flush=True)
while True:
    for number in range(100):
        cluster[number] = bytes(5000 + number)
    if not os.path.exists(sys.argv[2]):
        os.abort()
"""
CLIENT = """
import dsm_native as dsm, sys
cluster = dsm.attach(sys.argv[1])
print("ready", flush=True)
try:
    while True:
        cluster.default.add("n")
        cluster[5] = bytes(70000)
except dsm.ClosedError:
    print("closed", flush=True)
"""


def test_everything_killed_at_once_then_just_run_it_again(name, tmp_path):
    for _ in range(3):
        with started(OWNER, name, str(tmp_path)) as owner:
            said(owner, "ready")
            with started(CLIENT, name) as client:
                said(client, "ready")
                victims = [owner.pid, client.pid, *node_pids(name)]
                assert len(victims) == 5
                # Stopped first, so that nobody lives to clean up after the others.
                for pid in victims:
                    os.kill(pid, signal.SIGSTOP)
                # The kernel stops a process's threads once one of them has met the signal.
                eventually(
                    lambda pids=victims: all(
                        psutil.Process(pid).status() == "stopped" for pid in pids
                    ),
                    "all are stopped",
                )
                for pid in victims:
                    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not node_pids(name), "the killed are gone")
    assert segments_of(name), "somebody cleaned up; the test means nothing"
    with dsm.Cluster(nodes=2, name=name, stripes=64) as cluster:
        assert len(cluster.default) == 0
        cluster["k"] = 1
        assert len(segments_of(name)) == 3


@pytest.mark.parametrize("end", ["killed", "aborted"])
def test_nodes_and_names_end_with_the_owner(name, tmp_path, end):
    flag = tmp_path / "go on"
    flag.touch()
    with started(OWNER, name, str(flag)) as owner:
        said(owner, "ready")
        with started(CLIENT, name) as client:
            said(client, "ready")
            if end == "killed":
                owner.kill()
            else:
                flag.unlink()
            owner.wait()
            start = time.monotonic()
            said(client, "closed")
            gone(name, 3)
            assert time.monotonic() - start < 3
    assert owner.returncode == (-signal.SIGKILL if end == "killed" else -signal.SIGABRT)


CTRL_C = """
import dsm_native as dsm, sys, time
print("begun", flush=True)
while True:
    with dsm.Cluster(nodes=2, name=sys.argv[1], stripes=64) as cluster:
        cluster.default.update({number: bytes(5000) for number in range(50)})
        cluster.map(abs, range(10))
"""


def on_terminal(*arguments: str) -> tuple[subprocess.Popen[bytes], int]:
    """Starts a script in the foreground of a terminal of its own: (process, our end)."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", CTRL_C, *arguments],
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(theirs)
    return process, ours


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def read_all(descriptor: int) -> str:
    text = b""
    while True:
        try:
            part = os.read(descriptor, 65_536)
        except OSError:  # the last process of the terminal has closed it
            part = b""
        if not part:
            return text.decode()
        text += part


@pytest.mark.parametrize("turn", range(8))
def test_ctrl_c_at_any_moment_ends_in_order(name, turn):
    """Start-up, work and close take turns of about a third of a second in the script."""
    draw = random.Random(SEED * 100 + turn)
    process, terminal = on_terminal(name)
    try:
        assert os.read(terminal, 5) == b"begun"
        time.sleep(draw.uniform(0, 0.9))
        os.write(terminal, b"\x03")
        status = process.wait(10)
        told = read_all(terminal)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    assert status == -signal.SIGINT, told
    assert told.count("KeyboardInterrupt") == 1, told
    assert "node.py" not in told
    gone(name, 3)


def test_a_second_ctrl_c_leaves_nothing_either(name):
    for delay in (0.0, 0.01, 0.05):
        process, terminal = on_terminal(name)
        try:
            assert os.read(terminal, 5) == b"begun"
            time.sleep(0.4)
            os.write(terminal, b"\x03")
            time.sleep(delay)
            os.write(terminal, b"\x03")
            process.wait(10)
            read_all(terminal)
        finally:
            process.kill()
            process.wait()
            os.close(terminal)
        gone(name, 5)


def test_a_sweep_leaves_the_living_alone(cluster):
    cluster["k"] = 1
    assert not [found for found in dsm.clean() if cluster.name in found]
    source = f"import dsm_native as dsm; print(dsm.attach({cluster.name!r})['k'])"
    assert run(source).stdout == "1\n"
