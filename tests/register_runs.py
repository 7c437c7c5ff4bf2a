"""Runs of a store that is correct by construction, as material for the checkers' tests.

Every operation takes effect at one instant between its invocation and its return, in one process,
so the recorded history is linearizable, and therefore correct at every weaker level too. Kills
leave operations open, with and without their effect.
"""

from __future__ import annotations

import random

from dsm_native.testing.history import Operation


class _Session:
    def __init__(self, name: str) -> None:
        self.name = name
        self.operation: Operation | None = None
        self.has_happened = False


def run_atomic_store(
    count: int,
    sessions: int = 5,
    keys: int = 1,
    seed: int = 0,
    kinds: tuple[str, ...] = ("get", "put"),
    kill: float = 0.0,
) -> list[Operation]:
    """At least ``count`` operations; a fraction ``kill`` of them is cut off by a kill."""
    return _Run(random.Random(seed), keys, kinds, kill).run(count, sessions)


class _Run:
    def __init__(self, draw: random.Random, keys: int, kinds: tuple[str, ...], kill: float) -> None:
        self.draw = draw
        self.keys = [f"k{number}" for number in range(keys)]
        self.kinds = kinds
        self.kill = kill
        self.now = 0
        self.serial = 0
        self.successors = 0
        self.state: dict[str, tuple[object, int]] = {}  # key: value, version
        self.operations: list[Operation] = []

    def run(self, count: int, sessions: int) -> list[Operation]:
        active = [_Session(f"s{number}") for number in range(sessions)]
        while len(self.operations) < count:
            self.now += 1
            session = self.draw.choice(active)
            if session.operation is None:
                session.operation = self.invoke(session.name)
                session.has_happened = False
            elif not session.has_happened:
                if self.draw.random() < self.kill:
                    self.cut_off(session)
                    continue
                session.operation = self.take_effect(session.operation)
                session.has_happened = True
            else:
                self.operations.append(session.operation._replace(returned=self.now))
                session.operation = None
        for session in active:
            if session.operation is not None and session.operation.kind != "get":
                self.operations.append(session.operation._replace(returned=None, result=None))
        return self.operations

    def invoke(self, session: str) -> Operation:
        self.serial += 1
        kind, key = self.draw.choice(self.kinds), self.draw.choice(self.keys)
        value = {"get": None, "delete": None, "add": 1}.get(kind, self.serial)
        expected = None
        if kind in ("cas", "put_if_version"):
            # Mostly what a reader would have seen a moment ago, sometimes something stale.
            seen, version = self.state.get(key, (None, 0))
            expected = seen if kind == "cas" else (version if seen is not None else 0)
            if self.draw.random() < 0.2:
                expected = 0 if kind == "put_if_version" else self.draw.randint(1, self.serial)
        return Operation(session, kind, key, value, self.now, None, None, expected)

    def take_effect(self, operation: Operation) -> Operation:
        kind, key = operation.kind, operation.key
        value, version = self.state.get(key, (None, 0))
        # Versions are told from serial numbers at sight; what matters is that none repeats.
        written, fresh = operation.value, 1_000_000 + self.now
        if kind == "get":
            return operation._replace(value=value, result=None if value is None else version)
        if kind == "delete":
            self.state[key] = (None, 0)
            return operation._replace(result=value is not None)
        if kind == "add":
            self.state[key] = ((value or 0) + written, fresh)
            return operation._replace(result=(value or 0) + written)
        if kind == "put":
            self.state[key] = (written, fresh)
            return operation._replace(result=fresh)
        current = value if kind == "cas" else (version if value is not None else 0)
        if current != operation.expected:
            return operation._replace(result=False)
        self.state[key] = (written, fresh)
        return operation._replace(result=True if kind == "cas" else fresh)

    def cut_off(self, session: _Session) -> None:
        assert session.operation is not None
        if session.operation.kind != "get":
            if self.draw.random() < 0.5:
                self.take_effect(session.operation)
            self.operations.append(session.operation)
        self.successors += 1
        session.name = f"n{self.successors}"
        session.operation = None


def change_one_outcome(operations: list[Operation], draw: random.Random) -> list[Operation]:
    """The history with one outcome replaced by another that is of the same kind."""
    candidates = [
        number
        for number, item in enumerate(operations)
        if not item.is_open and item.kind in ("get", "add", "delete", "cas")
    ]
    if not candidates:
        return operations
    number = draw.choice(candidates)
    changed = operations[number]
    if changed.kind == "get":
        written = [i.value for i in operations if i.key == changed.key and i.kind in ("put", "cas")]
        changed = changed._replace(value=draw.choice([None, *written]), result=None)
    elif changed.kind == "add":
        changed = changed._replace(result=changed.result + draw.choice([-1, 1]))
    else:
        changed = changed._replace(result=not changed.result)
    return operations[:number] + [changed] + operations[number + 1 :]


def small_run(draw: random.Random, kinds: tuple[str, ...], keys: int = 1) -> list[Operation]:
    """A short history, correct or with up to three outcomes changed, for trying all orders."""
    count, sessions = draw.randint(1, 7), draw.randint(1, 4)
    kill = draw.choice([0, 0.2])
    run = run_atomic_store(count, sessions, keys, draw.randrange(1 << 30), kinds, kill)
    for _ in range(draw.randint(0, 3)):
        run = change_one_outcome(run, draw)
    if "put_if_version" not in kinds:
        run = [item._replace(result=None) if item.kind in ("get", "put") else item for item in run]
    return sorted(run, key=lambda item: item.invoked)
