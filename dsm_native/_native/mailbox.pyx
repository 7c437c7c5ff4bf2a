# Records between the owner and a node, and waiting for them. The rings are csrc/mem/mailbox.h.
#
# Appending, publishing and consuming happen under the GIL and without a call into Python, so that
# they are one step towards other threads and towards Ctrl-C; waiting happens without the GIL.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.long cimport PyLong_AsLongLongAndOverflow
from cpython.exc cimport PyErr_CheckSignals
from dsm_native._native.codec cimport Encoded, decode_plain, encode_plain
from dsm_native._native.core cimport (
    DSM_LOCK_SLICE_MS, dsm_cluster, dsm_cluster_drop, dsm_cluster_hold, dsm_cluster_running,
)
from dsm_native._native.handle cimport handle_ready

from dsm_native.exceptions import UsageError


cdef bint is_plain(object value):
    # Immutable, and short enough for a record: travels without pickle.
    cdef int overflow = 0
    kind = type(value)
    if kind is int:
        PyLong_AsLongLongAndOverflow(value, &overflow)
        return overflow == 0
    if kind is float or value is None or kind is bool:
        return True
    if kind is str or kind is bytes:
        return len(value) <= PLAIN_BYTES_MAX // 4
    return False


cdef object decoded(uint8_t codec, const uint8_t *payload, uint32_t length):
    if codec <= PAYLOAD_PLAIN_MAX:
        return decode_plain(codec, payload, length)
    return PyBytes_FromStringAndSize(<const char *>payload, length)


cdef class Mailbox:
    """One end of a node's rings; see `Lane` (the owner's end) and `Station` (the node's)."""

    def __cinit__(self, Handle handle, int node, *_):
        if not 0 <= node < handle.node_count:
            raise UsageError(f"node {node} does not exist; there are {handle.node_count}")
        self.handle = handle
        self.node = node

    cdef dsm_mailbox_shm *box(self):
        return &dsm_space_mailboxes(self.handle.space).nodes[self.node]

    cdef dsm_status put(self, dsm_ring_shm *ring, uint64_t *at, dsm_record_shm *record,
                        object payload) except *:
        # Appends; payload is bytes, or with codec 0 a plain value.
        cdef Encoded plain
        if record.codec == 0:
            _keep = encode_plain(payload, &plain)
            record.codec = plain.codec
            record.bytes = <uint32_t>plain.length
            return dsm_ring_append(ring, at, record, plain.parts[0].bytes)
        record.bytes = <uint32_t>PyBytes_GET_SIZE(payload)
        return dsm_ring_append(ring, at, record, PyBytes_AS_STRING(payload))

    cdef bint listen(self, int node, uint32_t deaths, dsm_listener listener, uint32_t slices):
        cdef dsm_cluster *cluster = self.handle.cluster
        cdef dsm_mailboxes_shm *boxes
        cdef uint32_t count
        cdef bint news = False
        # Who rings a node's bell is the owner alone: if it is killed before it rings, there is
        # nothing to wake for, and the end of the cluster is rung by our own service thread. So a
        # node may sleep through all its slices; the owner looks whether a node was killed.
        cdef uint32_t each = DSM_LOCK_SLICE_MS * 1000
        if node >= 0:
            each, slices = each * slices, 1
        handle_ready(self.handle)
        cluster = self.handle.cluster
        boxes = dsm_space_mailboxes(&cluster.space)
        count = cluster.space.node_count
        dsm_cluster_hold(cluster)
        with nogil:
            while slices and not news and dsm_cluster_running(cluster):
                news = dsm_mailbox_wait(boxes, count, node, deaths, listener, &self.spin_ns,
                                        each)
                slices -= 1
            dsm_cluster_drop(cluster)
        PyErr_CheckSignals()
        return news

    def counts(self):
        """(tasks done, seconds spent in them, tasks queued, tasks begun) of this node."""
        cdef uint64_t word
        cdef int queued = 0, begun = 0
        handle_ready(self.handle)
        cdef dsm_mailbox_shm *box = self.box()
        for slot in range(DSM_MAILBOX_SLOTS):
            word = dsm_load_relaxed_u64(&box.claims[slot])
            if word & DSM_CLAIM_STARTED:
                begun += 1
            elif word:
                queued += 1
        return (dsm_load_relaxed_u64(&box.done), dsm_load_relaxed_u64(&box.busy_ns) * 1e-9,
                queued, begun)


def plain(value):
    """Whether the value travels in a record without pickle."""
    return is_plain(value)


RECORD_BYTES_MAX = DSM_MAILBOX_RECORD_BYTES_MAX - 64
READY, REQUEST, SETTING, DEFINE, FORGET = (
    RECORD_READY, RECORD_REQUEST, RECORD_SETTING, RECORD_DEFINE, RECORD_FORGET)
RESULT, ERROR, REFUSED, REPLY, REPLY_ERROR = (
    RECORD_RESULT, RECORD_ERROR, RECORD_REFUSED, RECORD_REPLY, RECORD_REPLY_ERROR)
PLAIN, PICKLE, CALL, PARCEL, CALL_PARCEL, ARRAY, CALL_ARRAYS = (
    0, PAYLOAD_PICKLE, PAYLOAD_CALL, PAYLOAD_PARCEL, PAYLOAD_CALL_PARCEL, PAYLOAD_ARRAY,
    PAYLOAD_CALL_ARRAYS)
SLOTS = DSM_MAILBOX_SLOTS
