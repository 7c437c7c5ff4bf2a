"""The command `dsm`: what it prints, its exit status, what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from processes import environment, eventually, gone, node_pids, run, segments_of

import dsm_native as dsm


def dsm_command(*arguments, timeout=100):
    return subprocess.run(
        [sys.executable, "-m", "dsm_native", *arguments],
        env=environment(), capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def massacre(name):
    """A cluster whose processes are all killed at once, so that nobody cleans up."""
    run(f"""
import dsm_native as dsm, os, signal
cluster = dsm.Cluster(nodes=2, name={name!r}, stripes=64)
pids = [node.pid for node in cluster.nodes]
for pid in pids:
    os.kill(pid, signal.SIGSTOP)
for pid in pids + [os.getpid()]:
    os.kill(pid, signal.SIGKILL)
""")
    eventually(lambda: not node_pids(name), "the killed are gone")
    assert len(segments_of(name)) == 3


def test_ls_lists_what_runs_and_counts_what_is_dead(cluster):
    cluster["k"] = 1
    dead = f"{cluster.name}.dead"
    massacre(dead)
    result = dsm_command("ls")
    assert (result.returncode, result.stderr) == (0, "")
    mine = [line for line in result.stdout.splitlines() if line.startswith(cluster.name + " ")]
    assert len(mine) == 1
    assert "nodes 3/3 alive" in mine[0]
    assert not any(line.startswith(dead) for line in result.stdout.splitlines())
    assert "`dsm clean` removes them" in result.stdout
    dsm.clean()


def test_stat_tells_nodes_regions_and_participants(cluster):
    cluster.region("the prices").update({number: number for number in range(50)})
    killed = cluster.nodes[2].pid
    os.kill(killed, signal.SIGKILL)
    eventually(
        lambda: (cluster.nodes[2].incarnation, cluster.nodes[2].state) == (2, "alive"),
        "its process is replaced",
    )
    result = dsm_command("stat", cluster.name)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"cluster {cluster.name}: 64 stripes, replication factor 2" in result.stdout
    assert f"node 0: alive, pid {cluster.nodes[0].pid}" in result.stdout
    assert f"node 2: alive, pid {cluster.nodes[2].pid}" in result.stdout
    assert "region 'the prices': 50 objects" in result.stdout
    assert f"node 2, pid {killed}, found by kernel" in result.stdout
    assert f"owner: pid {os.getpid()}" in result.stdout


def test_check_reports_and_its_status_tells(cluster):
    cluster.default.update(dict.fromkeys(range(100), b"x" * 100))
    result = dsm_command("check", cluster.name)
    assert (result.returncode, result.stderr) == (0, "")
    assert "64 stripes, 100 objects" in result.stdout
    assert "0 problems" in result.stdout

    damage_one_object(cluster.name)
    result = dsm_command("check", cluster.name)
    assert result.returncode == 1
    assert "problem: " in result.stdout
    assert dsm_command("check", cluster.name, "--repair").returncode in (0, 1)
    result = dsm_command("check", cluster.name)
    assert result.returncode == 0, result.stdout
    assert cluster.default.get_many(range(100)) == [b"x" * 100] * 100


def damage_one_object(name):
    """Flips a bit of a value where it lies in the first node's segment."""
    path = next(f"/dev/shm/{found}" for found in segments_of(name) if found.endswith("-n0"))
    with open(path, "r+b") as segment:
        offset = 0
        while b"x" * 100 not in (part := segment.read(1 << 20)):
            assert part, "no object lies in this segment"
            offset = segment.tell()
        segment.seek(offset + part.index(b"x" * 100) + 50)
        segment.write(b"y")


def test_clean_removes_what_is_dead_and_nothing_else(cluster):
    dead = f"{cluster.name}.dead"
    massacre(dead)
    result = dsm_command("clean")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"removed dsm-{os.geteuid()}-{dead}-n1" in result.stdout
    assert not segments_of(dead)
    cluster["k"] = 1
    assert len(segments_of(cluster.name)) == 4


def test_stop_ends_a_detached_cluster(name):
    run(f"import dsm_native as dsm; dsm.Cluster(nodes=2, name={name!r}, stripes=64, detach=True)")
    assert len(node_pids(name)) == 2
    result = dsm_command("stop", name)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{name} stopped\n", "")
    gone(name, 1)
    with dsm.Cluster(nodes=1, name=name, stripes=64) as cluster:
        cluster["k"] = 1


def test_stop_ends_a_cluster_under_its_owner(name):
    cluster = dsm.Cluster(nodes=2, name=name, stripes=64)
    reaper = threading.Timer(1, cluster.close)  # nodes are the owner's children until it waits
    reaper.start()
    result = dsm_command("stop", name)
    assert result.returncode in (0, 1)
    with pytest.raises(dsm.ClosedError):
        cluster["k"]
    reaper.join()


def test_stop_that_was_overtaken_spares_the_next_cluster_of_the_name(name):
    first = dsm.Cluster(nodes=2, name=name, stripes=64)
    late = dsm.attach(name)
    first.close()
    with dsm.Cluster(nodes=2, name=name, stripes=64) as second:
        late._handle.stop()
        late._handle.unlink()
        late.close()
        second["k"] = 1
        assert second["k"] == 1
        assert len(segments_of(name)) == 3


@pytest.mark.parametrize("command", ["stat", "check", "stop"])
def test_unknown_clusters_are_a_short_error(command, name):
    result = dsm_command(command, name)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"dsm {command}: no cluster named '{name}'")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["stat"], ["demo", "--nodes", "x"]])
def test_wrong_usage_has_status_two(arguments):
    result = dsm_command(*arguments)
    assert result.returncode == 2
    assert "usage: dsm" in result.stderr


def test_the_demo_does_real_work_and_cleans_up():
    result = dsm_command("demo", "--nodes", "3", "--files", "40")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "matched" in result.stdout
    assert "left in /dev/shm: nothing" in result.stdout


def test_the_bench_prints_figures():
    result = dsm_command("bench", "--nodes", "2")
    assert result.returncode == 0, result.stderr
    assert "get" in result.stdout
    assert "ns" in result.stdout


def test_top_shows_tasks_and_nodes(cluster):
    assert cluster.map(abs, range(-40, 0)) == list(range(40, 0, -1))
    result = dsm_command("top", "--once", cluster.name)
    assert (result.returncode, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines()]
    nodes = [row for row in rows if row[0] in ("0", "1", "2")]
    assert [int(row[1]) for row in nodes] == [node.pid for node in cluster.nodes]
    assert sum(int(row[8]) for row in nodes) == 40


def test_top_shows_who_waits_for_what_and_who_has_it(cluster):
    lock, jobs, locks = cluster.lock("printer"), cluster.queue("jobs"), cluster.region("shop")
    array = cluster.array("grid", 4)

    def quiet():
        return dsm_command("top", "--once", cluster.name).stdout

    assert "waited for" not in quiet()
    over = threading.Event()

    def take():
        jobs.get()
        over.set()

    with lock, locks.lock(("till", 1)), array.writing(), cluster.lock("nobody wants it"):
        waiting = [
            threading.Thread(target=lambda: lock.acquire() and lock.release()),
            threading.Thread(target=take),
        ]
        for thread in waiting:
            thread.start()
        shown: list[str] = []

        def all_wait():
            shown[:] = quiet().splitlines()
            return sum(line.startswith("waited for") for line in shown) == 2

        eventually(all_wait, "both are shown")
        mine = f"held by pid {os.getpid()} (state "
        assert any(line.startswith(f"waited for: lock 'printer', {mine}") for line in shown)
        assert "waited for: queue 'jobs'" in shown
        assert "array 'grid': open blocks: 1 writing, 0 reading" in shown
        assert any(f"lock of key ('till', 1) of region 'shop', {mine}" in line for line in shown)
        assert not lock.acquire(False)
        jobs.put(1)
        assert over.wait(20)
    for thread in waiting:
        thread.join(20)
    eventually(lambda: "waited for" not in quiet(), "nobody waits any more")
