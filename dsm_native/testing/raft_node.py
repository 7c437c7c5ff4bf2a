"""A Raft node with a key-value state machine on top, as a `Protocol` for the simulation.

Clients send, as `Message`s, bodies that begin with a request number of their choice:
`open` (number,); `put` (number, key, value, session, sequence); `get` (number, key); and the
operator's `change` (number, transition, steps) and `transfer` (number, target). The answer is a
`reply` with body (number, outcome, value, index): outcome `ok`, `retry` (value: the node to ask, or
None) or `expired` (the session is gone). A get that is answered is linearizable.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, cast

from dsm_native._native.raft import (
    Raft,
    RaftApplied,
    RaftEntry,
    RaftMessage,
    RaftOutputs,
    RaftRead,
    RaftRefusedError,
)
from dsm_native.testing.protocol import CLIENT, Message, Outputs

_SEPARATOR = b"="


class RaftNode:
    """One node: the core, its state machine, and the requests that wait for an outcome."""

    def __init__(
        self,
        node: int,
        durable: Mapping[Hashable, Any],
        seed: int,
        now: int,
        *,
        voters: tuple[int, ...],
        snapshot_every: int = 0,
        **settings: Any,
    ) -> None:
        self.node = node
        self.values: dict[bytes, bytes] = {}
        self._snapshot_every = snapshot_every
        self._applied = 0
        self._snapshot_index = 0
        self._waiting: dict[int, tuple[int, int]] = {}
        """Log index -> (term, request number): answered when that index is applied."""
        self._reads: dict[int, tuple[int, bytes]] = {}
        self._read_count = (seed & 0xFFFFFFFF) << 32
        snapshot = durable.get("snapshot")
        if snapshot is not None:
            self._install(snapshot)
        self.raft = Raft(node, voters, seed=seed, durable=durable, now=now, **settings)
        self._unsent: Outputs | None = None
        """What starting asked for; it leaves with the first input's outputs."""
        self._unsent = self._carry(self.raft.started, now)

    def step(self, message: Any, now: int) -> Outputs:
        """A message from a peer, from the node itself, or from a client."""
        if type(message) is RaftMessage:
            return self._carry(self.raft.step(message, now), now)
        return self._request(message, now)

    def tick(self, now: int) -> Outputs:
        """Looks at the clock."""
        return self._carry(self.raft.tick(now), now)

    def _carry(self, outputs: RaftOutputs, now: int) -> Outputs:
        """Applies what is committed, and adds answers and snapshots to the core's outputs."""
        if not outputs.apply and self._unsent is None:
            # Most inputs: there is nothing to add, and both tuples have the same fields.
            return cast(Outputs, outputs)
        persist: tuple[Any, ...] = outputs.persist
        after: tuple[Any, ...] = outputs.send_after_persist
        applied = outputs.apply
        if applied:
            after += tuple(self._apply(applied, now))
            if self._snapshot_every and self._applied - self._snapshot_index > self._snapshot_every:
                state = tuple(sorted(self.values.items()))
                more = self.raft.take_snapshot(state, now, keep_entries=self._snapshot_every // 4)
                self._snapshot_index = self._applied
                persist += more.persist
        carried = Outputs(outputs.send_now, persist, after, applied)
        if self._unsent is not None:
            early, self._unsent = self._unsent, None
            carried = Outputs(*(a + b for a, b in zip(early, carried, strict=True)))
        return carried

    def _apply(self, applied: tuple[Any, ...], now: int) -> list[Message]:
        replies: list[Message] = []
        for item in applied:
            if type(item) is RaftApplied:
                replies += self._apply_entry(item)
            elif type(item) is RaftRead:
                replies += self._serve(item, now)
            else:
                self._install(item)
        return replies

    def _apply_entry(self, item: RaftApplied) -> list[Message]:
        entry, verdict = item
        self._applied = entry.index
        if entry.kind == "command" and verdict == "apply":
            key, value = entry.payload.split(_SEPARATOR, 1)
            self.values[key] = value
        waiting = self._waiting.pop(entry.index, None)
        if waiting is None:
            return []
        term, number = waiting
        if term != entry.term or verdict in ("gap", "refused"):
            return [self._reply(number, "retry", None, entry.index)]
        outcome = "expired" if verdict == "expired" else "ok"
        return [self._reply(number, outcome, None, entry.index)]

    def _serve(self, read: RaftRead, now: int) -> list[Message]:
        number, key = self._reads.pop(read.context, (None, b""))
        if number is None:
            return []
        if read.index > self._applied or (read.valid_until and now >= read.valid_until):
            return [self._reply(number, "retry", None, read.index)]
        return [self._reply(number, "ok", self.values.get(key), self._applied)]

    def _install(self, snapshot: Any) -> None:
        self.values = dict(snapshot.state)
        self._applied = self._snapshot_index = snapshot.index
        self._waiting = {at: w for at, w in self._waiting.items() if at > snapshot.index}

    def _reply(self, number: int, outcome: str, value: Any, index: int) -> Message:
        return Message(self.node, CLIENT, "reply", (number, outcome, value, index))

    def _request(self, message: Message, now: int) -> Outputs:
        number, *arguments = message.body
        try:
            if message.kind == "get":
                outputs = self._get(number, arguments[0], now)
            elif message.kind == "change":
                outputs = self.raft.propose_change(arguments[0], arguments[1], now)
            elif message.kind == "transfer":
                outputs = self.raft.transfer(arguments[0], now)
            else:
                outputs = self._propose(message.kind, number, arguments, now)
        except RaftRefusedError as refusal:
            return Outputs(send_now=(self._reply(number, "retry", refusal.leader, 0),))
        return self._carry(outputs, now)

    def _propose(self, kind: str, number: int, arguments: list[Any], now: int) -> RaftOutputs:
        if kind == "open":
            entry = RaftEntry(kind="session_open")
        else:
            key, value, session, sequence = arguments
            payload = key + _SEPARATOR + value
            entry = RaftEntry(payload=payload, session=session, sequence=sequence)
        outputs = self.raft.propose([entry], now)
        self._waiting[self.raft.last_index] = (self.raft.term, number)
        return outputs

    def _get(self, number: int, key: bytes, now: int) -> RaftOutputs:
        self._read_count += 1
        self._reads[self._read_count] = (number, key)
        return self.raft.read(self._read_count, now)
