"""Mirror of csrc/proto/paxos.h and caspaxos.h."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "base/status.h" nogil:
    ctypedef enum dsm_status:
        DSM_OK
        DSM_USAGE
        DSM_RETRY
    const char *dsm_status_message(dsm_status status) noexcept


cdef extern from "proto/paxos.h" nogil:
    enum:
        DSM_PAXOS_NODES_MAX
        DSM_PAXOS_VALUE_BYTES_MAX

    ctypedef struct dsm_ballot:
        uint64_t counter
        uint32_t node
        uint32_t incarnation

    ctypedef struct dsm_paxos_value:
        uint32_t size
        bint present
        uint8_t *bytes

    ctypedef struct dsm_paxos_message:
        uint64_t key
        uint64_t targets "to"
        uint64_t age
        dsm_ballot ballot
        dsm_ballot accepted
        dsm_ballot next
        uint32_t kind
        uint32_t source "from"
        uint32_t about
        dsm_paxos_value value

    ctypedef enum dsm_change_outcome:
        DSM_CHANGE_NONE

    ctypedef struct dsm_paxos_outputs:
        dsm_paxos_message *now
        dsm_paxos_message *once_durable
        uint32_t now_count
        uint32_t once_durable_count
        bint persist
        bint persist_identity
        bint persist_fence
        bint change_wanted
        dsm_change_outcome outcome

    ctypedef struct dsm_paxos_config:
        uint64_t prepare_nodes
        uint64_t accept_nodes
        uint32_t prepare_quorum
        uint32_t accept_quorum

    ctypedef struct dsm_acceptor:
        dsm_ballot promised
        dsm_ballot accepted
        dsm_paxos_value value

    ctypedef struct dsm_proposer_identity:
        uint64_t counter
        uint64_t age
        uint32_t node
        uint32_t incarnation

    ctypedef struct dsm_round:
        dsm_paxos_value value

    ctypedef struct dsm_paxos_options:
        uint64_t resend_us
        uint64_t backoff_us
        uint64_t seed

    ctypedef struct dsm_proposer:
        dsm_paxos_value chosen

    dsm_status dsm_paxos_value_set(dsm_paxos_value *value, const void *data,
                                   uint32_t size) noexcept
    void dsm_paxos_outputs_clear(dsm_paxos_outputs *outputs) noexcept
    dsm_paxos_config dsm_paxos_config_majority(uint64_t nodes) noexcept
    bint dsm_paxos_config_compatible(const dsm_paxos_config *one,
                                     const dsm_paxos_config *other) noexcept
    void dsm_acceptor_init(dsm_acceptor *acceptor) noexcept
    bint dsm_acceptor_empty(const dsm_acceptor *acceptor) noexcept
    dsm_status dsm_acceptor_receive(dsm_acceptor *acceptor, uint32_t node,
                                    const dsm_paxos_message *message,
                                    dsm_paxos_outputs *outputs) noexcept
    dsm_status dsm_proposer_init(dsm_proposer *proposer, uint64_t key,
                                 const dsm_paxos_config *config, uint64_t learners,
                                 const dsm_paxos_options *options) noexcept
    dsm_status dsm_proposer_propose(dsm_proposer *proposer, dsm_proposer_identity *identity,
                                    const dsm_paxos_value *value, uint64_t now_us,
                                    dsm_paxos_outputs *outputs) noexcept
    dsm_status dsm_proposer_receive(dsm_proposer *proposer, dsm_proposer_identity *identity,
                                    const dsm_paxos_message *message, uint64_t now_us,
                                    dsm_paxos_outputs *outputs) noexcept
    void dsm_proposer_tick(dsm_proposer *proposer, dsm_proposer_identity *identity,
                           uint64_t now_us, dsm_paxos_outputs *outputs) noexcept


cdef extern from "proto/caspaxos.h" nogil:
    enum:
        DSM_MEMBER_STEPS_MAX

    ctypedef struct dsm_register:
        dsm_round round
        bint busy
        bint stable

    ctypedef struct dsm_fence:
        uint64_t *age

    ctypedef struct dsm_collector:
        uint32_t phase

    ctypedef struct dsm_member_step:
        dsm_paxos_config config
        bint rescan

    dsm_status dsm_register_init(dsm_register *reg, uint64_t key, const dsm_paxos_config *config,
                                 const dsm_paxos_options *options) noexcept
    dsm_status dsm_register_configure(dsm_register *reg, const dsm_paxos_config *config) noexcept
    dsm_status dsm_register_begin(dsm_register *reg, dsm_proposer_identity *identity,
                                  bint repeatable, uint64_t now_us, uint64_t deadline_us,
                                  dsm_paxos_outputs *outputs) noexcept
    dsm_status dsm_register_change(dsm_register *reg, dsm_proposer_identity *identity,
                                   const dsm_paxos_value *value, uint64_t now_us,
                                   dsm_paxos_outputs *outputs) noexcept
    dsm_status dsm_register_receive(dsm_register *reg, dsm_proposer_identity *identity,
                                    const dsm_paxos_message *message, uint64_t now_us,
                                    dsm_paxos_outputs *outputs) noexcept
    void dsm_register_tick(dsm_register *reg, dsm_proposer_identity *identity, uint64_t now_us,
                           dsm_paxos_outputs *outputs) noexcept
    void dsm_fence_init(dsm_fence *fence) noexcept
    bint dsm_fence_admits(const dsm_fence *fence, const dsm_paxos_message *message) noexcept
    dsm_status dsm_fence_receive(dsm_fence *fence, uint32_t node,
                                 const dsm_paxos_message *message,
                                 dsm_paxos_outputs *outputs) noexcept
    dsm_status dsm_proposer_identity_forget(dsm_proposer_identity *identity,
                                            const dsm_paxos_message *message,
                                            dsm_paxos_outputs *outputs) noexcept
    dsm_status dsm_collector_init(dsm_collector *collector, uint64_t key,
                                  const dsm_paxos_config *config, uint64_t proposers,
                                  const dsm_paxos_options *options) noexcept
    void dsm_collector_begin(dsm_collector *collector, dsm_proposer_identity *identity,
                             uint64_t now_us, dsm_paxos_outputs *outputs) noexcept
    dsm_status dsm_collector_receive(dsm_collector *collector, dsm_proposer_identity *identity,
                                     const dsm_paxos_message *message, uint64_t now_us,
                                     dsm_paxos_outputs *outputs) noexcept
    void dsm_collector_tick(dsm_collector *collector, dsm_proposer_identity *identity,
                            uint64_t now_us, dsm_paxos_outputs *outputs) noexcept
    uint32_t dsm_members_expand(uint64_t nodes, uint32_t node, dsm_member_step *steps) noexcept
    uint32_t dsm_members_shrink(uint64_t nodes, uint32_t node, dsm_member_step *steps) noexcept
