"""Anti-entropy at scale: all replicas hold the same items, one hears of new ones, all must learn.

Every node begins one exchange with a random peer per interval. A query and an answer count with
the bytes of their fields in use; an item with the 40 bytes of key and version.
"""

from __future__ import annotations

from dsm_native._native.replicas import Item, Version
from dsm_native.testing.invariants import Invariant
from dsm_native.testing.network import Conditions
from dsm_native.testing.protocol import CLIENT, Message
from dsm_native.testing.replica_node import ReplicaNode
from dsm_native.testing.simulator import Simulation

INTERVAL_US = 200_000
ITEMS, NEW, DEPTH = 1_000, 16, 2
HEADER_BYTES, NODE_BYTES, DIGEST_BYTES, ITEM_BYTES = 16, 12, 8, 40
CHILDREN = 16
ROUNDS_MAX = 60


class Traffic(Invariant):
    """Counts messages and bytes, and which nodes hold how many of the new items."""

    def __init__(self, new) -> None:
        super().__init__()
        self.messages = self.bytes = self.items_sent = 0
        self.new = new
        self.holders: dict[int, int] = {}
        self.complete_at: dict[int, int] = {}

    def stepped(self, node, protocol, outputs, now):
        for message in (*outputs.send_now, *outputs.send_after_persist):
            if message.target != CLIENT:
                self.messages += 1
                self.bytes += self.size(message)
        found = sum(item in self.new for item in outputs.apply)
        if found:
            self.holders[node] = self.holders.get(node, 0) + found
            if self.holders[node] == len(self.new):
                self.complete_at[node] = now

    def size(self, message):
        """Bytes of a message as its fields are, without the room that is not in use."""
        if message.kind == "query":
            count = int.from_bytes(message.body[12:16], "little")
            return HEADER_BYTES + NODE_BYTES * count
        if message.kind == "answer":
            differs = int.from_bytes(message.body[16:20], "little").bit_count()
            return HEADER_BYTES + 4 + DIGEST_BYTES * CHILDREN * differs
        items = message.body[1] if message.kind == "items" else message.body
        self.items_sent += len(items)
        return HEADER_BYTES + ITEM_BYTES * len(items)


class _Listener:
    """The client that wrote the new items."""

    def step(self, message, now):
        return ()

    def tick(self, now):
        return ((), (), (), ())


def spread(nodes, seed):
    """From one node that heard of NEW items until all nodes hold them."""
    held = [Item(_hash(number), 0, Version(1, 0, number)) for number in range(ITEMS)]
    new = {Item(_hash(number), 0, Version(2, 1, number)) for number in range(ITEMS, ITEMS + NEW)}
    traffic = Traffic(new)

    def factory(node, durable, node_seed, now):
        return ReplicaNode(
            node, durable, node_seed, now, peers=range(nodes), depth=DEPTH, every_us=INTERVAL_US,
            resend_us=20_000, initial=held,
        )  # fmt: skip

    simulated = Simulation(
        factory, nodes, seed=seed, invariants=[traffic], tick_us=20_000,
        conditions=Conditions(delay_us_min=200, delay_us_max=2_000),
    )  # fmt: skip
    # Two intervals of nothing to say, then the news.
    simulated.run_until(2 * INTERVAL_US)
    idle = traffic.messages / nodes / 2, traffic.bytes / nodes / 2
    traffic.messages = traffic.bytes = traffic.items_sent = 0
    begin = simulated.now
    for item in sorted(new):
        simulated.inject(Message(CLIENT, 0, "put", item))
    rounds = 0
    while len(traffic.complete_at) < nodes:
        rounds += 1
        if rounds > ROUNDS_MAX:
            raise RuntimeError(f"{nodes - len(traffic.complete_at)} of {nodes} never learnt")
        simulated.run_until(begin + rounds * INTERVAL_US)
    moments = sorted((moment - begin) / INTERVAL_US for moment in traffic.complete_at.values())
    return {
        "half_intervals": moments[nodes // 2],
        "intervals": moments[-1],
        "messages_per_node_interval": traffic.messages / nodes / rounds,
        "bytes_per_node_interval": traffic.bytes / nodes / rounds,
        "idle_messages_per_node_interval": idle[0],
        "idle_bytes_per_node_interval": idle[1],
        "items_sent_per_needed": traffic.items_sent / (NEW * (nodes - 1)),
    }


def _hash(number):
    """Keys spread over the 64-bit circle: the golden ratio's multiples."""
    return number * 0x9E3779B97F4A7C15 % (1 << 64)
