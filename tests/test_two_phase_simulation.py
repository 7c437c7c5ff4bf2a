"""Two-phase commit under faults: 200 seeds in each mode, invariants looked at after every step."""

from random import Random

import pytest

from dsm_native._native.two_phase import Options
from dsm_native.testing.faults import Fault, random_plan
from dsm_native.testing.network import Conditions
from dsm_native.testing.protocol import CLIENT, Message
from dsm_native.testing.simulator import Simulation
from dsm_native.testing.two_phase_invariants import Atomicity, NonBlocking, TransactionClient
from dsm_native.testing.two_phase_node import TwoPhaseNode

NODES = 4
FAULTS_US = 1_500_000
END_US = 4_000_000
TIMES = {
    "vote_timeout_us": 150_000,
    "work_timeout_us": 250_000,
    "resend_us": 30_000,
    "inquire_timeout_us": 50_000,
}
# A clock 2 % slow and a tick of 10 ms late; a disk of at most 40 ms holds nobody's tick up.
BOUND_US = 80_000


def simulate(seed, *, non_blocking, trace=None):
    stream = Random(f"votes:{seed}")
    votes = {}
    words = {}
    options = Options(**TIMES, non_blocking=non_blocking)

    def vote(node, transaction):
        chances = [85, 6, 7, 2]
        choices = ["yes", "no", "read-only", None]
        return votes.setdefault((node, transaction), stream.choices(choices, chances)[0])

    def factory(node, durable, incarnation_seed, now):
        return TwoPhaseNode(
            node,
            durable,
            incarnation_seed,
            now,
            options=options,
            words=words,
            vote=lambda transaction: vote(node, transaction),
        )

    atomicity = Atomicity()
    invariants = [atomicity]
    if non_blocking:
        invariants.append(NonBlocking(BOUND_US))
    moments = [stream.randrange(FAULTS_US) for _ in range(12)]
    client = TransactionClient(seed, range(NODES), moments, atomicity)
    plan = random_plan(seed, range(NODES), FAULTS_US, mean_gap_us=60_000)
    simulation = Simulation(
        factory,
        NODES,
        seed=seed,
        plan=plan,
        client=client,
        conditions=Conditions(drop=0.02, duplicate=0.02),
        invariants=invariants,
        trace=trace,
    )
    simulation.run_until(END_US)
    return simulation, client, atomicity


@pytest.mark.parametrize("non_blocking", [False, True])
@pytest.mark.parametrize("first_seed", [0, 100])
def test_atomic_under_faults_and_decided_after_them(first_seed, non_blocking):
    committed = aborted = crashes = 0
    for seed in range(first_seed, first_seed + 100):
        simulation, client, atomicity = simulate(seed, non_blocking=non_blocking)
        for node, protocol in simulation.protocols().items():
            for side in protocol.participants.values():
                assert side.state in ("committed", "aborted", "read-only"), (seed, node)
            for transaction, side in protocol.coordinators.items():
                assert side.state == "done", (seed, node, transaction)
        outcomes = [outcome for outcome, _ in atomicity.outcomes.values()]
        committed += outcomes.count("committed")
        aborted += outcomes.count("aborted")
        crashes += simulation.counts.crashes
    # The runs mean nothing unless all three happened, and often.
    assert committed > 100
    assert aborted > 100
    assert crashes > 100


def dead_coordinator(non_blocking):
    """The coordinator sends PREPARE, then is down for two seconds."""
    plan = [Fault("crash", 20_000, 2_000_000, (0,), 0.999)]
    votes = {}
    words = {}
    options = Options(**TIMES, non_blocking=non_blocking)

    def factory(node, durable, seed, now):
        return TwoPhaseNode(
            node,
            durable,
            seed,
            now,
            options=options,
            words=words,
            vote=lambda transaction: votes.setdefault(transaction, "yes"),
        )

    simulation = Simulation(factory, NODES, seed=5, plan=plan)
    simulation.inject(Message(CLIENT, 0, "begin", (1, (1, 2, 3))), 30_000)
    simulation.run_until(1_000_000)
    return [simulation.protocols()[node].participants[1].state for node in (1, 2, 3)]


def test_a_dead_coordinator_blocks_the_classic_mode_only():
    assert dead_coordinator(non_blocking=False) == ["prepared"] * 3
    assert dead_coordinator(non_blocking=True) == ["aborted"] * 3


def test_the_same_seed_gives_the_same_run():
    traces = ([], [])
    for trace in traces:
        simulate(7, non_blocking=True, trace=trace)
    assert traces[0] == traces[1]
    assert len(traces[0]) > 100
