"""Scenario commands of anti-entropy, besides those of `NodeScript`.

nodes COUNT [depth=N]          replicas that compare themselves every 100 us, resend after 30 us
put N KEY STAMP                a client writes a version of a key at node N
state                          what every replica holds, and which digests agree

A key is a number from 0 to 15 and names a bucket of a tree of depth 1; in a deeper tree its items
differ in the first of the levels.
"""

from __future__ import annotations

from typing import Any

from dsm_native._native.replicas import Item, Version
from dsm_native.testing.node_script import NodeScript
from dsm_native.testing.protocol import Message
from dsm_native.testing.replica_node import ReplicaNode

_KEY_SHIFT = 60


def _named(item: Any) -> str:
    version = item[2]
    return f"k{item[0] >> _KEY_SHIFT}={version[0]}.{version[1]}"


class ReplicaScript(NodeScript):
    """With more than two replicas the peers are drawn from the node's seed."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def build(self, node: int, durable: dict[Any, Any], seed: int) -> ReplicaNode:
        return ReplicaNode(
            node, durable, seed, self.now, peers=range(self._count),
            depth=self.settings.get("depth", 1), every_us=100, resend_us=30,
        )  # fmt: skip

    def show_message(self, message: Message) -> str:
        link, body = f"{message.source}->{message.target} {message.kind}", message.body
        if message.kind == "query":
            return f"{link} of {int.from_bytes(body[12:16], 'little')} digests"
        if message.kind == "answer":
            return f"{link} {int.from_bytes(body[16:20], 'little').bit_count()} differ"
        items = body[1] if message.kind == "items" else body
        if message.kind == "stored":
            items = (body,)
        return f"{link} {' '.join(map(_named, items)) or 'none'}"

    def show_key(self, key: Any) -> str:
        return f"k{key[0] >> _KEY_SHIFT}"

    def show(self, value: Any) -> str:
        return _named(value) if isinstance(value, Item) else f"{value[0]}.{value[1]}"

    def do_nodes(self, count: str, *settings: str) -> None:
        self._count = int(count)
        super().do_nodes(count, *settings)

    def do_put(self, node: str, key: str, stamp: str) -> None:
        version = Version(int(stamp), int(node), 0)
        self.ask(node, "put", Item(int(key) << _KEY_SHIFT, 0, version))

    def do_state(self) -> None:
        roots: dict[int, list[int]] = {}
        for node, replica in sorted(self.nodes.items()):
            if replica is None:
                self.printed.append(f"{node} is down")
                continue
            held = [_named((*key, version)) for key, version in sorted(replica.items.items())]
            self.printed.append(f"{node} holds {' '.join(held) or 'nothing'}")
            roots.setdefault(replica.tree.root, []).append(node)
        same = ", ".join(" ".join(map(str, nodes)) for nodes in roots.values())
        self.printed.append(f"equal digests: {same}")
