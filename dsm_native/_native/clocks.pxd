"""Mirror of csrc/proto/vector_clock.h, hybrid_clock.h and dotted_version.h."""

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "base/status.h" nogil:
    ctypedef enum dsm_status:
        DSM_OK
        DSM_USAGE
        DSM_CLOCK_OFFSET
        DSM_CLOCK_OVERFLOW
        DSM_TOO_MANY


cdef extern from "proto/vector_clock.h" nogil:
    ctypedef enum dsm_clock_order:
        DSM_CLOCK_EQUAL
        DSM_CLOCK_BEFORE
        DSM_CLOCK_AFTER
        DSM_CLOCK_CONCURRENT

    dsm_status dsm_vector_clock_tick(uint64_t *clock, size_t count, size_t node) noexcept
    void dsm_vector_clock_merge(uint64_t *clock, const uint64_t *other, size_t count) noexcept
    dsm_clock_order dsm_vector_clock_compare(const uint64_t *left, const uint64_t *right,
                                             size_t count) noexcept
    bint dsm_vector_clock_deliverable(const uint64_t *clock, const uint64_t *message,
                                      size_t count, size_t sender) noexcept


cdef extern from "proto/hybrid_clock.h" nogil:
    const uint64_t DSM_HYBRID_LOGICAL_MAX
    const uint64_t DSM_HYBRID_PHYSICAL_US_MAX

    ctypedef struct dsm_hybrid_clock:
        uint64_t last
        uint64_t offset_us_max

    uint64_t dsm_hybrid_stamp(uint64_t physical_us, uint64_t logical) noexcept
    uint64_t dsm_hybrid_physical_us(uint64_t stamp) noexcept
    uint64_t dsm_hybrid_logical(uint64_t stamp) noexcept
    void dsm_hybrid_clock_init(dsm_hybrid_clock *clock, uint64_t offset_us_max) noexcept
    dsm_status dsm_hybrid_clock_send(dsm_hybrid_clock *clock, uint64_t now_us,
                                     uint64_t *stamp) noexcept
    dsm_status dsm_hybrid_clock_receive(dsm_hybrid_clock *clock, uint64_t now_us,
                                        uint64_t message, uint64_t *stamp) noexcept
    uint64_t dsm_hybrid_clock_drift_us(const dsm_hybrid_clock *clock, uint64_t now_us) noexcept


cdef extern from "proto/dotted_version.h" nogil:
    ctypedef struct dsm_dotted_entry:
        uint64_t counter
        uint32_t node
        uint32_t value_count

    ctypedef struct dsm_dotted_set:
        dsm_dotted_entry *entries
        uint64_t *values
        uint32_t entry_count
        uint32_t entry_count_max
        uint32_t value_count
        uint32_t value_count_max

    void dsm_dotted_init(dsm_dotted_set *set, dsm_dotted_entry *entries,
                         uint32_t entry_count_max, uint64_t *values,
                         uint32_t value_count_max) noexcept
    bint dsm_dotted_valid(const dsm_dotted_set *set) noexcept
    uint32_t dsm_dotted_anonymous_count(const dsm_dotted_set *set) noexcept
    dsm_status dsm_dotted_context(dsm_dotted_set *result, const dsm_dotted_set *set) noexcept
    dsm_status dsm_dotted_sync(dsm_dotted_set *result, const dsm_dotted_set *left,
                               const dsm_dotted_set *right) noexcept
    dsm_status dsm_dotted_update(dsm_dotted_set *result, const dsm_dotted_set *context,
                                 const dsm_dotted_set *stored, uint32_t node,
                                 uint64_t value) noexcept
    dsm_status dsm_dotted_reconcile(dsm_dotted_set *result, const dsm_dotted_set *set,
                                    uint64_t value) noexcept
    dsm_status dsm_dotted_keep(dsm_dotted_set *result, const dsm_dotted_set *set,
                               uint32_t index) noexcept
    dsm_clock_order dsm_dotted_compare(const dsm_dotted_set *left,
                                       const dsm_dotted_set *right) noexcept
