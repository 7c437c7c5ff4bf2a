"""Nodes that come and go while clients are killed and who moves is killed: histories stay
linearizable, and every survivor brings the rebalance to the same end.

DSM_KILL_SECONDS lengthens the load; DSM_KILL_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kill_clients import judge
from processes import environment, eventually, said, started

import dsm_native as dsm

SECONDS = float(os.environ.get("DSM_KILL_SECONDS", "9"))
SEED = int(os.environ.get("DSM_KILL_SEED", str(random.randrange(1, 10_000))))
CLIENTS = Path(__file__).with_name("kill_clients.py")


def clients(name, folder, keys, seconds, seed):
    return subprocess.Popen(
        [sys.executable, CLIENTS, name, folder, str(keys), str(seconds), str(seed)],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end_of(load):
    out, err = load.communicate(timeout=60)
    assert (load.returncode, err) == (0, ""), err
    return int(out)


@pytest.mark.parametrize(("replicas", "keys"), [(1, 8), (2, 8), (2, 400), (3, 40)])
def test_histories_across_nodes_that_come_and_go_are_linearizable(name, tmp_path, replicas, keys):
    print(f"DSM_KILL_SEED={SEED}")
    draw = random.Random(SEED + keys)
    with dsm.Cluster(nodes=replicas, replication_factor=replicas, name=name, stripes=16) as cluster:
        seconds = SECONDS / 2
        load = clients(name, tmp_path, keys, seconds, SEED + replicas)
        end, changes = time.monotonic() + seconds - 0.5, 0
        while time.monotonic() < end:
            present = [node.id for node in cluster.nodes]
            if len(present) > replicas + 1 or (len(present) > replicas and draw.random() < 0.5):
                cluster.remove_node(draw.choice(present), timeout=30)
            else:
                cluster.add_node(draw.choice([0.5, 1.0, 3.0]))
            changes += 1
        assert end_of(load) > 0
        assert changes >= 2
        cluster.rebalance(timeout=30)
        assert judge(cluster, tmp_path, SEED) > 100


OWNER = """
import dsm_native as dsm, sys
cluster = dsm.Cluster(nodes=3, replication_factor=2, name=sys.argv[1], stripes=64, detach=True,
                      rebalance_bytes_per_s=250_000)
cluster.default.update({number: bytes([number % 256]) * 2000 for number in range(1500)})
cluster.region("single", replication_factor=1).update(dict.fromkeys(range(500), "one"))
print("ready", flush=True)
sys.stdin.read()
"""


def test_whoever_moves_is_killed_again_and_again(name, tmp_path):
    print(f"DSM_KILL_SEED={SEED}")
    draw = random.Random(SEED)
    with started(OWNER, name) as owner:
        said(owner, "ready")
        cluster = dsm.attach(name)
        try:
            load = clients(name, tmp_path, 40, SECONDS / 2, SEED)
            assert cluster.add_node() == 3
            kills = 0
            while kills < 6 and not cluster.rebalancing.done:
                time.sleep(draw.uniform(0.02, 0.3))
                if kills == 0:
                    victim = owner.pid  # the keeper; after it, the living node of the lowest id
                else:
                    living = [node for node in cluster.nodes if node.state == "alive"]
                    # Somebody must be left, or there is nobody to start the others again.
                    victim = living[0].pid if len(living) >= 2 else 0
                if victim:
                    os.kill(victim, signal.SIGKILL)
                    kills += 1
            assert kills >= 2
            cluster.rebalance(timeout=60, bytes_per_s=0)
            assert [node.id for node in cluster.nodes] == [0, 1, 2, 3]
            cluster.remove_node(1, timeout=60)
            assert end_of(load) > 0
            held = {number: bytes([number % 256]) * 2000 for number in range(1500)}
            assert dict(cluster.default.items()) == held
            assert dict(cluster.region("single").items()) == dict.fromkeys(range(500), "one")
            eventually(
                lambda: all(node.state == "alive" for node in cluster.nodes), "all nodes are back"
            )
            assert judge(cluster, tmp_path, SEED) > 100
        finally:
            subprocess.run(
                [sys.executable, "-m", "dsm_native", "stop", name], env=environment(), check=True,
                capture_output=True,
            )  # fmt: skip
            cluster.close()


def test_a_node_that_drains_is_killed_and_is_gone_all_the_same(name):
    with dsm.Cluster(nodes=3, replication_factor=2, name=name, stripes=64) as cluster:
        held = {number: bytes(1000) for number in range(800)}
        cluster.default.update(held)
        cluster.rebalance(bytes_per_s=3_000_000)
        pid = cluster.nodes[2].pid
        with pytest.raises(dsm.WaitTimeoutError):
            cluster.remove_node(2, timeout=0.05)
        os.kill(pid, signal.SIGKILL)
        assert cluster.nodes[2].state == "draining"
        cluster.rebalance(bytes_per_s=0)
        eventually(lambda: [node.id for node in cluster.nodes] == [0, 1], "the node is gone")
        assert dict(cluster.default.items()) == held
        assert cluster.check().clean
        assert cluster.add_node() == 2
