"""The simulator keeps the law of Outputs for any class with `step` and `tick`, under all faults."""

from __future__ import annotations

import pytest

from dsm_native.testing.crash import Clock
from dsm_native.testing.faults import KINDS, Fault, random_plan
from dsm_native.testing.invariants import Invariant, InvariantError
from dsm_native.testing.network import Conditions, Network
from dsm_native.testing.protocol import Message, Outputs
from dsm_native.testing.simulator import Simulation

STILL = Conditions(delay_us_min=100, delay_us_max=100)


class Scribe:
    """Node 0 answers `go` with two messages at once, three writes, two messages after them (one to
    itself) and one application; every node remembers what it heard."""

    def __init__(self, node, durable, seed, now):
        self.node, self.durable, self.seed = node, dict(durable), seed
        self.heard = []
        self.times = [now]

    def step(self, message, now):
        self.heard.append(message.kind)
        self.times.append(now)
        if message.kind != "go":
            return Outputs()
        return Outputs(
            send_now=(Message(0, 1, "early"), Message(0, 1, "early too")),
            persist=(("a", 1), ("b", 2), ("a", None)),
            send_after_persist=(Message(0, 1, "late"), Message(0, 0, "durable")),
            apply=("done",),
        )

    def tick(self, now):
        self.times.append(now)
        return Outputs()


def simulation(plan=(), **more):
    more = {"seed": 1, "conditions": STILL, "plan": plan, "tick_us": 1_000_000} | more
    return Simulation(Scribe, 2, **more)


def go(sim, at=1_000):
    sim.inject(Message(1, 0, "go"), at)


def test_what_needs_no_disk_leaves_at_once_and_the_rest_after_it():
    sim = simulation(disk_delay_us=5_000)
    go(sim)
    sim.run_until(1_500)
    first, second = sim.protocols().values()
    assert second.heard == ["early", "early too"]
    assert (first.heard, sim.machines[0].disk) == (["go"], {})
    sim.run_until(6_050)
    assert sim.machines[0].disk == {"b": 2}
    assert first.heard == ["go", "durable"]
    sim.run_until(6_150)
    assert second.heard == ["early", "early too", "late"]


def test_inputs_go_on_while_the_disk_works_and_order_is_kept():
    sim = simulation(disk_delay_us=5_000)
    go(sim, 1_000)
    go(sim, 2_000)
    sim.run_until(20_000)
    first, second = sim.protocols().values()
    assert first.heard == ["go", "go", "durable", "durable"]
    assert second.heard == ["early", "early too"] * 2 + ["late"] * 2


@pytest.mark.parametrize("boundary", range(9))
def test_a_crash_strikes_between_any_two_actions(boundary):
    trace = []
    sim = simulation([Fault("crash", 500, 9_000, (0,), (boundary + 0.5) / 9)], trace=trace)
    go(sim)
    sim.run_until(8_000)
    assert list(sim.protocols()) == [1]
    heard = ["early", "early too", "late"]
    sent = min(boundary, 2) + (boundary >= 6)
    assert sim.machines[1].protocol.heard == heard[:2][:sent] + heard[2:] * (boundary >= 6)
    disks = [{}, {"a": 1}, {"a": 1, "b": 2}, {"b": 2}]
    assert sim.machines[0].disk == disks[max(0, min(boundary - 2, 3))]
    assert any("applied 'done'" in line for line in trace) is (boundary == 8)
    sim.run_until(9_500)
    again = sim.protocols()[0]
    assert again.durable == sim.machines[0].disk
    assert again.heard == []
    assert sim.counts.restarts == sim.counts.crashes == 1


def test_a_crash_keeps_some_prefix_of_the_writes_under_way():
    kept = set()
    for tenth in range(10):
        plan = [Fault("crash", 1_500, 9_000, (0,), tenth / 10 + 0.05)]
        sim = simulation(plan, disk_delay_us=5_000)
        go(sim, 1_000)
        go(sim, 2_000)
        sim.run_until(8_000)
        kept.add(tuple(sim.machines[0].disk.items()))
    assert {(), (("a", 1),), (("b", 2),)} <= kept


def test_an_incarnation_has_a_seed_of_its_own_and_cannot_change_the_disk():
    sim = simulation([Fault("crash", 500, 9_000, (0,), 0.7)])
    seed = sim.protocols()[0].seed
    go(sim)
    sim.run_until(10_000)
    assert sim.protocols()[0].seed != seed


def test_partitions_cut_both_ways_and_one_way_cuts_one():
    conditions = Conditions(0, 0)
    network = Network(0, conditions)
    network.cut(0, 1)
    assert network.delays(Message(0, 1, "x")) == ()
    assert network.delays(Message(1, 0, "x")) == (0,)
    network.cut(0, 1)
    network.mend(0, 1)
    assert network.delays(Message(0, 1, "x")) == ()
    network.mend(0, 1)
    assert network.delays(Message(0, 1, "x")) == (0,)
    sim = simulation([Fault("partition", 0, 5_000, (1,)), Fault("one_way", 6_000, 9_000, (1, 0))])
    go(sim, 1_000)
    go(sim, 7_000)
    sim.run_until(10_000)
    assert sim.protocols()[1].heard == ["early", "early too", "late"]
    assert sim.counts.dropped == 3


def test_the_network_loses_doubles_and_delays_by_its_conditions():
    network = Network(3, Conditions(10, 20, drop=0.25, duplicate=0.5))
    arrivals = [network.delays(Message(0, 1, "x")) for _ in range(4_000)]
    lost = sum(delays == () for delays in arrivals)
    double = sum(len(delays) == 2 for delays in arrivals)
    assert 850 < lost < 1_150
    assert 1_300 < double < 1_700
    assert {delay for delays in arrivals for delay in delays} == set(range(10, 21))
    assert (network.dropped, network.duplicated) == (lost, double)


def test_a_moment_that_has_passed_changes_nothing():
    trace = []
    sim = simulation(trace=trace)
    go(sim, 1_000)
    sim.run_until(5_000)
    steps, lines = sim.counts.steps, len(trace)
    sim.run_until(2_000)
    assert (sim.now, sim.counts.steps, len(trace)) == (5_000, steps, lines)
    go(sim, 500)
    sim.run_until(5_400)
    assert sim.counts.steps == steps
    sim.run_until(5_700)
    assert sim.machines[1].protocol.heard == ["early", "early too", "late"] * 2
    with pytest.raises(ValueError, match="cannot arrive 1 us before"):
        sim.inject(Message(1, 0, "go"), -1)


def test_a_clock_may_drift_but_never_goes_back():
    clock = Clock(offset_us=500)
    assert clock.read(1_000_000) == 1_000_500
    clock.change_rate(1_000_000, 20_000)
    assert clock.read(2_000_000) == 2_020_500
    clock.change_rate(2_000_000, -20_000)
    assert [clock.read(2_000_000 + i) for i in range(3)] == [2_020_500, 2_020_500, 2_020_501]
    sim = simulation(
        [Fault("skew", 10_000, 400_000, (0,), -20_000), Fault("skew", 5_000, 9_000, (0,), 20_000)],
        tick_us=700,
    )
    sim.run_until(500_000)
    times = sim.protocols()[0].times
    assert times == sorted(times)


def test_messages_overtake_each_other_when_delays_differ():
    sim = simulation(conditions=Conditions(0, 5_000))
    for i in range(20):
        go(sim, 100 * i)
    sim.run_until(50_000)
    assert sim.counts.reordered > 0
    assert sorted(sim.protocols()[1].heard) == ["early"] * 20 + ["early too"] * 20 + ["late"] * 20


class NoLateMessage(Invariant):
    name = "no late message"

    def stepped(self, node, protocol, outputs, now):
        self.require(not outputs.send_after_persist, f"node {node} says something late")


def test_a_failure_names_invariant_seed_and_moment():
    sim = simulation(seed=77, invariants=[NoLateMessage()])
    go(sim, 1_234)
    with pytest.raises(InvariantError, match="no late message: node 0") as caught:
        sim.run_until(5_000)
    assert caught.value.__notes__ == ["in the simulation of seed 77, at 1234 us"]


def test_plans_are_drawn_from_their_seed_and_end_in_time():
    plan = random_plan(5, range(4), 3_000_000)
    assert plan == random_plan(5, range(4), 3_000_000)
    assert plan != random_plan(6, range(4), 3_000_000)
    assert all(0 <= fault.begin_us < fault.end_us <= 3_000_000 for fault in plan)
    met = {fault.kind for seed in range(20) for fault in random_plan(seed, range(4), 3_000_000)}
    assert met == set(KINDS)
