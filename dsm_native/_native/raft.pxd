"""Mirror of csrc/proto/raft.h and raft_membership.h."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "base/status.h" nogil:
    ctypedef enum dsm_status:
        DSM_OK
        DSM_RETRY
        DSM_USAGE
        DSM_STORE_FULL
        DSM_TOO_MANY
        DSM_CORRUPT

    const char *dsm_status_message(dsm_status status) noexcept


cdef extern from "proto/raft.h" nogil:
    enum:
        DSM_RAFT_NODES_MAX
        DSM_RAFT_NONE
        DSM_RAFT_CHANGES_MAX
        DSM_RAFT_MESSAGE_KINDS
        DSM_RAFT_CONFIG

    ctypedef struct dsm_raft:
        pass

    ctypedef struct dsm_raft_entry:
        uint64_t index
        uint64_t term
        uint64_t session
        uint64_t sequence
        const uint8_t *payload
        uint32_t payload_bytes
        uint8_t kind
        uint8_t verdict

    ctypedef struct dsm_raft_membership:
        uint64_t voters
        uint64_t outgoing
        uint64_t learners
        uint64_t learners_next
        bint auto_leave

    ctypedef struct dsm_raft_change_step:
        uint8_t op
        uint8_t node

    ctypedef struct dsm_raft_change:
        uint8_t transition
        uint8_t count
        dsm_raft_change_step *steps

    ctypedef struct dsm_raft_session:
        uint64_t id
        uint64_t sequence
        uint64_t used_index

    ctypedef struct dsm_raft_snapshot:
        uint64_t index
        uint64_t term
        dsm_raft_membership membership
        const dsm_raft_session *sessions
        uint32_t session_count

    ctypedef struct dsm_raft_message:
        uint64_t term
        uint64_t index
        uint64_t log_term
        uint64_t commit
        uint64_t hint
        uint64_t context
        const dsm_raft_entry *entries
        const dsm_raft_snapshot *snapshot
        uint32_t entry_count
        uint8_t kind
        uint8_t source
        uint8_t target
        bint reject
        bint force

    ctypedef struct dsm_raft_read:
        uint64_t context
        uint64_t index
        uint64_t valid_until

    ctypedef struct dsm_raft_outputs:
        const dsm_raft_message *send_now
        const dsm_raft_message *send_after_persist
        const dsm_raft_read *reads
        uint64_t persist_first
        uint64_t persist_last
        uint64_t apply_first
        uint64_t apply_last
        uint32_t send_now_count
        uint32_t send_after_persist_count
        uint32_t read_count
        uint32_t dropped_count
        bint persist_vote
        bint persist_commit
        bint persist_entries
        bint persist_snapshot
        bint apply_snapshot

    ctypedef struct dsm_raft_config:
        uint64_t seed
        uint64_t election_timeout_us
        uint64_t heartbeat_us
        uint64_t clock_drift_ppm
        uint32_t log_capacity
        uint32_t payload_capacity_bytes
        uint32_t entries_per_message_max
        uint32_t payload_bytes_per_message_max
        uint32_t inflight_max
        uint32_t message_capacity
        uint32_t read_capacity
        uint32_t session_capacity
        uint8_t node
        bint pre_vote
        bint check_quorum
        bint lease_reads
        dsm_raft_membership membership

    ctypedef struct dsm_raft_state:
        uint64_t term
        uint64_t commit
        uint64_t applied
        uint64_t first_index
        uint64_t last_index
        uint64_t last_term
        uint64_t election_at
        dsm_raft_membership membership
        uint8_t vote
        uint8_t leader
        uint8_t role
        uint8_t transfer_target

    ctypedef struct dsm_raft_peer:
        uint64_t match
        uint64_t next
        uint32_t inflight_count
        uint8_t mode
        bint recently_active
        bint paused

    size_t dsm_raft_bytes(const dsm_raft_config *config) noexcept
    dsm_status dsm_raft_init(void *memory, size_t bytes, const dsm_raft_config *config,
                             dsm_raft **out) noexcept
    dsm_status dsm_raft_load_vote(dsm_raft *raft, uint64_t term, uint8_t vote) noexcept
    dsm_status dsm_raft_load_snapshot(dsm_raft *raft, const dsm_raft_snapshot *snapshot) noexcept
    dsm_status dsm_raft_load_entry(dsm_raft *raft, const dsm_raft_entry *entry) noexcept
    dsm_status dsm_raft_load_commit(dsm_raft *raft, uint64_t commit) noexcept
    dsm_status dsm_raft_start(dsm_raft *raft, uint64_t now) noexcept
    dsm_status dsm_raft_step(dsm_raft *raft, const dsm_raft_message *message,
                             uint64_t now) noexcept
    dsm_status dsm_raft_tick(dsm_raft *raft, uint64_t now) noexcept
    dsm_status dsm_raft_campaign(dsm_raft *raft, uint64_t now) noexcept
    dsm_status dsm_raft_propose(dsm_raft *raft, dsm_raft_entry *entries, uint32_t count,
                                uint64_t now) noexcept
    dsm_status dsm_raft_propose_change(dsm_raft *raft, const dsm_raft_change *change,
                                       uint64_t now) noexcept
    dsm_status dsm_raft_transfer(dsm_raft *raft, uint8_t target, uint64_t now) noexcept
    dsm_status dsm_raft_read_index(dsm_raft *raft, uint64_t context, uint64_t now) noexcept
    dsm_status dsm_raft_report_unreachable(dsm_raft *raft, uint8_t node, uint64_t now) noexcept
    dsm_status dsm_raft_report_snapshot(dsm_raft *raft, uint8_t node, bint arrived,
                                        uint64_t now) noexcept
    dsm_status dsm_raft_take_snapshot(dsm_raft *raft, uint64_t now) noexcept
    dsm_status dsm_raft_compact(dsm_raft *raft, uint64_t index) noexcept
    const dsm_raft_outputs *dsm_raft_outputs_get(dsm_raft *raft) noexcept
    void dsm_raft_state_get(const dsm_raft *raft, dsm_raft_state *out) noexcept
    bint dsm_raft_entry_at(const dsm_raft *raft, uint64_t index, dsm_raft_entry *out) noexcept
    bint dsm_raft_term_at(const dsm_raft *raft, uint64_t index, uint64_t *out) noexcept
    bint dsm_raft_peer_get(const dsm_raft *raft, uint8_t node, dsm_raft_peer *out) noexcept
    const dsm_raft_snapshot *dsm_raft_last_snapshot(const dsm_raft *raft) noexcept
    const char *dsm_raft_message_name(uint8_t kind) noexcept
    bint dsm_raft_valid(const dsm_raft *raft) noexcept


cdef extern from "proto/raft_membership.h" nogil:
    dsm_status dsm_raft_change_decode(const uint8_t *payload, uint32_t count,
                                      dsm_raft_change *out) noexcept
    dsm_status dsm_raft_membership_apply(dsm_raft_membership *membership,
                                         const dsm_raft_change *change) noexcept
