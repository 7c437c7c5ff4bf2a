# A queue's items as bytes, and the hot methods put and get. dsm_native.queues adds the rest.
#
# Items have the codecs of a region's values. Up to 240 bytes of them lie in the ring itself; for
# larger ones the ring holds the key of an object of a hidden region (put_large, fetch_large, which
# the Python class has).
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from dsm_native._native.codec cimport (
    Encoded, decode_object, decode_plain, encode_object, encode_plain,
)
from dsm_native._native.core cimport (
    DSM_OK, DSM_RETRY, dsm_call, dsm_status, uint8_t, uint32_t, uint64_t,
)
from dsm_native._native.handle cimport Handle
from dsm_native._native.sync cimport (
    DSM_SYNC_ITEM_BYTES, DSM_SYNC_QUEUE, DSM_SYNC_QUEUE_MAXSIZE_MAX,
    DSM_SYNC_REFERENCE, Attempt, SyncCore, dsm_sync_item, dsm_sync_queue_acknowledge,
    dsm_sync_queue_bytes, dsm_sync_queue_count, dsm_sync_queue_counts, dsm_sync_queue_done,
    dsm_sync_queue_get, dsm_sync_queue_give_back, dsm_sync_queue_pass, dsm_sync_queue_put,
    dsm_sync_wake, seconds_of,
)
from libcpp cimport bool as cbool

import collections
import threading

from dsm_native.exceptions import QueueEmptyError, QueueFullError, UsageError

MAXSIZE_MAX = DSM_SYNC_QUEUE_MAXSIZE_MAX
ITEM_BYTES = DSM_SYNC_ITEM_BYTES

cdef enum:
    PUT = 0
    GET = 1
    ACKNOWLEDGE = 2
    GIVE_BACK = 3
    DONE = 4
    FINISHED = 5
    PASS = 6

cdef enum:
    ITEMS = 0  # what takers sleep on
    ROOM = 1   # what putters sleep on, and who waits for the end of all items

cdef object RETRY = object()


cdef double limit_of(bint block, object timeout) except? -1:
    # Seconds to wait: 0 if not at all, -1 without limit.
    if not block:
        return 0
    if timeout is not None and timeout < 0:
        raise UsageError("'timeout' must be a non-negative number")
    return seconds_of(timeout)


cdef class QueueCore(SyncCore):
    """A bounded queue; without `await` and pickling."""

    cdef dict open_items  # of an acknowledged queue: thread -> deliveries that it has not done
    cdef readonly bint acknowledge

    def __init__(self, Handle handle, str name, uint64_t maxsize, bint acknowledge):
        self.open(handle, DSM_SYNC_QUEUE, name, (maxsize, acknowledge),
                  dsm_sync_queue_bytes(maxsize, acknowledge))
        self.acknowledge = self.sync.settings[1] != 0
        self.open_items = {}

    cdef dsm_status attempt(self, dsm_call *call, Attempt *what) noexcept nogil:
        cdef cbool more = False
        cdef dsm_status status
        cdef dsm_sync_queue_counts counts
        if what.action == PUT:
            status = dsm_sync_queue_put(call, &self.sync, what.codec, what.bytes, what.length,
                                        &more)
            what.number = more
            return status
        if what.action == GET:
            return dsm_sync_queue_get(call, &self.sync, what.item)
        if what.action == ACKNOWLEDGE:
            return dsm_sync_queue_acknowledge(call, &self.sync, what.number, what.word)
        if what.action == GIVE_BACK:
            return dsm_sync_queue_give_back(call, &self.sync, what.number, what.word)
        if what.action == DONE:
            return dsm_sync_queue_done(call, &self.sync)
        if what.action == PASS:
            return dsm_sync_queue_pass(call, &self.sync, what.word)
        status = dsm_sync_queue_count(call, &self.sync, &counts)
        if status == DSM_OK:
            what.word = counts.waiting
            what.amount = counts.unfinished
            if what.action == FINISHED and counts.unfinished:
                return DSM_RETRY
        return status

    # ---- putting --------------------------------------------------------------------------------

    cdef int put_bytes(self, uint8_t codec, const void *data, uint32_t length,
                       double limit) except -1:
        cdef Attempt what
        what.action = PUT
        what.codec = codec
        what.bytes = data
        what.length = length
        if self.tries(&what):
            return 0
        if limit == 0 or not self.waits(&what, ROOM, limit):
            raise QueueFullError(f"queue {self.name!r} has {self.maxsize} items")
        if what.number:  # others who wait for room may not have been woken for it
            dsm_sync_wake(&self.sync, ROOM, 1)
        return 0

    def put(self, item, bint block=True, timeout=None):
        """Puts the item behind the others; it is there, as a whole, once this returns.

        Waits for room, at most `timeout` seconds (None: as long as it takes), then QueueFullError
        (a queue.Full). Items are what a region takes as values. Items of more than 240 bytes once
        encoded lie in the cluster's nodes (StoreFullError).
        """
        cdef Encoded plain
        cdef double limit = limit_of(block, timeout)
        cdef bytes data
        keep = encode_plain(item, &plain)
        if keep is not NotImplemented:
            if plain.length > DSM_SYNC_ITEM_BYTES:
                self.put_large(item, block, timeout)
            else:
                self.put_bytes(plain.codec, plain.parts[0].bytes, <uint32_t>plain.length, limit)
            return
        parts, codec = encode_object(item, True)
        if sum([memoryview(part).nbytes for part in parts]) > DSM_SYNC_ITEM_BYTES:
            self.put_large(item, block, timeout)
            return
        data = b"".join(parts)
        self.put_bytes(codec, PyBytes_AS_STRING(data), <uint32_t>PyBytes_GET_SIZE(data), limit)

    def put_reference(self, bytes key, bint block, timeout):
        """Puts the key of an object that holds the item."""
        self.put_bytes(DSM_SYNC_REFERENCE, PyBytes_AS_STRING(key),
                       <uint32_t>PyBytes_GET_SIZE(key), limit_of(block, timeout))

    # ---- taking ---------------------------------------------------------------------------------

    cdef object decoded(self, dsm_sync_item *item):
        # The value, or RETRY if the item was somebody else's by the time.
        if item.codec == DSM_SYNC_REFERENCE:
            key = (<char *>item.bytes)[:item.length]
            try:
                found, value = self.fetch_large(key)
            except Exception:
                if not self.acknowledge:  # it is taken, as a small item would be
                    self.discard_large(key.decode())
                    self.passes(item.position)
                raise
            if not self.acknowledge:
                self.passes(item.position)
            elif not found:
                # Its object went before its taker was killed: it had been acknowledged.
                self.settle(item.place, item.receipt, True)
            return value if found else RETRY
        value = decode_plain(item.codec, item.bytes, item.length)
        if value is NotImplemented:
            value = decode_object(item.codec, bytearray((<char *>item.bytes)[:item.length]))
        return value

    cdef int passes(self, uint64_t position) except -1:
        cdef Attempt what
        what.action = PASS
        what.word = position
        self.does(&what)
        return 0

    cdef object get_item(self, dsm_sync_item *item, double limit):
        cdef Attempt what
        what.action = GET
        what.item = item
        while True:
            if not self.tries(&what):
                if limit == 0 or not self.waits(&what, ITEMS, limit):
                    raise QueueEmptyError(f"queue {self.name!r} has no item")
                if item.more:
                    dsm_sync_wake(&self.sync, ITEMS, 1)
            try:
                value = self.decoded(item)
            except BaseException:
                if self.acknowledge:  # it was not delivered, so nobody could acknowledge it
                    self.settle(item.place, item.receipt, False)
                raise
            if value is not RETRY:
                return value

    cdef object reference_of(self, dsm_sync_item *item):
        if item.codec != DSM_SYNC_REFERENCE:
            return None
        return (<char *>item.bytes)[:item.length]

    def get(self, bint block=True, timeout=None):
        """Takes the first item.

        Waits for one, at most `timeout` seconds (None: as long as it takes), then QueueEmptyError
        (a queue.Empty). With acknowledgement, `task_done` says that it was dealt with; until then
        it is delivered again if this process dies.
        """
        cdef dsm_sync_item item
        value = self.get_item(&item, limit_of(block, timeout))
        if self.acknowledge:
            mine = self.open_items.setdefault(threading.get_ident(), collections.deque())
            mine.append((item.place, item.receipt, self.reference_of(&item)))
        return value

    def take_fields(self, bint block, timeout):
        """(value, place, receipt, times, key of its object or None) of the first item."""
        cdef dsm_sync_item item
        value = self.get_item(&item, limit_of(block, timeout))
        return value, item.place, item.receipt, item.times, self.reference_of(&item)

    def settle(self, uint32_t place, uint64_t receipt, bint done):
        """Acknowledges what was taken, or gives it back. NotOwnerError if it is not ours now."""
        cdef Attempt what
        what.action = ACKNOWLEDGE if done else GIVE_BACK
        what.number = place
        what.word = receipt
        self.does(&what)

    def next_open(self):
        """(place, receipt, key) of this thread's oldest get that was not acknowledged."""
        mine = self.open_items.get(threading.get_ident())
        if not mine:
            raise UsageError("task_done() called too many times")
        fields = mine.popleft()
        if not mine:
            del self.open_items[threading.get_ident()]
        return fields

    def forget_open(self):
        """In a forked child: what was taken is the parent's."""
        self.open_items.clear()

    def count_done(self):
        """Without acknowledgement: one item more has been dealt with."""
        cdef Attempt what
        what.action = DONE
        self.does(&what)

    # ---- looking --------------------------------------------------------------------------------

    @property
    def maxsize(self):
        """How many items it holds at most."""
        return self.sync.settings[0]

    def counts(self):
        """(items that wait to be taken, items that are not done), at one instant."""
        cdef Attempt what
        what.action = -1
        self.does(&what)
        return what.word, what.amount

    def finished(self):
        """Whether all items are done."""
        cdef Attempt what
        what.action = FINISHED
        return self.tries(&what)

    def await_finished(self, timeout):
        """Waits until all items are done; whether they were in time."""
        cdef Attempt what
        what.action = FINISHED
        return self.waits(&what, ROOM, seconds_of(timeout))
