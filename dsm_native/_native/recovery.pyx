# What recovery has done in a cluster, and what is lost.
from dsm_native._native.core cimport (
    DSM_LOCK_SLICE_MS, DSM_LOCK_TIMEOUT, DSM_NODES_MAX, DSM_OK, dsm_call, dsm_call_make,
    dsm_cluster, dsm_cluster_drop, dsm_cluster_hold, dsm_os_monotonic_ns, dsm_space, dsm_status,
    uint32_t, uint64_t,
)
from dsm_native._native.faults cimport fault_error
from dsm_native._native.handle cimport Handle, handle_ready

from cpython.exc cimport PyErr_CheckSignals


cdef extern from "store/heal.h" nogil:
    uint64_t dsm_heal_losses(const dsm_space *space, uint32_t stripe) noexcept
    dsm_status dsm_heal_accept(dsm_call *call, uint32_t stripe) noexcept
    dsm_status dsm_heal_named(dsm_call *call, uint32_t stripe, uint64_t *named) noexcept


cdef extern from "store/recovered.h" nogil:
    ctypedef struct dsm_recovered:
        uint64_t stripes_mended
        uint64_t objects_copied
        uint64_t objects_attached
        uint64_t objects_lost
        uint64_t objects_filled
        uint64_t copies_mended
        uint64_t arrays_lost
        uint64_t array_bytes
        uint64_t array_rounds
    ctypedef struct dsm_scrubbed:
        uint64_t rounds
        uint64_t bytes
        uint64_t found
        uint64_t rebuilds
        uint64_t adoptions
        uint64_t adopt_ns
        uint32_t adopt_mended
        uint32_t adopt_left
    void dsm_recovered_read(const dsm_space *space, dsm_recovered *out) noexcept
    void dsm_scrubbed_read(const dsm_space *space, unsigned node, dsm_scrubbed *out) noexcept


def counters(Handle handle):
    """What was mended, copied, found again and lost since the cluster began, as a dict."""
    cdef dsm_recovered counts
    handle_ready(handle)
    dsm_recovered_read(handle.space, &counts)
    return {"stripes_mended": counts.stripes_mended, "objects_copied": counts.objects_copied,
            "objects_found_again": counts.objects_attached, "objects_lost": counts.objects_lost,
            "objects_filled": counts.objects_filled,
            "array_copies_mended": counts.copies_mended, "arrays_lost": counts.arrays_lost,
            "array_scrub_rounds": counts.array_rounds, "array_scrubbed_bytes": counts.array_bytes}


def scrubbed(Handle handle, unsigned node):
    """What the node's scrubber has looked at, and how often its segment was replaced, as a dict."""
    cdef dsm_scrubbed counts
    handle_ready(handle)
    dsm_scrubbed_read(handle.space, node if node < DSM_NODES_MAX else 0, &counts)
    return {"scrub_rounds": counts.rounds, "scrubbed_bytes": counts.bytes,
            "damaged_stripes": counts.found, "rebuilds": counts.rebuilds,
            "adoptions": counts.adoptions, "adoption_ms": counts.adopt_ns / 1e6,
            "adoption_repairs": counts.adopt_mended, "adoption_stripes_left": counts.adopt_left}


def unknown_losses(Handle handle):
    """{stripe: number of objects that were lost with their keys}."""
    cdef uint32_t stripe
    cdef uint64_t count
    handle_ready(handle)
    found = {}
    for stripe in range(handle.space.stripe_count):
        count = dsm_heal_losses(handle.space, stripe)
        if count:
            found[stripe] = count
    return found


def lost_stripes(Handle handle):
    """The stripes of which objects are lost and not accepted as lost; also one that is in use by a
    stopped process, as far as can be known. Takes each stripe in turn, if anything was ever lost.
    """
    cdef uint32_t stripe
    cdef uint64_t named = 0
    cdef dsm_call call
    cdef dsm_cluster *cluster
    cdef dsm_status status
    found = []
    if counters(handle)["objects_lost"] == 0:
        return found
    for stripe in range(handle.space.stripe_count):
        handle_ready(handle)
        call = dsm_call_make(handle.space, DSM_LOCK_SLICE_MS)
        cluster = handle.cluster
        dsm_cluster_hold(cluster)
        with nogil:
            status = dsm_heal_named(&call, stripe, &named)
            dsm_cluster_drop(cluster)
        if status != DSM_OK or named or dsm_heal_losses(handle.space, stripe):
            found.append(stripe)
        PyErr_CheckSignals()
    return found


def accept_losses(Handle handle, uint32_t stripe):
    """From now on an absent key of the stripe is an absent key. Blocks for its lock."""
    cdef dsm_call call
    cdef dsm_cluster *cluster
    cdef dsm_status status
    cdef uint64_t start = dsm_os_monotonic_ns()
    while True:
        handle_ready(handle)
        call = dsm_call_make(handle.space, DSM_LOCK_SLICE_MS)
        cluster = handle.cluster
        dsm_cluster_hold(cluster)
        with nogil:
            status = dsm_heal_accept(&call, stripe)
            dsm_cluster_drop(cluster)
        if status == DSM_OK:
            return
        waited = (dsm_os_monotonic_ns() - start) * 1e-9
        if status != DSM_LOCK_TIMEOUT or waited >= handle.lock_timeout:
            raise fault_error(status, &call.fault, handle.name, handle.lock_timeout)
        PyErr_CheckSignals()
