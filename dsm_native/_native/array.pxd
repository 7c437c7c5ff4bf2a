# Mirrors of the C headers of arrays (csrc/ is the reference), and what skins share.
from libc.stdint cimport uint32_t, uint64_t
from libcpp cimport bool as cbool

from dsm_native._native.core cimport (
    dsm_call, dsm_check_report, dsm_check_tell, dsm_cluster, dsm_fault, dsm_space, dsm_status,
)
from dsm_native._native.handle cimport Handle


cdef extern from "store/array.h" nogil:
    enum:
        DSM_ARRAYS_MAX
        DSM_ARRAY_DIMENSIONS_MAX
        DSM_ARRAY_DESCRIPTION_MAX
        DSM_ARRAY_BYTES_MAX
    ctypedef struct dsm_array_geometry_shm:
        uint64_t build
        uint64_t data_bytes
        uint64_t item_bytes
        uint64_t tile_bytes
        uint64_t tile_count
        uint32_t copies
        uint32_t replicas
        uint32_t undo
        uint32_t fortran
        uint32_t dimensions
        uint32_t description_bytes
        uint64_t shape[64]
    ctypedef struct dsm_array_header_shm:
        uint32_t raw
    ctypedef struct dsm_array:
        dsm_array_geometry_shm geometry
        uint64_t number
        uint32_t entry
        uint32_t lost
        uint32_t unnamed
    dsm_status dsm_array_create(dsm_call *call, const dsm_array_geometry_shm *geometry,
                                const char *description, dsm_array *out) noexcept
    dsm_status dsm_array_open(dsm_call *call, uint32_t entry, uint64_t build,
                              dsm_array *out) noexcept
    dsm_status dsm_array_look(dsm_call *call, uint32_t entry, uint64_t number,
                              dsm_array *out) noexcept
    void dsm_array_close(dsm_array *array) noexcept
    unsigned char *dsm_array_data(const dsm_array *array, uint32_t copy) noexcept
    const char *dsm_array_description(const dsm_array *array) noexcept
    void dsm_array_raw(const dsm_array *array) noexcept
    cbool dsm_array_is_raw(const dsm_array *array) noexcept


cdef extern from "store/array_directory.h" nogil:
    dsm_status dsm_array_find(dsm_call *call, const char *name, uint32_t name_bytes,
                              uint32_t *entry, uint64_t *build) noexcept
    dsm_status dsm_array_reserve_new(dsm_call *call, const char *name, uint32_t name_bytes,
                                     uint32_t *entry, uint64_t *build) noexcept
    dsm_status dsm_array_reserve(dsm_call *call, uint32_t entry, uint64_t current,
                                 uint64_t *build) noexcept
    dsm_status dsm_array_publish(dsm_call *call, uint32_t entry, uint64_t build) noexcept
    dsm_status dsm_array_settle(dsm_call *call, uint32_t entry) noexcept
    uint64_t dsm_array_current(const dsm_space *space, uint32_t entry) noexcept
    uint32_t dsm_array_entries(const dsm_space *space) noexcept
    cbool dsm_array_entry_name(const dsm_space *space, uint32_t entry, char *name,
                               uint32_t *name_bytes) noexcept


cdef extern from "store/array_session.h" nogil:
    ctypedef struct dsm_array_block:
        uint32_t session
        cbool accepts_torn
        cbool holds
        uint64_t first
        uint64_t last
    dsm_array_block dsm_array_block_make(const dsm_array *array, uint64_t low,
                                         uint64_t high) noexcept
    dsm_status dsm_array_write_begin(dsm_call *call, const dsm_array *array,
                                     dsm_array_block *block) noexcept
    dsm_status dsm_array_read_begin(dsm_call *call, const dsm_array *array,
                                    dsm_array_block *block) noexcept
    dsm_status dsm_array_write_publish(dsm_call *call, const dsm_array *array,
                                       dsm_array_block *block, uint64_t *pages) noexcept
    dsm_status dsm_array_write_restore(dsm_call *call, const dsm_array *array,
                                       dsm_array_block *block) noexcept
    void dsm_array_cancel(dsm_call *call, const dsm_array *array,
                          dsm_array_block *block) noexcept
    void dsm_array_replicate(const dsm_array *array) noexcept


cdef extern from "store/array_read.h" nogil:
    dsm_status dsm_array_snapshot_try(dsm_call *call, const dsm_array *array, uint64_t low,
                                      uint64_t high, void *target) noexcept
    uint64_t dsm_array_tile_version(const dsm_array *array, uint64_t tile) noexcept
    uint32_t dsm_array_tile_torn(const dsm_array *array, uint64_t tile) noexcept
    ctypedef struct dsm_array_usage:
        uint64_t writers
        uint64_t readers
        uint64_t torn
    void dsm_array_usage_read(const dsm_array *array, dsm_array_usage *out) noexcept


cdef extern from "store/array_check.h" nogil:
    dsm_status dsm_array_check(dsm_call *call, const dsm_array *array, cbool repair,
                               dsm_check_tell *tell, void *context,
                               dsm_check_report *report) noexcept


cdef extern from "store/array_heal.h" nogil:
    ctypedef struct dsm_array_healed:
        uint32_t copies
        uint64_t bytes
    dsm_status dsm_array_heal(dsm_call *call, uint32_t entry, uint64_t number,
                              dsm_array_healed *done) noexcept


cdef extern from "store/page_diff.h" nogil:
    uint64_t dsm_page_diff_copy(void *target, const void *source, uint64_t bytes) noexcept
    uint64_t dsm_page_diff_count(const void *left, const void *right, uint64_t bytes) noexcept
    const char *dsm_page_diff_unit() noexcept


cdef class Patience:
    cdef Handle handle
    cdef uint64_t start
    cdef double limit

    cdef uint32_t slice_ms(self) noexcept
    cdef int go_on(self, dsm_status status, const dsm_fault *fault, object subject) except -1


cdef class ArrayMap:
    cdef readonly Handle handle
    cdef readonly str name
    cdef dsm_cluster *cluster
    cdef dsm_array array
    cdef bint mapped

    @staticmethod
    cdef ArrayMap make(Handle handle, str name)
    cdef bint copied(self, dsm_status status, const dsm_fault *fault) except -1
    cdef bint healed(self, dsm_status status, const dsm_fault *fault) except -1
