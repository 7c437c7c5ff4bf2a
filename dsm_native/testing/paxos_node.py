"""Nodes of Paxos and of CASPaxos: acceptors and proposers of any number of keys.

They speak the interface of `protocol.py`. Durable: ("acceptor", key) holds (promised, accepted,
value), "identity" holds (counter, age, incarnation), "fence" the ages that acceptors refuse.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from dsm_native._native.paxos import (
    Acceptor,
    Collector,
    Config,
    Fence,
    Identity,
    Options,
    PaxosMessage,
    Proposer,
    Register,
    majority,
)
from dsm_native.testing.protocol import CLIENT, NOTHING, AnyMessage, Outputs, Write

_Sent: TypeAlias = tuple[tuple[PaxosMessage, ...], tuple[PaxosMessage, ...]]
_Request: TypeAlias = tuple[Any, str, tuple[Any, ...]]


class ClientMessage(NamedTuple):
    """What a node says to a client."""

    source: int
    target: int
    kind: str
    body: Any

    def __repr__(self) -> str:
        return f"{self.source}->{self.target} {self.kind} {self.body!r}"


class _Node:
    """Acceptors of all keys and the process's identity: what both kinds of node have."""

    def __init__(
        self, node: int, durable: Mapping[Any, Any], seed: int, options: Mapping[str, int]
    ) -> None:
        counter, age, incarnation = durable.get("identity", (0, 0, 0))
        self.node = node
        self.seed = seed
        self.options = options
        self.identity = Identity(node, incarnation + 1, counter, age)
        self.acceptors = {
            entry[1]: Acceptor(node, state)
            for entry, state in durable.items()
            if entry[0] == "acceptor"
        }
        self.fence = Fence(node, durable.get("fence", ()))
        # No ballot may leave before the incarnation in it is durable.
        self.owed: tuple[Write, ...] = (("identity", self.identity.durable),)

    def _seeded(self, key: int) -> Options:
        return Options(seed=self.seed ^ (key + 1) * 0x9E3779B97F4A7C15, **self.options)

    def _accept(self, message: PaxosMessage) -> Outputs:
        """Hand a message to the acceptor of its key."""
        if not self.fence.admits(message):
            return NOTHING
        acceptor = self.acceptors.get(message.key)
        if acceptor is None:
            acceptor = self.acceptors[message.key] = Acceptor(self.node)
        now_messages, later = acceptor.receive(message)
        state = acceptor.durable
        persist: tuple[Write, ...] = ()
        if acceptor.persist:
            persist = ((("acceptor", message.key), state),)
        if state is None:
            del self.acceptors[message.key]
        return Outputs(now_messages, persist, later, ())

    def _paid(self, outputs: Outputs) -> Outputs:
        owed, self.owed = self.owed, ()
        return outputs._replace(persist=owed + outputs.persist)


class PaxosNode(_Node):
    """Acceptor, proposer and learner of single decrees, each under its key.

    A client's message has kind "propose" and body (key, value); it is answered by "chosen" with
    body (key, chosen value). `apply` holds ("chosen", key, value) once per incarnation.
    """

    def __init__(
        self,
        node: int,
        durable: Mapping[Any, Any],
        seed: int,
        now: int,
        *,
        nodes: Iterable[int],
        **options: int,
    ) -> None:
        super().__init__(node, durable, seed, options)
        self.nodes = tuple(nodes)
        self.config = majority(self.nodes)
        self.proposers: dict[int, Proposer] = {}
        self.asked: set[int] = set()

    def step(self, message: Any, now: int) -> Outputs:
        """Takes a message of a peer or a client."""
        if message.kind == "propose":
            key, value = message.body
            proposer = self._proposer(key)
            if proposer.chosen is not None:
                reply = ClientMessage(self.node, CLIENT, "chosen", (key, proposer.chosen))
                return self._paid(Outputs((reply,), (), (), ()))
            if key in self.asked:
                return self._paid(NOTHING)
            self.asked.add(key)
            sent = proposer.propose(value, now)
        elif message.kind in ("prepare", "accept"):
            return self._paid(self._accept(message))
        else:
            key = message.key
            proposer = self._proposer(key)
            sent = proposer.receive(message, now)
        return self._paid(self._told(key, proposer, sent))

    def tick(self, now: int) -> Outputs:
        """Looks at the clock for every key."""
        outputs = NOTHING
        for key, proposer in self.proposers.items():
            outputs = _joined(outputs, self._told(key, proposer, proposer.tick(now)))
        return self._paid(outputs)

    def _proposer(self, key: int) -> Proposer:
        if key not in self.proposers:
            self.proposers[key] = Proposer(
                key, self.config, self.nodes, self.identity, self._seeded(key)
            )
        return self.proposers[key]

    def _told(self, key: int, proposer: Proposer, sent: _Sent) -> Outputs:
        now_messages: tuple[AnyMessage, ...]
        now_messages, later = sent
        apply: tuple[Any, ...] = ()
        if proposer.outcome == "done":
            apply = (("chosen", key, proposer.chosen),)
            if key in self.asked:
                now_messages += (
                    ClientMessage(self.node, CLIENT, "chosen", (key, proposer.chosen)),
                )
        return Outputs(now_messages, (), later, apply)


class RegisterNode(_Node):
    """Acceptor and proposer of CASPaxos registers.

    A client's messages: "change" with body (request, key, name, arguments), where `changes[name]`
    is called as (value, *arguments) and returns the new value (those named in `repeatable` may be
    applied twice); "collect" with body (request, key); "configure" with body (request, config).
    Each is answered once, by "done", "refused" or "unknown" with body (request, key, value) or by
    "configured" with body (request,).
    """

    def __init__(
        self,
        node: int,
        durable: Mapping[Any, Any],
        seed: int,
        now: int,
        *,
        config: Config,
        proposers: Iterable[int],
        changes: Mapping[str, Callable[..., bytes | None]],
        repeatable: Iterable[str] = ("read",),
        timeout_us: int = 2_000_000,
        **options: int,
    ) -> None:
        super().__init__(node, durable, seed, options)
        self.config = config
        self.proposing_nodes = tuple(proposers)
        self.changes = changes
        self.repeatable = frozenset(repeatable)
        self.timeout_us = timeout_us
        self.registers: dict[int, Register] = {}
        self.queues: dict[int, deque[_Request]] = {}
        self.running: dict[int, _Request] = {}
        self.collectors: dict[int, tuple[Any, Collector]] = {}
        self.configuring: tuple[Any, Config] | None = None

    def step(self, message: Any, now: int) -> Outputs:
        """Takes a message of a peer or a client."""
        kind = message.kind
        if kind == "change":
            request, key, name, arguments = message.body
            self.queues.setdefault(key, deque()).append((request, name, arguments))
            outputs = self._pull(key, now)
        elif kind == "collect":
            request, key = message.body
            outputs = self._collect(request, key, now)
        elif kind == "configure":
            self.configuring = message.body
            outputs = self._configure(now)
        elif kind in ("prepare", "accept", "erase"):
            outputs = self._accept(message)
        elif kind == "fence":
            now_messages, later = self.fence.receive(message)
            persist: tuple[Write, ...] = ()
            if self.fence.persist_fence:
                persist = (("fence", self.fence.durable),)
            outputs = Outputs(now_messages, persist, later, ())
        elif kind == "forget":
            now_messages, later = self.identity.forget(message)
            outputs = Outputs(now_messages, (("identity", self.identity.durable),), later, ())
        else:
            outputs = self._answer(message, now)
        return self._paid(outputs)

    def tick(self, now: int) -> Outputs:
        """Looks at the clock for every key."""
        outputs = NOTHING
        for key, register in tuple(self.registers.items()):
            outputs = _joined(outputs, self._drive(key, register, register.tick(now), now))
        for key, (request, collector) in tuple(self.collectors.items()):
            outputs = _joined(outputs, self._swept(key, request, collector, collector.tick(now)))
        return self._paid(outputs)

    def _answer(self, message: PaxosMessage, now: int) -> Outputs:
        outputs = NOTHING
        key = message.key
        if key in self.collectors:
            request, collector = self.collectors[key]
            outputs = self._swept(key, request, collector, collector.receive(message, now))
        register = self.registers.get(key)
        if register is not None:
            sent = register.receive(message, now)
            outputs = _joined(outputs, self._drive(key, register, sent, now))
        return outputs

    def _pull(self, key: int, now: int) -> Outputs:
        """Begin the next queued change of a key, unless one is running or a config waits."""
        queue = self.queues.get(key)
        if not queue or key in self.running or self.configuring is not None:
            return NOTHING
        if key not in self.registers:
            self.registers[key] = Register(key, self.config, self.identity, self._seeded(key))
        register = self.registers[key]
        request = self.running[key] = queue.popleft()
        sent = register.begin(now, now + self.timeout_us, request[1] in self.repeatable)
        return self._drive(key, register, sent, now)

    def _drive(self, key: int, register: Register, sent: _Sent, now: int) -> Outputs:
        now_messages, later = sent
        outputs = Outputs(now_messages, (), later, ())
        if register.change_wanted:
            request, name, arguments = self.running[key]
            changed = self.changes[name](register.value, *arguments)
            more = register.change(changed, now)
            outputs = _joined(outputs, self._drive(key, register, more, now))
        elif register.outcome != "none":
            request, name, arguments = self.running.pop(key)
            value = register.value if register.outcome == "done" else None
            reply = ClientMessage(self.node, CLIENT, register.outcome, (request, key, value))
            outputs = _joined(outputs, Outputs((reply,), (), (), ()))
            outputs = _joined(outputs, self._configure(now))
            outputs = _joined(outputs, self._pull(key, now))
        return outputs

    def _collect(self, request: Any, key: int, now: int) -> Outputs:
        if key in self.collectors:
            reply = ClientMessage(self.node, CLIENT, "refused", (request, key, None))
            return Outputs((reply,), (), (), ())
        collector = Collector(
            key, self.config, self.proposing_nodes, self.identity, self._seeded(key)
        )
        self.collectors[key] = (request, collector)
        return self._swept(key, request, collector, collector.begin(now))

    def _swept(self, key: int, request: Any, collector: Collector, sent: _Sent) -> Outputs:
        now_messages: tuple[AnyMessage, ...]
        now_messages, later = sent
        if collector.outcome != "none":
            del self.collectors[key]
            now_messages += (
                ClientMessage(self.node, CLIENT, collector.outcome, (request, key, None)),
            )
        return Outputs(now_messages, (), later, ())

    def _configure(self, now: int) -> Outputs:
        """Install a waiting config once no change runs under the old one."""
        if self.configuring is None or self.running or self.collectors:
            return NOTHING
        request, self.config = self.configuring
        self.configuring = None
        for register in self.registers.values():
            register.configure(self.config)
        reply = ClientMessage(self.node, CLIENT, "configured", (request,))
        outputs = Outputs((reply,), (), (), ())
        for key in tuple(self.queues):
            outputs = _joined(outputs, self._pull(key, now))
        return outputs


def _joined(first: Outputs, second: Outputs) -> Outputs:
    return Outputs(*[a + b for a, b in zip(first, second, strict=True)])
