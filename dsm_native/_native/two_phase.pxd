"""Mirror of csrc/proto/two_phase_commit.h and two_phase_decision.h."""

from libc.stdint cimport uint32_t, uint64_t


cdef extern from "base/status.h" nogil:
    ctypedef enum dsm_status:
        DSM_OK
        DSM_USAGE
        DSM_CORRUPT
    const char *dsm_status_message(dsm_status status) noexcept


cdef extern from "base/atomic.h" nogil:
    ctypedef struct dsm_atomic_u64:
        pass


cdef extern from "proto/two_phase_commit.h" nogil:
    enum:
        DSM_TWO_PHASE_NODES_MAX

    ctypedef enum dsm_two_phase_outcome:
        DSM_OUTCOME_NONE
        DSM_OUTCOME_COMMITTED
        DSM_OUTCOME_ABORTED

    ctypedef enum dsm_two_phase_vote:
        DSM_VOTE_NONE

    ctypedef struct dsm_two_phase_message:
        uint64_t transaction
        uint32_t kind
        uint32_t vote
        uint32_t source "from"
        uint32_t target "to"

    ctypedef enum dsm_two_phase_record_kind:
        DSM_RECORD_PREPARED
        DSM_RECORD_COMMITTED
        DSM_RECORD_ABORTED
        DSM_RECORD_COMMIT
        DSM_RECORD_END

    ctypedef struct dsm_two_phase_record:
        uint64_t transaction
        uint64_t participants
        uint32_t kind
        uint32_t coordinator
        bint forced

    ctypedef struct dsm_two_phase_outputs:
        dsm_two_phase_message *now
        dsm_two_phase_message *once_durable
        dsm_two_phase_record *records
        uint32_t now_count
        uint32_t once_durable_count
        uint32_t record_count
        dsm_two_phase_outcome outcome
        bint outcome_once_durable
        bint vote_wanted
        dsm_two_phase_outcome decide

    ctypedef struct dsm_two_phase_options:
        uint64_t vote_timeout_us
        uint64_t work_timeout_us
        uint64_t resend_us
        uint64_t inquire_timeout_us
        bint non_blocking

    ctypedef struct dsm_coordinator:
        uint64_t participants
        uint32_t state
        dsm_two_phase_outcome outcome

    dsm_status dsm_coordinator_init(dsm_coordinator *coordinator, uint64_t transaction,
                                    uint32_t node, uint64_t participants,
                                    const dsm_two_phase_options *options) noexcept
    dsm_status dsm_coordinator_begin(dsm_coordinator *coordinator, uint64_t now_us,
                                     dsm_two_phase_outputs *outputs) noexcept
    dsm_status dsm_coordinator_abort(dsm_coordinator *coordinator,
                                     dsm_two_phase_outputs *outputs) noexcept
    dsm_status dsm_coordinator_receive(dsm_coordinator *coordinator,
                                       const dsm_two_phase_message *message, uint64_t now_us,
                                       dsm_two_phase_outputs *outputs) noexcept
    void dsm_coordinator_tick(dsm_coordinator *coordinator, uint64_t now_us,
                              dsm_two_phase_outputs *outputs) noexcept
    dsm_status dsm_coordinator_decided(dsm_coordinator *coordinator, dsm_two_phase_outcome held,
                                       uint64_t now_us, dsm_two_phase_outputs *outputs) noexcept
    dsm_status dsm_coordinator_recover(dsm_coordinator *coordinator,
                                       const dsm_two_phase_record *record) noexcept
    bint dsm_coordinator_presume(const dsm_two_phase_message *message, dsm_two_phase_outcome held,
                                 dsm_two_phase_message *answer) noexcept

    ctypedef struct dsm_participant:
        uint32_t coordinator
        uint32_t state

    dsm_status dsm_participant_init(dsm_participant *participant, uint64_t transaction,
                                    uint32_t node, uint32_t coordinator,
                                    const dsm_two_phase_options *options,
                                    uint64_t now_us) noexcept
    dsm_status dsm_participant_receive(dsm_participant *participant,
                                       const dsm_two_phase_message *message, uint64_t now_us,
                                       dsm_two_phase_outputs *outputs) noexcept
    dsm_status dsm_participant_vote(dsm_participant *participant, dsm_two_phase_vote vote,
                                    uint64_t now_us, dsm_two_phase_outputs *outputs) noexcept
    void dsm_participant_tick(dsm_participant *participant, uint64_t now_us,
                              dsm_two_phase_outputs *outputs) noexcept
    dsm_status dsm_participant_decided(dsm_participant *participant, dsm_two_phase_outcome held,
                                       dsm_two_phase_outputs *outputs) noexcept
    dsm_status dsm_participant_recover(dsm_participant *participant,
                                       const dsm_two_phase_record *record) noexcept
    void dsm_two_phase_outputs_clear(dsm_two_phase_outputs *outputs) noexcept


cdef extern from "proto/two_phase_decision.h" nogil:
    uint64_t DSM_DECISION_TRANSACTION_MAX
    void dsm_decision_open(dsm_atomic_u64 *word, uint64_t transaction) noexcept
    dsm_two_phase_outcome dsm_decision_read(const dsm_atomic_u64 *word,
                                            uint64_t transaction) noexcept
    dsm_two_phase_outcome dsm_decision_decide(dsm_atomic_u64 *word, uint64_t transaction,
                                              dsm_two_phase_outcome wanted) noexcept
