# Mirror of csrc/store/frame.h, and the buffer that the walk of a checkpoint fills.
from dsm_native._native.core cimport dsm_status, uint8_t, uint16_t, uint32_t, uint64_t
from libcpp cimport bool as cbool


cdef extern from "store/frame.h" nogil:
    enum:
        DSM_FRAME_BYTES_MAX
        DSM_FRAME_OBJECTS
        DSM_FRAME_VALUE
    ctypedef struct dsm_frame:
        uint64_t check
        uint64_t file
        uint64_t offset
        uint32_t kind
        uint32_t bytes
        uint64_t subject
        uint64_t detail[2]
    ctypedef struct dsm_record:
        uint64_t version
        uint64_t value_bytes
        uint32_t key_bytes
        uint16_t region
        uint8_t key_kind
        uint8_t codec
    ctypedef struct dsm_mark:
        uint64_t version
        uint64_t key_hash
    ctypedef struct dsm_frames:
        uint8_t *bytes
        uint64_t capacity
        uint64_t used
        uint64_t written
        uint64_t file
    uint64_t dsm_frame_room(uint64_t payload_bytes) noexcept
    uint8_t *dsm_frame_payload(const dsm_frames *frames, uint64_t payload_bytes) noexcept
    void dsm_frame_seal(dsm_frames *frames, const dsm_frame *head) noexcept
    dsm_status dsm_frame_head(const void *bytes, uint64_t offset, uint64_t file,
                              dsm_frame *out) noexcept
    cbool dsm_frame_holds(const void *bytes, const dsm_frame *head) noexcept
    cbool dsm_record_next(const uint8_t *payload, uint64_t bytes, cbool whole, uint64_t *at,
                          dsm_record *record, const uint8_t **key,
                          const uint8_t **value) noexcept


cdef class FrameBuffer:
    cdef dsm_frames frames
