# cython: language_level=3
"""Two-phase commit for tests and for users' own protocols: the C cores behind `step` and `tick`.

`Coordinator` and `Participant` are one side of one transaction each. A whole node, with any number
of transactions in either role, is in `dsm_native.testing.two_phase_node`. Not thread-safe. Times
are microseconds. Errors: UsageError (a ValueError) for an argument out of its range, and for a call
or a record that does not fit the state; TypeError for one of another type.
"""

from collections import namedtuple

include "arguments.pxi"

# The shape of testing.protocol.Outputs; this layer imports nothing from the one above.
Outputs = namedtuple("Outputs", "send_now persist send_after_persist apply")

KINDS = ("", "prepare", "vote", "commit", "abort", "acknowledge", "inquire")
VOTES = ("", "yes", "no", "read-only")
OUTCOMES = ("none", "committed", "aborted")
COORDINATOR_STATES = ("idle", "preparing", "deciding", "committing", "done")
PARTICIPANT_STATES = ("working", "asked", "prepared", "committed", "aborted", "read-only")
RECORDS = ("", "prepared", "committed", "aborted", "commit", "end")


cdef _check(dsm_status status):
    if status != DSM_OK:
        raise UsageError(dsm_status_message(status).decode())


cdef uint32_t _node(node) except? U32_MAX:
    return <uint32_t>number(node, "a node", DSM_TWO_PHASE_NODES_MAX - 1)


cdef uint64_t _set_of(nodes) except? 0:
    cdef uint64_t members = 0
    for node in nodes:
        members |= <uint64_t>1 << _node(node)
    return members


cdef dsm_two_phase_outcome _outcome(str name) except *:
    cdef int place = named(OUTCOMES, name, "an outcome")
    return <dsm_two_phase_outcome>place


cdef class TwoPhaseMessage:
    """One immutable message. `source` or `target` is -1 for a client."""

    cdef readonly int source
    cdef readonly int target
    cdef readonly str kind
    cdef readonly object transaction
    cdef readonly str vote

    def __init__(self, source, target, str kind, transaction, str vote=""):
        self.source = -1 if source == -1 else <int>_node(source)
        self.target = -1 if target == -1 else <int>_node(target)
        self.kind = kind
        self.transaction = transaction
        self.vote = vote

    def _key(self):
        return (self.source, self.target, self.kind, self.transaction, self.vote)

    def __eq__(self, other):
        return isinstance(other, TwoPhaseMessage) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def __repr__(self):
        vote = f" {self.vote}" if self.vote else ""
        return f"{self.source}->{self.target} {self.kind} t{self.transaction}{vote}"


cdef TwoPhaseMessage _message(const dsm_two_phase_message *raw):
    return TwoPhaseMessage(raw.source, raw.target, KINDS[raw.kind], raw.transaction,
                           VOTES[raw.vote])


cdef dsm_two_phase_message _raw(message) except *:
    cdef dsm_two_phase_message raw
    of_type(message, TwoPhaseMessage, "a message")
    raw.transaction = number(message.transaction, "a transaction", U64_MAX)
    raw.kind = named(KINDS, message.kind, "a kind of message")
    raw.vote = named(VOTES, message.vote, "a vote")
    raw.source = _node(message.source)
    raw.target = _node(message.target)
    return raw


cdef class Options:
    """Time-outs and mode, shared by all transactions of a node."""

    cdef dsm_two_phase_options raw

    def __init__(self, *, vote_timeout_us=1_000_000, work_timeout_us=5_000_000,
                 resend_us=100_000, inquire_timeout_us=300_000, non_blocking=False):
        self.raw.vote_timeout_us = number(vote_timeout_us, "vote_timeout_us", TIMEOUT_MAX)
        self.raw.work_timeout_us = number(work_timeout_us, "work_timeout_us", TIMEOUT_MAX)
        self.raw.resend_us = number(resend_us, "resend_us", TIMEOUT_MAX)
        self.raw.inquire_timeout_us = number(inquire_timeout_us, "inquire_timeout_us", TIMEOUT_MAX)
        self.raw.non_blocking = non_blocking

    @property
    def non_blocking(self):
        return bool(self.raw.non_blocking)


cdef uint64_t _worded(transaction) except? U64_MAX:
    return number(transaction, "a transaction with a decision word", DSM_DECISION_TRANSACTION_MAX)


cdef class DecisionWord:
    """One decision word of the non-blocking mode, in this process's memory."""

    cdef dsm_atomic_u64 word
    cdef readonly object transaction

    def __init__(self, transaction):
        self.open(transaction)

    def open(self, transaction):
        """Start a transaction on the word; never while another one is undecided."""
        dsm_decision_open(&self.word, _worded(transaction))
        self.transaction = transaction

    def read(self, transaction):
        return OUTCOMES[dsm_decision_read(&self.word, _worded(transaction))]

    def decide(self, transaction, str wanted):
        """Swap once; return what the word then holds, which need not be `wanted`."""
        if wanted not in ("committed", "aborted"):
            raise UsageError(f"{wanted!r} is neither 'committed' nor 'aborted'")
        return OUTCOMES[dsm_decision_decide(&self.word, _worded(transaction), _outcome(wanted))]


cdef _record(str role, const dsm_two_phase_record *raw):
    return ((role, raw.transaction),
            (RECORDS[raw.kind], raw.coordinator, raw.participants, bool(raw.forced)))


cdef dsm_two_phase_record _raw_record(transaction, value) except *:
    cdef dsm_two_phase_record raw
    kind, coordinator, participants, forced = parts(value, 4, "a record")
    raw.transaction = transaction
    raw.kind = named(RECORDS, kind, "a kind of record")
    raw.coordinator = _node(coordinator)
    raw.participants = number(participants, "a set of participants", U64_MAX)
    raw.forced = bool(forced)
    return raw


cdef class _Side:
    """What both sides share: the outputs of the last call, turned into Python."""

    cdef dsm_two_phase_outputs outputs
    cdef readonly object transaction
    cdef readonly str outcome
    cdef readonly str decide
    cdef readonly bint vote_wanted
    cdef readonly bint outcome_once_durable
    cdef str role

    cdef _outputs(self):
        cdef dsm_two_phase_outputs *raw = &self.outputs
        now = tuple([_message(&raw.now[i]) for i in range(raw.now_count)])
        later = tuple([_message(&raw.once_durable[i]) for i in range(raw.once_durable_count)])
        records = tuple([_record(self.role, &raw.records[i]) for i in range(raw.record_count)])
        self.outcome = OUTCOMES[raw.outcome]
        self.decide = OUTCOMES[raw.decide]
        self.vote_wanted = raw.vote_wanted
        self.outcome_once_durable = raw.outcome_once_durable
        dsm_two_phase_outputs_clear(raw)
        apply = () if self.outcome == "none" else ((self.role, self.transaction, self.outcome),)
        return Outputs(now, records, later, apply)


cdef class Coordinator(_Side):
    """The coordinator of one transaction; every method returns `Outputs`.

    After each call `outcome`, `outcome_once_durable` and `decide` tell what that call asked for.
    """

    cdef dsm_coordinator core

    def __init__(self, transaction, node, participants, Options options not None):
        self.role = "coordinator"
        self.transaction = transaction
        dsm_two_phase_outputs_clear(&self.outputs)
        _check(dsm_coordinator_init(&self.core, number(transaction, "a transaction", U64_MAX),
                                    _node(node), _set_of(participants), &options.raw))

    @property
    def state(self):
        return COORDINATOR_STATES[self.core.state]

    @property
    def decision(self):
        return OUTCOMES[self.core.outcome]

    def begin(self, now):
        _check(dsm_coordinator_begin(&self.core, now_of(now), &self.outputs))
        return self._outputs()

    def abort(self):
        _check(dsm_coordinator_abort(&self.core, &self.outputs))
        return self._outputs()

    def receive(self, message, now):
        cdef dsm_two_phase_message raw = _raw(message)
        _check(dsm_coordinator_receive(&self.core, &raw, now_of(now), &self.outputs))
        return self._outputs()

    def tick(self, now):
        dsm_coordinator_tick(&self.core, now_of(now), &self.outputs)
        return self._outputs()

    def decided(self, str held, now):
        _check(dsm_coordinator_decided(
            &self.core, _outcome(held), now_of(now), &self.outputs))
        return self._outputs()

    def recover(self, value):
        """Take back one record, in the order in which it was persisted."""
        cdef dsm_two_phase_record raw = _raw_record(self.transaction, value)
        _check(dsm_coordinator_recover(&self.core, &raw))


cdef class Participant(_Side):
    """A participant of one transaction; every method returns `Outputs`.

    After each call `vote_wanted`, `outcome` and `decide` tell what that call asked for.
    """

    cdef dsm_participant core

    def __init__(self, transaction, node, coordinator, Options options not None, now):
        self.role = "participant"
        self.transaction = transaction
        dsm_two_phase_outputs_clear(&self.outputs)
        _check(dsm_participant_init(&self.core, number(transaction, "a transaction", U64_MAX),
                                    _node(node), _node(coordinator), &options.raw, now_of(now)))

    @property
    def state(self):
        return PARTICIPANT_STATES[self.core.state]

    def receive(self, message, now):
        cdef dsm_two_phase_message raw = _raw(message)
        _check(dsm_participant_receive(&self.core, &raw, now_of(now), &self.outputs))
        return self._outputs()

    def vote(self, str vote, now):
        cdef int place = named(VOTES, vote, "a vote")
        _check(dsm_participant_vote(&self.core, <dsm_two_phase_vote>place, now_of(now),
                                    &self.outputs))
        return self._outputs()

    def tick(self, now):
        dsm_participant_tick(&self.core, now_of(now), &self.outputs)
        return self._outputs()

    def decided(self, str held):
        _check(dsm_participant_decided(
            &self.core, _outcome(held), &self.outputs))
        return self._outputs()

    def recover(self, value):
        """Take back one record, in the order in which it was persisted."""
        cdef dsm_two_phase_record raw = _raw_record(self.transaction, value)
        _check(dsm_participant_recover(&self.core, &raw))


def presume(message, str held="aborted"):
    """The answer of a node without a record of the transaction, or None when none is due."""
    cdef dsm_two_phase_message raw = _raw(message)
    cdef dsm_two_phase_message answer
    if not dsm_coordinator_presume(&raw, _outcome(held), &answer):
        return None
    return _message(&answer)
