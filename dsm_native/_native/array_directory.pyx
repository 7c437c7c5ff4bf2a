# Finding, making, replacing and removing arrays: csrc/store/array_directory.h under Python.
#
# Waits are sliced as in array.pyx. Whoever became the worker of an entry settles it in any case, so
# that nothing half-made outlives an exception.
from libc.string cimport memset

from dsm_native._native.array cimport (
    ArrayMap, DSM_ARRAY_DESCRIPTION_MAX, DSM_ARRAY_DIMENSIONS_MAX, Patience, dsm_array_create,
    dsm_array_entries, dsm_array_entry_name, dsm_array_find,
    dsm_array_geometry_shm, dsm_array_heal, dsm_array_healed, dsm_array_open,
    dsm_array_publish, dsm_array_reserve, dsm_array_reserve_new, dsm_array_settle,
)
from dsm_native._native.core cimport (
    DSM_CORRUPT, DSM_LOCK_SLICE_MS, DSM_LOCK_TIMEOUT, DSM_NO_REPLICAS, DSM_NOT_FOUND, DSM_OK,
    DSM_RETRY, dsm_call, dsm_call_make, dsm_status, uint32_t, uint64_t,
)
from dsm_native._native.faults cimport fault_error, lost_error
from dsm_native._native.handle cimport Handle, handle_ready

from time import sleep

from dsm_native.exceptions import (
    CorruptError, LockTimeoutError, NoReplicasAvailableError, StoreFullError, UsageError,
)


def find_array(Handle handle, str name, timeout=None):
    """The mapping of the array of that name, or None. Copies that are lost are made anew; one whose
    file is open elsewhere is used as it is while that cannot be done."""
    cdef ArrayMap found
    cdef Patience patience = Patience(handle, timeout)
    cdef dsm_call call
    cdef dsm_status status
    cdef uint32_t entry = 0
    cdef uint64_t build = 0
    cdef bint usable
    while True:
        found = ArrayMap.make(handle, name)
        call = dsm_call_make(&found.cluster.space, DSM_LOCK_SLICE_MS)
        status = look_up(found, &call, &entry, &build)
        if status == DSM_OK:
            with nogil:
                status = dsm_array_open(&call, entry, build, &found.array)
            found.mapped = status == DSM_OK
        if status == DSM_OK and found.sound:
            return found
        if status == DSM_NOT_FOUND:
            return None
        if status in (DSM_OK, DSM_CORRUPT, DSM_NO_REPLICAS) and build:
            usable = status == DSM_OK
            status = mend(found, &call, entry, build)
            if status != DSM_OK and usable:
                return found
            if status == DSM_NO_REPLICAS:
                raise lost_error(name)
        if status not in (DSM_OK, DSM_RETRY, DSM_LOCK_TIMEOUT):
            raise fault_error(status, &call.fault, name, 0)
        if status != DSM_OK:
            patience.go_on(DSM_LOCK_TIMEOUT, &call.fault, name)
            pause(status)


cdef dsm_status mend(ArrayMap map, dsm_call *call, uint32_t entry, uint64_t build) except *:
    cdef dsm_array_healed done
    cdef dsm_status status
    with nogil:
        status = dsm_array_heal(call, entry, build, &done)
    return status


cdef dsm_status look_up(ArrayMap map, dsm_call *call, uint32_t *entry, uint64_t *build) except *:
    # What the map's name means now.
    encoded = map.name.encode()
    cdef const char *text = encoded
    cdef uint32_t length = <uint32_t>len(encoded)
    with nogil:
        return dsm_array_find(call, text, length, entry, build)


def array_is_lost(Handle handle, str name):
    """Whether no copy is left of it. What can be mended is mended."""
    try:
        find_array(handle, name)
    except NoReplicasAvailableError:
        return True
    except (CorruptError, LockTimeoutError, StoreFullError):
        pass  # damaged, held or without room: not lost
    return False


def give_up_array(Handle handle, str name):
    """Removes an array of which nothing is left; whether it did."""
    cdef ArrayMap seen = ArrayMap.make(handle, name)
    cdef dsm_call call = dsm_call_make(&seen.cluster.space, DSM_LOCK_SLICE_MS)
    cdef uint32_t entry = 0
    cdef uint64_t build = 0, unused = 0
    cdef dsm_status status = look_up(seen, &call, &entry, &build)
    if status == DSM_OK:
        with nogil:
            status = dsm_array_reserve(&call, entry, build, &unused)
    if status != DSM_OK:
        return False
    try:
        publish_entry(seen, entry, 0)
    finally:
        settle_entry(seen, entry)
    return True


cdef int pause(dsm_status status) except -1:
    # Another process is making the array: look again a little later.
    sleep(0.001 if status == DSM_LOCK_TIMEOUT else 0)
    return 0


cdef int fill_geometry(dsm_array_geometry_shm *out, object asked, uint64_t build) except -1:
    cdef uint32_t i
    memset(out, 0, sizeof(dsm_array_geometry_shm))
    shape = asked["shape"]
    if len(shape) > DSM_ARRAY_DIMENSIONS_MAX:
        raise UsageError(f"an array has at most {DSM_ARRAY_DIMENSIONS_MAX} dimensions")
    if len(asked["description"].encode()) > DSM_ARRAY_DESCRIPTION_MAX:
        raise UsageError(f"the dtype takes more than {DSM_ARRAY_DESCRIPTION_MAX:,} bytes to tell")
    out.build = build
    out.data_bytes = asked["data_bytes"]
    out.item_bytes = asked["item_bytes"]
    out.tile_bytes = asked["tile_bytes"]
    out.replicas = asked["replicas"]
    out.undo = asked["undo"]
    out.fortran = asked["fortran"]
    out.dimensions = len(shape)
    out.description_bytes = len(asked["description"].encode())
    for i in range(out.dimensions):
        out.shape[i] = shape[i]
    return 0


cdef object create_build(ArrayMap made, uint32_t entry, uint64_t build, object asked):
    cdef dsm_array_geometry_shm geometry
    cdef dsm_call call = dsm_call_make(&made.cluster.space, DSM_LOCK_SLICE_MS)
    cdef dsm_status status
    fill_geometry(&geometry, asked, build)
    description = asked["description"].encode()
    cdef const char *text = description
    with nogil:
        status = dsm_array_create(&call, &geometry, text, &made.array)
    if status != DSM_OK:
        raise fault_error(status, &call.fault, made.name, 0)
    made.mapped = True
    made.array.entry = entry


cdef int settle_entry(ArrayMap map, uint32_t entry) except -1:
    # Patient in any case: what is not settled would lie about until this process ends.
    cdef dsm_call call
    cdef dsm_status status = DSM_LOCK_TIMEOUT
    while status == DSM_LOCK_TIMEOUT:
        call = dsm_call_make(&map.cluster.space, DSM_LOCK_SLICE_MS)
        with nogil:
            status = dsm_array_settle(&call, entry)
        if status == DSM_LOCK_TIMEOUT:
            handle_ready(map.handle)
    if status != DSM_OK:
        raise fault_error(status, &call.fault, map.name, 0)
    return 0


cdef int publish_entry(ArrayMap map, uint32_t entry, uint64_t build) except -1:
    cdef dsm_call call
    cdef dsm_status status = DSM_LOCK_TIMEOUT
    cdef Patience patience = Patience(map.handle, None)
    while True:
        call = dsm_call_make(&map.cluster.space, DSM_LOCK_SLICE_MS)
        with nogil:
            status = dsm_array_publish(&call, entry, build)
        if status == DSM_OK:
            return 0
        if status != DSM_LOCK_TIMEOUT:
            raise fault_error(status, &call.fault, map.name, 0)
        patience.go_on(status, &call.fault, map.name)


def create_array(Handle handle, str name, asked, timeout=None):
    """The mapping of a new array, zeroed; None if the name exists by now."""
    cdef ArrayMap made = ArrayMap.make(handle, name)
    cdef Patience patience = Patience(handle, timeout)
    cdef dsm_call call
    cdef dsm_status status
    cdef uint32_t entry = 0
    cdef uint64_t build = 0
    encoded = name.encode()
    cdef const char *text = encoded
    cdef uint32_t length = <uint32_t>len(encoded)
    while True:
        call = dsm_call_make(&made.cluster.space, DSM_LOCK_SLICE_MS)
        with nogil:
            status = dsm_array_reserve_new(&call, text, length, &entry, &build)
        if status == DSM_OK:
            break
        if status == DSM_RETRY:
            return None
        if status != DSM_LOCK_TIMEOUT:
            raise fault_error(status, &call.fault, name, 0)
        patience.go_on(status, &call.fault, name)
        pause(status)
    try:
        create_build(made, entry, build, asked)
        publish_entry(made, entry, build)
    finally:
        settle_entry(made, entry)
    return made


def replace_array(ArrayMap old, asked, fill, timeout=None):
    """Puts another build in the place of `old`, filled by fill(new mapping); without `asked`,
    nothing. The new mapping; False if the name no longer means `old`. Writers and readers of `old`
    are waited for and kept away until it is done."""
    cdef ArrayMap made = ArrayMap.make(old.handle, old.name)
    cdef Patience patience = Patience(old.handle, timeout)
    cdef dsm_call call
    cdef dsm_status status
    cdef uint64_t build = 0, current = old.array.number
    cdef uint32_t entry = old.array.entry
    while True:
        call = dsm_call_make(&old.cluster.space, DSM_LOCK_SLICE_MS)
        with nogil:
            status = dsm_array_reserve(&call, entry, current, &build)
        if status == DSM_OK:
            break
        if status == DSM_RETRY:
            return False
        if status != DSM_LOCK_TIMEOUT:
            raise fault_error(status, &call.fault, old.name, 0)
        patience.go_on(status, &call.fault, old.name)
        pause(status)
    block = None
    try:
        block = old.begin(0, old.data_bytes, True, timeout, holds=True)
        if asked is not None:
            create_build(made, entry, build, asked)
            fill(made)
            made.replicate()
        publish_entry(old, entry, build if asked is not None else 0)
    finally:
        try:
            settle_entry(old, entry)
        finally:
            if block is not None:
                block.cancel()
    return made if asked is not None else None


def array_names(Handle handle):
    """Names of the arrays."""
    cdef char text[64]
    cdef uint32_t length = 0, i
    handle_ready(handle)
    names = []
    for i in range(dsm_array_entries(handle.space)):
        if dsm_array_entry_name(handle.space, i, text, &length):
            names.append(text[:length].decode())
    return sorted(names)
