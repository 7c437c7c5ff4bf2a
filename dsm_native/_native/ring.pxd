"""Mirror of csrc/proto/ring.h, ring_difference.h and ketama.h."""

from libc.stddef cimport size_t
from libc.stdint cimport INT32_MAX, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "base/hash.h" nogil:
    uint64_t dsm_hash64(const void *data, size_t length, uint64_t seed) noexcept


cdef extern from "base/status.h" nogil:
    ctypedef enum dsm_status:
        DSM_OK
        DSM_NOT_FOUND
        DSM_USAGE
        DSM_TOO_MANY


cdef extern from "proto/ring.h" nogil:
    enum:
        DSM_RING_POINTS_DEFAULT
        DSM_RING_NODES_MAX
        DSM_RING_NODE_NONE
        DSM_RING_STRIPE_COPIES_MAX

    ctypedef struct dsm_ring:
        uint64_t *points
        uint32_t *node_points
        uint64_t seed
        uint32_t point_count
        uint32_t point_count_max
        uint32_t node_count
        uint32_t node_count_max

    size_t dsm_ring_bytes(uint32_t node_count_max, uint32_t point_count_max) noexcept
    dsm_status dsm_ring_init(dsm_ring *ring, void *memory, uint32_t node_count_max,
                             uint32_t point_count_max, uint64_t seed) noexcept
    dsm_status dsm_ring_add(dsm_ring *ring, uint32_t node, uint32_t points) noexcept
    dsm_status dsm_ring_add_all(dsm_ring *ring, const uint32_t *nodes, uint32_t count,
                                uint32_t points) noexcept
    dsm_status dsm_ring_remove(dsm_ring *ring, uint32_t node) noexcept
    dsm_status dsm_ring_copy(dsm_ring *target, const dsm_ring *source) noexcept
    bint dsm_ring_valid(const dsm_ring *ring) noexcept
    uint32_t dsm_ring_find(const dsm_ring *ring, uint64_t hash) noexcept
    uint32_t dsm_ring_node(const dsm_ring *ring, uint64_t hash) noexcept
    uint32_t dsm_ring_prefer(const dsm_ring *ring, uint64_t hash, uint32_t copies,
                             uint16_t *nodes) noexcept
    uint32_t dsm_ring_prefer_bounded(const dsm_ring *ring, uint64_t hash, const uint64_t *loads,
                                     uint64_t load_total, uint32_t factor_permille) noexcept
    uint32_t dsm_ring_stripe(const dsm_ring *ring, uint32_t stripe, uint32_t copies,
                             uint8_t *nodes) noexcept


cdef extern from "proto/ring_difference.h" nogil:
    enum:
        DSM_RING_DIFFERENCE_COPIES_MAX

    ctypedef struct dsm_ring_move:
        uint64_t first
        uint64_t last
        uint32_t before_count
        uint32_t after_count
        uint16_t *before
        uint16_t *after

    ctypedef struct dsm_ring_difference:
        pass

    dsm_status dsm_ring_difference_start(dsm_ring_difference *difference, const dsm_ring *before,
                                         const dsm_ring *after, uint32_t copies) noexcept
    bint dsm_ring_difference_next(dsm_ring_difference *difference, dsm_ring_move *move) noexcept


cdef extern from "proto/ketama.h" nogil:
    enum:
        DSM_KETAMA_NAME_BYTES_MAX
        DSM_KETAMA_ROUND_POINTS

    uint32_t dsm_ketama_rounds(uint64_t weight, uint64_t weight_total,
                               uint32_t node_count) noexcept
    dsm_status dsm_ketama_add(dsm_ring *ring, uint32_t node, const char *name, size_t name_bytes,
                              uint32_t rounds) noexcept
    uint64_t dsm_ketama_hash(const void *key, size_t key_bytes) noexcept
