"""Every way in which a cluster ends: by close, by exit, by collection, with its owner, without."""

from __future__ import annotations

import gc
import os
import threading
import time

import pytest
from processes import eventually, gone, node_pids, run, said, segments_of, started

import dsm_native as dsm

SMALL = "nodes=2, stripes=64"


ENDINGS = {
    "without close": "",
    "by exit": "raise SystemExit(0)",
    "dropped": "del cluster",
    "region only": "region = cluster.region('r'); del cluster; region['k'] = 1",
    "view only": "cluster['k'] = b'x' * 9000; view = cluster.default.view('k'); del cluster",
    "in a cycle": "cycle = [cluster]; cycle.append(cycle); del cluster, cycle",
    "kept by a module": "import builtins as b; b.kept = cluster; b.region = cluster.default",
    "at exit": "import atexit; atexit.register(lambda: cluster.region('r').put('k', 1))",
    "closed at exit": "import atexit; atexit.register(cluster.close)",
    "by a finaliser": "class C:\n    def __del__(self, c=cluster): c.close()\nkept = C()",
    "in a thread": "import threading; threading.Thread(target=lambda: cluster.put).start()",
    "a daemon uses it": (
        "import threading\ndef work():\n    while True: cluster['k'] = bytes(9000); cluster['k']\n"
        "threading.Thread(target=work, daemon=True).start()"
    ),
    "with an attached handle": "other = dsm.attach(cluster.name); other['k'] = 1",
    "in a generator": "def g():\n    with cluster: yield\nkept = g(); next(kept)",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_interpreter_ends_silently_in_any_order(name, ending):
    source = f"import dsm_native as dsm\ncluster = dsm.Cluster({SMALL}, name={name!r})\n"
    result = run(source + ENDINGS[ending])
    if ending == "in a thread":
        assert "AttributeError" in result.stderr
    else:
        assert result.stderr == ""
    assert result.returncode == 0
    gone(name, 3)


def test_a_dropped_cluster_ends_while_the_program_goes_on(name):
    cluster = dsm.Cluster(nodes=2, name=name, stripes=64)
    cluster["k"] = 1
    del cluster
    gc.collect()
    gone(name, 5)


def test_threads_may_close_under_the_feet_of_others(name):
    for _ in range(5):
        cluster = dsm.Cluster(nodes=2, name=name, stripes=64)
        region = cluster.region("r")
        region["large"] = bytes(300_000)
        ends = []

        def work(region=region, ends=ends):
            try:
                while True:
                    region.get_many(["large"] * 3)
                    region["large"] = bytes(300_000)
                    len(region), list(region), region.view("large")
            except dsm.ClosedError:
                ends.append("closed")
            except BaseException as error:
                ends.append(repr(error))

        pool = [threading.Thread(target=work) for _ in range(4)]
        for thread in pool:
            thread.start()
        time.sleep(0.1)
        cluster.close()
        for thread in pool:
            thread.join()
        assert ends == ["closed"] * 4


def test_a_detached_cluster_outlives_its_owner(name):
    source = f"""
import dsm_native as dsm
cluster = dsm.Cluster({SMALL}, name={name!r}, detach=True)
cluster["k"] = "left behind"
print(cluster.map(lambda x: x + 1, [1]))
"""
    result = run(source)  # returns although the nodes inherited its output
    assert (result.stdout, result.stderr, result.returncode) == ("[2]\n", "", 0)
    cluster = dsm.attach(name)
    try:
        assert cluster["k"] == "left behind"
        assert [node.state for node in cluster.nodes] == ["alive"] * 2
        assert len(segments_of(name)) == 3
        with pytest.raises(dsm.ClusterExistsError):
            dsm.Cluster(nodes=1, name=name)
    finally:
        cluster._handle.stop()
    gone(name, 5)
    with pytest.raises(dsm.ClosedError):
        cluster["k"]
    cluster.close()


def test_a_detached_cluster_outlives_its_owners_death(name):
    source = f"""
import dsm_native as dsm, sys
cluster = dsm.Cluster({SMALL}, name={name!r}, detach=True)
cluster["k"] = "left behind"
print("ready", flush=True)
sys.stdin.readline()
"""
    with started(source) as owner:
        said(owner, "ready")
        owner.kill()
        owner.wait()
    time.sleep(0.3)
    cluster = dsm.attach(name)
    assert cluster["k"] == "left behind"
    cluster._handle.stop()
    cluster.close()
    gone(name, 5)


def test_attaching_to_what_a_massacre_left_is_not_found(name):
    source = f"""
import dsm_native as dsm, os, signal
cluster = dsm.Cluster({SMALL}, name={name!r})
for node in cluster.nodes:
    os.kill(node.pid, signal.SIGSTOP)
for node in cluster.nodes:
    os.kill(node.pid, signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""
    run(source)
    assert segments_of(name)
    # The kernel may still be taking the killed apart, who hold their locks until then.
    eventually(lambda: not node_pids(name), "the killed are gone")
    with pytest.raises(dsm.ClusterNotFoundError, match="killed"):
        dsm.attach(name)
    assert {found.split("-", 2)[2].split("-")[0] for found in dsm.clean()} >= {name}
    assert not segments_of(name)


def test_a_sweep_keeps_a_node_that_nobody_has_mapped_yet(name):
    """Whoever adds a node may be killed before anybody else has its segment open."""
    with dsm.Cluster(nodes=1, name=name, stripes=64) as cluster:
        fresh = f"dsm-{os.getuid()}-{cluster.name}-n7"
        with open(f"/dev/shm/{fresh}", "xb") as file:
            file.truncate(4096)
        assert fresh not in dsm.clean()
        assert fresh in segments_of(name)
    eventually(
        lambda: dsm.clean() is not None and not segments_of(name), "it goes with its cluster"
    )


def test_current_is_for_nodes():
    with pytest.raises(dsm.UsageError, match="node"):
        dsm.current()


def test_no_resource_tracker_learns_of_segments(name):
    source = f"""
import dsm_native as dsm
from multiprocessing import resource_tracker
with dsm.Cluster({SMALL}, name={name!r}) as cluster:
    cluster["k"] = 1
    assert resource_tracker._resource_tracker._fd is None
"""
    assert run(source).stderr == ""
