"""`dsm chaos`: faults of every kind under load, and that a broken promise would be noticed.

DSM_CHAOS_SECONDS lengthens the runs (default 30 s in all), DSM_CHAOS_ROUNDS ends them after so many
faults, DSM_CHAOS_SEED repeats one.
"""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys

import pytest
from processes import environment, run, segments_of

import dsm_native as dsm
from dsm_native import chaos
from dsm_native.chaos import injuries, keys, load, trial
from dsm_native.cli import main

SECONDS = float(os.environ.get("DSM_CHAOS_SECONDS", "30"))
ROUNDS = os.environ.get("DSM_CHAOS_ROUNDS")
SEED = int(os.environ.get("DSM_CHAOS_SEED", str(random.randrange(1 << 30))))
RUNS = [
    (("kill",), 1),
    (("kill", "stop"), 2),
    (("corrupt", "kill"), 2),
    (("add", "remove", "kill"), 2),
    (("unlink", "kill"), 2),
    (tuple(chaos.INJURIES), 3),
]


@pytest.mark.timeout(int(SECONDS / len(RUNS)) + 240)
@pytest.mark.parametrize(("kinds", "copies"), RUNS, ids=lambda value: str(value))
def test_every_promise_is_kept(kinds, copies):
    plan = chaos.Plan(
        kinds=kinds,
        seconds=SECONDS / len(RUNS),
        replication_factor=copies,
        rounds=int(ROUNDS) if ROUNDS else None,
        seed=SEED,
    )
    report = chaos.run(plan)
    text = "\n".join(report.lines())
    print(text)
    assert report.good, f"DSM_CHAOS_SEED={SEED}\n{text}"
    assert sum(report.injuries.values()) >= 3, text
    assert report.operations > 300, text


def lose_a_write(victim: injuries.Victim) -> str:
    """Not a fault that the engine may suffer: somebody takes back what others have written."""
    region = victim.cluster.region(load.REGION)
    for number in range(8):
        region.put(f"key {number}", keys.written(1, victim.draw))
    return "took back writes"


def steal(victim: injuries.Victim) -> str:
    """Money from nowhere."""
    victim.cluster.region(load.ACCOUNTS).add(3, 100)
    return "stole money"


@pytest.mark.parametrize("broken", [lose_a_write, steal])
def test_a_broken_promise_is_noticed(monkeypatch, broken):
    monkeypatch.setitem(injuries.INJURIES, "kill", broken)
    monkeypatch.setattr(trial, "QUIET_S", 0.3)
    report = chaos.run(chaos.Plan(kinds=("kill",), seconds=1.0, seed=SEED, keys=8))
    assert not report.good
    assert any("VIOLATION" in line for line in report.lines())


def test_a_client_that_fails_is_noticed(monkeypatch):
    def fail(victim: injuries.Victim) -> str:
        victim.cluster.region(load.ACCOUNTS).delete(5)
        return "closed an account"

    monkeypatch.setitem(injuries.INJURIES, "kill", fail)
    report = chaos.run(chaos.Plan(kinds=("kill",), seconds=0.5, rounds=1, seed=SEED))
    assert not report.good


def test_the_command_tells_by_its_exit_status(capsys, monkeypatch):
    arguments = ["chaos", "--kill", "--seconds", "1", "--seed", "7"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "seed 7" in told
    assert "all promises kept" in told
    monkeypatch.setitem(injuries.INJURIES, "kill", steal)
    assert main(arguments) == 1
    assert "VIOLATION" in capsys.readouterr().out


def test_a_named_cluster_is_left_as_it_was(name):
    with dsm.Cluster(nodes=3, name=name, faults=True) as cluster:
        cluster["mine"] = "untouched"
        told = run("from dsm_native.cli import main; import sys; sys.exit(main())", "chaos", name,
                   "--kill", "--seconds", "1")  # fmt: skip
        assert told.returncode == 0, told.stdout + told.stderr
        assert cluster["mine"] == "untouched"
        assert len(cluster.nodes) == 3
    assert not segments_of(name)


def test_faults_must_be_allowed(name):
    with dsm.Cluster(nodes=2, name=name) as cluster:
        assert main(["chaos", name, "--seconds", "1"]) == 2
        with pytest.raises(dsm.UsageError, match="faults=True"):
            chaos.run(chaos.Plan(name=name, seconds=1))
        assert cluster.regions == ["default"]


def test_what_the_cluster_does_not_promise_is_not_tried(name, capsys):
    assert main(["chaos", "--corrupt", "--nodes", "1", "--seconds", "1"]) == 2
    assert "replication_factor=2" in capsys.readouterr().err
    with dsm.Cluster(nodes=2, name=name, faults=True, recovery="none") as cluster:
        assert main(["chaos", name, "--add", "--stop", "--seconds", "1"]) == 2
        assert "recovery='none'" in capsys.readouterr().err
        assert cluster.regions == ["default"]


def test_nodes_are_removed_though_none_was_added(capsys):
    assert main(["chaos", "--remove", "--rounds", "2", "--seconds", "20"]) == 0
    told = capsys.readouterr().out
    assert "faults: 2 remove" in told
    assert "NOTHING" not in told


def test_a_run_without_a_victim_says_so():
    report = chaos.Report(seed=1)
    assert any("NOTHING WAS INJECTED" in line for line in report.lines())


def test_ctrl_c_ends_the_faults_and_judges_what_was_done():
    with subprocess.Popen(
        [sys.executable, "-m", "dsm_native", "chaos", "--kill", "--seconds", "60"],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        process_group=0,
    ) as command:  # fmt: skip
        assert "killed" in command.stdout.readline()
        os.killpg(command.pid, signal.SIGINT)
        told, _ = command.communicate(timeout=100)
    assert command.returncode == 130, told
    assert "all promises kept" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    "settings",
    [
        *({"kinds": ()}, {"kinds": ("flood",)}, {"seconds": 0}, {"clients": 0}, {"seed": -1}),
        *({"gap": 0}, {"gap": math.inf}, {"seconds": math.nan}, {"rounds": 0}),
        {"nodes": 1, "replication_factor": 2},
    ],
)
def test_plans_are_checked(settings):
    with pytest.raises(dsm.UsageError):
        chaos.Plan(**settings)
