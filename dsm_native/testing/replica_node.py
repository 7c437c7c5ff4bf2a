"""A replica of a set of keys that agrees with its peers by anti-entropy.

Now and then it walks its digest tree against that of a random peer (`Exchange`), sends the items
of each bucket that differs, and the peer works out the smallest repair (`repair_set`): it takes
what it lacks and sends back what the other lacks. Nothing that both hold the same travels.

A client's message "put" has body (key_hash, key_check, version) and is answered by "stored" with
the same body once the version, or a greater one, is durable. `apply` holds each `Item` taken in.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Mapping, Sequence
from random import Random
from typing import Any, cast

from dsm_native._native.replicas import DigestTree, Exchange, Item, Version, repair_set
from dsm_native.testing.protocol import CLIENT, NOTHING, Message, Outputs, Write

Key = tuple[int, int]


class ReplicaNode:
    """One replica; greater versions win. `rounds` counts the exchanges that it began."""

    def __init__(
        self,
        node: int,
        durable: Mapping[Hashable, Any],
        seed: int,
        now: int,
        *,
        peers: Sequence[int],
        depth: int = 2,
        every_us: int = 50_000,
        resend_us: int = 30_000,
        initial: Iterable[Item] = (),
    ) -> None:
        self.node = node
        self.tree = DigestTree(depth)
        self.items: dict[Key, Version] = {}
        self.rounds = 0
        self._peers = [peer for peer in peers if peer != node]
        self._buckets: dict[int, list[Key]] = {}
        self._stream = Random(f"replica:{seed}")
        self._every_us, self._resend_us = every_us, resend_us
        self._due = now + self._stream.randrange(every_us)
        self._exchange: Exchange | None = None
        self._asked = (0, 0)
        """The peer of the exchange, and when it was asked last."""
        for item in initial:
            self._put(item)
        for key, version in durable.items():
            key_hash, key_check = cast(Key, key)
            self._put(Item(key_hash, key_check, Version(*version)))

    def step(self, message: Message, now: int) -> Outputs:
        """Takes a put, or a message of a peer's exchange or of its own."""
        if message.kind == "put":
            taken = self._take([message.body])
            return taken._replace(
                send_after_persist=(Message(self.node, CLIENT, "stored", message.body),)
            )
        if message.kind == "query":
            answer = self.tree.respond(message.body)
            return Outputs((Message(self.node, message.source, "answer", answer),))
        if message.kind == "answer":
            return self._answered(message, now)
        if message.kind == "repairs":
            return self._take(message.body)
        return self._repair(message)

    def tick(self, now: int) -> Outputs:
        """Begins an exchange when it is due, or asks again."""
        if self._exchange is not None and now - self._asked[1] >= self._resend_us:
            return self._ask(now)
        if now < self._due or not self._peers:
            return NOTHING
        self._due = now + self._every_us
        self.rounds += 1
        self._exchange = Exchange(self.tree, self._stream.getrandbits(62))
        self._asked = (self._stream.choice(self._peers), now)
        return self._ask(now)

    def _ask(self, now: int) -> Outputs:
        query = None if self._exchange is None else self._exchange.next_query()
        if query is None:
            self._exchange = None
            return NOTHING
        self._asked = (self._asked[0], now)
        return Outputs((Message(self.node, self._asked[0], "query", query),))

    def _answered(self, message: Message, now: int) -> Outputs:
        if self._exchange is None or message.source != self._asked[0]:
            return NOTHING
        buckets = self._exchange.receive(message.body)
        sends = tuple(
            Message(self.node, message.source, "items", (bucket, self._held(bucket)))
            for bucket in buckets
        )
        more = self._ask(now)
        return Outputs(sends + more.send_now)

    def _repair(self, message: Message) -> Outputs:
        """The other's items of a bucket against our own: what moves, and which way."""
        bucket, theirs = message.body
        moves = repair_set([theirs, self._held(bucket)])
        taken = self._take([move.item for move in moves if 1 in move.targets])
        back = tuple(move.item for move in moves if 0 in move.targets)
        if back:
            return taken._replace(send_now=(Message(self.node, message.source, "repairs", back),))
        return taken

    def _held(self, bucket: int) -> tuple[Item, ...]:
        return tuple(Item(*key, self.items[key]) for key in self._buckets.get(bucket, ()))

    def _take(self, items: Iterable[Item]) -> Outputs:
        taken = [Item(*item) for item in items if self._put(Item(*item))]
        writes: tuple[Write, ...] = tuple(
            ((item.key_hash, item.key_check), tuple(item.version)) for item in taken
        )
        return Outputs(persist=writes, apply=tuple(taken))

    def _put(self, item: Item) -> bool:
        """Holds an item unless it holds a version that is as great."""
        key = (item.key_hash, item.key_check)
        held = self.items.get(key)
        if held is not None:
            if tuple(item.version)[:3] <= tuple(held)[:3]:
                return False
            self.tree.remove(Item(*key, held))
        else:
            keys = self._buckets.setdefault(self.tree.bucket(item.key_hash), [])
            keys.insert(bisect_left(keys, key), key)
        self.items[key] = Version(*item.version)
        self.tree.add(item)
        return True
