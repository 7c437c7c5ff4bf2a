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
    """A node of a Raft cluster. Every input returns RaftOutputs; times are µs of its own clock."""

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

    def __init__(self, node, voters, *, learners=(), seed=0, durable=None, now=0,
                 election_timeout_us=150_000, heartbeat_us=30_000, clock_drift_ppm=0,
                 log_capacity=1024, payload_capacity_bytes=1 << 16, entries_per_message_max=64,
                 payload_bytes_per_message_max=1 << 14, inflight_max=16, message_capacity=512,
                 read_capacity=64, session_capacity=64, bint pre_vote=True, bint check_quorum=True,
                 bint lease_reads=False):
        cdef dsm_raft_config config
        if self.raft is not NULL:
            raise TypeError("a node is initialised once")
        config.node = node_of(node)
        config.seed = number(seed, "seed", U64_MAX)
        config.election_timeout_us = number(election_timeout_us, "election_timeout_us", SPAN_MAX)
        config.heartbeat_us = number(heartbeat_us, "heartbeat_us", SPAN_MAX)
        config.clock_drift_ppm = number(clock_drift_ppm, "clock_drift_ppm", 1_000_000)
        config.log_capacity = room(log_capacity, "log_capacity")
        config.payload_capacity_bytes = room(payload_capacity_bytes, "payload_capacity_bytes")
        config.entries_per_message_max = room(entries_per_message_max, "entries_per_message_max")
        config.payload_bytes_per_message_max = room(
            payload_bytes_per_message_max, "payload_bytes_per_message_max")
        config.inflight_max = room(inflight_max, "inflight_max")
        config.message_capacity = room(message_capacity, "message_capacity")
        config.read_capacity = room(read_capacity, "read_capacity")
        config.session_capacity = room(session_capacity, "session_capacity")
        config.pre_vote, config.check_quorum = pre_vote, check_quorum
        config.lease_reads = lease_reads
        membership_to_c(RaftMembership(voters, learners=learners), &config.membership)
        cdef size_t size = dsm_raft_bytes(&config)
        self.memory = PyMem_Malloc(size)
        if self.memory is NULL:
            raise MemoryError(f"no memory for a Raft node of {size} bytes")
        self.reserve(config.entries_per_message_max)
        if dsm_raft_init(self.memory, size, &config, &self.raft) != DSM_OK:
            raise UsageError(f"node {node}: a setting is outside its documented range")
        self.known = [None] * config.log_capacity
        self.known_mask = config.log_capacity - 1
        if durable is not None:
            self.load(durable)
        self.check(dsm_raft_start(self.raft, now_of(now)))
        self.started = self.collect()

    def __dealloc__(self):
        PyMem_Free(self.memory)
        PyMem_Free(self.incoming)

    cdef dsm_raft *core(self) except NULL:
        if self.raft is NULL:
            raise TypeError("the node was never initialised")
        return self.raft

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
            raise UsageError("message or durable state contradicts the log, or has no valid form")
        if status == DSM_RETRY:
            reason = "it does not lead, is handing over, or has a change or promise to wait for"
        dsm_raft_state_get(self.raft, &state)
        raise RaftRefusedError(reason, node_or_none(state.leader),
                               status in (DSM_RETRY, DSM_TOO_MANY))

    cdef int load(self, durable) except -1:
        cdef dsm_raft_entry entry
        cdef uint8_t node
        of_type(durable, Mapping, "what is durable")
        term, vote = parts(durable.get("vote", (0, None)), 2, "a durable vote")
        node = DSM_RAFT_NONE if vote is None else node_of(vote)
        self.check(dsm_raft_load_vote(self.raft, number(term, "a term", U64_MAX), node))
        snapshot = durable.get("snapshot")
        if snapshot is not None:
            self.load_snapshot(snapshot)
        indexes = sorted([key for key in durable if type(key) is int])
        for index in indexes:
            of_type(durable[index], RaftEntry, "a durable entry")
            (<RaftEntry>durable[index]).to_c(&entry)
            if entry.index != index:
                raise UsageError(f"the entry kept under {index} is {durable[index]!r}")
            self.check(dsm_raft_load_entry(self.raft, &entry))
        commit = number(durable.get("commit", 0), "an index", U64_MAX)
        self.check(dsm_raft_load_commit(self.raft, commit))
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
            writes.append(("vote", (state.term, node_or_none(state.vote))))
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

    def step(self, RaftMessage message not None, now):
        """Takes a message from a peer or from itself. UsageError: it contradicts what is committed,
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
        self.core()
        for i, item in enumerate(message.entries):
            (<RaftEntry>item).to_c(&self.incoming[i])
            self.known[(<RaftEntry>item).index & self.known_mask] = item
        if message.snapshot is None:
            self.check(dsm_raft_step(self.core(), &m, now_of(now)))
            return self.collect()
        _sessions = snapshot_to_c(message.snapshot, &snapshot)
        m.snapshot = &snapshot
        self.check(dsm_raft_step(self.core(), &m, now_of(now)))
        if dsm_raft_last_snapshot(self.raft).index == snapshot.index:
            self.app_state = message.snapshot.state
        return self.collect()

    def tick(self, now):
        """Looks at the clock."""
        self.check(dsm_raft_tick(self.core(), now_of(now)))
        return self.collect()

    def campaign(self, now):
        """Asks for an election now, without waiting for the time-out."""
        self.check(dsm_raft_campaign(self.core(), now_of(now)))
        return self.collect()

    def propose(self, entries, now):
        """Appends entries (their index and term are filled in). Only a leader can."""
        cdef uint32_t i, count = <uint32_t>len(entries)
        self.reserve(count)
        for i in range(count):
            (<RaftEntry?>entries[i]).to_c(&self.incoming[i])
        self.check(dsm_raft_propose(self.core(), self.incoming, count, now_of(now)))
        return self.collect()

    def propose_change(self, str transition, steps, now):
        """Proposes a change of membership, see changed_membership. One at a time."""
        cdef dsm_raft_change change
        change_to_c(transition, steps, &change)
        self.check(dsm_raft_propose_change(self.core(), &change, now_of(now)))
        return self.collect()

    def transfer(self, target, now):
        """Hands leadership to another voter once it has every entry."""
        self.check(dsm_raft_transfer(self.core(), node_of(target), now_of(now)))
        return self.collect()

    def read(self, context, now):
        """Asks for a linearizable read; a RaftRead with this context follows. A context must never
        be used twice for one node, over its restarts either."""
        self.check(dsm_raft_read_index(self.core(), number(context, "a context", U64_MAX),
                                       now_of(now)))
        return self.collect()

    def report_unreachable(self, node, now):
        """The transport could not deliver: pipelining to the node stops until it answers."""
        self.check(dsm_raft_report_unreachable(self.core(), node_of(node), now_of(now)))
        return self.collect()

    def report_snapshot(self, node, bint arrived, now):
        """The transport knows how the sending of a snapshot ended."""
        self.check(dsm_raft_report_snapshot(self.core(), node_of(node), arrived, now_of(now)))
        return self.collect()

    def take_snapshot(self, state, now, *, keep_entries=0):
        """The application's immutable `state` contains exactly what was applied so far. The log
        before it is dropped, but for the last `keep_entries`, which help followers that lag."""
        cdef list writes = []
        cdef uint64_t index, keep = number(keep_entries, "keep_entries", U64_MAX)
        self.check(dsm_raft_take_snapshot(self.core(), now_of(now)))
        if not dsm_raft_outputs_get(self.raft).persist_snapshot:
            return NOTHING
        self.app_state = state
        outputs = self.collect()
        index = dsm_raft_last_snapshot(self.raft).index
        if index > keep:
            index -= keep
            dsm_raft_compact(self.raft, index)
            self.forget_up_to(index, writes)
        return outputs._replace(persist=outputs.persist + tuple(writes))

    def entry(self, index):
        """The log's entry; IndexError when it is compacted or not there yet."""
        self.core()
        return self.entry_object(number(index, "an index", U64_MAX))

    def peer(self, node):
        """What this leader knows of a member; None when this node does not lead it."""
        cdef dsm_raft_peer p
        if not dsm_raft_peer_get(self.core(), node_of(node), &p):
            return None
        return RaftPeer(p.match, p.next, MODES[p.mode], p.inflight_count, bool(p.recently_active),
                        bool(p.paused))

    def valid(self):
        """Whether every relation that holds between two inputs does."""
        return bool(dsm_raft_valid(self.core()))

    cdef dsm_raft_state state(self) except *:
        cdef dsm_raft_state state
        dsm_raft_state_get(self.core(), &state)
        return state

    @property
    def term(self):
        return self.state().term

    @property
    def vote(self):
        return node_or_none(self.state().vote)

    @property
    def leader(self):
        return node_or_none(self.state().leader)

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
