"""Deletion and membership changes of CASPaxos under faults; test_trials.py has the other seeds."""

from random import Random

from dsm_native._native.paxos import expand, majority, shrink
from dsm_native.testing.faults import random_plan
from dsm_native.testing.paxos_invariants import (
    CHANGES,
    LinearizableLists,
    PromiseKept,
    RegisterClient,
)
from dsm_native.testing.paxos_node import RegisterNode
from dsm_native.testing.paxos_trial import FAULTS_US, LOSSY, plan_of
from dsm_native.testing.protocol import CLIENT, Message
from dsm_native.testing.simulator import Simulation


def registers(seed, *, nodes, operations, names, keys, acceptors, proposers=None):
    lists, kept = LinearizableLists(), PromiseKept()
    stream = Random(f"moments:{seed}")
    moments = [stream.randrange(FAULTS_US) for _ in range(operations)]
    client = RegisterClient(seed, nodes, keys, moments, lists, names=names)

    def factory(node, durable, incarnation_seed, now):
        return RegisterNode(
            node,
            durable,
            incarnation_seed,
            now,
            config=majority(acceptors),
            proposers=range(nodes),
            changes=CHANGES,
            timeout_us=300_000,
            repeatable=("read", "delete"),
        )

    simulation = Simulation(
        factory,
        nodes,
        seed=seed,
        plan=plan_of(seed, nodes),
        client=client,
        conditions=LOSSY,
        invariants=[lists, kept],
    )
    client.inject = simulation.inject
    return simulation, client, lists


def final_reads(simulation, lists, keys, nodes):
    """Every node reads every key when the faults are over; the values, by key."""
    values = {}
    for key in range(keys):
        for node in range(nodes):
            request = 2_000 + key * nodes + node
            lists.begin(request, "read", key, 0)
            simulation.inject(Message(CLIENT, node, "change", (request, key, "read", ())))
            simulation.run_until(simulation.now + 400_000)
            operation = lists.operations[request]
            assert operation.outcome == "done", (simulation.seed, key, node)
            values.setdefault(key, set()).add(lists.longest(key))
    return values


def test_deleted_registers_stay_deleted():
    collected = deleted = erased = 0  # collections done, deletions done, acceptors emptied
    for seed in range(120):
        simulation, client, lists = registers(
            seed,
            nodes=3,
            operations=60,
            names=("append",) * 6 + ("read",) * 3 + ("delete",),
            keys=3,
            acceptors=range(3),
        )
        simulation.run_until(FAULTS_US + 500_000)
        final_reads(simulation, lists, 3, 3)
        for message in client.answers:
            if message.body[0] >= 1_000 and message.kind == "done":
                collected += 1
        deleted += sum(
            operation.name == "delete" and operation.outcome == "done"
            for operation in lists.operations.values()
        )
        erased += simulation.invariants[1].erased
    assert deleted > 200
    assert collected > 100
    assert erased > 100


def test_members_come_and_go_under_load():
    """Acceptors 0..2 grow to 0..4 and shrink to 2..4, one step at a time, while clients work."""
    for seed in range(60):
        simulation, client, lists = registers(
            seed,
            nodes=5,
            operations=40,
            names=("append", "append", "read"),
            keys=2,
            acceptors=range(3),
        )
        simulation = quiet(simulation, seed, client, lists)
        nodes = frozenset(range(3))
        request = 3_000
        for change, node in ((expand, 3), (expand, 4), (shrink, 0), (shrink, 1)):
            simulation.run_until(simulation.now + 250_000)
            for step in change(nodes, node):
                request = install(simulation, client, request, step, keys=2)
            nodes = step.config.accept_nodes
        assert nodes == frozenset({2, 3, 4})
        simulation.run_until(max(simulation.now, FAULTS_US) + 1_000_000)
        final_reads(simulation, lists, 2, 5)


def quiet(simulation, seed, client, lists):
    """The same without crashes: a config is installed by hand at every living proposer."""
    plan = random_plan(
        seed, range(5), FAULTS_US, kinds=("storm", "skew", "slow_disk"), mean_gap_us=80_000
    )

    def factory(node, durable, incarnation_seed, now):
        return RegisterNode(
            node,
            durable,
            incarnation_seed,
            now,
            config=majority(range(3)),
            proposers=range(5),
            changes=CHANGES,
            timeout_us=300_000,
        )

    simulation = Simulation(
        factory,
        5,
        seed=seed,
        plan=plan,
        client=client,
        conditions=LOSSY,
        invariants=[lists, PromiseKept()],
    )
    client.inject = simulation.inject
    return simulation


def install(simulation, client, request, step, *, keys):
    """Install one config everywhere, then rescan every register if the step says so."""
    for node in range(5):
        body = (request, step.config)
        simulation.inject(Message(CLIENT, node, "configure", body))
        wait_for(simulation, client, request, "configured", again=("configure", node, body))
        request += 1
    for key in range(keys) if step.rescan else ():
        body = (request, key, "read", ())
        simulation.inject(Message(CLIENT, 2, "change", body))
        wait_for(simulation, client, request, "done", again=("change", 2, body))
        request += 1
    return request


def wait_for(simulation, client, request, kind, *, again):
    """Until the answer is there; asked again when it was lost or was another one."""
    for attempt in range(1, 2_000):
        if any(m.body[0] == request and m.kind == kind for m in client.answers):
            return
        if attempt % 100 == 0:
            verb, node, body = again
            simulation.inject(Message(CLIENT, node, verb, body))
        simulation.run_until(simulation.now + 5_000)
    raise AssertionError(f"no {kind!r} for request {request} in seed {simulation.seed}")
