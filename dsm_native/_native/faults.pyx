# From a status and its fault to a typed exception whose message names both sides of the relation.
from dsm_native._native.check cimport dsm__mended
from dsm_native._native.core cimport (
    DSM_ABORTED, DSM_BROKEN, DSM_CLOSED, DSM_CORRUPT, DSM_EXISTS, DSM_FORKED, DSM_KEY_TOO_LONG,
    DSM_LAYOUT, DSM_LOCK_TIMEOUT, DSM_NO_CLUSTER, DSM_NO_REPLICAS,
    DSM_NOT_FOUND, DSM_NOT_OWNER, DSM_OS,
    DSM_OVERFLOW, DSM_STATUS_COUNT, DSM_STORE_FULL, DSM_TOO_MANY, DSM_TORN, DSM_USAGE,
    DSM_VERSION_CONFLICT, DSM_WRONG_TYPE, dsm_fault,
    dsm_os_process_state, dsm_os_room_bytes, dsm_status, dsm_status_exception,
    dsm_status_message, dsm_status_name,
)
from libc.errno cimport errno
from libc.stdint cimport int64_t

import os

from dsm_native import exceptions

cdef dict STATES = {"T": "stopped", "t": "traced", "R": "running", "S": "sleeping",
                    "D": "in the kernel", "Z": "dead, not yet reaped", "?": "gone"}


def status_table():
    """List of (name, exception name, message) of every status of the core, in order."""
    cdef int i
    return [(dsm_status_name(<dsm_status>i).decode(),
             dsm_status_exception(<dsm_status>i).decode(),
             dsm_status_message(<dsm_status>i).decode()) for i in range(DSM_STATUS_COUNT)]


cdef str where(const dsm_fault *fault):
    parts = []
    if fault.node >= 0:
        parts.append(f"node {fault.node}")
    if fault.stripe >= 0:
        parts.append(f"stripe {fault.stripe}")
    return " of ".join(reversed(parts)) if parts else "the control segment"


cdef str fault_text(const dsm_fault *fault):
    # What is wrong; of a repair, what was put right.
    what = fault.what.decode() if fault.what != NULL else "unknown relation"
    if dsm__mended(fault):
        return f"{what} ({where(fault)})"
    return f"{what} ({where(fault)}: {fault.left:#x} against {fault.right:#x})"


cdef str holder_text(const dsm_fault *fault):
    if fault.process.pid == 0:
        return "an unknown process"
    letter = chr(dsm_os_process_state(&fault.process))
    text = f"pid {fault.process.pid}, state {letter} ({STATES.get(letter, 'in the kernel')})"
    if letter in "Tt":
        text += f"; continue it with `kill -CONT {fault.process.pid}`"
    return text


cdef str usage_text(const dsm_fault *fault, object subject):
    if fault.what == NULL:
        return f"{subject!r} is outside its documented range"
    what = fault.what.decode()
    return f"{subject!r}: {what} is {fault.right}, asked for was {fault.left}"


cdef str full_text(const dsm_fault *fault, object subject):
    what = fault.what.decode() if fault.what != NULL else "no room"
    if fault.stripe >= 0:
        return (f"{what}: {fault.left:,} keys and {subject!r} against {fault.right:,} "
                f"({where(fault)}). Nothing was changed; make the cluster with more stripes")
    if fault.node < 0 and fault.right:
        return (f"{what}: {subject!r} takes {fault.left:,} bytes, of which at most {fault.right:,} "
                f"are possible. Nothing was changed; divide it, or make the cluster with larger "
                f"segment_bytes")
    if fault.node < 0 and ("array" in what or "image" in what):
        return (f"{what}: {subject!r} asked for {fault.left:,} bytes; /dev/shm has "
                f"{dsm_os_room_bytes():,} left. Nothing was changed; make it smaller, delete "
                f"others, or give /dev/shm or the memory limit more room")
    whom = f"node {fault.node}" if fault.node >= 0 else "the control segment"
    used = f"it has {fault.right:,} bytes in use and " if fault.right else ""
    return (f"{what}: {whom} asked for {fault.left:,} bytes for {subject!r}; {used}/dev/shm has "
            f"{dsm_os_room_bytes():,} left. Nothing was changed; delete objects, or give /dev/shm "
            f"or the memory limit more room")


cdef object damage_error(dsm_status status, const dsm_fault *fault, object subject):
    if status == DSM_CORRUPT and fault.node < 0 and fault.stripe < 0:
        return exceptions.CorruptError(
            f"{subject!r}: {fault_text(fault)}. What else is in the cluster is unaffected; if "
            f"Cluster.check(repair=True) does not mend this, take another name for it, or save the "
            f"rest with Cluster.checkpoint() and begin anew")
    if status == DSM_CORRUPT:
        return exceptions.CorruptError(
            f"{subject!r}: {fault_text(fault)}. Other stripes are unaffected; "
            f"Cluster.check(repair=True) mends what replicas still tell")
    if status == DSM_NO_REPLICAS:
        return exceptions.NoReplicasAvailableError(
            f"{subject!r}: {fault.what.decode()} ({where(fault)}). Other keys are unaffected; put "
            f"it anew, or see Cluster.lost() and Cluster.accept_loss()")
    return exceptions.CorruptError(
        f"{subject!r}: segments have layout version {fault.left}, this package reads "
        f"{fault.right}; use the package that made the cluster, or `dsm stop` it")


cdef object lost_error(str array):
    return exceptions.NoReplicasAvailableError(
        f"array {array!r}: its files are gone or damaged, and no copy is left. Other arrays and "
        f"keys are unaffected; Cluster.accept_loss() gives it up, then it can be made anew")


cdef object fault_error(dsm_status status, const dsm_fault *fault, object subject, double waited):
    cdef int number = errno
    if status == DSM_NOT_FOUND:
        return exceptions.KeyNotFoundError(subject)
    if status == DSM_LOCK_TIMEOUT:
        return exceptions.LockTimeoutError(
            f"{subject!r}: the lock of {where(fault)} was not granted within {waited:.3g} s; it "
            f"is held by {holder_text(fault)}. Nothing was changed")
    if status == DSM_VERSION_CONFLICT:
        return exceptions.VersionConflictError(
            f"{subject!r}: expected version {fault.left}, found "
            + (f"version {fault.right}" if fault.right else "no object"), fault.right)
    if status == DSM_ABORTED:
        return exceptions.TransactionAbortedError(
            f"{subject!r} was changed by another: the transaction read version {fault.left}, found "
            f"was version {fault.right} (0: no object). Nothing was changed",
            key=subject, expected=fault.left, version=fault.right)
    if status == DSM_STORE_FULL:
        return exceptions.StoreFullError(full_text(fault, subject))
    if status == DSM_KEY_TOO_LONG:
        return exceptions.KeyTooLongError(
            f"key takes {fault.left:,} bytes encoded; at most {fault.right:,} are possible")
    if status == DSM_WRONG_TYPE:
        return exceptions.ValueTypeError(
            f"{subject!r}: add() needs an int below 2**63 in size; the stored value is of another "
            f"type (codec {fault.left})")
    if status == DSM_TORN:
        return exceptions.TornWriteError(
            f"{subject!r}: tile {fault.left} was left torn by pid {fault.right}, which was killed "
            f"while it wrote there; accept() or restore() it")
    if status == DSM_OVERFLOW:
        return exceptions.CounterOverflowError(
            f"{subject!r}: {<int64_t>fault.left} plus {<int64_t>fault.right} leaves the signed "
            f"64-bit range; the counter was left unchanged")
    if status == DSM_CORRUPT or status == DSM_NO_REPLICAS or status == DSM_LAYOUT:
        return damage_error(status, fault, subject)
    if status == DSM_TOO_MANY:
        what = fault.what.decode() if fault.what != NULL else "entries"
        return exceptions.LimitError(f"{subject!r}: at most {fault.left} {what} are possible")
    if status == DSM_USAGE:
        return exceptions.UsageError(usage_text(fault, subject))
    if status == DSM_EXISTS:
        return exceptions.ClusterExistsError(
            f"a cluster named {subject!r} is running; attach({subject!r}) joins it, "
            f"`dsm stop {subject}` ends it")
    if status == DSM_NO_CLUSTER:
        return exceptions.ClusterNotFoundError(
            f"no cluster named {subject!r} is running for this user; `dsm ls` lists them")
    if status == DSM_CLOSED:
        return exceptions.ClosedError(f"{subject!r} is closed")
    if status == DSM_FORKED:
        return exceptions.ForkedError(f"{subject!r} belongs to the parent process")
    if status == DSM_NOT_OWNER:
        return exceptions.NotOwnerError(
            f"{subject!r}: {fault.what.decode()}: {fault.left:#x} against {fault.right:#x}")
    if status == DSM_BROKEN:
        return exceptions.BrokenBarrierError(
            f"barrier {subject!r} is broken: a party died, gave up or aborted it; reset() makes it "
            f"whole again")
    if status == DSM_OS:
        return exceptions.SystemCallError(number, os.strerror(number), str(subject))
    return exceptions.DSMError(f"{subject!r}: {dsm_status_message(status).decode()}")
