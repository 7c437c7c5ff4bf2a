"""A dead coordinator under two-phase commit, in both modes; test_trials.py has the seeds."""

from dsm_native._native.two_phase import Options
from dsm_native.testing.faults import Fault
from dsm_native.testing.protocol import CLIENT, Message
from dsm_native.testing.simulator import Simulation
from dsm_native.testing.two_phase_node import TwoPhaseNode
from dsm_native.testing.two_phase_trial import NODES, TIMES


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
