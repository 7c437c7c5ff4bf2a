"""What must hold of two-phase commit after every step, and a client that begins transactions."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from random import Random
from typing import Any

from dsm_native.testing.invariants import Invariant
from dsm_native.testing.protocol import CLIENT, NOTHING, Message, Outputs, Protocol


class Atomicity(Invariant):
    """No participant commits where another aborts, and no client is told otherwise."""

    name = "atomicity"

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: dict[int, tuple[str, str]] = {}

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        # A coordinator's own outcome may be lost with its record; a participant's never can,
        # because the decision was durable before it was told.
        for role, transaction, outcome in outputs.apply:
            if role == "participant":
                self._saw(transaction, outcome, f"participant {node}")

    def told(self, transaction: int, outcome: str) -> None:
        """A client received the coordinator's word."""
        self._saw(transaction, outcome, "the client")

    def _saw(self, transaction: int, outcome: str, who: str) -> None:
        known, witness = self.outcomes.setdefault(transaction, (outcome, who))
        self.require(
            known == outcome,
            f"transaction {transaction} is {known} at {witness} but {outcome} at {who}",
        )


class NonBlocking(Invariant):
    """Nobody stays prepared for longer than `bound_us`, whoever else is dead or cut off."""

    name = "non-blocking"

    def __init__(self, bound_us: int) -> None:
        super().__init__()
        self.bound_us = bound_us
        self._nodes: dict[int, Any] = {}
        self._since: dict[tuple[int, int], int] = {}

    def started(
        self, node: int, protocol: Protocol, durable: Mapping[Hashable, Any], now: int
    ) -> None:
        self._nodes[node] = protocol
        for entry, value in durable.items():
            if isinstance(entry, tuple) and entry[0] == "participant" and value[0] == "prepared":
                self._since[node, entry[1]] = now

    def crashed(self, node: int) -> None:
        for entry in [entry for entry in self._since if entry[0] == node]:
            del self._since[entry]

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        if node == CLIENT:
            return
        entry: Any
        for entry, value in outputs.persist:
            role, transaction = entry
            if role == "participant" and value[0] == "prepared":
                self._since[node, transaction] = now
        for (holder, transaction), since in list(self._since.items()):
            if self._nodes[holder].participants[transaction].state != "prepared":
                del self._since[holder, transaction]
                continue
            self.require(
                now - since <= self.bound_us,
                f"participant {holder} has been prepared in transaction {transaction} for "
                f"{now - since} us, more than {self.bound_us} us",
            )


class TransactionClient:
    """Begins one transaction at each planned moment, at a random node with random participants."""

    def __init__(
        self, seed: int, nodes: Sequence[int], moments: Sequence[int], atomicity: Atomicity
    ) -> None:
        stream = Random(f"transactions:{seed}")
        self.told: dict[int, str] = {}
        self._atomicity = atomicity
        self._due = []
        for transaction, moment in enumerate(sorted(moments)):
            members = tuple(sorted(stream.sample(list(nodes), stream.randint(1, len(nodes)))))
            body = (transaction, members)
            self._due.append((moment, Message(CLIENT, stream.choice(list(nodes)), "begin", body)))
        self._due.reverse()

    def step(self, message: Any, now: int) -> Outputs:
        """Takes a coordinator's answer."""
        self.told[message.transaction] = message.kind
        self._atomicity.told(message.transaction, message.kind)
        return NOTHING

    def tick(self, now: int) -> Outputs:
        """Begins what is due."""
        due = []
        while self._due and self._due[-1][0] <= now:
            due.append(self._due.pop()[1])
        return Outputs(send_now=tuple(due))
