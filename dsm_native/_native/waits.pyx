# Who waits for objects of synchronisation, seen from outside: for `dsm top`.
#
# A record says that somebody may sleep until the next wake, also when he has given up. So whoever
# wants to know wakes all who wait, which makes them look once more, and asks after a slice.
from dsm_native._native.core cimport (
    DSM_OK, dsm_call, dsm_call_make, dsm_os_process, dsm_os_process_state, uint32_t,
)
from dsm_native._native.faults cimport fault_error
from dsm_native._native.handle cimport Handle, handle_ready
from dsm_native._native.sync cimport (
    DSM_SYNC_EVERYONE, DSM_SYNC_LOCK, dsm_sync, dsm_sync_at, dsm_sync_awaited, dsm_sync_count,
    dsm_sync_holder, dsm_sync_lock_holder, dsm_sync_wake,
)

cdef tuple KINDS = ("", "lock", "semaphore", "barrier", "event", "condition", "queue")


def awaited(Handle handle, bint rouse):
    """(kind, name, (pid, letter of the state) of a lock's holder or None) of what is waited for.

    As of the last call with `rouse`, which lets all who wait say so anew. Blocks for nobody.
    """
    cdef dsm_call call
    cdef dsm_sync sync
    cdef uint32_t count = 0, index
    found = []
    handle_ready(handle)
    call = dsm_call_make(handle.space, 0)
    status = dsm_sync_count(&call, &count)
    if status != DSM_OK:
        raise fault_error(status, &call.fault, "", 0)
    for index in range(count):
        if dsm_sync_at(&call, index, &sync) != DSM_OK or sync.kind >= <uint32_t>len(KINDS):
            continue  # damage is for check() to tell; the other kinds are never waited for
        if dsm_sync_awaited(&sync, 0) or dsm_sync_awaited(&sync, 1):
            name = sync.record.name[:sync.record.name_bytes].decode(errors="replace")
            found.append((KINDS[sync.kind], name, holder_of(handle, &sync)))
        if rouse:
            dsm_sync_wake(&sync, 0, DSM_SYNC_EVERYONE)
            dsm_sync_wake(&sync, 1, DSM_SYNC_EVERYONE)
    return found


cdef object holder_of(Handle handle, dsm_sync *sync):
    cdef dsm_sync_holder holder
    cdef dsm_os_process process
    if sync.kind != DSM_SYNC_LOCK:
        return None
    dsm_sync_lock_holder(handle.space, sync, &holder)
    if not holder.party:
        return None
    process.pid = holder.pid
    process.start_ticks = holder.start_ticks
    return holder.pid, chr(dsm_os_process_state(&process))
