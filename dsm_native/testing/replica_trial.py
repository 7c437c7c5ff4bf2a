"""A seeded trial of anti-entropy: replicas are written to under faults, and then agree."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from random import Random
from typing import Any

from dsm_native._native.replicas import DigestTree, Item, Version, resolve
from dsm_native.testing.faults import Fault, random_plan
from dsm_native.testing.invariants import Invariant
from dsm_native.testing.network import Conditions
from dsm_native.testing.protocol import CLIENT, NOTHING, Message, Outputs, Protocol
from dsm_native.testing.replica_node import Key, ReplicaNode
from dsm_native.testing.simulator import Simulation
from dsm_native.testing.trial import Finally, Outcome, Trial, outcome_of

FAULTS_US = 1_200_000
CALM_US = 900_000
KEYS = 40


class WritingClient:
    """Writes versions of few keys to any node, and knows which were acknowledged."""

    def __init__(self, seed: int, nodes: int, every_us: int) -> None:
        self.written: set[Item] = set()
        self.acknowledged: set[Item] = set()
        self.until_us = FAULTS_US
        self._stream = Random(f"writes:{seed}")
        self._nodes, self._every_us, self._due = nodes, every_us, 0

    def step(self, message: Message, now: int) -> Outputs:
        """An acknowledgement."""
        self.acknowledged.add(Item(*message.body))
        return NOTHING

    def tick(self, now: int) -> Outputs:
        """Writes when it is time to; some versions have equal stamps, some come out of order."""
        if now < self._due or now >= self.until_us:
            return NOTHING
        stream = self._stream
        self._due = now + stream.randrange(2 * self._every_us)
        key = stream.randrange(KEYS)
        target = stream.randrange(self._nodes)
        version = Version(now // 20_000 - stream.randrange(3) + 3, target, stream.getrandbits(16))
        # Neighbouring keys share a bucket, and two share their first hash.
        item = Item((key // 2) << 56 | 7, key, version)
        self.written.add(item)
        return Outputs((Message(CLIENT, target, "put", item),))


class NothingFromThinAir(Invariant):
    """A replica holds only what was written."""

    name = "nothing from thin air"

    def __init__(self, client: WritingClient) -> None:
        super().__init__()
        self._client = client

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        for item in outputs.apply:
            self.require(item in self._client.written, f"node {node} holds {item}, never written")


class NeverBackwards(Invariant):
    """A replica's version of a key only grows, also over a restart from what was durable."""

    name = "never backwards"

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[int, dict[Key, Any]] = {}

    def started(
        self, node: int, protocol: Protocol, durable: Mapping[Hashable, Any], now: int
    ) -> None:
        self._held[node] = {}
        if isinstance(protocol, ReplicaNode):
            self._held[node] = {key: tuple(held) for key, held in protocol.items.items()}

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        held = self._held[node]
        for item in outputs.apply:
            key, version = (item.key_hash, item.key_check), tuple(item.version)
            before = held.get(key)
            self.require(
                before is None or version > before,
                f"node {node} went from {before} to {version} of key {key}",
            )
            held[key] = version


class DigestsTell(Invariant):
    """The digests kept up to date equal those of a tree made afresh from all items."""

    name = "digests are sums"

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        if not outputs.apply or not isinstance(protocol, ReplicaNode):
            return
        fresh = DigestTree(protocol.tree.depth)
        for key, version in protocol.items.items():
            fresh.add(Item(*key, version))
        self.require(
            fresh.root == protocol.tree.root and protocol.tree.valid(),
            f"node {node} has the digest {protocol.tree.root}, its items have {fresh.root}",
        )


class ReplicaTrial(Trial):
    """The trial of a seed: three to six replicas."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.nodes = Random(f"replicas:{seed}").randint(3, 6)
        self.plan = random_plan(seed, range(self.nodes), FAULTS_US, mean_gap_us=60_000)

    def run(self, plan: Sequence[Fault] | None = None, trace: list[str] | None = None) -> Outcome:
        """Faults, then calm, at the end of which all replicas hold the same."""
        client = WritingClient(self.seed, self.nodes, 15_000)
        agreed = Finally("all replicas agree")

        def factory(node: int, durable: Mapping[Hashable, Any], seed: int, now: int) -> ReplicaNode:
            return ReplicaNode(node, durable, seed, now, peers=range(self.nodes))

        simulation = Simulation(
            factory,
            self.nodes,
            seed=self.seed,
            plan=self.plan if plan is None else plan,
            client=client,
            conditions=Conditions(drop=0.03, duplicate=0.03),
            invariants=[NothingFromThinAir(client), NeverBackwards(), DigestsTell(), agreed],
            trace=trace,
        )
        simulation.run_until(FAULTS_US + CALM_US)
        self._require_agreement(simulation, client, agreed)
        return outcome_of(f"{self.nodes} replicas", simulation, len(client.acknowledged))

    def _require_agreement(
        self, simulation: Simulation, client: WritingClient, agreed: Finally
    ) -> None:
        replicas = simulation.protocols()
        first = replicas[0]
        for node, replica in replicas.items():
            agreed.require(
                replica.items == first.items and replica.tree.root == first.tree.root,
                f"nodes 0 and {node} differ {CALM_US} us after the last fault in "
                f"{sorted(set(replica.items.items()) ^ set(first.items.items()))[:4]}",
            )
        for item in client.acknowledged:
            held = first.items.get((item.key_hash, item.key_check))
            agreed.require(
                held is not None and resolve([held, item.version]) == held,
                f"{item} was acknowledged, and the replicas agree on {held}",
            )
