"""Deaths and silence of nodes: found, told, recorded, replaced; with real SIGKILL and SIGSTOP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from members import HASTY, kinds, node_of, serving
from processes import environment, eventually, said, started

import dsm_native as dsm
from dsm_native.detection import packed, unpacked
from dsm_native.failures import failures_of


def test_a_killed_node_is_reported_and_replaced(watched):
    before = node_of(watched, 1)
    os.kill(before.pid, signal.SIGKILL)
    eventually(lambda: serving(watched, 1, 2), "the node serves again")
    eventually(lambda: watched.failures()[0].signal, "its parent has told how it ended")
    (failure,) = watched.failures()
    assert (failure.member, failure.node, failure.pid) == ("node", 1, before.pid)
    assert (failure.incarnation, failure.successor) == (1, 2)
    assert (failure.found, failure.signal, failure.exitcode) == ("kernel", "SIGKILL", -9)
    assert abs(failure.when - time.time()) < 60
    assert 0 <= failure.detection_ms < 1000
    assert 0 < failure.recovery_ms < 20_000
    after = node_of(watched, 1)
    assert (after.state, after.incarnation) == ("alive", 2)
    assert after.pid != before.pid
    assert kinds(watched.events(), 1) == ["joined", "dead", "repaired", "exited", "replaced"]


def test_a_paused_node_is_suspected_and_cleared(watched):
    pid = watched.faults.pause(2)
    eventually(lambda: node_of(watched, 2).state == "suspected", "it is suspected", 5)
    assert watched.faults.resume(2) == pid
    eventually(lambda: node_of(watched, 2).state == "alive", "it is cleared", 5)
    assert kinds(watched.events(), 2)[:3] == ["joined", "suspected", "cleared"]


def test_a_hung_node_is_fenced_and_replaced(watched):
    before = node_of(watched, 2)
    watched.faults.pause(2)
    start = time.monotonic()
    eventually(lambda: serving(watched, 2, 2), "the node serves again")
    assert time.monotonic() - start < 10
    (failure,) = watched.failures()
    assert (failure.node, failure.pid, failure.found) == (2, before.pid, "heartbeat")
    assert failure.detection_ms >= HASTY.timeout_ms
    assert kinds(watched.events(), 2) == (
        ["joined", "suspected", "fenced", "dead", "repaired", "exited", "replaced"]
    )
    with pytest.raises(ProcessLookupError):
        os.kill(before.pid, 0)
    assert watched.map(abs, [-1, -2, -3]) == [1, 2, 3]


def test_a_node_in_a_long_call_is_not_hung(watched):
    """The interpreter is held for far longer than the time-out; the service thread beats on."""

    def hold(seconds):
        import ctypes

        ctypes.PyDLL(None).usleep(int(seconds * 1e6))  # PyDLL: the GIL is not released
        return os.getpid()

    pids = {info.pid for info in watched.nodes}
    assert set(watched.map(hold, [1.8] * 3)) <= pids
    assert watched.failures() == []
    assert "suspected" not in kinds(watched.events())


def test_a_task_on_a_hung_node_runs_elsewhere(watched):
    def stop_once(marker):
        if not os.path.exists(marker):
            with open(marker, "w"):
                os.kill(os.getpid(), signal.SIGSTOP)
        return "done"

    marker = f"/tmp/{watched.name}.marker"
    try:
        assert watched.map(stop_once, [marker], retries=1) == ["done"]
    finally:
        os.unlink(marker)
    assert [failure.found for failure in watched.failures()] == ["heartbeat"]


def test_writers_go_on_once_a_hung_holder_is_fenced(watched):
    def overwrite(_):
        region, value = dsm.current().default, bytes(32 << 20)
        while True:
            region.put("held", value)

    watched["held"] = b"first"
    pool = watched.executor(retries=0)
    future = pool.submit_to(0, overwrite, (0,), {})
    eventually(lambda: len(watched["held"]) > 5, "the node writes")
    for _ in range(200):  # until it is stopped within its put
        watched.faults.pause(0)
        try:
            watched.default.put("held", b"probe", timeout=0.02)
        except dsm.LockTimeoutError:
            break
        watched.faults.resume(0)
        time.sleep(0.002)
    else:
        pytest.fail("the node was never stopped while it held the stripe")
    start = time.monotonic()
    watched.default.put("held", b"mine", timeout=20)
    assert time.monotonic() - start < 10
    assert watched["held"] == b"mine"
    with pytest.raises(dsm.WorkerLostError):
        future.result(20)
    eventually(lambda: serving(watched, 0, 2), "the node serves again")
    assert watched.failures()[0].repaired >= 1
    eventually(lambda: watched.check().clean, "everything is in order")
    pool.shutdown()


def test_several_deaths_at_once(watched):
    watched.default.update({number: number for number in range(300)})
    for node in range(3):
        watched.faults.kill(node)
    assert watched.default.get_many(range(300)) == list(range(300))
    eventually(lambda: all(serving(watched, node, 2) for node in range(3)), "all serve again")
    found = watched.failures()
    assert sorted((failure.node, failure.found) for failure in found) == (
        [(node, "injected") for node in range(3)]
    )
    assert watched.map(abs, [-1, -2, -3]) == [1, 2, 3]
    assert watched.check().clean


def test_a_node_that_dies_again_and_again(watched):
    for incarnation in range(2, 6):
        watched.faults.kill(1)
        eventually(lambda n=incarnation: serving(watched, 1, n), "it serves again")
    assert [failure.incarnation for failure in watched.failures()] == [1, 2, 3, 4]
    assert [failure.successor for failure in watched.failures()] == [2, 3, 4, 5]


def test_the_owner_was_stopped_and_accuses_nobody(name):
    """Longer than any time-out: who was away itself has nothing to say of others' silence."""
    source = """
import sys, time
import dsm_native as dsm
from dsm_native.detection import packed, unpacked
from dsm_native.failures import failures_of
with dsm.Cluster(nodes=3, name=sys.argv[1], stripes=64, detection="fast") as cluster:
    print("ready", flush=True)
    sys.stdin.readline()
    time.sleep(1)
    print(len(cluster.failures()), sorted({e.kind for e in cluster.events()}), flush=True)
    sys.stdin.readline()
"""
    with started(source, name) as owner:
        said(owner, "ready")
        os.kill(owner.pid, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(owner.pid, signal.SIGCONT)
        owner.stdin.write("\n")
        owner.stdin.flush()
        said(owner, "0 ['joined']")
        owner.stdin.write("\n")
        owner.stdin.flush()
        assert owner.wait(20) == 0


def test_a_whole_cluster_that_was_stopped_goes_on(name):
    """As after a suspend: everybody was away."""
    with dsm.Cluster(nodes=3, name=name, stripes=64, detection="fast") as cluster:
        source = """
import os, signal, sys, time
for pid in map(int, sys.argv[1:]):
    os.kill(pid, signal.SIGSTOP)
time.sleep(1.5)
for pid in map(int, sys.argv[1:]):
    os.kill(pid, signal.SIGCONT)
"""
        pids = [str(info.pid) for info in cluster.nodes] + [str(os.getpid())]
        subprocess.run([sys.executable, "-c", source, *pids], check=True, env=environment())
        time.sleep(1)
        assert cluster.failures() == []


def test_no_false_alarm_on_a_loaded_machine(name):
    burners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(6 * (os.cpu_count() or 1))
    ]
    try:
        with dsm.Cluster(nodes=4, name=name, stripes=64) as cluster:
            time.sleep(5)
            assert cluster.failures() == []
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def test_a_client_that_dies_is_told_and_never_killed(watched):
    source = """
import sys, dsm_native as dsm
cluster = dsm.attach(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
"""
    with started(source, watched.name) as client:
        said(client, "ready")
        os.kill(client.pid, signal.SIGSTOP)
        time.sleep(3 * HASTY.timeout_ms / 1000)
        os.kill(client.pid, 0)  # still there
        client.kill()
        eventually(lambda: watched.failures(), "its end is told")
    (failure,) = watched.failures()
    assert (failure.member, failure.node, failure.pid) == ("client", None, client.pid)
    assert failure.found == "kernel"


def test_none_reports_and_replaces_nobody(name):
    with dsm.Cluster(nodes=2, name=name, stripes=64, recovery="none", faults=True) as cluster:
        assert cluster.recovery == "none"
        cluster["k"] = 1
        pid = node_of(cluster, 1).pid
        future = cluster.submit(time.sleep, 60, node=1, retries=3)
        eventually(future.running, "the task has begun")
        cluster.faults.kill(1)
        with pytest.raises(dsm.WorkerLostError, match=f"node 1 .pid {pid}.*recovery='none'"):
            future.result(20)
        with pytest.raises(dsm.WorkerLostError, match="recovery='none'"):
            cluster.submit(abs, -1, node=1).result(20)
        assert [info.state for info in cluster.nodes] == ["alive", "dead"]
        assert cluster.map(abs, [-1, -2]) == [1, 2]  # by the other one
        assert cluster["k"] == 1
        cluster.faults.kill(0)
        with pytest.raises(dsm.WorkerLostError, match="recovery='none'"):
            cluster.map(abs, [-1, -2])
        assert [failure.successor for failure in cluster.failures()] == [None, None]
        assert cluster["k"] == 1


def test_none_suspects_but_does_not_kill_who_is_silent(name):
    with dsm.Cluster(
        nodes=2, name=name, stripes=64, recovery="none", detection="fast", faults=True
    ) as cluster:
        cluster.faults.pause(1)
        eventually(lambda: node_of(cluster, 1).state == "suspected", "it is suspected")
        time.sleep(1.2)
        assert node_of(cluster, 1).state == "suspected"
        cluster.faults.resume(1)
        eventually(lambda: node_of(cluster, 1).state == "alive", "it is cleared")
        assert cluster.failures() == []


def test_an_end_that_the_parent_learns_of_first_is_told():
    """With several deaths at once, the record of the exit can come before that of the death."""
    common = {"node": 3, "incarnation": 2, "pid": 77}
    exited = dsm.NodeEvent(1, 5.0, "exited", exitcode=-9, **common)
    dead = dsm.NodeEvent(2, 5.1, "dead", found="kernel", **common)
    (failure,) = failures_of([exited, dead])
    assert (failure.exitcode, failure.signal, failure.pid) == (-9, "SIGKILL", 77)
    assert failures_of([exited]) == []


@pytest.mark.parametrize(("suspect", "dead"), [(1.1, 1.2), (1.1, 1.2004), (0.1, 0.2), (0.7, 0.8)])
def test_settings_are_told_as_they_were_made(suspect, dead):
    made = dsm.Detection(accrual=True, phi_suspect=suspect, phi_dead=dead)
    found, *_ = unpacked(packed(made, "adopt", False))
    assert (found.phi_suspect, found.phi_dead) == (suspect, pytest.approx(dead, abs=0.001))
    for bad in (dead - 0.01, float("nan"), float("inf"), "8", True):
        with pytest.raises(dsm.UsageError, match="phi_dead"):
            dsm.Detection(phi_suspect=suspect, phi_dead=bad)


def test_a_callback_that_exits_gets_the_next_event_too(watched, monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: told.append(found.exc_type))
    seen = []

    def exits(event):
        seen.append(event.kind)
        sys.exit(3)

    with watched.subscribe(exits) as subscription:
        watched.faults.kill(0)
        eventually(lambda: "replaced" in seen, "all events come")
        assert subscription.active
    assert set(told) == {SystemExit}
    with pytest.raises(dsm.UsageError, match="since"):
        watched.subscribe(exits, since=1 << 63)
