from dsm_native._native.core cimport (
    dsm_call, dsm_space, dsm_status, cbool, int64_t, uint8_t, uint32_t, uint64_t,
)
from dsm_native._native.handle cimport Handle


cdef extern from "mem/layout.h" nogil:
    ctypedef enum dsm_sync_kind:
        DSM_SYNC_LOCK
        DSM_SYNC_SEMAPHORE
        DSM_SYNC_BARRIER
        DSM_SYNC_EVENT
        DSM_SYNC_CONDITION
        DSM_SYNC_QUEUE
        DSM_SYNC_COUNTER
        DSM_SYNC_ATOMIC


cdef extern from "mem/sync.h" nogil:
    ctypedef struct dsm_sync_shm:
        uint32_t name_bytes
        char *name
    ctypedef struct dsm_sync:
        dsm_sync_shm *record
        uint8_t *heap
        uint32_t index
        uint32_t kind
        uint64_t settings[6]
    ctypedef struct dsm_sync_request:
        dsm_sync_kind kind
        const char *name
        uint32_t name_bytes
        uint64_t settings[6]
        uint64_t heap_bytes
    uint32_t DSM_SYNC_EVERYONE
    dsm_status dsm_sync_open(dsm_call *call, const dsm_sync_request *request,
                             dsm_sync *out) noexcept
    dsm_status dsm_sync_count(dsm_call *call, uint32_t *count) noexcept
    dsm_status dsm_sync_at(dsm_call *call, uint32_t index, dsm_sync *out) noexcept
    cbool dsm_sync_awaited(const dsm_sync *sync, unsigned which) noexcept
    uint32_t dsm_sync_prepare(const dsm_sync *sync, unsigned which) noexcept
    void dsm_sync_sleep(const dsm_sync *sync, unsigned which, uint32_t prepared,
                        uint32_t wait_us) noexcept
    void dsm_sync_wake(const dsm_sync *sync, unsigned which, uint32_t waiters) noexcept
    dsm_status dsm_sync_watch(dsm_call *call, const dsm_sync *sync) noexcept
    uint32_t dsm_sync_party_self(const dsm_space *space) noexcept


cdef extern from "mem/sync_lock.h" nogil:
    ctypedef struct dsm_sync_holder:
        uint32_t party
        uint32_t thread
        uint32_t pid
        uint64_t start_ticks
    dsm_status dsm_sync_lock_try(dsm_call *call, const dsm_sync *sync, uint32_t thread,
                                 cbool *died, uint32_t *died_pid) noexcept
    cbool dsm_sync_lock_spin(const dsm_space *space, const dsm_sync *sync) noexcept
    dsm_status dsm_sync_lock_release(dsm_call *call, const dsm_sync *sync,
                                     uint32_t thread) noexcept
    cbool dsm_sync_lock_mine(const dsm_space *space, const dsm_sync *sync,
                             uint32_t thread) noexcept
    void dsm_sync_lock_holder(const dsm_space *space, const dsm_sync *sync,
                              dsm_sync_holder *out) noexcept
    uint32_t dsm_sync_lock_depth(const dsm_sync *sync) noexcept
    void dsm_sync_lock_depth_set(const dsm_sync *sync, uint32_t depth) noexcept


cdef extern from "mem/sync_semaphore.h" nogil:
    enum:
        DSM_SYNC_SEMAPHORE_HEAP_BYTES
        DSM_SYNC_PERMITS_MAX
    dsm_status dsm_sync_semaphore_try(dsm_call *call, const dsm_sync *sync,
                                      uint32_t *left) noexcept
    dsm_status dsm_sync_semaphore_release(dsm_call *call, const dsm_sync *sync,
                                          uint32_t permits) noexcept
    dsm_status dsm_sync_semaphore_value(dsm_call *call, const dsm_sync *sync,
                                        uint32_t *value) noexcept


cdef extern from "mem/sync_barrier.h" nogil:
    ctypedef struct dsm_sync_barrier_state:
        uint32_t waiting
        cbool broken
    enum:
        DSM_SYNC_BARRIER_HEAP_BYTES
        DSM_SYNC_PARTIES_MAX
    dsm_status dsm_sync_barrier_arrive(dsm_call *call, const dsm_sync *sync, uint32_t *index,
                                       uint32_t *generation) noexcept
    dsm_status dsm_sync_barrier_arrive_acting(dsm_call *call, const dsm_sync *sync,
                                              uint32_t *index, uint32_t *generation) noexcept
    dsm_status dsm_sync_barrier_pass(dsm_call *call, const dsm_sync *sync,
                                     uint32_t generation) noexcept
    dsm_status dsm_sync_barrier_poll(dsm_call *call, const dsm_sync *sync,
                                     uint32_t generation) noexcept
    dsm_status dsm_sync_barrier_break(dsm_call *call, const dsm_sync *sync,
                                      uint32_t generation) noexcept
    dsm_status dsm_sync_barrier_reset(dsm_call *call, const dsm_sync *sync) noexcept
    dsm_status dsm_sync_barrier_read(dsm_call *call, const dsm_sync *sync,
                                     dsm_sync_barrier_state *out) noexcept


cdef extern from "mem/sync_event.h" nogil:
    dsm_status dsm_sync_event_read(dsm_call *call, const dsm_sync *sync, uint64_t *word) noexcept
    dsm_status dsm_sync_event_change(dsm_call *call, const dsm_sync *sync, cbool flag) noexcept
    dsm_status dsm_sync_counter_add(dsm_call *call, const dsm_sync *sync, int64_t difference,
                                    int64_t *result) noexcept
    int64_t dsm_sync_counter_exchange(const dsm_sync *sync, int64_t value) noexcept
    int64_t dsm_sync_counter_read(const dsm_sync *sync) noexcept


cdef extern from "mem/sync_condition.h" nogil:
    enum:
        DSM_SYNC_CONDITION_HEAP_BYTES
    dsm_status dsm_sync_condition_enlist(dsm_call *call, const dsm_sync *sync,
                                         uint32_t *entry) noexcept
    dsm_status dsm_sync_condition_poll(dsm_call *call, const dsm_sync *sync,
                                       uint32_t entry) noexcept
    dsm_status dsm_sync_condition_leave(dsm_call *call, const dsm_sync *sync,
                                        uint32_t entry) noexcept
    dsm_status dsm_sync_condition_notify(dsm_call *call, const dsm_sync *sync,
                                         uint32_t waiters) noexcept


cdef extern from "mem/sync_queue.h" nogil:
    ctypedef struct dsm_sync_item:
        uint8_t codec
        uint8_t length
        uint32_t place
        uint64_t receipt
        uint32_t times
        cbool more
        uint64_t position
        uint8_t bytes[240]
    ctypedef struct dsm_sync_queue_counts:
        uint64_t waiting
        uint64_t unfinished
    enum:
        DSM_SYNC_ITEM_BYTES
        DSM_SYNC_REFERENCE
        DSM_SYNC_QUEUE_MAXSIZE_MAX
    uint64_t dsm_sync_queue_bytes(uint64_t maxsize, cbool acknowledge) noexcept
    dsm_status dsm_sync_queue_put(dsm_call *call, const dsm_sync *sync, uint8_t codec,
                                  const void *bytes, uint32_t length, cbool *more) noexcept
    dsm_status dsm_sync_queue_get(dsm_call *call, const dsm_sync *sync,
                                  dsm_sync_item *out) noexcept
    dsm_status dsm_sync_queue_pass(dsm_call *call, const dsm_sync *sync,
                                   uint64_t position) noexcept
    dsm_status dsm_sync_queue_acknowledge(dsm_call *call, const dsm_sync *sync, uint32_t place,
                                          uint64_t receipt) noexcept
    dsm_status dsm_sync_queue_give_back(dsm_call *call, const dsm_sync *sync, uint32_t place,
                                        uint64_t receipt) noexcept
    dsm_status dsm_sync_queue_done(dsm_call *call, const dsm_sync *sync) noexcept
    dsm_status dsm_sync_queue_count(dsm_call *call, const dsm_sync *sync,
                                    dsm_sync_queue_counts *out) noexcept


# One attempt at something that may have to wait: what it is about and what it gave.
cdef struct Attempt:
    int action
    uint32_t number
    uint64_t word
    int64_t amount
    const void *bytes
    uint32_t length
    uint8_t codec
    dsm_sync_item *item


# A record in this process; what all kinds have in common.
cdef class SyncCore:
    cdef readonly Handle handle
    cdef readonly str name
    cdef dsm_sync sync
    cdef object __weakref__

    cdef int open(self, Handle handle, dsm_sync_kind kind, str name, settings,
                  uint64_t heap_bytes) except -1
    # DSM_RETRY means: not now, sleep and try again.
    cdef dsm_status attempt(self, dsm_call *call, Attempt *what) noexcept nogil
    cdef dsm_status attempt_freely(self, dsm_call *call, Attempt *what) except *
    cdef bint tries(self, Attempt *what) except -1
    cdef int does(self, Attempt *what) except -1
    cdef bint waits(self, Attempt *what, unsigned which, double seconds) except -1
    cdef int sleeps(self, unsigned which, uint32_t prepared, double seconds) except -1


cdef double seconds_of(object timeout) except? -1
