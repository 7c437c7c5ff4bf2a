# The owner's end of a node's mailbox: tasks that are under way, and what comes back.
#
# A Task is in exactly one place: a queue of the scheduler, a slot of a lane, or finished. Each move
# is one call here without a switch of threads inside, so that neither another thread nor Ctrl-C
# sees it half done. Longer than 400 lines: tasks, lanes and gatherings reach into each other on the
# hot path, which only types of one module may do without a call into Python.
from dsm_native._native.core cimport (
    DSM_LOCK_SLICE_MS, DSM_NOT_FOUND, DSM_OK, DSM_TOO_MANY, dsm_cluster, dsm_cluster_drop,
    dsm_cluster_hold, dsm_cluster_running, dsm_os_monotonic_ns, dsm_status, uint8_t, uint16_t,
    uint32_t, uint64_t,
)
from dsm_native._native.handle cimport Handle, handle_ready
from dsm_native._native.mailbox cimport (
    decoded, dsm_doorbell_calls, dsm_doorbell_lead, dsm_doorbell_leave, dsm_doorbell_ring,
    dsm_doorbell_ring_second, DSM_CLAIM_STARTED, DSM_LISTENER_FIRST, DSM_LISTENER_SECOND,
    dsm_load_acquire_u32, dsm_load_acquire_u64, dsm_load_relaxed_u64, dsm_mailbox_reset,
    dsm_mailbox_revoke, dsm_mailbox_shm, DSM_MAILBOX_SLOTS, dsm_mailbox_wait, dsm_mailboxes_shm,
    dsm_record_shm, dsm_ring_consume, dsm_ring_head, dsm_ring_news, dsm_ring_next, dsm_ring_publish,
    dsm_ring_tail, dsm_space_mailboxes, dsm_store_relaxed_u64, dsm_store_release_u64, is_plain,
    Mailbox, PAYLOAD_PICKLE, RECORD_DEFINE, RECORD_FORGET, RECORD_NESTED, RECORD_REFUSED,
    RECORD_RESULT, RECORD_TASK,
)

import os
import pickle
import weakref

from dsm_native.exceptions import CorruptError

cdef object loads = pickle.loads
cdef uint64_t serials = 0
cdef enum:
    WINDOW_MAX = 192  # the other slots are for tasks of tasks, which no window may keep out


cdef class Function:
    """A function as the nodes get it: a number, and bytes that are sent to a node once.

    `setup` is the initializer that must have run in the node's process first, or None.
    """

    cdef readonly uint32_t number
    cdef readonly object payload
    cdef readonly uint8_t codec
    cdef readonly Function setup
    cdef readonly str name

    def __cinit__(self, uint32_t number, bytes payload, uint8_t codec, Function setup, str name):
        self.number = number
        self.payload = payload
        self.codec = codec
        self.setup = setup
        self.name = name


cdef class Task:
    """One call: its function, its argument, who wants the outcome, how often it was begun."""

    cdef public Function function
    cdef public object sink       # .settle(task) takes the outcome; None: nobody wants it any more
    cdef public Py_ssize_t index  # the sink's
    cdef public object body       # bytes, or with codec 0 the plain argument itself
    cdef public uint8_t codec
    cdef readonly uint64_t serial
    cdef public int lane          # of the node that it was sent to last
    cdef public int tries
    cdef public int retries
    cdef public int node          # where it must run; -1: anywhere
    cdef public bint nested       # a task of a task
    cdef public double timeout    # seconds from its beginning; 0: none
    cdef public uint8_t kind      # of the record that answered it
    cdef public uint8_t outcome_codec
    cdef public object outcome
    cdef public object parcels    # keys of what it needs in the parcels' region
    cdef int slot

    def __cinit__(self, Function function, object sink, Py_ssize_t index, object body,
                  uint8_t codec, int retries, int node, double timeout):
        global serials
        serials += 1
        self.serial = serials
        self.function = function
        self.sink = sink
        self.index = index
        self.body = body
        self.codec = codec
        self.retries = retries
        self.node = node
        self.timeout = timeout
        self.slot = -1


cdef class Lane(Mailbox):
    """What the owner has sent to one node and not yet heard of."""

    cdef list tasks
    cdef set known                # numbers of functions that the node has
    cdef readonly int in_flight
    cdef int free_count
    cdef uint16_t free[256]
    cdef public int window        # how many tasks may be under way at once
    cdef public int timed         # how many of them have a time-out
    cdef uint64_t done_seen, busy_seen

    def __init__(self, handle, node):
        self.forget_all()

    cdef void forget_all(self):
        self.tasks = [None] * DSM_MAILBOX_SLOTS
        self.known = set()
        self.in_flight = self.timed = 0
        self.window = 2
        self.free_count = DSM_MAILBOX_SLOTS
        for slot in range(DSM_MAILBOX_SLOTS):
            self.free[slot] = DSM_MAILBOX_SLOTS - 1 - slot

    cdef void release(self, Task task):
        self.tasks[task.slot] = None
        self.free[self.free_count] = <uint16_t>task.slot
        self.free_count += 1
        self.in_flight -= 1
        self.timed -= task.timeout > 0
        task.slot = -1

    cdef dsm_status define(self, dsm_mailbox_shm *box, uint64_t *at, Function function) except *:
        cdef dsm_record_shm record
        cdef dsm_status status
        if function.setup is not None and function.setup.number not in self.known:
            status = self.define(box, at, function.setup)
            if status != DSM_OK:
                return status
        record.kind = RECORD_DEFINE
        record.codec = function.codec
        record.slot = 0
        record.function = function.number
        record.serial = 0 if function.setup is None else function.setup.number
        status = self.put(&box.to_node, at, &record, function.payload)
        if status == DSM_OK:
            self.known.add(function.number)
        return status

    cdef dsm_status send_task(self, dsm_mailbox_shm *box, uint64_t *at, Task task) except *:
        cdef dsm_record_shm record
        cdef dsm_status status
        cdef Function function = task.function
        cdef int slot
        if function.number not in self.known:
            status = self.define(box, at, function)
            if status != DSM_OK:
                return status
        slot = self.free[self.free_count - 1]
        record.kind = RECORD_NESTED if task.nested else RECORD_TASK
        record.codec = task.codec
        record.slot = <uint16_t>slot
        record.function = function.number
        record.serial = task.serial
        status = self.put(&box.to_node, at, &record, task.body)
        if status == DSM_OK:
            dsm_store_release_u64(&box.claims[slot], task.serial)
            self.free_count -= 1
            self.tasks[slot] = task
            self.in_flight += 1
            self.timed += task.timeout > 0
            task.slot = slot
            task.lane = self.node
        return status

    def offer_nested(self, queue):
        """Sends one task of a task, if the first is one, whatever the window, unless one waits here
        to be begun.

        One at a time, since the node begins it on top of what it is doing: the latest asked for
        comes first, so stacks stay as deep as the tasks are nested.
        """
        cdef Task task
        if not queue or not (<Task?>queue[0]).nested:
            return
        for task in self.tasks:
            if task is not None and task.nested and not self.begun(task):
                return
        self.send_from(queue, self.in_flight + 1)

    def offer(self, queue, int limit):
        """Sends tasks from the front of the queue (a deque) as far as window and ring admit."""
        self.send_from(queue, min(self.window, limit))

    cdef int send_from(self, object queue, int limit) except -1:
        cdef dsm_status status = DSM_OK
        cdef Task task
        cdef uint64_t at, first
        handle_ready(self.handle)
        cdef dsm_mailbox_shm *box = self.box()
        first = at = dsm_ring_tail(&box.to_node)
        while queue and self.in_flight < limit and self.free_count:
            task = queue[0]
            if task.sink is not None:
                status = self.send_task(box, &at, task)
                if status != DSM_OK:
                    break
            queue.popleft()
        if at != first:
            dsm_ring_publish(&box.to_node, at)
            dsm_doorbell_ring(&box.bell)
        if status != DSM_OK and status != DSM_TOO_MANY:
            raise CorruptError(f"the mailbox of node {self.node} is damaged")
        return 0

    def tell(self, uint8_t kind, uint8_t codec, uint32_t function, uint64_t serial, payload):
        """Sends another record; False if there is no room now."""
        cdef dsm_record_shm record
        cdef dsm_status status
        handle_ready(self.handle)
        cdef dsm_mailbox_shm *box = self.box()
        cdef uint64_t at = dsm_ring_tail(&box.to_node)
        record.kind = kind
        record.codec = codec
        record.slot = 0
        record.function = function
        record.serial = serial
        status = self.put(&box.to_node, &at, &record, payload)
        if status == DSM_TOO_MANY:
            return False
        if status != DSM_OK:
            raise CorruptError(f"the mailbox of node {self.node} is damaged")
        dsm_ring_publish(&box.to_node, at)
        dsm_doorbell_ring(&box.bell)
        return True

    def take(self, arrived):
        """Appends to the deque what came: answered tasks, and tuples for all other records."""
        cdef dsm_record_shm record
        cdef const uint8_t *payload = NULL
        cdef dsm_status status
        cdef Task task
        cdef int count = 0
        handle_ready(self.handle)
        cdef dsm_mailbox_shm *box = self.box()
        if not dsm_ring_news(&box.to_owner):
            return 0
        cdef uint64_t at = dsm_ring_head(&box.to_owner)
        while True:
            status = dsm_ring_next(&box.to_owner, &at, &record, &payload)
            if status != DSM_OK:
                break
            value = decoded(record.codec, payload, record.bytes)
            if RECORD_RESULT <= record.kind <= RECORD_REFUSED:
                task = self.tasks[record.slot % DSM_MAILBOX_SLOTS]
                if task is not None and task.serial == record.serial:
                    dsm_store_relaxed_u64(&box.claims[task.slot], 0)
                    self.release(task)
                    task.kind = record.kind
                    task.outcome_codec = record.codec
                    task.outcome = value
                    arrived.append(task)
            else:
                arrived.append((self.node, record.kind, record.codec, record.slot,
                                record.function, record.serial, value))
            dsm_ring_consume(&box.to_owner, at)
            count += 1
        if status != DSM_NOT_FOUND:
            raise CorruptError(f"the mailbox of node {self.node} is damaged")
        return count

    def adapt(self, double target_s):
        """Sets the window to what keeps the node busy for that long at its latest pace."""
        cdef dsm_mailbox_shm *box = self.box()
        cdef uint64_t done = dsm_load_relaxed_u64(&box.done)
        cdef uint64_t busy = dsm_load_relaxed_u64(&box.busy_ns)
        cdef double each
        if done == self.done_seen:
            return
        each = <double>(busy - self.busy_seen) / <double>(done - self.done_seen) * 1e-9 + 1e-6
        self.done_seen, self.busy_seen = done, busy
        self.window = max(2, min(<int>(target_s / each), <int>WINDOW_MAX))

    def revoke(self, Task task):
        """Takes back a task that its node has not begun; False if it has."""
        handle_ready(self.handle)
        if task.slot < 0 or self.tasks[task.slot] is not task:
            return False
        if not dsm_mailbox_revoke(self.box(), task.slot, task.serial):
            return False
        self.release(task)
        return True

    def withdraw(self, Task task):
        """Whether the task, which was sent here or is still queued, will not begin any more."""
        if task.kind or task.sink is None or (task.slot >= 0 and not self.revoke(task)):
            return False
        task.sink = None
        return True

    def begun(self, Task task):
        """Whether the node has begun the task."""
        return (task.slot >= 0 and not self.handle.closed and bool(
            dsm_load_acquire_u64(&self.box().claims[task.slot]) & DSM_CLAIM_STARTED))

    def forget(self, Function function):
        """Lets the node drop the function; False if there is no room to say so now."""
        if function.number not in self.known:
            return True
        if not self.tell(RECORD_FORGET, PAYLOAD_PICKLE, function.number, 0, b""):
            return False
        self.known.discard(function.number)
        return True

    def reclaim(self, int at_most):
        """Takes back tasks that were not begun and may run elsewhere, the latest sent first."""
        cdef Task task
        taken = []
        waiting = [entry for entry in self.tasks if entry is not None and entry.node < 0]
        waiting.sort(key=serial_of, reverse=True)
        for task in waiting:
            if len(taken) >= at_most:
                break
            if self.revoke(task):
                taken.append(task)
        return taken[::-1]

    def abandon(self):
        """After the node's end: (tasks that it had begun, tasks that it had not); empties all.

        What it had sent must have been taken before.
        """
        cdef Task task
        cdef dsm_mailbox_shm *box
        handle_ready(self.handle)
        box = self.box()
        begun, queued = [], []
        for task in sorted((entry for entry in self.tasks if entry is not None), key=serial_of):
            started = dsm_load_acquire_u64(&box.claims[task.slot]) & DSM_CLAIM_STARTED
            (begun if started else queued).append(task)
            task.slot = -1
        dsm_mailbox_reset(box)
        self.forget_all()
        return begun, queued

    def overdue(self):
        """A task that runs for longer than its time-out, or None."""
        cdef Task task
        cdef uint64_t now = dsm_os_monotonic_ns(), since
        if not self.timed:
            return None
        cdef dsm_mailbox_shm *box = self.box()
        for task in self.tasks:
            if task is not None and task.timeout > 0:
                since = dsm_load_relaxed_u64(&box.started_ns[task.slot])
                if (dsm_load_acquire_u64(&box.claims[task.slot]) & DSM_CLAIM_STARTED
                        and now > since and (now - since) * 1e-9 > task.timeout):
                    return task
        return None

    def under_way(self):
        """The tasks that were sent and not answered."""
        return [task for task in self.tasks if task is not None]

    # ---- the owner's bell ----------------------------------------------------------------------

    def deaths(self):
        """Number of nodes whose end the service thread has dealt with."""
        handle_ready(self.handle)
        return dsm_load_acquire_u32(&dsm_space_mailboxes(self.handle.space).bell.deaths)

    def lead(self):
        """The calling thread becomes the first listener of the owner's bell."""
        handle_ready(self.handle)
        dsm_doorbell_lead(&dsm_space_mailboxes(self.handle.space).bell)

    def leave(self, uint32_t deaths):
        """… and leaves it to the second."""
        if self.handle.cluster != NULL:
            dsm_doorbell_leave(dsm_space_mailboxes(self.handle.space),
                               self.handle.space.node_count, deaths)

    def listen_first(self, uint32_t deaths, uint32_t slices):
        """Waits for news of any node, at most `slices` times 50 ms."""
        return self.listen(-1, deaths, DSM_LISTENER_FIRST, slices)

    def wake_second(self):
        """Makes the second listener look around."""
        if self.handle.cluster != NULL:
            dsm_doorbell_ring_second(&dsm_space_mailboxes(self.handle.space).bell)


cdef class Bell:
    """The collector's place to wait. It holds the mapping, not the handle, so that a cluster which
    its owner has dropped ends although the collector's thread still waits here.
    """

    cdef dsm_cluster *cluster
    cdef public bint over  # the wait is to end, and the next ones at once
    cdef uint32_t answered  # calls that were made before the latest wait ended
    cdef object __weakref__

    def __cinit__(self, Handle handle):
        handle_ready(handle)
        self.cluster = handle.cluster
        dsm_cluster_hold(self.cluster)
        bells.add(self)

    def __dealloc__(self):
        self.release()

    def release(self):
        """Lets go of the mapping; in a forked child, where no collector runs."""
        cdef dsm_cluster *cluster = self.cluster
        self.cluster = NULL
        if cluster != NULL:
            dsm_cluster_drop(cluster)

    def wait(self, uint32_t deaths, uint32_t slices):
        """Waits as the second listener of the owner's bell, at most `slices` times 50 ms.

        Ends at once if somebody has called since the wait before ended: there are nodes that have
        come or go. False once the cluster has stopped.
        """
        cdef dsm_cluster *cluster = self.cluster
        cdef dsm_mailboxes_shm *boxes
        cdef uint32_t unused = 0
        cdef uint32_t calls
        cdef bint news = False
        if cluster == NULL:
            return False
        with nogil:
            boxes = dsm_space_mailboxes(&cluster.space)
            calls = dsm_doorbell_calls(&boxes.bell)
            while (slices and not news and not self.over and calls == self.answered
                    and dsm_cluster_running(cluster)):
                news = dsm_mailbox_wait(
                    boxes, cluster.space.node_count, -1, deaths, DSM_LISTENER_SECOND, &unused,
                    DSM_LOCK_SLICE_MS * 1000)
                slices -= 1
                calls = dsm_doorbell_calls(&boxes.bell)
            self.answered = calls
        return not self.over and bool(dsm_cluster_running(cluster))


cdef object bells = weakref.WeakSet()


def _release_all():
    for bell in list(bells):
        bell.release()


os.register_at_fork(after_in_child=_release_all)


cdef object serial_of(Task task):
    return task.serial


MISSING = object()


cdef class Failed:
    """What stands in a Gathering in place of a result: the exception of that task."""

    cdef readonly object error

    def __cinit__(self, error):
        self.error = error


cdef class Gathering:
    """Takes the outcomes of a map: results by index, the first failure, how many are missing."""

    cdef public list results
    cdef public Py_ssize_t missing
    cdef public object failure    # the first exception, or None
    cdef object __weakref__

    def __cinit__(self, Py_ssize_t count):
        self.results = [MISSING] * count
        self.missing = count

    cdef void take(self, Task task, object value):
        self.results[task.index] = value
        self.missing -= 1

    def settle(self, Task task, bint good, value):
        """Takes a result, or with good=False an exception."""
        if not good and self.failure is None:
            self.failure = value
        self.take(task, value if good else Failed(value))


def deliver(arrived, other):
    """Hands what has arrived to whom it is for: `other(entry)` for all but results of maps.

    An entry leaves the deque once it is dealt with, so that an interrupt loses none.
    """
    while arrived:
        entry = arrived[0]
        if type(entry) is not Task or not deliver_result(<Task>entry):
            other(entry)
        if arrived and arrived[0] is entry:
            arrived.popleft()


cdef bint deliver_result(Task task):
    # The common case of a map; False if it is another, or fails.
    if (type(task.sink) is not Gathering or task.kind != RECORD_RESULT
            or task.outcome_codec > PAYLOAD_PICKLE or task.parcels is not None):
        return False
    value = task.outcome
    if task.outcome_codec == PAYLOAD_PICKLE:
        try:
            value = loads(value)
        except Exception:
            return False
    sink = task.sink
    if type(sink) is Gathering:
        task.sink = None
        (<Gathering>sink).take(task, value)
    return True


def map_tasks(Function function, Gathering sink, items, Py_ssize_t first, Py_ssize_t count,
              int retries, double timeout, encode, queue):
    """Appends tasks for items[first:first + count] to the queue; `encode` for what is not plain."""
    cdef Py_ssize_t index
    cdef Task task
    for index in range(first, min(first + count, len(items))):
        item = items[index]
        if is_plain(item):
            task = Task.__new__(Task, function, sink, index, item, 0, retries, -1, timeout)
        else:
            body, codec, parcels = encode(item)
            task = Task.__new__(Task, function, sink, index, body, codec, retries, -1, timeout)
            task.parcels = parcels
        queue.append(task)
