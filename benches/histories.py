"""Histories of stores that keep exactly one level each, as material for timing the checkers.

A seed gives the same history always. Every store has five sessions by default and keys that all of
them read and write; half of the operations are puts of values never used twice. The weaker stores
are weaker in fact: their sessions read replicas that lag, so a checker has something to explain.
`with_one_stale_read` turns a history into one that its level forbids.
"""

import random

from dsm_native.testing import Operation

KEYS = 5
SESSIONS = 5


class _Writer:
    """Draws the next call of a session; values are serial numbers."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.serial = 0

    def call(self) -> tuple[str, str, int | None]:
        key = f"k{self.draw.randrange(KEYS)}"
        if self.draw.random() < 0.5:
            return "get", key, None
        self.serial += 1
        return "put", key, self.serial


def strong(count: int, seed: int = 0, sessions: int = SESSIONS) -> list[Operation]:
    """Each operation takes effect at an instant between its call and its return; calls overlap."""
    writer = _Writer(seed)
    state: dict[str, int | None] = {}
    under_way: dict[int, list] = {}
    done: list[Operation] = []
    now = 0
    while len(done) < count:
        now += 1
        session = writer.draw.randrange(sessions)
        call = under_way.get(session)
        if call is None:
            under_way[session] = [*writer.call(), now, False]
        elif not call[4]:
            kind, key, value, _, _ = call
            if kind == "put":
                state[key] = value
            call[2], call[4] = state.get(key), True
        else:
            kind, key, value, invoked, _ = under_way.pop(session)
            done.append(Operation(f"s{session}", kind, key, value, invoked, now))
    # What has not returned by then is left out, so its effects must have been seen by nobody.
    seen = {(item.key, item.value) for item in done}
    for session, (kind, key, value, invoked, _) in under_way.items():
        if kind == "put" and (key, value) in seen:
            done.append(Operation(f"s{session}", kind, key, value, invoked, None))
    return done


def sequential(count: int, seed: int = 0, sessions: int = SESSIONS) -> list[Operation]:
    """One log of all puts; a session reads the state at its own place in it, which may lag."""
    writer = _Writer(seed)
    log: list[tuple[str, int]] = []
    places = [0] * sessions
    states: list[dict] = [{} for _ in range(sessions)]
    done: list[Operation] = []
    for number in range(count):
        session = writer.draw.randrange(sessions)
        kind, key, value = writer.call()
        if kind == "put":
            log.append((key, value))
        reach = len(log) if kind == "put" else writer.draw.randint(places[session], len(log))
        # A few entries behind, not a whole history: replicas lag by what is under way.
        for written_key, written in log[places[session] : max(reach, len(log) - 20)]:
            states[session][written_key] = written
        places[session] = max(places[session], reach, len(log) - 20)
        value = states[session].get(key) if kind == "get" else value
        done.append(Operation(f"s{session}", kind, key, value, 2 * number, 2 * number + 1))
    return done


def causal(
    count: int, seed: int = 0, sessions: int = SESSIONS, *, keeps_order: bool = True
) -> tuple[list[Operation], dict[str, dict]]:
    """A replica per session; puts travel with vector clocks and are applied when what they depend
    on has been. The last writer by Lamport time wins. Also returns what the replicas hold in the
    end. Without `keeps_order` puts are applied as they come, which is eventual consistency."""
    writer = _Writer(seed)
    clocks = [[0] * sessions for _ in range(sessions)]
    lamport = [0] * sessions
    states: list[dict] = [{} for _ in range(sessions)]
    waiting: list[list] = [[] for _ in range(sessions)]
    done: list[Operation] = []

    def take(replica: int, put: tuple) -> None:
        key, value, stamp, source, clock = put
        states[replica][key] = max(states[replica].get(key, ((0, 0), None)), (stamp, value))
        lamport[replica] = max(lamport[replica], stamp[0])
        clocks[replica][source] = max(clocks[replica][source], clock[source])

    def may_take(replica: int, put: tuple) -> bool:
        source, clock = put[3:]
        own = clocks[replica]
        return not keeps_order or (
            clock[source] == own[source] + 1
            and all(clock[i] <= own[i] for i in range(sessions) if i != source)
        )

    def deliver(replica: int, chance: float) -> None:
        arrived = True
        while arrived:
            arrived = False
            for put in list(waiting[replica]):
                if may_take(replica, put) and writer.draw.random() < chance:
                    waiting[replica].remove(put)
                    take(replica, put)
                    arrived = True

    for number in range(count):
        session = writer.draw.randrange(sessions)
        deliver(session, 0.15)
        kind, key, value = writer.call()
        if kind == "put":
            clocks[session][session] += 1
            stamp = (lamport[session] + 1, session)
            put = (key, value, stamp, session, tuple(clocks[session]))
            take(session, put)
            for other in range(sessions):
                if other != session:
                    waiting[other].append(put)
        else:
            value = states[session].get(key, (None, None))[1]
        done.append(Operation(f"s{session}", kind, key, value, 2 * number, 2 * number + 1))
    for replica in range(sessions):
        deliver(replica, 1.0)
    held = {key: value for key, (_, value) in states[0].items()}
    resting = {
        f"r{r}": {key: value for key, (_, value) in states[r].items()} for r in range(sessions)
    }
    assert all(state == held for state in resting.values()), "the replicas did not converge"
    return done, resting


def first_values(operations: list[Operation]) -> dict:
    """Of each key what was put to it first."""
    first: dict = {}
    for item in operations:
        if item.kind == "put":
            first.setdefault(item.key, item.value)
    return first


def with_one_stale_read(operations: list[Operation]) -> list[Operation]:
    """The same, but a late read returns a value that its session knew and then overwrote itself,
    which all levels but eventual consistency forbid."""
    known: dict = {}
    overwritten: dict = {}
    for number, item in enumerate(operations):
        place = (item.session, item.key)
        if item.kind == "put":
            if known.get(place) is not None:
                overwritten[place] = known[place]
        elif 4 * number >= 3 * len(operations) and place in overwritten:
            stale = item._replace(value=overwritten[place])
            return [*operations[:number], stale, *operations[number + 1 :]]
        known[place] = item.value
    raise AssertionError("no session reads late what it has overwritten")
