"""Clients of `RaftNode`s: sessions that put and get, retry, and record what they saw.

Each session does one operation at a time (dissertation, chapter 6): it opens itself, then puts
with rising sequence numbers and gets, asking another node after each time-out. The record is a
list of `Operation`s; one that was never answered has `returned` None.

Two relations are checked on the spot, since they need no search: a get contains every put that was
answered before it was asked for, and a session's puts are answered at rising indexes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from dsm_native.testing.invariants import InvariantError
from dsm_native.testing.protocol import CLIENT, Message, Outputs

_SESSION_SHIFT = 32


@dataclass(slots=True)
class Operation:
    """One operation; times are the client's microseconds, `session` is its number in the log."""

    session: int
    kind: str
    key: bytes
    value: bytes | None
    invoked: int
    returned: int | None = None


@dataclass(slots=True)
class _Session:
    number: int
    opened: int = 0
    sequence: int = 0
    request: int = 0
    node: int = 0
    waiting: bool = False
    hinted: bool = False
    again_at: int = 0
    idle_until: int = 0
    known_index: int = 0
    operation: Operation | None = None


class RaftClient:
    """Some sessions at once, as one `Protocol` at node `CLIENT`.

    With `operate_every_us` there is also an operator, who changes membership and leadership.
    """

    def __init__(
        self,
        seed: int,
        nodes: Sequence[int],
        *,
        sessions: int = 3,
        keys: int = 4,
        timeout_us: int = 200_000,
        pause_us: int = 20_000,
        operate_every_us: int = 0,
    ) -> None:
        self.history: list[Operation] = []
        self.answered_index = 0
        """The largest index that a put was answered at."""
        self.answers = 0
        self.checks = 0
        self._nodes = list(nodes)
        self._keys = keys
        self._timeout_us = timeout_us
        self._pause_us = pause_us
        self.operate_every_us = operate_every_us
        """May be set to 0 to stop the operator."""
        self._operate_at = operate_every_us
        self._orders = 0
        self._stream = Random(f"client:{seed}")
        self._sessions = [_Session(i, node=self._any_node()) for i in range(sessions)]

    def tick(self, now: int) -> Outputs:
        """Starts operations, and repeats what was not answered in time, elsewhere."""
        sends: list[Message] = []
        if self.operate_every_us and now >= self._operate_at:
            self._operate_at = now + self._stream.randrange(2 * self.operate_every_us)
            sends.append(self._operate())
        for session in self._sessions:
            if not session.waiting:
                if now >= session.idle_until:
                    sends.append(self._begin(session, now))
            elif now >= session.again_at:
                if not session.hinted:
                    session.node = self._any_node()
                sends.append(self._ask(session, now))
        return Outputs(send_now=tuple(sends))

    def step(self, message: Message, now: int) -> Outputs:
        """An answer."""
        number, outcome, value, index = message.body
        if number >> _SESSION_SHIFT == len(self._sessions):
            return Outputs()  # the operator asks everybody often enough
        session = self._sessions[number >> _SESSION_SHIFT]
        if session.request != number or not session.waiting:
            return Outputs()
        if outcome == "retry":
            session.hinted = value is not None
            session.node = value if session.hinted else session.node
            # Not at once: a hint may be as old as the one it comes from.
            session.again_at = now + self._pause_us
            return Outputs()
        session.waiting = False
        session.idle_until = now + 1 + self._stream.randrange(self._pause_us)
        if outcome == "expired":
            session.opened = 0
        elif session.operation is None:
            session.opened, session.sequence = index, 0
        else:
            self._finish(session, value, index, now)
        return Outputs()

    def _any_node(self) -> int:
        return self._stream.choice(self._nodes)

    def _operate(self) -> Message:
        """A change of membership or leadership, asked of any node: most are not in its power."""
        self._orders += 1
        number = len(self._sessions) << _SESSION_SHIFT | self._orders
        draw = self._stream
        if draw.random() < 0.3:
            return Message(CLIENT, self._any_node(), "transfer", (number, self._any_node()))
        steps = tuple(
            (draw.choice(("add_voter", "add_voter", "add_learner", "remove")), self._any_node())
            for _ in range(draw.randint(1, 3))
        )
        transition = draw.choice(("auto", "auto", "joint_implicit", "joint_explicit"))
        if draw.random() < 0.3:
            transition, steps = "leave_joint", ()
        return Message(CLIENT, self._any_node(), "change", (number, transition, steps))

    def _begin(self, session: _Session, now: int) -> Message:
        session.known_index = self.answered_index
        if session.opened == 0:
            session.operation = None
        else:
            key = b"k%d" % self._stream.randrange(self._keys)
            kind = "put" if self._stream.random() < 0.5 else "get"
            value = None
            if kind == "put":
                session.sequence += 1
                value = b"%d.%d.%d" % (session.number, session.opened, session.sequence)
            session.operation = Operation(session.opened, kind, key, value, now)
            self.history.append(session.operation)
        session.request += 1
        session.request |= session.number << _SESSION_SHIFT
        return self._ask(session, now)

    def _ask(self, session: _Session, now: int) -> Message:
        session.waiting, session.hinted = True, False
        session.again_at = now + self._timeout_us
        operation = session.operation
        if operation is None:
            return Message(CLIENT, session.node, "open", (session.request,))
        body: tuple[Any, ...] = (session.request, operation.key)
        if operation.kind == "put":
            body += (operation.value, session.opened, session.sequence)
        return Message(CLIENT, session.node, operation.kind, body)

    def _finish(self, session: _Session, value: bytes | None, index: int, now: int) -> None:
        operation = session.operation
        assert operation is not None
        operation.returned = now
        self.answers += 1
        self.checks += 1
        if index < session.known_index:
            raise InvariantError(
                f"real-time order: session {session.number}'s {operation.kind} of {operation.key!r}"
                f" was answered at index {index}, but index {session.known_index} had been"
                " answered before it was asked for"
            )
        if operation.kind == "get":
            operation.value = value
        else:
            self.answered_index = max(self.answered_index, index)
