# cython: language_level=3
"""Paxos and CASPaxos for tests and for users' own protocols: the C cores behind `step` and `tick`.

`Acceptor`, `Proposer`, `Register`, `Collector`, `Fence` and `Identity` are handles of one C struct
each; a method that drives one returns (messages to send now, messages to send once durable) and
leaves what else it asked for in the handle's attributes. Whole nodes are in
`dsm_native.testing.paxos_node`. A value is `bytes` of at most 120, or None for the empty one. Not
thread-safe. Times are microseconds. Errors: UsageError (a ValueError) for an argument out of its
range, and for a call that does not fit the state; TypeError for one of another type.
"""

from collections import namedtuple

Ballot = namedtuple("Ballot", "counter node incarnation")
Config = namedtuple("Config", "prepare_nodes accept_nodes prepare_quorum accept_quorum")
Step = namedtuple("Step", "config rescan")

KINDS = ("", "prepare", "promise", "accept", "accepted", "refuse", "chosen", "forget", "aged",
         "fence", "fenced", "erase", "erased")
OUTCOMES = ("none", "done", "refused", "unknown")
COLLECTOR_PHASES = ("tombstone", "forgetting", "fencing", "erasing", "ended")
NO_BALLOT = Ballot(0, 0, 0)

include "arguments.pxi"
include "paxos_values.pxi"


cdef class _Machine:
    """The outputs of a handle's last call."""

    cdef dsm_paxos_outputs outputs
    cdef readonly bint persist
    cdef readonly bint persist_identity
    cdef readonly bint persist_fence
    cdef readonly bint change_wanted
    cdef readonly str outcome

    def __cinit__(self):
        dsm_paxos_outputs_clear(&self.outputs)
        self.outcome = "none"

    cdef _taken(self):
        cdef dsm_paxos_outputs *raw = &self.outputs
        result = (_messages(raw.now, raw.now_count),
                  _messages(raw.once_durable, raw.once_durable_count))
        self.persist = raw.persist
        self.persist_identity = raw.persist_identity
        self.persist_fence = raw.persist_fence
        self.change_wanted = raw.change_wanted
        self.outcome = OUTCOMES[raw.outcome]
        dsm_paxos_outputs_clear(raw)
        return result


cdef class Identity(_Machine):
    """What one proposing process is; shared by its proposers, registers and collectors."""

    cdef dsm_proposer_identity core

    def __init__(self, node, incarnation, counter=0, age=0):
        self.core.node = _node(node)
        self.core.incarnation = <uint32_t>number(incarnation, "an incarnation", U32_MAX)
        self.core.counter = number(counter, "a ballot's counter", U64_MAX)
        self.core.age = number(age, "an age", U64_MAX)

    @property
    def durable(self):
        """(counter, age, incarnation): what to persist when `persist_identity` says so."""
        return (self.core.counter, self.core.age, self.core.incarnation)

    def forget(self, PaxosMessage message not None):
        _check(dsm_proposer_identity_forget(&self.core, &message.raw, &self.outputs))
        return self._taken()


cdef class Acceptor(_Machine):
    cdef dsm_acceptor core
    cdef uint32_t node

    def __init__(self, node, durable=None):
        self.node = _node(node)
        dsm_acceptor_init(&self.core)
        if durable is not None:
            promised, accepted, value = parts(durable, 3, "an acceptor's durable state")
            self.core.promised = _raw_ballot(promised)
            self.core.accepted = _raw_ballot(accepted)
            _set_value(&self.core.value, value)

    @property
    def durable(self):
        """(promised, accepted, value), or None when nothing is left to persist."""
        if dsm_acceptor_empty(&self.core):
            return None
        return (_ballot(&self.core.promised), _ballot(&self.core.accepted),
                _value(&self.core.value))

    def receive(self, PaxosMessage message not None):
        _check(dsm_acceptor_receive(&self.core, self.node, &message.raw, &self.outputs))
        return self._taken()


cdef class Options:
    cdef dsm_paxos_options raw

    def __init__(self, *, resend_us=50_000, backoff_us=20_000, seed=0):
        self.raw.resend_us = number(resend_us, "resend_us", TIMEOUT_MAX)
        self.raw.backoff_us = number(backoff_us, "backoff_us", TIMEOUT_MAX)
        self.raw.seed = PyNumber_Index(seed) & 0xFFFFFFFFFFFFFFFF


cdef class Proposer(_Machine):
    """Single decree: propose until something is chosen."""

    cdef dsm_proposer core
    cdef Identity identity

    def __cinit__(self, *_args, **_options):
        self.identity = Identity.__new__(Identity)

    def __init__(self, key, config, learners, Identity identity not None,
                 Options options not None):
        cdef dsm_paxos_config raw = _raw_config(config)
        self.identity = identity
        _check(dsm_proposer_init(&self.core, _key(key), &raw, _set_of(learners), &options.raw))

    @property
    def chosen(self):
        return _value(&self.core.chosen)

    def propose(self, value, now):
        cdef dsm_paxos_value raw
        _set_value(&raw, value)
        _check(dsm_proposer_propose(&self.core, &self.identity.core, &raw, now_of(now),
                                    &self.outputs))
        return self._taken()

    def receive(self, PaxosMessage message not None, now):
        _check(dsm_proposer_receive(&self.core, &self.identity.core, &message.raw, now_of(now),
                                    &self.outputs))
        return self._taken()

    def tick(self, now):
        dsm_proposer_tick(&self.core, &self.identity.core, now_of(now), &self.outputs)
        return self._taken()


cdef class Register(_Machine):
    """The proposer's side of one CASPaxos register."""

    cdef dsm_register core
    cdef Identity identity

    def __cinit__(self, *_args, **_options):
        self.identity = Identity.__new__(Identity)

    def __init__(self, key, config, Identity identity not None, Options options not None):
        cdef dsm_paxos_config raw = _raw_config(config)
        self.identity = identity
        _check(dsm_register_init(&self.core, _key(key), &raw, &options.raw))

    @property
    def value(self):
        """The state that a wanted change starts from, or that a done one left."""
        return _value(&self.core.round.value)

    @property
    def busy(self):
        return bool(self.core.busy)

    @property
    def stable(self):
        return bool(self.core.stable)

    def configure(self, config):
        cdef dsm_paxos_config raw = _raw_config(config)
        _check(dsm_register_configure(&self.core, &raw))

    def begin(self, now, deadline, repeatable=False):
        _check(dsm_register_begin(&self.core, &self.identity.core, bool(repeatable), now_of(now),
                                  now_of(deadline), &self.outputs))
        return self._taken()

    def change(self, value, now):
        cdef dsm_paxos_value raw
        _set_value(&raw, value)
        _check(dsm_register_change(&self.core, &self.identity.core, &raw, now_of(now),
                                   &self.outputs))
        return self._taken()

    def receive(self, PaxosMessage message not None, now):
        _check(dsm_register_receive(&self.core, &self.identity.core, &message.raw, now_of(now),
                                    &self.outputs))
        return self._taken()

    def tick(self, now):
        dsm_register_tick(&self.core, &self.identity.core, now_of(now), &self.outputs)
        return self._taken()


cdef class Fence(_Machine):
    """The ages below which an acceptor drops what a proposer sent."""

    cdef dsm_fence core
    cdef uint32_t node

    def __init__(self, node, ages=()):
        self.node = _node(node)
        dsm_fence_init(&self.core)
        for row in ages:
            about, age = parts(row, 2, "an age of a fence")
            self.core.age[_node(about)] = number(age, "an age", U64_MAX)

    @property
    def durable(self):
        """((proposer, age), ...) of those with an age."""
        return tuple([(about, self.core.age[about]) for about in range(DSM_PAXOS_NODES_MAX)
                      if self.core.age[about]])

    def admits(self, PaxosMessage message not None):
        return bool(dsm_fence_admits(&self.core, &message.raw))

    def receive(self, PaxosMessage message not None):
        _check(dsm_fence_receive(&self.core, self.node, &message.raw, &self.outputs))
        return self._taken()


cdef class Collector(_Machine):
    """Removes one deleted register from every acceptor."""

    cdef dsm_collector core
    cdef Identity identity

    def __cinit__(self, *_args, **_options):
        self.identity = Identity.__new__(Identity)

    def __init__(self, key, config, proposers, Identity identity not None,
                 Options options not None):
        cdef dsm_paxos_config raw = _raw_config(config)
        self.identity = identity
        _check(dsm_collector_init(&self.core, _key(key), &raw, _set_of(proposers), &options.raw))

    @property
    def phase(self):
        return COLLECTOR_PHASES[self.core.phase]

    def begin(self, now):
        dsm_collector_begin(&self.core, &self.identity.core, now_of(now), &self.outputs)
        return self._taken()

    def receive(self, PaxosMessage message not None, now):
        _check(dsm_collector_receive(&self.core, &self.identity.core, &message.raw, now_of(now),
                                     &self.outputs))
        return self._taken()

    def tick(self, now):
        dsm_collector_tick(&self.core, &self.identity.core, now_of(now), &self.outputs)
        return self._taken()
