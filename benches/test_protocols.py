"""The protocol cores from Python: look-ups, merges, Raft proposals, simulator, checkers."""

import random

import histories
import pytest
from raft_clusters import COMMAND_BYTES, HandleCluster

from dsm_native._native.clocks import VectorClock
from dsm_native._native.ring import Ring
from dsm_native.testing import (
    check_causal,
    check_eventual,
    check_linearizable,
    check_sequential,
)
from dsm_native.testing.raft_trial import SHAPES, Trial

KEYS = 5_000
MERGES = 500
COMMANDS = 4_096
OPERATIONS = 2_000


def asked_keys() -> tuple:
    return ([f"{random.getrandbits(48):012x}" for _ in range(KEYS)],)


@pytest.mark.benchmark(group="ring look-up, 16 nodes x 160")
@pytest.mark.parametrize("rival", ["dsm_native", "uhashring"])
def test_ring(passes, rival):
    if rival == "uhashring":
        uhashring = pytest.importorskip("uhashring", reason="uhashring is not installed")
        node = uhashring.HashRing([f"node-{i}" for i in range(16)], vnodes=160).get_node
    else:
        node = Ring(range(16), virtual_nodes=160).node

    def loop(keys: list[str]) -> None:
        for key in keys:
            node(key)

    passes(asked_keys, loop, KEYS)


@pytest.mark.benchmark(group="vector clock, merge of 64")
def test_merge(passes):
    def fresh() -> tuple:
        draw = random.Random(1)
        clocks = [[1_000 * i + draw.randrange(2_000) for _ in range(64)] for i in range(MERGES)]
        return (VectorClock([0] * 64), [VectorClock(clock) for clock in clocks])

    def loop(own: VectorClock, messages: list[VectorClock]) -> None:
        for message in messages:
            own.merge(message)

    passes(fresh, loop, MERGES)


@pytest.mark.benchmark(group="Raft, three handles, 64-byte commands")
@pytest.mark.parametrize("batch", [1, 64, 256])
def test_raft(passes, batch):
    cluster = HandleCluster()
    commands = [random.randbytes(COMMAND_BYTES) for _ in range(COMMANDS)]
    passes(lambda: (commands, batch), cluster.commit, COMMANDS)


@pytest.mark.benchmark(group="simulator, one trial")
@pytest.mark.parametrize("seed", range(len(SHAPES)), ids=[shape.name for shape in SHAPES])
def test_trial(benchmark, seed):
    outcome = benchmark.pedantic(lambda: Trial(seed).run(), rounds=5, warmup_rounds=1)
    benchmark.extra_info["steps"] = outcome.counts.steps


@pytest.mark.benchmark(group="checkers, 2,000 operations of 5 sessions")
@pytest.mark.parametrize("level", ["strong", "sequential", "causal", "eventual"])
def test_checker(benchmark, level):
    causal, resting = histories.causal(OPERATIONS)
    eventual, rest = histories.causal(OPERATIONS, keeps_order=False)
    strong, sequential = histories.strong(OPERATIONS), histories.sequential(OPERATIONS)
    case = {
        "strong": lambda: check_linearizable(strong),
        "sequential": lambda: check_sequential(sequential),
        "causal": lambda: check_causal(causal, resting=resting),
        "eventual": lambda: check_eventual(eventual, rest),
    }[level]
    assert benchmark.pedantic(case, rounds=5, warmup_rounds=1)
