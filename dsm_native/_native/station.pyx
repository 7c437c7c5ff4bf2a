# The node's end of its mailbox: tasks come, are claimed, run, and answered.
#
# Plain arguments and results, and those that pickle, are dealt with here; everything else (large
# values, errors, functions, requests of tasks) is the work of dsm_native.node, to which it is told.
# One result is published before the next task begins, so a kill can cost at most the task in hand.
#
# The main thread reads the ring while it is between tasks (`inside` is 0); meanwhile nobody else
# does. While it is inside a task, other threads may (dsm_native.requester says which): to look at
# `inside`, to read and to put aside is one step without a switch of threads.
from dsm_native._native.core cimport (
    DSM_NOT_FOUND, DSM_OK, DSM_TOO_MANY, dsm_os_monotonic_ns, dsm_status, uint8_t, uint16_t,
    uint32_t, uint64_t,
)
from dsm_native._native.handle cimport handle_ready
from dsm_native._native.mailbox cimport (
    DSM_LISTENER_FIRST, DSM_MAILBOX_SLOTS, Mailbox, PAYLOAD_PICKLE, RECORD_DEFINE, RECORD_FORGET,
    RECORD_NESTED, RECORD_RESULT, RECORD_TASK, decoded, dsm_doorbell_pass, dsm_doorbell_ring,
    dsm_load_relaxed_u64,
    dsm_mailbox_claim, dsm_mailbox_shm, dsm_record_shm, dsm_ring_consume, dsm_ring_head,
    dsm_ring_next, dsm_ring_publish, dsm_ring_tail, dsm_space_mailboxes, dsm_store_relaxed_u64,
    is_plain,
)

import pickle
import time
from collections import deque

from dsm_native.exceptions import CorruptError

cdef object loads = pickle.loads
cdef double ROOM_WAIT_S = 0.0005
cdef object NOTHING = object()
cdef object TAKEN = object()


cdef class Station(Mailbox):
    """Receives and answers. `functions` maps numbers to what is ready to be called."""

    cdef readonly dict functions
    cdef readonly dict defined   # number → (codec, payload, number of the initializer)
    cdef readonly object slow    # dsm_native.node's object for all that is not the common case
    cdef readonly object aside   # tasks that came while a task was waiting or running
    cdef readonly object nested  # … and tasks of tasks that nobody has begun
    cdef readonly int inside     # whether the main thread is inside a task
    cdef public bint deaf        # the owner has left for ever: answers go nowhere

    def __init__(self, handle, node, slow):
        self.functions = {}
        self.defined = {}
        self.aside = deque()
        self.nested = deque()
        self.slow = slow

    def send(self, uint8_t kind, uint8_t codec, uint16_t slot, uint32_t function,
             uint64_t serial, payload):
        """Publishes one record and wakes the owner; waits for room, ClosedError if it stops."""
        cdef dsm_record_shm record
        cdef dsm_status status
        cdef dsm_mailbox_shm *box
        cdef uint64_t at
        while not self.deaf:
            handle_ready(self.handle)
            box = self.box()
            record.kind = kind
            record.codec = codec
            record.slot = slot
            record.function = function
            record.serial = serial
            at = dsm_ring_tail(&box.to_owner)
            status = self.put(&box.to_owner, &at, &record, payload)
            if status == DSM_OK:
                dsm_ring_publish(&box.to_owner, at)
                dsm_doorbell_ring(&dsm_space_mailboxes(self.handle.space).bell)
                return
            if status != DSM_TOO_MANY:
                raise CorruptError(f"the mailbox of node {self.node} is damaged")
            time.sleep(ROOM_WAIT_S)

    def step(self):
        """For the main thread between tasks: deals with the next record, and runs it if it is a
        task; False if there is none.
        """
        cdef dsm_record_shm record
        handle_ready(self.handle)
        if self.nested or self.aside:
            entry = self.nested.popleft() if self.nested else self.aside.popleft()
            record.codec, record.slot, record.function, record.serial, value = entry
            self.begin_inside(&record, value)
            return True
        value = self.read(&record)
        if value is NOTHING:
            return False
        if record.kind == RECORD_TASK or record.kind == RECORD_NESTED:
            self.begin_inside(&record, value)
        elif value is not TAKEN:
            self.slow.handle(record.kind, record.codec, record.function, record.serial, value)
        return True

    def receive(self, bint begins):
        """For any thread while the main one is inside a task: deals with the next record.

        False if there is none, or if the main thread reads itself; True if there was one; a tuple,
        to be passed to `run_now`, if it is a task of a task and the caller begins such. Others
        are put aside, not claimed, so that the owner can still have them run elsewhere.
        """
        cdef dsm_record_shm record
        handle_ready(self.handle)
        if not self.inside:
            dsm_doorbell_pass(&self.box().bell)
            return False
        if begins and self.nested:
            return self.nested.popleft()
        value = self.read(&record)
        if value is NOTHING:
            return False
        if record.kind == RECORD_TASK or record.kind == RECORD_NESTED:
            entry = (record.codec, record.slot, record.function, record.serial, value)
            if record.kind == RECORD_TASK:
                self.aside.append(entry)
            elif begins:
                return entry
            else:
                self.nested.append(entry)
        elif value is not TAKEN:
            self.slow.handle(record.kind, record.codec, record.function, record.serial, value)
        return True

    cdef object read(self, dsm_record_shm *record):
        # The payload of the next record, which is consumed; NOTHING; TAKEN if it is dealt with.
        cdef const uint8_t *payload = NULL
        cdef dsm_mailbox_shm *box = self.box()
        cdef uint64_t at = dsm_ring_head(&box.to_node)
        cdef dsm_status status = dsm_ring_next(&box.to_node, &at, record, &payload)
        if status == DSM_NOT_FOUND:
            return NOTHING
        if status != DSM_OK or record.slot >= DSM_MAILBOX_SLOTS:
            raise CorruptError(f"the mailbox of node {self.node} is damaged")
        value = decoded(record.codec, payload, record.bytes)
        dsm_ring_consume(&box.to_node, at)
        if record.kind == RECORD_DEFINE:
            self.defined[record.function] = (record.codec, value, record.serial)
            return TAKEN
        if record.kind == RECORD_FORGET:
            self.defined.pop(record.function, None)
            self.functions.pop(record.function, None)
            return TAKEN
        return value

    def run_now(self, entry):
        """Runs a task that `receive` returned, in the calling thread."""
        cdef dsm_record_shm record
        record.codec, record.slot, record.function, record.serial, value = entry
        self.begin(&record, value)

    cdef int begin_inside(self, dsm_record_shm *record, object value) except -1:
        self.inside += 1
        try:
            self.begin(record, value)
        finally:
            self.inside -= 1
        return 0

    cdef int begin(self, dsm_record_shm *record, object value) except -1:
        cdef uint64_t started = dsm_os_monotonic_ns(), ended
        cdef dsm_mailbox_shm *box = self.box()
        if not dsm_mailbox_claim(box, record.slot, record.serial, started):
            return 0  # taken back: it runs elsewhere, or nowhere
        self.run(record, value)
        handle_ready(self.handle)
        box = self.box()
        ended = dsm_os_monotonic_ns()
        dsm_store_relaxed_u64(&box.done, dsm_load_relaxed_u64(&box.done) + 1)
        dsm_store_relaxed_u64(&box.busy_ns,
                              dsm_load_relaxed_u64(&box.busy_ns) + (ended - started))
        return 0

    cdef int run(self, dsm_record_shm *record, object value) except -1:
        function = self.functions.get(record.function)
        if function is None or record.codec > PAYLOAD_PICKLE:
            self.slow.run(record.codec, record.slot, record.function, record.serial, value)
            return 0
        try:
            if record.codec == PAYLOAD_PICKLE:
                value = loads(value)
            result = function(value)
        except BaseException as error:  # SystemExit of a task is the task's, too
            self.slow.fail(record.slot, record.serial, error)
            return 0
        del value
        if is_plain(result):
            self.send(RECORD_RESULT, 0, record.slot, 0, record.serial, result)
        else:
            self.slow.answer(record.slot, record.serial, result)
        return 0

    def wait(self, uint32_t slices):
        """Waits for a record, at most `slices` times 50 ms; ClosedError once the cluster stops."""
        return self.listen(self.node, 0, DSM_LISTENER_FIRST, slices)
