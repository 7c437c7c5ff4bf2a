from dsm_native._native.core cimport (
    dsm_space, dsm_status, uint8_t, uint16_t, uint32_t, uint64_t,
)
from dsm_native._native.handle cimport Handle
from libcpp cimport bool as cbool


cdef extern from "mem/space.h" nogil:
    enum:
        DSM_MAILBOX_SLOTS
        DSM_MAILBOX_RECORD_BYTES_MAX
        DSM_MAILBOX_RING_BYTES
    uint64_t DSM_CLAIM_STARTED
    ctypedef enum dsm_listener:
        DSM_LISTENER_FIRST
        DSM_LISTENER_SECOND
    ctypedef struct dsm_atomic_u32:
        pass
    ctypedef struct dsm_atomic_u64:
        pass
    ctypedef struct dsm_ring_shm:
        pass
    ctypedef struct dsm_doorbell_shm:
        dsm_atomic_u32 deaths
    ctypedef struct dsm_mailbox_shm:
        dsm_doorbell_shm bell
        dsm_atomic_u64 done
        dsm_atomic_u64 busy_ns
        dsm_atomic_u64 claims[256]
        dsm_atomic_u64 started_ns[256]
        dsm_ring_shm to_node
        dsm_ring_shm to_owner
    ctypedef struct dsm_mailboxes_shm:
        dsm_doorbell_shm bell
        dsm_mailbox_shm nodes[1]
    ctypedef struct dsm_record_shm:
        uint32_t bytes
        uint8_t kind
        uint8_t codec
        uint16_t slot
        uint32_t function
        uint64_t serial
    dsm_mailboxes_shm *dsm_space_mailboxes(const dsm_space *space) noexcept
    uint32_t dsm_load_acquire_u32(const dsm_atomic_u32 *word) noexcept
    uint64_t dsm_load_acquire_u64(const dsm_atomic_u64 *word) noexcept
    uint64_t dsm_load_relaxed_u64(const dsm_atomic_u64 *word) noexcept
    void dsm_store_relaxed_u64(dsm_atomic_u64 *word, uint64_t value) noexcept
    void dsm_store_release_u64(dsm_atomic_u64 *word, uint64_t value) noexcept
    dsm_status dsm_ring_append(dsm_ring_shm *ring, uint64_t *at, const dsm_record_shm *record,
                               const void *payload) noexcept
    dsm_status dsm_ring_next(const dsm_ring_shm *ring, uint64_t *at, dsm_record_shm *record,
                             const uint8_t **payload) noexcept
    uint64_t dsm_ring_tail(const dsm_ring_shm *ring) noexcept
    uint64_t dsm_ring_head(const dsm_ring_shm *ring) noexcept
    void dsm_ring_publish(dsm_ring_shm *ring, uint64_t at) noexcept
    void dsm_ring_consume(dsm_ring_shm *ring, uint64_t at) noexcept
    cbool dsm_ring_news(const dsm_ring_shm *ring) noexcept
    cbool dsm_mailbox_claim(dsm_mailbox_shm *box, unsigned slot, uint64_t serial,
                            uint64_t now_ns) noexcept
    cbool dsm_mailbox_revoke(dsm_mailbox_shm *box, unsigned slot, uint64_t serial) noexcept
    void dsm_doorbell_ring(dsm_doorbell_shm *bell) noexcept
    void dsm_doorbell_pass(dsm_doorbell_shm *bell) noexcept
    uint32_t dsm_doorbell_calls(const dsm_doorbell_shm *bell) noexcept
    void dsm_doorbell_ring_second(dsm_doorbell_shm *bell) noexcept
    void dsm_doorbell_lead(dsm_doorbell_shm *bell) noexcept
    void dsm_doorbell_leave(dsm_mailboxes_shm *boxes, uint32_t node_count, uint32_t deaths) noexcept
    cbool dsm_mailbox_wait(dsm_mailboxes_shm *boxes, uint32_t node_count, int node,
                           uint32_t deaths, dsm_listener listener, uint32_t *spin_ns,
                           uint32_t wait_us) noexcept
    void dsm_mailbox_reset(dsm_mailbox_shm *box) noexcept

# Kinds of records. Between the processes of one cluster, so they may change with the package.
cdef enum:
    RECORD_TASK = 1      # owner to node: run it, if the claim of its slot is still the task's
    RECORD_RESULT = 2    # node to owner, for the task of a slot: what it returned
    RECORD_ERROR = 3     # … or raised
    RECORD_REFUSED = 4   # … or was not run, because the initializer had failed
    RECORD_DEFINE = 5    # owner to node: the function of that number
    RECORD_FORGET = 6    # … is not used any more
    RECORD_SETTING = 7   # owner to node: module path
    RECORD_READY = 8     # node to owner: started up
    RECORD_REQUEST = 9   # node to owner: a task of a task
    RECORD_REPLY = 10    # owner to node: what became of it
    RECORD_REPLY_ERROR = 11
    RECORD_NESTED = 12   # as RECORD_TASK, for a task of a task: it runs while others wait

# How the payload of a record is encoded; 1 to 7 are the plain codecs of codec.pxd.
cdef enum:
    PAYLOAD_PLAIN_MAX = 7
    PAYLOAD_PICKLE = 9
    PAYLOAD_CALL = 32    # pickled (args, kwargs)
    PAYLOAD_PARCEL = 33  # a pickle whose buffers lie in a region
    PAYLOAD_CALL_PARCEL = 34
    PAYLOAD_ARRAY = 35   # an array that lies in a region, and no pickle
    PAYLOAD_CALL_ARRAYS = 36  # arrays that lie in a region, and a pickle of the rest of the call
    PLAIN_BYTES_MAX = 16384

cdef bint is_plain(object value)
cdef object decoded(uint8_t codec, const uint8_t *payload, uint32_t length)


cdef class Mailbox:
    cdef readonly Handle handle
    cdef readonly int node
    cdef uint32_t spin_ns

    cdef dsm_mailbox_shm *box(self)
    cdef dsm_status put(self, dsm_ring_shm *ring, uint64_t *at, dsm_record_shm *record,
                        object payload) except *
    cdef bint listen(self, int node, uint32_t deaths, dsm_listener listener, uint32_t slices)
