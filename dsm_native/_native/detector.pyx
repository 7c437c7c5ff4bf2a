# cython: language_level=3, boundscheck=False, wraparound=False
"""Failure detection and membership for tests and for users' own protocols.

`LocalHealth`, `Observer`, `PhiWindow` and `Detector` are handles of one C struct each.
`MembershipNode` is a whole SWIM node that speaks the protocol interface of
`dsm_native.testing.protocol`; every change of its table is shown in `apply`. Not thread-safe. Times
are microseconds.
"""

from collections import namedtuple

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from dsm_native.exceptions import UsageError

cdef extern from "Python.h":
    object PyNumber_Index(object number)  # a float is no integer, whatever it could be cut to

# The shape of testing.protocol.Outputs; this layer imports nothing from the one above.
Outputs = namedtuple("Outputs", "send_now persist send_after_persist apply")
News = namedtuple("News", "node state incarnation accuser")

PEER_STATES = ("alive", "suspected", "dead")
MEMBER_STATES = ("unknown", "alive", "suspect", "dead", "left")
KINDS = ("", "ping", "ping-req", "ack")


cdef _check(dsm_status status):
    if status != DSM_OK:
        raise UsageError(dsm_status_message(status).decode())


def phi(double elapsed, double mean, double deviation):
    """-log10 of the chance that a beat still comes after `elapsed`; any unit, one for all three."""
    if not deviation > 0 or elapsed != elapsed or mean != mean:
        raise UsageError(f"no phi of a silence of {elapsed} where beats come every {mean} with a"
                         f" deviation of {deviation}")
    return dsm_phi(elapsed, mean, deviation)


def suspicion_timeout_us(confirmations, expected, min_us, max_us):
    """How long a suspicion lasts before it becomes a death, given independent confirmations."""
    return dsm_suspicion_timeout_us(PyNumber_Index(confirmations), PyNumber_Index(expected),
                                    PyNumber_Index(min_us), PyNumber_Index(max_us))


cdef class LocalHealth:
    """0 is healthy; every time-out is stretched by score + 1."""

    cdef dsm_local_health core

    def __init__(self, score_max=8):
        dsm_local_health_init(&self.core, PyNumber_Index(score_max))

    @property
    def score(self):
        return self.core.score

    def note(self, delta):
        dsm_local_health_note(&self.core, PyNumber_Index(delta))

    def stretch_us(self, timeout_us):
        return dsm_local_health_stretch_us(&self.core, PyNumber_Index(timeout_us))


cdef class Observer:
    """Watches its own clock: `tick` returns how long this process itself was away."""

    cdef dsm_observer core

    def __init__(self, period_us, now, *, score_max=8):
        dsm_observer_init(&self.core, PyNumber_Index(period_us), PyNumber_Index(score_max),
                          PyNumber_Index(now))

    @property
    def score(self):
        return self.core.health.score

    def tick(self, now):
        return dsm_observer_tick(&self.core, PyNumber_Index(now))


cdef class PhiWindow:
    """The last `capacity` intervals, with exact mean and variance."""

    cdef dsm_phi_window core

    def __init__(self, capacity):
        _check(dsm_phi_window_init(&self.core, PyNumber_Index(capacity)))

    def __len__(self):
        return self.core.count

    def add(self, interval_us):
        dsm_phi_window_add(&self.core, PyNumber_Index(interval_us))

    @property
    def mean(self):
        return dsm_phi_window_mean(&self.core)

    @property
    def variance(self):
        return dsm_phi_window_variance(&self.core)


cdef class Detector:
    """One peer as one observer sees it. `check` and `beat` return whether the state changed."""

    cdef dsm_detector core

    def __init__(self, now, *, incarnation=1, interval_us=1_000_000, missed_suspected=3,
                 missed_dead=10, accrual=False, phi_suspected=8.0, phi_dead=16.0,
                 deviation_min_us=100_000, pause_us=0, samples=200):
        cdef dsm_detector_options options
        options.interval_us = PyNumber_Index(interval_us)
        options.missed_suspected = PyNumber_Index(missed_suspected)
        options.missed_dead = PyNumber_Index(missed_dead)
        options.accrual = accrual
        options.phi_suspected = phi_suspected
        options.phi_dead = phi_dead
        options.deviation_min_us = PyNumber_Index(deviation_min_us)
        options.pause_us = PyNumber_Index(pause_us)
        options.samples = PyNumber_Index(samples)
        _check(dsm_detector_init(&self.core, PyNumber_Index(incarnation), &options,
                                 PyNumber_Index(now)))

    @property
    def state(self):
        return PEER_STATES[self.core.state]

    @property
    def incarnation(self):
        return self.core.incarnation

    def beat(self, now, incarnation=None):
        cdef uint64_t life = self.core.incarnation
        if incarnation is not None:
            life = PyNumber_Index(incarnation)
        return bool(dsm_detector_beat(&self.core, life, PyNumber_Index(now)))

    def check(self, now, LocalHealth health not None):
        return bool(dsm_detector_check(&self.core, &health.core, PyNumber_Index(now)))

    def check_as(self, now, Observer observer not None):
        """`check` with the health of an observer."""
        return bool(dsm_detector_check(&self.core, &observer.core.health,
                                       PyNumber_Index(now)))

    def forgive(self, stall_us, now):
        """Take the observer's own absence off the peer's silence."""
        dsm_detector_forgive(&self.core, PyNumber_Index(stall_us), PyNumber_Index(now))

    def phi(self, now, LocalHealth health not None):
        return dsm_detector_phi(&self.core, &health.core, PyNumber_Index(now))


cdef dsm_member_news _raw_news(news) except *:
    cdef dsm_member_news raw
    raw.node = PyNumber_Index(news.node)
    if news.state not in MEMBER_STATES:
        raise UsageError(f"a member is one of {MEMBER_STATES[1:]}, not {news.state!r}")
    raw.state = MEMBER_STATES.index(news.state)
    raw.incarnation = PyNumber_Index(news.incarnation)
    raw.accuser = PyNumber_Index(news.accuser)
    return raw


cdef _news(const dsm_member_news *raw):
    return News(raw.node, MEMBER_STATES[raw.state], raw.incarnation, raw.accuser)


cdef class MembershipMessage:
    """One immutable message with its news, which are made into tuples when asked for."""

    cdef readonly int source
    cdef readonly int target
    cdef readonly str kind
    cdef readonly object sequence
    cdef readonly int about
    cdef dsm_member_news[DSM_MEMBERSHIP_NEWS_MAX] raw
    cdef readonly uint32_t news_count
    cdef tuple told

    def __init__(self, source, target, kind, sequence, about, news=()):
        self.source = source
        self.target = target
        self.kind = kind
        self.sequence = sequence
        self.about = about
        self.told = tuple(news)
        if len(self.told) > DSM_MEMBERSHIP_NEWS_MAX:
            raise UsageError(f"{len(self.told)} news exceed {DSM_MEMBERSHIP_NEWS_MAX}")
        self.news_count = len(self.told)
        for i, item in enumerate(self.told):
            self.raw[i] = _raw_news(item)

    @property
    def news(self):
        if self.told is None:
            self.told = tuple([_news(&self.raw[i]) for i in range(self.news_count)])
        return self.told

    def _key(self):
        return (self.source, self.target, self.kind, self.sequence, self.about, self.news)

    def __eq__(self, other):
        return isinstance(other, MembershipMessage) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def __repr__(self):
        told = " ".join([f"n{news.node}={news.state}.{news.incarnation}" for news in self.news])
        about = "" if self.kind == "ping" else f" n{self.about}"
        return f"{self.source}->{self.target} {self.kind}{about} #{self.sequence} [{told}]"


cdef MembershipMessage _message(const dsm_membership_message *sent):
    cdef MembershipMessage made = MembershipMessage.__new__(MembershipMessage)
    made.source, made.target = sent.source, sent.target
    made.kind, made.sequence, made.about = KINDS[sent.kind], sent.sequence, sent.about
    made.news_count = sent.news_count
    memcpy(made.raw, sent.news, sent.news_count * sizeof(dsm_member_news))
    return made


cdef class MembershipNode:
    """One SWIM node. `durable` keeps its incarnation; `seeds` are the members it first knows.

    A client's message has kind "leave". `apply` holds a `News` for each change of the table.
    """

    cdef dsm_membership core
    cdef dsm_member *members
    cdef dsm_membership_outputs outputs
    cdef readonly int node
    cdef readonly int capacity
    cdef object owed

    def __cinit__(self):
        self.members = NULL

    def __dealloc__(self):
        free(self.members)

    def __init__(self, node, durable, seed, now, *, capacity, seeds,
                 probe_interval_us=1_000_000, probe_timeout_us=300_000,
                 suspicion_min_us=3_000_000, suspicion_max_us=18_000_000, confirmations=3,
                 indirect=3, retell=4, dead_every=8, health_max=8):
        node = PyNumber_Index(node)
        capacity = PyNumber_Index(capacity)
        cdef dsm_membership_options options
        cdef dsm_member_news raw
        if self.members != NULL:
            raise UsageError("a node is initialised once")
        if not 0 <= node < capacity:
            raise UsageError(f"node {node} is not below the capacity {capacity}")
        if not 0 < capacity <= 1 << 20:
            raise UsageError(f"capacity {capacity} is not between 1 and {1 << 20}")
        options.probe_interval_us = PyNumber_Index(probe_interval_us)
        options.probe_timeout_us = PyNumber_Index(probe_timeout_us)
        options.suspicion_min_us = PyNumber_Index(suspicion_min_us)
        options.suspicion_max_us = PyNumber_Index(suspicion_max_us)
        options.confirmations = PyNumber_Index(confirmations)
        options.indirect = PyNumber_Index(indirect)
        options.retell = PyNumber_Index(retell)
        options.dead_every = PyNumber_Index(dead_every)
        options.health_max = PyNumber_Index(health_max)
        options.seed = seed & 0xFFFFFFFFFFFFFFFF
        self.node = node
        self.capacity = capacity
        self.members = <dsm_member *>calloc(capacity, sizeof(dsm_member))
        if self.members == NULL:
            raise MemoryError()
        incarnation = durable.get("incarnation", 0) + 1
        self.owed = (("incarnation", incarnation),)
        _check(dsm_membership_init(&self.core, self.members, capacity, node, incarnation,
                                   &options, now))
        dsm_membership_outputs_clear(&self.outputs)
        for member in seeds:
            if member != node:
                raw = _raw_news(News(member, "alive", 0, member))
                _check(dsm_membership_hear(&self.core, &raw, now, &self.outputs))
                dsm_membership_outputs_clear(&self.outputs)

    def view(self):
        """{node: (state, incarnation)} of every known member, itself included."""
        return {node: (MEMBER_STATES[self.members[node].state], self.members[node].incarnation)
                for node in range(self.capacity) if self.members[node].state != 0}

    def confirmations(self, node):
        """Independent accusers of a suspect beyond the first."""
        node = PyNumber_Index(node)
        if not 0 <= node < self.capacity:
            raise UsageError(f"node {node} is not below the capacity {self.capacity}")
        return max(0, <int>self.members[node].confirmer_count - 1)

    @property
    def counts(self):
        """(alive, suspect) among the other members."""
        return (self.core.alive_count, self.core.suspect_count)

    @property
    def score(self):
        return self.core.health.score

    def know(self, members):
        """Members known from a list that everybody has: {node: incarnation}, alive, not told on.

        For starting many nodes at once; whoever is not in such a list is heard of by gossip.
        """
        for node, incarnation in dict(members).items():
            if node != self.node:
                _check(dsm_membership_know(&self.core, PyNumber_Index(node),
                                           PyNumber_Index(incarnation)))

    def hear(self, news, now):
        """Take one news from outside the gossip."""
        now = PyNumber_Index(now)
        cdef dsm_member_news raw = _raw_news(news)
        _check(dsm_membership_hear(&self.core, &raw, now, &self.outputs))
        return self._taken()

    def step(self, message, now):
        now = PyNumber_Index(now)
        cdef dsm_membership_message raw
        cdef MembershipMessage told
        if message.kind == "leave":
            dsm_membership_leave(&self.core, &self.outputs)
            return self._taken()
        told = message
        if told.kind not in KINDS[1:]:
            raise UsageError(f"a message is one of {KINDS[1:]}, not {told.kind!r}")
        raw.sequence = told.sequence
        raw.kind = KINDS.index(told.kind)
        raw.source = told.source
        raw.target = told.target
        raw.about = told.about
        raw.news_count = told.news_count
        memcpy(raw.news, told.raw, told.news_count * sizeof(dsm_member_news))
        _check(dsm_membership_receive(&self.core, &raw, now, &self.outputs))
        return self._taken()

    def tick(self, now):
        now = PyNumber_Index(now)
        dsm_membership_tick(&self.core, now, &self.outputs)
        return self._taken()

    cdef _taken(self):
        cdef dsm_membership_outputs *raw = &self.outputs
        messages = [_message(&raw.messages[i]) for i in range(raw.message_count)]
        changes = tuple([_news(&raw.changes[i]) for i in range(raw.change_count)])
        dsm_membership_outputs_clear(raw)
        owed, self.owed = self.owed, ()
        return Outputs(tuple(messages), owed, (), changes)
