"""Mirror of csrc/proto/conflict.h, quorum.h, digest_tree.h, anti_entropy.h and repair_set.h."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "base/status.h" nogil:
    ctypedef enum dsm_status:
        DSM_OK
        DSM_USAGE


cdef extern from "proto/conflict.h" nogil:
    ctypedef struct dsm_conflict_version:
        uint64_t stamp
        uint64_t checksum
        uint64_t handle
        uint32_t node

    ctypedef enum dsm_conflict_policy:
        DSM_CONFLICT_LAST_WRITE_WINS
        DSM_CONFLICT_FIRST_WRITE_WINS
        DSM_CONFLICT_CUSTOM

    size_t dsm_conflict_order(dsm_conflict_version *versions, size_t count) noexcept


# Resolvers may be Python callables, so these are called with the GIL held.
cdef extern from "proto/conflict.h":
    ctypedef size_t dsm_conflict_resolver(const dsm_conflict_version *versions, size_t count,
                                          void *context) noexcept

    dsm_status dsm_conflict_resolve(dsm_conflict_policy policy, dsm_conflict_version *versions,
                                    size_t count, dsm_conflict_resolver *resolver, void *context,
                                    dsm_conflict_version *winner) noexcept


cdef extern from "proto/quorum.h" nogil:
    enum:
        DSM_QUORUM_NODES_MAX

    ctypedef struct dsm_quorum:
        uint64_t incoming
        uint64_t outgoing

    ctypedef enum dsm_vote_result:
        DSM_VOTE_PENDING
        DSM_VOTE_LOST
        DSM_VOTE_WON

    bint dsm_quorum_reached(const dsm_quorum *quorum, uint64_t nodes) noexcept
    dsm_vote_result dsm_quorum_vote(const dsm_quorum *quorum, uint64_t yes, uint64_t no) noexcept
    uint64_t dsm_quorum_committed(const dsm_quorum *quorum, const uint64_t *acknowledged) noexcept


cdef extern from "proto/digest_tree.h" nogil:
    enum:
        DSM_DIGEST_DEPTH_MAX

    ctypedef struct dsm_digest_tree:
        uint64_t *digests
        uint32_t depth
        uint32_t leaf_base

    size_t dsm_digest_tree_words(uint32_t depth) noexcept
    dsm_status dsm_digest_tree_init(dsm_digest_tree *tree, uint64_t *words,
                                    uint32_t depth) noexcept
    bint dsm_digest_tree_valid(const dsm_digest_tree *tree) noexcept
    void dsm_digest_tree_add(dsm_digest_tree *tree, uint64_t key_hash, uint64_t item) noexcept
    void dsm_digest_tree_remove(dsm_digest_tree *tree, uint64_t key_hash, uint64_t item) noexcept
    uint64_t dsm_digest_item(uint64_t key_hash, uint64_t key_check,
                             const dsm_conflict_version *version) noexcept
    uint32_t dsm_digest_bucket(const dsm_digest_tree *tree, uint64_t key_hash) noexcept


cdef extern from "proto/anti_entropy.h" nogil:
    enum:
        DSM_ANTI_ENTROPY_CHILDREN_MAX

    ctypedef struct dsm_anti_entropy_query:
        pass

    ctypedef struct dsm_anti_entropy_answer:
        pass

    ctypedef struct dsm_anti_entropy:
        pass

    void dsm_anti_entropy_start(dsm_anti_entropy *exchange, const dsm_digest_tree *tree,
                                uint64_t first_round) noexcept
    const dsm_anti_entropy_query *dsm_anti_entropy_next(const dsm_anti_entropy *exchange) noexcept
    dsm_status dsm_anti_entropy_respond(const dsm_digest_tree *tree,
                                        const dsm_anti_entropy_query *query,
                                        dsm_anti_entropy_answer *answer) noexcept
    dsm_status dsm_anti_entropy_receive(dsm_anti_entropy *exchange,
                                        const dsm_anti_entropy_answer *answer,
                                        uint32_t *buckets, uint32_t *bucket_count) noexcept


cdef extern from "proto/repair_set.h" nogil:
    enum:
        DSM_REPAIR_REPLICAS_MAX

    ctypedef struct dsm_repair_item:
        uint64_t key_hash
        uint64_t key_check
        dsm_conflict_version version

    ctypedef struct dsm_repair_list:
        const dsm_repair_item *items
        size_t count

    ctypedef struct dsm_repair_move:
        const dsm_repair_item *item
        uint32_t source
        uint32_t targets

    ctypedef struct dsm_repair_set:
        pass

    dsm_status dsm_repair_set_start(dsm_repair_set *set, const dsm_repair_list *lists,
                                    uint32_t list_count, dsm_conflict_policy policy) noexcept
    bint dsm_repair_set_next(dsm_repair_set *set, dsm_repair_move *move) noexcept
