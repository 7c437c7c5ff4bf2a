# The immutable values that go in and out of a Raft node. Included by raft.pyx.

from collections.abc import Mapping

from dsm_native.exceptions import DSMError

include "arguments.pxi"

# A named tuple's own constructor is a Python function; this is what it calls.
cdef object tuple_new = tuple.__new__
cdef tuple ENTRY_KINDS = ("empty", "command", "config", "session_open", "session_close")
cdef tuple VERDICTS = ("apply", "duplicate", "gap", "expired", "refused")
cdef tuple ROLES = ("follower", "pre_candidate", "candidate", "leader")
cdef tuple MODES = ("probe", "replicate", "snapshot")
cdef tuple OPS = ("add_voter", "add_learner", "remove")
cdef tuple TRANSITIONS = ("auto", "joint_implicit", "joint_explicit", "leave_joint")
cdef tuple MESSAGE_KINDS = tuple(
    [dsm_raft_message_name(<uint8_t>i).decode() for i in range(DSM_RAFT_MESSAGE_KINDS)])


cdef str change_text(bytes payload):
    """A membership change for a reader."""
    cdef dsm_raft_change change
    if dsm_raft_change_decode(<const uint8_t *>PyBytes_AS_STRING(payload),
                              <uint32_t>PyBytes_GET_SIZE(payload), &change) != DSM_OK:
        return repr(payload)
    steps = [f"{OPS[change.steps[i].op]}:{change.steps[i].node}" for i in range(change.count)]
    return " ".join([TRANSITIONS[change.transition]] + steps)


@cython.final
cdef class RaftEntry:
    """A log entry: `index`, `term`, `kind`, `payload`, and for sessions `session`, `sequence`."""

    cdef readonly uint64_t index, term, session, sequence
    cdef readonly bytes payload
    cdef uint8_t kind_code

    def __init__(self, index=0, term=0, kind="command", bytes payload not None=b"", *, session=0,
                 sequence=0):
        self.index = number(index, "an index", U64_MAX)
        self.term = number(term, "a term", U64_MAX)
        self.kind_code = named(ENTRY_KINDS, kind, "a kind of entry")
        self.payload = payload
        self.session = number(session, "a session", U64_MAX)
        self.sequence = number(sequence, "a sequence", U64_MAX)

    @property
    def kind(self):
        return ENTRY_KINDS[self.kind_code]

    cdef tuple fields(self):
        return (self.index, self.term, self.kind_code, self.session, self.sequence, self.payload)

    def __eq__(self, other):
        return isinstance(other, RaftEntry) and self.fields() == (<RaftEntry>other).fields()

    def __hash__(self):
        return hash(self.fields())

    def __repr__(self):
        session = f" s{self.session}.{self.sequence}" if self.session else ""
        payload = f" {self.payload!r}" if self.payload else ""
        if self.kind_code == DSM_RAFT_CONFIG:
            payload = " " + change_text(self.payload)
        return f"{self.index}/{self.term} {self.kind}{session}{payload}"

    cdef void to_c(self, dsm_raft_entry *out) noexcept:
        out.index = self.index
        out.term = self.term
        out.session = self.session
        out.sequence = self.sequence
        out.payload = <const uint8_t *>PyBytes_AS_STRING(self.payload)
        out.payload_bytes = <uint32_t>PyBytes_GET_SIZE(self.payload)
        out.kind = self.kind_code
        out.verdict = 0


cdef RaftEntry entry_from_c(const dsm_raft_entry *entry):
    cdef RaftEntry made = RaftEntry.__new__(RaftEntry)
    made.index = entry.index
    made.term = entry.term
    made.session = entry.session
    made.sequence = entry.sequence
    made.payload = PyBytes_FromStringAndSize(<const char *>entry.payload, entry.payload_bytes)
    made.kind_code = entry.kind
    return made


class RaftMembership(NamedTuple):
    """Who votes, who only listens, and, while two majorities are needed, who voted before."""

    voters: frozenset
    outgoing: frozenset = frozenset()
    learners: frozenset = frozenset()
    learners_next: frozenset = frozenset()
    auto_leave: bool = False

    def __repr__(self):
        parts = [f"voters={sorted(self.voters)}"]
        for name in ("outgoing", "learners", "learners_next"):
            if getattr(self, name):
                parts.append(f"{name}={sorted(getattr(self, name))}")
        return " ".join(parts + ["auto_leave"] * self.auto_leave)


cdef enum:
    SPAN_MAX = 0x40000000000  # 50 days of microseconds: a clock's drift does not overflow them


cdef uint32_t room(object value, str what) except? U32_MAX:
    return <uint32_t>number(value, what, U32_MAX)


cdef object node_or_none(uint8_t node):
    return None if node == DSM_RAFT_NONE else node


cdef uint8_t node_of(object node) except? 255:
    return <uint8_t>number(node, "a Raft node's number", DSM_RAFT_NODES_MAX - 1)


cdef uint64_t mask(object nodes) except? 0xFFFFFFFFFFFFFFFF:
    cdef uint64_t bits = 0
    for node in nodes:
        bits |= (<uint64_t>1) << node_of(node)
    return bits


cdef frozenset nodes_of(uint64_t bits):
    return frozenset([i for i in range(DSM_RAFT_NODES_MAX) if bits >> i & 1])


cdef object membership_from_c(const dsm_raft_membership *m):
    return RaftMembership(nodes_of(m.voters), nodes_of(m.outgoing), nodes_of(m.learners),
                          nodes_of(m.learners_next), bool(m.auto_leave))


cdef int membership_to_c(object value, dsm_raft_membership *out) except -1:
    of_type(value, RaftMembership, "a membership")
    out.voters = mask(value.voters)
    out.outgoing = mask(value.outgoing)
    out.learners = mask(value.learners)
    out.learners_next = mask(value.learners_next)
    out.auto_leave = bool(value.auto_leave)
    return 0


class RaftSnapshot(NamedTuple):
    """What replaces the log up to `index`; `state` is the application's own, never looked into."""

    index: int
    term: int
    membership: RaftMembership
    sessions: tuple
    state: object

    def __repr__(self):
        return f"snapshot {self.index}/{self.term} {self.membership!r}"


cdef int change_to_c(str transition, steps, dsm_raft_change *out) except -1:
    if len(steps) > DSM_RAFT_CHANGES_MAX:
        raise UsageError(f"{len(steps)} steps; one change takes at most {DSM_RAFT_CHANGES_MAX}")
    out.transition = named(TRANSITIONS, transition, "a transition")
    out.count = <uint8_t>len(steps)
    for i, step in enumerate(steps):
        op, node = parts(step, 2, "a step of a change")
        out.steps[i].op = named(OPS, op, "a step of a change")
        out.steps[i].node = node_of(node)
    return 0


def changed_membership(membership, str transition, steps):
    """The membership after a change: `steps` are pairs of add_voter, add_learner or remove, and a
    node. UsageError when the change does not fit (section 6)."""
    cdef dsm_raft_membership value
    cdef dsm_raft_change change
    membership_to_c(membership, &value)
    change_to_c(transition, steps, &change)
    if dsm_raft_membership_apply(&value, &change) != DSM_OK:
        raise UsageError(f"{transition} {list(steps)} does not fit {membership!r}")
    return membership_from_c(&value)


cdef bytes snapshot_to_c(snapshot, dsm_raft_snapshot *out):
    """Returns the bytes that out.sessions points into."""
    of_type(snapshot, RaftSnapshot, "a snapshot")
    cdef uint32_t count = <uint32_t>len(snapshot.sessions)
    cdef bytes room = bytes(count * sizeof(dsm_raft_session))
    cdef dsm_raft_session *sessions = <dsm_raft_session *>PyBytes_AS_STRING(room)
    for i, row in enumerate(snapshot.sessions):
        session, sequence, used_index = parts(row, 3, "a session of a snapshot")
        sessions[i].id = number(session, "a session", U64_MAX)
        sessions[i].sequence = number(sequence, "a sequence", U64_MAX)
        sessions[i].used_index = number(used_index, "an index", U64_MAX)
    out.index = number(snapshot.index, "a snapshot's index", U64_MAX)
    out.term = number(snapshot.term, "a snapshot's term", U64_MAX)
    out.sessions = sessions
    out.session_count = count
    membership_to_c(snapshot.membership, &out.membership)
    return room


cdef object snapshot_from_c(const dsm_raft_snapshot *s, object state):
    sessions = tuple([(s.sessions[i].id, s.sessions[i].sequence, s.sessions[i].used_index)
                      for i in range(s.session_count)])
    return RaftSnapshot(s.index, s.term, membership_from_c(&s.membership), sessions, state)


class RaftApplied(NamedTuple):
    """A committed entry and what it means: apply, duplicate, gap, expired or refused."""

    entry: RaftEntry
    verdict: str

    def __repr__(self):
        return f"{self.verdict} {self.entry!r}"


cdef object applied_from_c(RaftEntry entry, uint8_t verdict):
    return tuple_new(RaftApplied, (entry, VERDICTS[verdict]))


class RaftRead(NamedTuple):
    """A confirmed read: serve it from a state with `index` in it, before `valid_until` if set."""

    context: int
    index: int
    valid_until: int


class RaftPeer(NamedTuple):
    """What a leader knows of a node."""

    match: int
    next: int
    mode: str
    inflight: int
    recently_active: bool
    paused: bool


class RaftOutputs(NamedTuple):
    """What is to be done after one input, in this order (see dsm_native.testing.protocol)."""

    send_now: tuple = ()
    persist: tuple = ()
    send_after_persist: tuple = ()
    apply: tuple = ()


@cython.final
cdef class RaftMessage:
    """One message between nodes; csrc/proto/raft.h says what each field means for which kind."""

    cdef readonly int source, target
    cdef readonly uint64_t term, index, log_term, commit, hint, context
    cdef readonly tuple entries
    cdef readonly object snapshot
    cdef readonly bint reject, force
    cdef uint8_t kind_code

    def __init__(self, kind, source, target, term, *, index=0, log_term=0, commit=0, hint=0,
                 context=0, entries=(), snapshot=None, bint reject=False, bint force=False):
        self.kind_code = named(MESSAGE_KINDS, kind, "a kind of message")
        self.source, self.target = node_of(source), node_of(target)
        self.term = number(term, "a term", U64_MAX)
        self.index = number(index, "an index", U64_MAX)
        self.log_term = number(log_term, "a term", U64_MAX)
        self.commit = number(commit, "an index", U64_MAX)
        self.hint = number(hint, "an index", U64_MAX)
        self.context = number(context, "a context", U64_MAX)
        self.entries = tuple(entries)
        for entry in self.entries:
            of_type(entry, RaftEntry, "an entry")
        if snapshot is not None:
            of_type(snapshot, RaftSnapshot, "a snapshot")
        self.snapshot = snapshot
        self.reject, self.force = reject, force

    @property
    def kind(self):
        return MESSAGE_KINDS[self.kind_code]

    cdef tuple fields(self):
        return (self.kind_code, self.source, self.target, self.term, self.index, self.log_term,
                self.commit, self.hint, self.context, self.entries, self.snapshot, self.reject,
                self.force)

    def __eq__(self, other):
        return isinstance(other, RaftMessage) and self.fields() == (<RaftMessage>other).fields()

    def __hash__(self):
        return hash(self.fields())

    def __repr__(self):
        parts = [f"{self.source}->{self.target} {self.kind} term={self.term}"]
        if self.index or self.log_term:
            parts.append(f"at={self.index}/{self.log_term}")
        for name in ("commit", "hint", "context"):
            if getattr(self, name):
                parts.append(f"{name}={getattr(self, name)}")
        parts += ["reject"] * self.reject + ["force"] * self.force
        if self.entries:
            parts.append("[" + ", ".join(map(repr, self.entries)) + "]")
        if self.snapshot is not None:
            parts.append(f"({self.snapshot!r})")
        return " ".join(parts)


class RaftRefusedError(DSMError, RuntimeError):
    """The node cannot take the request now: it does not lead, is handing over, or has no room.

    `leader` is the node to ask instead, or None when none is known; `retry` is false when the
    request itself is at fault or the log is full.
    """

    def __init__(self, reason, leader, retry):
        where = "no leader is known" if leader is None else f"node {leader} leads"
        super().__init__(f"{reason}; {where}")
        self.reason = reason
        self.leader = leader
        self.retry = retry

    def __reduce__(self):
        return type(self), (self.reason, self.leader, self.retry)
