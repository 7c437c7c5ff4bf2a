"""What must hold of Paxos and of CASPaxos registers after every step, and clients for both.

The registers under test hold lists of unique one-byte marks: an "append" adds one, a "read" adds
none, a "delete" empties the list. That makes linearizability a matter of prefixes, which can be
checked at each answer: whatever an operation returns must extend what was returned before it began.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from dsm_native.testing.invariants import Invariant
from dsm_native.testing.protocol import CLIENT, NOTHING, Message, Outputs, Protocol


class Agreement(Invariant):
    """Whatever is learnt of one decree is the same everywhere, and was proposed by somebody."""

    name = "agreement and validity"

    def __init__(self) -> None:
        super().__init__()
        self.proposed: dict[int, set[bytes]] = {}
        self.chosen: dict[int, tuple[bytes, int]] = {}

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        for what, key, value in outputs.apply:
            self.require(what == "chosen", f"node {node} applied {what!r}")
            first, witness = self.chosen.setdefault(key, (value, node))
            self.require(
                first == value,
                f"decree {key} is {first!r} at node {witness} but {value!r} at node {node}",
            )
            self.require(
                value in self.proposed.get(key, ()),
                f"decree {key} is {value!r} at node {node}, which nobody proposed",
            )


class PromiseKept(Invariant):
    """What an acceptor has durably promised never falls, except with an erased register."""

    name = "promise kept"

    def __init__(self) -> None:
        super().__init__()
        self.erased = 0
        self._promised: dict[tuple[int, int], tuple[int, ...]] = {}

    def started(
        self, node: int, protocol: Protocol, durable: Mapping[Hashable, Any], now: int
    ) -> None:
        for known in [known for known in self._promised if known[0] == node]:
            del self._promised[known]
        for entry, state in durable.items():
            if isinstance(entry, tuple) and entry[0] == "acceptor":
                self._promised[node, entry[1]] = tuple(state[0])

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        for entry, state in outputs.persist:
            if not isinstance(entry, tuple) or entry[0] != "acceptor":
                continue
            if state is None:
                self.erased += 1
                self._promised.pop((node, entry[1]), None)
                continue
            promised, accepted, _ = state
            before = self._promised.get((node, entry[1]), (0, 0, 0))
            self.require(
                tuple(promised) >= before,
                f"acceptor {node} of key {entry[1]} went back from promise {before} to {promised}",
            )
            self.require(
                tuple(accepted) <= tuple(promised),
                f"acceptor {node} of key {entry[1]} accepted {accepted} above its promise "
                f"{promised}",
            )
            self._promised[node, entry[1]] = tuple(promised)


class ProposalClient:
    """Proposes distinct values for a few decrees, several nodes competing for each."""

    def __init__(
        self, seed: int, nodes: int, decrees: int, moments: Sequence[int], agreement: Agreement
    ) -> None:
        stream = Random(f"proposals:{seed}")
        self.answers: dict[int, bytes] = {}
        self._agreement = agreement
        self._due = []
        for number, moment in enumerate(sorted(moments)):
            body = (stream.randrange(decrees), b"value %d" % number)
            self._due.append((moment, Message(CLIENT, stream.randrange(nodes), "propose", body)))
        self._due.reverse()

    def step(self, message: Any, now: int) -> Outputs:
        """Takes a proposer's answer."""
        key, value = message.body
        self._agreement.require(
            self.answers.setdefault(key, value) == value,
            f"decree {key} was told as {self.answers[key]!r} and as {value!r}",
        )
        return NOTHING

    def tick(self, now: int) -> Outputs:
        """Proposes what is due."""
        due = []
        while self._due and self._due[-1][0] <= now:
            message = self._due.pop()[1]
            key, value = message.body
            self._agreement.proposed.setdefault(key, set()).add(value)
            due.append(message)
        return Outputs(send_now=tuple(due))


@dataclass
class _Operation:
    name: str
    key: int
    mark: int
    floor: bytes
    deletes_begun: int
    deletes_open: bool
    outcome: str = ""


class LinearizableLists(Invariant):
    """Each answer extends what was answered before its operation began; see the file's head.

    `begin` is called when a client sends an operation, `ended` when a node answers it.
    """

    name = "linearizable registers"

    def __init__(self) -> None:
        super().__init__()
        self.operations: dict[int, _Operation] = {}
        self._longest: dict[int, bytes] = {}
        self._buried: dict[int, set[int]] = {}
        self._deletes_begun: dict[int, int] = {}
        self._deletes_open: dict[int, set[int]] = {}
        self._to_bury: dict[int, bytes] = {}

    def longest(self, key: int) -> bytes:
        """The longest list that any operation on a key has returned."""
        return self._longest.get(key, b"")

    def begin(self, request: int, name: str, key: int, mark: int) -> None:
        """A client sends an operation."""
        still_open = bool(self._deletes_open.get(key))
        if name == "delete":
            self._deletes_begun[key] = self._deletes_begun.get(key, 0) + 1
            self._deletes_open.setdefault(key, set()).add(request)
            self._to_bury[request] = self._longest.get(key, b"")
        self.operations[request] = _Operation(
            name,
            key,
            mark,
            self._longest.get(key, b""),
            self._deletes_begun.get(key, 0),
            still_open,
        )

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        message: Any
        for message in (*outputs.send_now, *outputs.send_after_persist):
            if message.target != CLIENT or message.kind == "configured":
                continue
            request, _, value = message.body
            if request in self.operations:
                self._ended(request, message.kind, value or b"")

    def _ended(self, request: int, outcome: str, value: bytes) -> None:
        operation = self.operations[request]
        self.require(not operation.outcome, f"operation {request} was answered twice")
        operation.outcome = outcome
        key = operation.key
        if operation.name == "delete" and outcome != "unknown":
            self._deletes_open[key].discard(request)
        if outcome != "done":
            return
        if operation.name == "delete":
            self._buried.setdefault(key, set()).update(self._to_bury[request])
            self._longest[key] = b""
            return
        self._read(request, operation, value)

    def _read(self, request: int, operation: _Operation, value: bytes) -> None:
        key = operation.key
        self.require(len(set(value)) == len(value), f"key {key} holds a mark twice: {value.hex()}")
        if operation.name == "append":
            self.require(
                value[-1:] == bytes([operation.mark]),
                f"append {request} of {operation.mark:02x} to key {key} ended as {value.hex()}",
            )
        undisturbed = (
            not operation.deletes_open
            and operation.deletes_begun == self._deletes_begun.get(key, 0)
        )
        if not undisturbed:
            return
        self.require(
            value.startswith(operation.floor),
            f"operation {request} on key {key} returned {value.hex()} after "
            f"{operation.floor.hex()} had been returned",
        )
        self.require(
            not self._buried.get(key, set()) & set(value),
            f"operation {request} on key {key} returned {value.hex()}, deleted before it began",
        )
        longest = self._longest.get(key, b"")
        self.require(
            value.startswith(longest) or longest.startswith(value),
            f"operation {request} on key {key} returned {value.hex()}, beside {longest.hex()}",
        )
        if len(value) > len(longest):
            self._longest[key] = value


class RegisterClient:
    """Sends appends, reads and, if asked, deletions (with collection) to random nodes.

    Requests are calls into the node's own process, which no network repeats: set `inject` to the
    simulation's before the first tick.
    """

    inject: Callable[[Message], None]

    def __init__(
        self,
        seed: int,
        nodes: int,
        keys: int,
        moments: Sequence[int],
        lists: LinearizableLists,
        *,
        names: Sequence[str] = ("append", "append", "read"),
    ) -> None:
        stream = Random(f"registers:{seed}")
        self.answers: list[Any] = []
        self._lists = lists
        self._due = []
        for request, moment in enumerate(sorted(moments)):
            if request > 255:
                raise ValueError("a mark is one byte, so a run has at most 256 operations")
            plan = (stream.randrange(nodes), stream.choice(list(names)), stream.randrange(keys))
            self._due.append((moment, request, *plan))
        self._due.reverse()

    def step(self, message: Any, now: int) -> Outputs:
        """Takes an answer; a deletion that is done is followed by a collection."""
        self.answers.append(message)
        if message.kind != "done":
            return NOTHING
        request, key, _ = message.body
        operation = self._lists.operations.get(request)
        if operation is None or operation.name != "delete":
            return NOTHING
        self.inject(Message(CLIENT, message.source, "collect", (request + 1_000, key)))
        return NOTHING

    def tick(self, now: int) -> Outputs:
        """Sends what is due."""
        while self._due and self._due[-1][0] <= now:
            _, request, node, name, key = self._due.pop()
            self._lists.begin(request, name, key, request)
            body = (request, key, name, (request,) if name == "append" else ())
            self.inject(Message(CLIENT, node, "change", body))
        return NOTHING


def append(value: bytes | None, mark: int) -> bytes:
    """The change function of "append"; a full list starts to forget nothing, it raises."""
    grown = (value or b"") + bytes([mark])
    if len(grown) > 120:
        raise ValueError("a list of 120 marks is full")
    return grown


def read(value: bytes | None) -> bytes | None:
    """The change function of "read"."""
    return value


def delete(value: bytes | None) -> None:
    """The change function of "delete"."""


CHANGES: dict[str, Callable[..., bytes | None]] = {"append": append, "read": read, "delete": delete}
"""The change functions that these clients name."""
