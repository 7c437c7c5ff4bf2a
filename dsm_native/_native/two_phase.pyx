# cython: language_level=3, boundscheck=False, wraparound=False
"""Two-phase commit for tests and for users' own protocols: the C cores behind `step` and `tick`.

`Coordinator` and `Participant` are one side of one transaction each. A whole node, with any number
of transactions in either role, is in `dsm_native.testing.two_phase_node`. Not thread-safe. Times
are microseconds.
"""

from collections import namedtuple

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
        raise ValueError(dsm_status_message(status).decode())


cdef uint64_t _set_of(nodes) except? 0:
    cdef uint64_t members = 0
    for node in nodes:
        if not 0 <= node < DSM_TWO_PHASE_NODES_MAX:
            raise ValueError(f"node {node} is not between 0 and {DSM_TWO_PHASE_NODES_MAX - 1}")
        members |= <uint64_t>1 << <int>node
    return members


cdef dsm_two_phase_outcome _outcome(str name) except *:
    cdef int number = OUTCOMES.index(name)
    return <dsm_two_phase_outcome>number


cdef class TwoPhaseMessage:
    """One immutable message. `source` or `target` is -1 for a client."""

    cdef readonly int source
    cdef readonly int target
    cdef readonly str kind
    cdef readonly object transaction
    cdef readonly str vote

    def __init__(self, int source, int target, str kind, transaction, str vote=""):
        self.source = source
        self.target = target
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
    raw.transaction = message.transaction
    raw.kind = KINDS.index(message.kind)
    raw.vote = VOTES.index(message.vote)
    raw.source = message.source
    raw.target = message.target
    return raw


cdef class Options:
    """Time-outs and mode, shared by all transactions of a node."""

    cdef dsm_two_phase_options raw

    def __init__(self, *, vote_timeout_us=1_000_000, work_timeout_us=5_000_000,
                 resend_us=100_000, inquire_timeout_us=300_000, non_blocking=False):
        self.raw.vote_timeout_us = vote_timeout_us
        self.raw.work_timeout_us = work_timeout_us
        self.raw.resend_us = resend_us
        self.raw.inquire_timeout_us = inquire_timeout_us
        self.raw.non_blocking = non_blocking

    @property
    def non_blocking(self):
        return bool(self.raw.non_blocking)


cdef class DecisionWord:
    """One decision word of the non-blocking mode, in this process's memory."""

    cdef dsm_atomic_u64 word
    cdef readonly object transaction

    def __init__(self, transaction):
        if not 0 <= transaction <= DSM_DECISION_TRANSACTION_MAX:
            raise ValueError(f"transaction {transaction} does not fit in 62 bits")
        self.open(transaction)

    def open(self, uint64_t transaction):
        """Start a transaction on the word; never while another one is undecided."""
        dsm_decision_open(&self.word, transaction)
        self.transaction = transaction

    def read(self, uint64_t transaction):
        return OUTCOMES[dsm_decision_read(&self.word, transaction)]

    def decide(self, uint64_t transaction, str wanted):
        """Swap once; return what the word then holds, which need not be `wanted`."""
        if wanted not in ("committed", "aborted"):
            raise ValueError(f"{wanted!r} is neither 'committed' nor 'aborted'")
        return OUTCOMES[dsm_decision_decide(
            &self.word, transaction, _outcome(wanted))]


cdef _record(str role, const dsm_two_phase_record *raw):
    return ((role, raw.transaction),
            (RECORDS[raw.kind], raw.coordinator, raw.participants, bool(raw.forced)))


cdef dsm_two_phase_record _raw_record(transaction, value) except *:
    cdef dsm_two_phase_record raw
    raw.transaction = transaction
    raw.kind = RECORDS.index(value[0])
    raw.coordinator = value[1]
    raw.participants = value[2]
    raw.forced = value[3]
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
        _check(dsm_coordinator_init(&self.core, transaction, node, _set_of(participants),
                                    &options.raw))

    @property
    def state(self):
        return COORDINATOR_STATES[self.core.state]

    @property
    def decision(self):
        return OUTCOMES[self.core.outcome]

    def begin(self, uint64_t now):
        _check(dsm_coordinator_begin(&self.core, now, &self.outputs))
        return self._outputs()

    def abort(self):
        _check(dsm_coordinator_abort(&self.core, &self.outputs))
        return self._outputs()

    def receive(self, message, uint64_t now):
        cdef dsm_two_phase_message raw = _raw(message)
        _check(dsm_coordinator_receive(&self.core, &raw, now, &self.outputs))
        return self._outputs()

    def tick(self, uint64_t now):
        dsm_coordinator_tick(&self.core, now, &self.outputs)
        return self._outputs()

    def decided(self, str held, uint64_t now):
        _check(dsm_coordinator_decided(
            &self.core, _outcome(held), now, &self.outputs))
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

    def __init__(self, transaction, node, coordinator, Options options not None, uint64_t now):
        self.role = "participant"
        self.transaction = transaction
        dsm_two_phase_outputs_clear(&self.outputs)
        _check(dsm_participant_init(&self.core, transaction, node, coordinator, &options.raw,
                                    now))

    @property
    def state(self):
        return PARTICIPANT_STATES[self.core.state]

    def receive(self, message, uint64_t now):
        cdef dsm_two_phase_message raw = _raw(message)
        _check(dsm_participant_receive(&self.core, &raw, now, &self.outputs))
        return self._outputs()

    def vote(self, str vote, uint64_t now):
        cdef int number = VOTES.index(vote)
        _check(dsm_participant_vote(&self.core, <dsm_two_phase_vote>number, now, &self.outputs))
        return self._outputs()

    def tick(self, uint64_t now):
        dsm_participant_tick(&self.core, now, &self.outputs)
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
