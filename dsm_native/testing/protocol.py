"""What a protocol is: `(state, input, now) -> (state, outputs)`.

A protocol object holds the state of one node and is driven from outside by `step` and `tick`. It
reads no clock, draws no randomness except from the seed it was built with, and performs no I/O:
everything it wants done comes back in an `Outputs`. The same object runs in the simulator and over
the real transport; the C cores and a user's own Python class look alike to both.

The law of `Outputs`, which whoever drives a protocol must keep, in this order:
1. `send_now` may leave at once, also before anything is durable.
2. `persist` is written in its order. A crash may keep any prefix of it and loses the rest.
3. `send_after_persist` leaves once all of `persist`, and of every earlier `Outputs` of the same
   node, is durable. Messages to the node itself are allowed: they come back through `step` and
   tell the protocol that its own state is durable.
4. `apply` follows. It is shown to the application, never undone, and in order.
Between two inputs of a node the outputs of the first need not have been carried out: a disk may
be slow, and `step` may be called again meanwhile. Only the order above is promised.

Time is an integer number of microseconds of the node's own clock. It never goes backwards, and two
nodes' clocks may differ in offset and rate.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias
from typing import Protocol as _Structural

CLIENT = -1
"""The node id that stands for a client outside the cluster, as source or as target."""

Write: TypeAlias = tuple[Hashable, Any]
"""One durable write: a key and its new immutable value; the value `None` deletes the key."""


class AnyMessage(_Structural):
    """What the simulator needs to know of a message; a core may bring a class of its own.

    Messages are immutable, since a network may deliver one twice. `repr` is one short line, equal
    in two runs of the same seed: it is what traces are made of.
    """

    @property
    def source(self) -> int: ...
    @property
    def target(self) -> int: ...
    @property
    def kind(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Message:
    """A message for protocols that are written in Python.

    `source` and `target` are node ids (0, 1, 2, ... or `CLIENT`), `kind` is a short name such as
    `"prepare"`, `body` is any immutable value.
    """

    source: int
    target: int
    kind: str
    body: Any = None

    def __repr__(self) -> str:
        body = "" if self.body is None else f" {self.body!r}"
        return f"{self.source}->{self.target} {self.kind}{body}"


class Outputs(NamedTuple):
    """What a protocol wants done after one input; see the law at the top of this file."""

    send_now: tuple[AnyMessage, ...] = ()
    persist: tuple[Write, ...] = ()
    send_after_persist: tuple[AnyMessage, ...] = ()
    apply: tuple[Any, ...] = ()


NOTHING = Outputs()
"""The outputs of an input that changed nothing outside."""


class Protocol(_Structural):
    """One node's protocol state, driven from outside."""

    def step(self, message: Any, now: int) -> Outputs:
        """Take one message, from a peer, from a client or from itself."""
        ...

    def tick(self, now: int) -> Outputs:
        """Look at the clock: called now and then, at no guaranteed interval."""
        ...


Factory: TypeAlias = Callable[[int, Mapping[Hashable, Any], int, int], Protocol]
"""`factory(node, durable, seed, now)` builds a node at its first start and at each restart.

`durable` holds what earlier incarnations of this node made durable (key -> value, in the order of
each key's first write; empty at the first start); the factory must not keep or change the mapping
itself. `seed` differs between incarnations, and is the protocol's only source of randomness.
"""
