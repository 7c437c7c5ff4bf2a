# cython: language_level=3, binding=False, autotestdict=False
"""One Raft node as a thin handle over csrc/proto/raft.h. Not safe for two threads at once.

Durable state is a mapping, so that any storage can hold it: "vote" -> (term, node), "snapshot" ->
RaftSnapshot, an entry's index -> RaftEntry, "commit" -> index. Writes come in the order in which
a crash may keep any prefix of them.
"""

from typing import NamedTuple

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM


include "raft_values.pxi"

cdef object NOTHING = RaftOutputs()


@cython.final
cdef class Raft:
    """A node of a Raft cluster: `step` and `tick`, and what a client asks of it.

    Every input returns RaftOutputs. Times are microseconds of the node's own clock.
    """

    cdef dsm_raft *raft
    cdef void *memory
    cdef dsm_raft_entry *incoming
    cdef uint32_t incoming_room
    cdef list known  # entries by index modulo the log's capacity: made once, shared by all messages
    cdef uint64_t known_mask
    cdef uint64_t durable_first, durable_last
    cdef object app_state
    cdef readonly object started
    """The outputs of starting: what was known to be committed, to be applied again."""

    def __init__(self, int node, voters, *, learners=(), uint64_t seed=0, durable=None,
                 uint64_t now=0, uint64_t election_timeout_us=150_000,
                 uint64_t heartbeat_us=30_000, uint64_t clock_drift_ppm=0,
                 uint32_t log_capacity=1024, uint32_t payload_capacity_bytes=1 << 16,
                 uint32_t entries_per_message_max=64,
                 uint32_t payload_bytes_per_message_max=1 << 14, uint32_t inflight_max=16,
                 uint32_t message_capacity=512, uint32_t read_capacity=64,
                 uint32_t session_capacity=64, bint pre_vote=True, bint check_quorum=True,
                 bint lease_reads=False):
        cdef dsm_raft_config config
        config.node = <uint8_t>node
        config.seed = seed
        config.election_timeout_us = election_timeout_us
        config.heartbeat_us = heartbeat_us
        config.clock_drift_ppm = clock_drift_ppm
        config.log_capacity = log_capacity
        config.payload_capacity_bytes = payload_capacity_bytes
        config.entries_per_message_max = entries_per_message_max
        config.payload_bytes_per_message_max = payload_bytes_per_message_max
        config.inflight_max = inflight_max
        config.message_capacity = message_capacity
        config.read_capacity = read_capacity
        config.session_capacity = session_capacity
        config.pre_vote = pre_vote
        config.check_quorum = check_quorum
        config.lease_reads = lease_reads
        membership_to_c(RaftMembership(voters, learners=learners), &config.membership)
        cdef size_t size = dsm_raft_bytes(&config)
        self.memory = PyMem_Malloc(size)
        self.reserve(entries_per_message_max)
        if self.memory is NULL:
            raise MemoryError(f"no memory for a Raft node of {size} bytes")
        if not 0 <= node < DSM_RAFT_NODES_MAX or \
                dsm_raft_init(self.memory, size, &config, &self.raft) != DSM_OK:
            raise ValueError(f"node {node}: a setting is outside its documented range")
        self.known = [None] * log_capacity
        self.known_mask = log_capacity - 1
        self.load(durable or {})
        self.check(dsm_raft_start(self.raft, now))
        self.started = self.collect()

    def __dealloc__(self):
        PyMem_Free(self.memory)
        PyMem_Free(self.incoming)

    cdef int reserve(self, uint32_t count) except -1:
        if count <= self.incoming_room:
            return 0
        PyMem_Free(self.incoming)
        self.incoming = <dsm_raft_entry *>PyMem_Malloc(count * sizeof(dsm_raft_entry))
        if self.incoming is NULL:
            self.incoming_room = 0
            raise MemoryError(f"no memory for {count} entries")
        self.incoming_room = count
        return 0

    cdef int check(self, dsm_status status) except -1:
        cdef dsm_raft_state state
        if status == DSM_OK:
            return 0
        reason = dsm_status_message(status).decode()
        if status == DSM_CORRUPT:
            raise ValueError("the message contradicts what is committed, or has no valid form")
        if status == DSM_RETRY:
            reason = "it does not lead, is handing over, or has a change or promise to wait for"
        dsm_raft_state_get(self.raft, &state)
        leader = None if state.leader == DSM_RAFT_NONE else state.leader
        raise RaftRefusedError(reason, leader, status == DSM_RETRY or status == DSM_TOO_MANY)

    cdef int load(self, durable) except -1:
        cdef dsm_raft_entry entry
        cdef uint8_t node
        term, vote = durable.get("vote", (0, None))
        node = DSM_RAFT_NONE if vote is None else vote
        self.check(dsm_raft_load_vote(self.raft, term, node))
        snapshot = durable.get("snapshot")
        if snapshot is not None:
            self.load_snapshot(snapshot)
        indexes = sorted([key for key in durable if type(key) is int])
        for index in indexes:
            (<RaftEntry>durable[index]).to_c(&entry)
            self.check(dsm_raft_load_entry(self.raft, &entry))
        self.check(dsm_raft_load_commit(self.raft, durable.get("commit", 0)))
        self.durable_first = indexes[0] if indexes else self.last_index + 1
        self.durable_last = self.last_index
        return 0

    cdef int load_snapshot(self, snapshot) except -1:
        cdef dsm_raft_snapshot value
        cdef bytes _sessions = snapshot_to_c(snapshot, &value)
        self.check(dsm_raft_load_snapshot(self.raft, &value))
        self.app_state = snapshot.state
        return 0

    cdef object snapshot(self):
        return snapshot_from_c(dsm_raft_last_snapshot(self.raft), self.app_state)

    cdef RaftEntry entry_object(self, uint64_t index):
        cdef RaftEntry known
        cdef dsm_raft_entry entry
        cdef uint64_t term
        if not dsm_raft_term_at(self.raft, index, &term):
            raise IndexError(f"the log has no entry {index}")
        item = self.known[index & self.known_mask]
        if item is not None:
            known = <RaftEntry>item
            if known.index == index and known.term == term:
                return known
        if not dsm_raft_entry_at(self.raft, index, &entry):
            raise IndexError(f"the log has no entry {index}")
        known = entry_from_c(&entry)
        self.known[index & self.known_mask] = known
        return known

    cdef RaftMessage message_object(self, const dsm_raft_message *m):
        cdef RaftMessage made = RaftMessage.__new__(RaftMessage)
        cdef RaftEntry entry
        cdef uint32_t i
        made.kind_code = m.kind
        made.source, made.target = m.source, m.target
        made.term, made.index, made.log_term = m.term, m.index, m.log_term
        made.commit, made.hint, made.context = m.commit, m.hint, m.context
        made.reject, made.force = m.reject, m.force
        made.entries = PyTuple_New(m.entry_count)
        for i in range(m.entry_count):
            entry = self.entry_object(m.index + 1 + i)
            Py_INCREF(entry)
            PyTuple_SET_ITEM(made.entries, i, entry)
        if m.snapshot is not NULL:
            made.snapshot = snapshot_from_c(m.snapshot, self.app_state)
        return made

    cdef tuple message_objects(self, const dsm_raft_message *messages, uint32_t count):
        if count == 0:
            return ()
        return tuple([self.message_object(&messages[i]) for i in range(count)])

    cdef tuple writes(self, const dsm_raft_outputs *out):
        cdef list writes = []
        cdef dsm_raft_state state
        cdef uint64_t index
        dsm_raft_state_get(self.raft, &state)
        if out.persist_vote:
            writes.append(("vote", (state.term,
                                    None if state.vote == DSM_RAFT_NONE else state.vote)))
        if out.persist_entries:
            # Downwards: a crash between two of them must leave a log without a hole.
            while self.durable_last >= out.persist_first and \
                    self.durable_last >= self.durable_first:
                writes.append((self.durable_last, None))
                self.durable_last -= 1
        if out.persist_snapshot:
            writes.append(("snapshot", self.snapshot()))
        if out.apply_snapshot:
            self.forget_up_to(out.persist_first - 1, writes)
        if out.persist_entries:
            for index in range(out.persist_first, out.persist_last + 1):
                writes.append((index, self.entry_object(index)))
            self.durable_last = out.persist_last
        if out.persist_commit:
            writes.append(("commit", state.commit))
        return tuple(writes)

    cdef int forget_up_to(self, uint64_t index, list writes) except -1:
        while self.durable_first <= index and self.durable_first <= self.durable_last:
            writes.append((self.durable_first, None))
            self.durable_first += 1
        if self.durable_first <= index:
            self.durable_first = index + 1
            self.durable_last = index
        return 0

    cdef tuple applied_objects(self, const dsm_raft_outputs *out):
        cdef list items = []
        cdef dsm_raft_entry entry
        cdef uint64_t index
        if out.apply_snapshot:
            items.append(self.snapshot())
        for index in range(out.apply_first, out.apply_last + 1):
            dsm_raft_entry_at(self.raft, index, &entry)
            items.append(applied_from_c(self.entry_object(index), entry.verdict))
        for i in range(out.read_count):
            items.append(RaftRead(out.reads[i].context, out.reads[i].index,
                                  out.reads[i].valid_until))
        return tuple(items)

    cdef object collect(self):
        cdef const dsm_raft_outputs *out = dsm_raft_outputs_get(self.raft)
        cdef tuple persist = (), applied = ()
        if out.persist_vote or out.persist_entries or out.persist_commit or out.persist_snapshot:
            persist = self.writes(out)
        if out.apply_snapshot or out.apply_first <= out.apply_last or out.read_count:
            applied = self.applied_objects(out)
        if not persist and not applied and out.send_now_count == 0 and \
                out.send_after_persist_count == 0:
            return NOTHING
        return tuple_new(RaftOutputs, (
            self.message_objects(out.send_now, out.send_now_count), persist,
            self.message_objects(out.send_after_persist, out.send_after_persist_count), applied))

    def step(self, RaftMessage message not None, uint64_t now):
        """Takes a message from a peer or from itself. ValueError: it contradicts what is committed,
        which only damage, forgery or two clusters of one name can bring about."""
        cdef dsm_raft_message m
        cdef dsm_raft_snapshot snapshot
        cdef bytes _sessions
        cdef uint32_t i
        m.term, m.index, m.log_term = message.term, message.index, message.log_term
        m.commit, m.hint, m.context = message.commit, message.hint, message.context
        m.kind, m.reject, m.force = message.kind_code, message.reject, message.force
        m.source, m.target = <uint8_t>message.source, <uint8_t>message.target
        m.snapshot = NULL
        m.entry_count = <uint32_t>len(message.entries)
        self.reserve(m.entry_count)
        m.entries = self.incoming
        for i in range(m.entry_count):
            item = message.entries[i]
            (<RaftEntry>item).to_c(&self.incoming[i])
            self.known[(<RaftEntry>item).index & self.known_mask] = item
        if message.snapshot is None:
            self.check(dsm_raft_step(self.raft, &m, now))
            return self.collect()
        _sessions = snapshot_to_c(message.snapshot, &snapshot)
        m.snapshot = &snapshot
        self.check(dsm_raft_step(self.raft, &m, now))
        if dsm_raft_last_snapshot(self.raft).index == snapshot.index:
            self.app_state = message.snapshot.state
        return self.collect()

    def tick(self, uint64_t now):
        """Looks at the clock."""
        self.check(dsm_raft_tick(self.raft, now))
        return self.collect()

    def campaign(self, uint64_t now):
        """Asks for an election now, without waiting for the time-out."""
        self.check(dsm_raft_campaign(self.raft, now))
        return self.collect()

    def propose(self, entries, uint64_t now):
        """Appends entries (their index and term are filled in). Only a leader can."""
        cdef uint32_t i, count = <uint32_t>len(entries)
        self.reserve(count)
        for i in range(count):
            (<RaftEntry?>entries[i]).to_c(&self.incoming[i])
        self.check(dsm_raft_propose(self.raft, self.incoming, count, now))
        return self.collect()

    def propose_change(self, str transition, steps, uint64_t now):
        """Proposes a change of membership, see changed_membership. One at a time."""
        cdef dsm_raft_change change
        change_to_c(transition, steps, &change)
        self.check(dsm_raft_propose_change(self.raft, &change, now))
        return self.collect()

    def transfer(self, int target, uint64_t now):
        """Hands leadership to another voter once it has every entry."""
        mask((target,))
        self.check(dsm_raft_transfer(self.raft, <uint8_t>target, now))
        return self.collect()

    def read(self, uint64_t context, uint64_t now):
        """Asks for a linearizable read; a RaftRead with this context follows. A context must never
        be used twice for one node, over its restarts either."""
        self.check(dsm_raft_read_index(self.raft, context, now))
        return self.collect()

    def report_unreachable(self, int node, uint64_t now):
        """The transport could not deliver: pipelining to the node stops until it answers."""
        mask((node,))
        self.check(dsm_raft_report_unreachable(self.raft, <uint8_t>node, now))
        return self.collect()

    def report_snapshot(self, int node, bint arrived, uint64_t now):
        """The transport knows how the sending of a snapshot ended."""
        mask((node,))
        self.check(dsm_raft_report_snapshot(self.raft, <uint8_t>node, arrived, now))
        return self.collect()

    def take_snapshot(self, state, uint64_t now, *, uint64_t keep_entries=0):
        """The application's immutable `state` contains exactly what was applied so far. The log
        before it is dropped, but for the last `keep_entries`, which help followers that lag."""
        cdef list writes = []
        cdef uint64_t index
        self.check(dsm_raft_take_snapshot(self.raft, now))
        if not dsm_raft_outputs_get(self.raft).persist_snapshot:
            return NOTHING
        self.app_state = state
        outputs = self.collect()
        index = dsm_raft_last_snapshot(self.raft).index
        if index > keep_entries:
            index -= keep_entries
            dsm_raft_compact(self.raft, index)
            self.forget_up_to(index, writes)
        return outputs._replace(persist=outputs.persist + tuple(writes))

    def entry(self, uint64_t index):
        """The log's entry; IndexError when it is compacted or not there yet."""
        return self.entry_object(index)

    def peer(self, int node):
        """What this leader knows of a member; None when this node does not lead it."""
        cdef dsm_raft_peer p
        mask((node,))
        if not dsm_raft_peer_get(self.raft, <uint8_t>node, &p):
            return None
        return RaftPeer(p.match, p.next, MODES[p.mode], p.inflight_count, bool(p.recently_active),
                        bool(p.paused))

    def valid(self):
        """Whether every relation that holds between two inputs does."""
        return bool(dsm_raft_valid(self.raft))

    cdef dsm_raft_state state(self) noexcept:
        cdef dsm_raft_state state
        dsm_raft_state_get(self.raft, &state)
        return state

    @property
    def term(self):
        return self.state().term

    @property
    def vote(self):
        node = self.state().vote
        return None if node == DSM_RAFT_NONE else node

    @property
    def leader(self):
        node = self.state().leader
        return None if node == DSM_RAFT_NONE else node

    @property
    def role(self):
        return ROLES[self.state().role]

    @property
    def commit(self):
        return self.state().commit

    @property
    def first_index(self):
        return self.state().first_index

    @property
    def last_index(self):
        return self.state().last_index

    @property
    def last_term(self):
        return self.state().last_term

    @property
    def election_at(self):
        return self.state().election_at

    @property
    def membership(self):
        cdef dsm_raft_state state = self.state()
        return membership_from_c(&state.membership)
