# Mirrors of the C headers, as far as the handles need them. csrc/ is the reference.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libcpp cimport bool as cbool


cdef extern from "base/status.h" nogil:
    ctypedef enum dsm_status:
        DSM_OK
        DSM_NOT_FOUND
        DSM_RETRY
        DSM_CLOSED
        DSM_FORKED
        DSM_USAGE
        DSM_EXISTS
        DSM_NO_CLUSTER
        DSM_LOCK_TIMEOUT
        DSM_VERSION_CONFLICT
        DSM_ABORTED
        DSM_KEY_TOO_LONG
        DSM_WRONG_TYPE
        DSM_OVERFLOW
        DSM_STORE_FULL
        DSM_TOO_MANY
        DSM_TORN
        DSM_CORRUPT
        DSM_NO_REPLICAS
        DSM_LAYOUT
        DSM_NOT_OWNER
        DSM_BROKEN
        DSM_OS
        DSM_STATUS_COUNT
    const char *dsm_status_name(dsm_status status) noexcept
    const char *dsm_status_exception(dsm_status status) noexcept
    const char *dsm_status_message(dsm_status status) noexcept


cdef extern from "base/limits.h" nogil:
    enum:
        DSM_NODES_MAX
        DSM_REPLICAS_MAX
        DSM_PARTICIPANTS_MAX
        DSM_REGIONS_MAX
        DSM_PINS_MAX
        DSM_STRIPES_MAX
        DSM_KEY_BYTES_MAX
        DSM_CLUSTER_NAME_BYTES
        DSM_REGION_NAME_BYTES
        DSM_ARENA_PAGE_BYTES
        DSM_LOCK_SLICE_MS


cdef extern from "os/os.h" nogil:
    ctypedef struct dsm_os_process:
        uint32_t pid
        uint64_t start_ticks
    char dsm_os_process_state(const dsm_os_process *process) noexcept
    cbool dsm_os_process_alive(const dsm_os_process *process) noexcept
    uint64_t dsm_os_monotonic_ns() noexcept
    uint64_t dsm_os_random_u64() noexcept
    uint64_t dsm_os_room_bytes() noexcept
    unsigned dsm_os_user() noexcept
    dsm_status dsm_os_segment_alone(const char *name, cbool *alone) noexcept
    dsm_status dsm_os_segment_sweep(const char *name, cbool *removed) noexcept
    void dsm_os_yield() noexcept
    void dsm_os_pause(uint32_t wait_us) noexcept


cdef extern from "mem/space.h" nogil:
    ctypedef struct dsm_space:
        uint64_t hash_seed
        uint32_t stripe_count
        uint32_t stripe_shift
        uint32_t node_count
        uint32_t replicas
        uint32_t participant
    ctypedef struct dsm_fault:
        const char *what
        int32_t node
        int64_t stripe
        uint64_t left
        uint64_t right
        dsm_os_process process
    ctypedef struct dsm_call:
        dsm_space *space
        uint32_t wait_ms
        cbool prefetched
        dsm_fault fault
    dsm_call dsm_call_make(dsm_space *space, uint32_t wait_ms) noexcept
    uint32_t DSM_NOBODY


cdef extern from "store/object.h" nogil:
    ctypedef struct dsm_key:
        const void *bytes
        uint32_t length
        uint8_t kind
        uint16_t region
        uint64_t hash
    ctypedef struct dsm_part:
        const void *bytes
        uint64_t length
    ctypedef struct dsm_value:
        const dsm_part *parts
        uint32_t part_count
        uint8_t codec
        uint64_t length
    ctypedef struct dsm_header:
        uint64_t version
        uint64_t value_bytes
        uint8_t codec
        uint8_t flags
    enum:
        DSM_KEY_TEXT
        DSM_KEY_BYTES
        DSM_KEY_INTEGER
        DSM_KEY_TUPLE
        DSM_CODEC_INT64
        DSM_OBJECT_ALIGNED
    uint64_t dsm_key_hash(const dsm_space *space, const void *bytes, uint32_t length,
                          uint8_t kind, uint16_t region) noexcept
    uint32_t dsm_key_stripe(const dsm_space *space, uint64_t hash) noexcept


cdef extern from "store/read.h" nogil:
    ctypedef struct dsm_read:
        dsm_header header
        unsigned node
        uint32_t stripe
        uint32_t pin
    dsm_status dsm_read_begin(dsm_call *call, const dsm_key *key, dsm_read *out) noexcept
    dsm_status dsm_read_again(dsm_call *call, const dsm_key *key, dsm_read *read) noexcept
    dsm_status dsm_read_version(dsm_call *call, const dsm_key *key, uint64_t *version) noexcept
    dsm_status dsm_read_copy(dsm_call *call, const dsm_read *read, void *target) noexcept
    dsm_status dsm_read_pin(dsm_call *call, dsm_read *read) noexcept
    void dsm_read_unpin(dsm_space *space, dsm_read *read) noexcept
    dsm_status dsm_read_verify(dsm_call *call, const dsm_read *read) noexcept
    const uint8_t *dsm_read_value(const dsm_space *space, const dsm_read *read) noexcept


cdef extern from "store/prefetch.h" nogil:
    ctypedef struct dsm_ahead:
        pass
    void dsm_ahead_heads(dsm_ahead *ahead, const dsm_space *space, uint64_t hash) noexcept
    void dsm_ahead_slots(dsm_ahead *ahead, const dsm_space *space) noexcept
    void dsm_ahead_objects(const dsm_ahead *ahead, const dsm_space *space) noexcept


cdef extern from "store/write.h" nogil:
    ctypedef struct dsm_condition:
        uint32_t replicas
        uint64_t if_version
    uint64_t DSM_ANY_VERSION
    dsm_status dsm_put(dsm_call *call, const dsm_key *key, const dsm_value *value,
                       dsm_condition condition, uint64_t *version) noexcept
    dsm_status dsm_delete(dsm_call *call, const dsm_key *key, dsm_condition condition,
                          uint64_t *version) noexcept
    dsm_status dsm_add(dsm_call *call, const dsm_key *key, int64_t difference, uint32_t replicas,
                       int64_t *result, uint64_t *version) noexcept


cdef extern from "store/peek.h" nogil:
    ctypedef struct dsm_peek:
        const uint8_t *value
        uint32_t value_bytes
        uint64_t version
    uint8_t dsm_peek_codec(const dsm_peek *peek) noexcept
    void dsm_peek_head(const dsm_space *space, const dsm_key *key, dsm_peek *out) noexcept
    void dsm_peek_table(const dsm_space *space, const dsm_key *key, dsm_peek *out) noexcept
    void dsm_peek_slot(const dsm_space *space, const dsm_key *key, dsm_peek *out) noexcept
    cbool dsm_peek_object(const dsm_space *space, const dsm_key *key, dsm_peek *out) noexcept
    cbool dsm_peek_find(const dsm_space *space, const dsm_key *key, dsm_peek *out) noexcept
    cbool dsm_peek_holds(const dsm_space *space, const dsm_key *key, const dsm_peek *peek,
                         const void *copy) noexcept


cdef extern from "base/copy.h" nogil:
    void dsm_copy_out(void *target, const void *shared, size_t size) noexcept


cdef extern from "store/scan.h" nogil:
    dsm_status dsm_scan_stripe(dsm_call *call, uint16_t region, uint32_t stripe, uint8_t *buffer,
                               uint64_t capacity, uint64_t *used) noexcept


cdef extern from "store/check.h" nogil:
    ctypedef struct dsm_check_report:
        uint64_t stripes
        uint64_t objects
        uint64_t value_bytes
        uint64_t problems
        uint64_t repaired
        uint64_t broken
    ctypedef void dsm_check_tell(void *context, const dsm_fault *problem) noexcept
    dsm_status dsm_check(dsm_call *call, cbool repair, dsm_check_tell *tell, void *context,
                         dsm_check_report *report) noexcept


cdef extern from "store/heal.h" nogil:
    dsm_status dsm_heal(dsm_call *call, uint32_t stripe) noexcept
    void dsm_heal_ask(const dsm_space *space, uint32_t stripe) noexcept


cdef extern from "mem/arena.h" nogil:
    ctypedef struct dsm_arena_usage:
        uint64_t total_pages
        uint64_t free_pages
        uint64_t unbacked_pages
        uint64_t limbo_pages
    dsm_status dsm_arena_usage_read(dsm_call *call, unsigned node,
                                    dsm_arena_usage *out) noexcept


cdef extern from "mem/layout.h" nogil:
    ctypedef struct dsm_detection_shm:
        uint32_t heartbeat_ms
        uint32_t suspect_ms
        uint32_t timeout_ms
        uint32_t accrual
        uint32_t phi_suspect_milli
        uint32_t phi_dead_milli
        uint32_t pause_ms
        uint32_t recovery
        uint32_t faults
        uint32_t reserved


cdef extern from "mem/nodes.h" nogil:
    cbool dsm_nodes_catch_up(dsm_call *call) noexcept
    cbool dsm_space_present(const dsm_space *space, unsigned node) noexcept
    uint64_t dsm_nodes_epoch(const dsm_space *space) noexcept


cdef extern from "node/cluster.h" nogil:
    ctypedef struct dsm_cluster:
        dsm_space space
        char name[64]
    ctypedef struct dsm_options:
        const char *name
        uint32_t node_count
        uint32_t replicas
        uint32_t stripe_count
        uint64_t node_segment_bytes
        dsm_detection_shm detection
        uint32_t scrub_kib_per_s
        uint64_t hash_seed
    void dsm_cluster_reveal(dsm_cluster *cluster) noexcept
    ctypedef enum dsm_cluster_state:
        DSM_STATE_STARTING
        DSM_STATE_RUNNING
        DSM_STATE_STOPPING
    dsm_status dsm_cluster_create(const dsm_options *options, dsm_cluster **out,
                                  dsm_fault *fault) noexcept
    dsm_status dsm_cluster_attach(const char *name, int node, dsm_cluster **out,
                                  dsm_fault *fault) noexcept
    uint32_t dsm_cluster_fork_prepare(dsm_cluster *cluster) noexcept
    dsm_status dsm_cluster_fork_adopt(dsm_cluster *cluster, uint32_t slot,
                                      dsm_fault *fault) noexcept
    void dsm_cluster_hold(dsm_cluster *cluster) noexcept
    void dsm_cluster_drop(dsm_cluster *cluster) noexcept
    void dsm_cluster_unlink_own(dsm_cluster *cluster) noexcept
    void dsm_cluster_stop(dsm_cluster *cluster) noexcept
    void dsm_cluster_detach(dsm_cluster *cluster) noexcept
    void dsm_cluster_ready(dsm_cluster *cluster) noexcept
    cbool dsm_cluster_forked(const dsm_cluster *cluster) noexcept
    cbool dsm_cluster_stopping(const dsm_cluster *cluster) noexcept
    cbool dsm_cluster_running(const dsm_cluster *cluster) noexcept


cdef extern from "node/service.h" nogil:
    dsm_status dsm_service_start(dsm_cluster *cluster, int node, int *stopping) noexcept
    void dsm_service_stop(dsm_cluster *cluster) noexcept


cdef extern from "node/registry.h" nogil:
    ctypedef struct dsm_region_settings:
        uint32_t replicas
        uint32_t allow_pickle
    dsm_status dsm_region_open(dsm_call *call, const char *name, uint32_t name_bytes,
                               const dsm_region_settings *settings, cbool match,
                               uint32_t *region, dsm_region_settings *actual) noexcept
    cbool dsm_region_name(const dsm_space *space, uint32_t region, char *name,
                          uint32_t *name_bytes) noexcept
    dsm_status dsm_region_length(dsm_call *call, uint32_t region, uint64_t *length) noexcept
    ctypedef enum dsm_participant_kind:
        DSM_PARTICIPANT_FREE
        DSM_PARTICIPANT_OWNER
        DSM_PARTICIPANT_NODE
        DSM_PARTICIPANT_CLIENT
        DSM_PARTICIPANT_FORKING
        DSM_PARTICIPANT_DEAD
    ctypedef struct dsm_participant_info:
        uint32_t kind
        uint32_t incarnation
        uint32_t pid
        uint32_t node
        uint32_t ready
        uint32_t pins
        uint64_t died_ns
        uint64_t start_ticks
        uint64_t beat_ns
    cbool dsm_participant_read(const dsm_space *space, uint32_t index,
                               dsm_participant_info *out) noexcept
    uint64_t dsm_node_objects(const dsm_space *space, unsigned node) noexcept
