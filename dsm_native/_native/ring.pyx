# cython: language_level=3, binding=False, autotestdict=False
"""The consistent-hash ring and its ketama-compatible sister, as thin handles over csrc/proto.

Several threads may read a handle at once; a change (add, remove) needs it to itself.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc

from dsm_native.exceptions import UsageError

cdef extern from "Python.h":
    object PyNumber_Index(object number)  # a float is no integer, whatever it could be cut to

VIRTUAL_NODES_MAX = 1 << 20
cdef uint64_t POINTS_MAX = INT32_MAX

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


cdef inline const char *key_bytes(object key, Py_ssize_t *size) except NULL:
    if type(key) is str:
        return PyUnicode_AsUTF8AndSize(key, size)
    if type(key) is bytes:
        size[0] = PyBytes_GET_SIZE(key)
        return PyBytes_AS_STRING(key)
    raise TypeError(f"a key is str or bytes, not {type(key).__name__}")


cdef class _Points:
    """Memory and common walks of both rings."""

    cdef dsm_ring ring
    cdef void *memory

    def __dealloc__(self):
        PyMem_Free(self.memory)

    cdef int allocate(self, uint32_t nodes_max, uint32_t points_max, uint64_t seed) except -1:
        cdef dsm_ring fresh
        cdef void *memory = PyMem_Malloc(dsm_ring_bytes(nodes_max, points_max))
        if memory is NULL:
            raise MemoryError(f"no memory for a ring of {points_max} points")
        dsm_ring_init(&fresh, memory, nodes_max, points_max, seed)
        if self.memory is not NULL:
            dsm_ring_copy(&fresh, &self.ring)
        PyMem_Free(self.memory)
        self.memory = memory
        self.ring = fresh
        return 0

    cdef uint32_t owner(self, uint64_t hash) except? 0xFFFF:
        cdef uint32_t node = dsm_ring_node(&self.ring, hash)
        if node == DSM_RING_NODE_NONE:
            raise LookupError("the ring has no node")
        return node

    cdef list prefer_ids(self, uint64_t hash, Py_ssize_t copies):
        if copies < 0:
            raise UsageError(f"copies must not be negative, but is {copies}")
        cdef uint32_t wanted = <uint32_t>min(copies, self.ring.node_count)
        cdef uint16_t *nodes = <uint16_t *>PyMem_Malloc((wanted + 1) * sizeof(uint16_t))
        if nodes is NULL:
            raise MemoryError(f"no memory for a preference list of {wanted} nodes")
        try:
            return [nodes[i] for i in range(dsm_ring_prefer(&self.ring, hash, wanted, nodes))]
        finally:
            PyMem_Free(nodes)

    def valid(self):
        """Whether points, index and counts agree with each other."""
        return dsm_ring_valid(&self.ring)

    def __len__(self):
        return self.ring.node_count


@cython.final
cdef class Ring(_Points):
    """Nodes 0 to 65,534 on a circle of 64-bit hashes (csrc/proto/ring.h says how).

    The ring depends on seed and on the set of (node, points) alone, not on the order of changes.
    """

    cdef readonly uint32_t virtual_nodes

    def __init__(self, nodes=(), *, virtual_nodes=DSM_RING_POINTS_DEFAULT, seed=0):
        virtual_nodes = PyNumber_Index(virtual_nodes)
        seed = PyNumber_Index(seed)
        if not 1 <= virtual_nodes <= VIRTUAL_NODES_MAX:
            raise UsageError(f"virtual_nodes is 1 to {VIRTUAL_NODES_MAX}, but is {virtual_nodes}")
        if self.memory is not NULL:
            raise TypeError("a ring is initialised once")
        self.virtual_nodes = virtual_nodes
        self.add_all(list(nodes), seed)

    cdef int add_all(self, list nodes, uint64_t seed) except -1:
        """The first nodes, all at once."""
        cdef uint64_t points = <uint64_t>max(16, len(nodes)) * self.virtual_nodes
        cdef uint32_t *wanted
        cdef uint32_t node
        nodes = [PyNumber_Index(member) for member in nodes]
        for node in nodes:
            if node >= DSM_RING_NODES_MAX:
                raise UsageError(f"node ids are below {DSM_RING_NODES_MAX}, but one is {node}")
        if points > POINTS_MAX:
            raise UsageError(f"{len(nodes)} nodes of {self.virtual_nodes} points exceed"
                             f" {POINTS_MAX} on one ring")
        self.allocate(min(max(64, max(nodes, default=0) + 1), DSM_RING_NODES_MAX), points, seed)
        wanted = <uint32_t *>PyMem_Malloc((len(nodes) + 1) * sizeof(uint32_t))
        if wanted is NULL:
            raise MemoryError(f"no memory for {len(nodes)} nodes")
        try:
            for place, node in enumerate(nodes):
                wanted[place] = node
            if dsm_ring_add_all(&self.ring, wanted, len(nodes), self.virtual_nodes) != DSM_OK:
                raise UsageError("a node is named twice")
        finally:
            PyMem_Free(wanted)
        return 0

    @property
    def seed(self):
        return self.ring.seed

    def add(self, node, double weight=1.0):
        """Put a node on the ring with virtual_nodes * weight points, at least one."""
        node = PyNumber_Index(node)
        if not 0 < weight < 1e6:
            raise UsageError(f"a weight is above 0 and below a million, but is {weight}")
        if node >= DSM_RING_NODES_MAX:
            raise UsageError(f"node ids are below {DSM_RING_NODES_MAX}, but one is {node}")
        cdef double exact = self.virtual_nodes * weight + 0.5
        cdef uint32_t points = max(1, <uint32_t>exact) if exact < 1e8 else 0
        cdef uint32_t nodes_max = self.ring.node_count_max
        cdef uint64_t points_max = self.ring.point_count_max
        if points == 0:
            raise UsageError(f"node {node} would have {exact:.0f} points, more than 100,000,000")
        if self.ring.point_count + <uint64_t>points > POINTS_MAX:
            raise UsageError(f"node {node} and its {points} points exceed {POINTS_MAX} on one ring")
        while nodes_max <= node:
            nodes_max = min(2 * nodes_max, DSM_RING_NODES_MAX)
        while points_max - self.ring.point_count < points:
            points_max = min(2 * points_max, POINTS_MAX)
        if nodes_max > self.ring.node_count_max or points_max > self.ring.point_count_max:
            self.allocate(nodes_max, points_max, self.ring.seed)
        if dsm_ring_add(&self.ring, node, points) != DSM_OK:
            raise UsageError(f"node {node} is on the ring already")

    def remove(self, node):
        """Take a node off the ring; KeyError when it is not on it."""
        node = PyNumber_Index(node)
        if dsm_ring_remove(&self.ring, node) != DSM_OK:
            raise KeyError(node)

    def copy(self):
        cdef Ring twin = Ring(virtual_nodes=self.virtual_nodes, seed=self.ring.seed)
        twin.allocate(self.ring.node_count_max, self.ring.point_count_max, self.ring.seed)
        dsm_ring_copy(&twin.ring, &self.ring)
        return twin

    def __contains__(self, node):
        return (isinstance(node, int) and 0 <= node < self.ring.node_count_max
                and self.ring.node_points[node] != 0)

    @property
    def nodes(self):
        """The nodes and how many points each owns, by ascending id."""
        return {node: self.ring.node_points[node] for node in range(self.ring.node_count_max)
                if self.ring.node_points[node] != 0}

    @property
    def points(self):
        """All points in order, as (the last hash that belongs to it, node)."""
        return [(self.ring.points[i] | 0xFFFF, self.ring.points[i] & 0xFFFF)
                for i in range(self.ring.point_count)]

    def hash(self, key):
        """Where a key lies on the circle."""
        cdef Py_ssize_t size = 0
        cdef const char *text = key_bytes(key, &size)
        return dsm_hash64(text, size, self.ring.seed)

    def node(self, key):
        """The node that owns a key (str or bytes)."""
        cdef Py_ssize_t size = 0
        cdef const char *text = key_bytes(key, &size)
        return self.owner(dsm_hash64(text, size, self.ring.seed))

    def node_at(self, place):
        """The node that owns a hash."""
        place = PyNumber_Index(place)
        return self.owner(place)

    def prefer(self, key, Py_ssize_t copies):
        """Preference list of a key: its first copies distinct nodes, all when there are fewer."""
        return self.prefer_ids(self.hash(key), copies)

    def prefer_at(self, place, Py_ssize_t copies):
        """Preference list of a hash."""
        place = PyNumber_Index(place)
        return self.prefer_ids(place, copies)

    def stripe(self, uint32_t stripe, Py_ssize_t copies):
        """Preference list of a stripe, whose place is the hash of its number."""
        return self.prefer_ids(dsm_hash64(&stripe, sizeof(stripe), self.ring.seed), copies)

    def prefer_bounded(self, key, loads, double factor=1.25):
        """First node at or after the key whose load is below factor times its weighted share.

        loads maps nodes to what they hold now; those that it does not name hold nothing.
        LookupError when no node has room, which cannot happen while factor is at least 1.
        """
        if not hasattr(loads, "get"):
            raise TypeError(f"loads maps nodes to numbers, but is {type(loads).__name__}")
        if not 0 < factor <= 1000:
            raise UsageError(f"factor is above 0 and at most 1,000, but is {factor}")
        cdef uint32_t nodes_max = self.ring.node_count_max, node
        cdef uint64_t total = 0, position = self.hash(key)
        cdef uint64_t *held = <uint64_t *>PyMem_Malloc((nodes_max + 1) * sizeof(uint64_t))
        if held is NULL:
            raise MemoryError(f"no memory for the loads of {nodes_max} nodes")
        try:
            for node in range(nodes_max):
                held[node] = (PyNumber_Index(loads.get(node, 0))
                              if self.ring.node_points[node] != 0 else 0)
                total += held[node]
            node = dsm_ring_prefer_bounded(&self.ring, position, held, total,
                                           <uint32_t>(factor * 1000 + 0.5))
        finally:
            PyMem_Free(held)
        if node == DSM_RING_NODE_NONE:
            raise LookupError(f"no node has room for {key!r} at {factor} times its share")
        return node

    def moved(self, Ring after not None, copies=1):
        """What moves from this ring to another: [(first, last, nodes before, nodes after), ...].

        The ranges are inclusive, ascending, and as long as they can be.
        """
        copies = PyNumber_Index(copies)
        cdef dsm_ring_difference difference
        cdef dsm_ring_move move
        if dsm_ring_difference_start(&difference, &self.ring, &after.ring, copies) != DSM_OK:
            raise UsageError(f"copies is 1 to {DSM_RING_DIFFERENCE_COPIES_MAX}, but is {copies}")
        moves = []
        while dsm_ring_difference_next(&difference, &move):
            moves.append((move.first, move.last,
                          tuple([move.before[i] for i in range(move.before_count)]),
                          tuple([move.after[i] for i in range(move.after_count)])))
        return moves


@cython.final
cdef class KetamaRing(_Points):
    """Servers by name and weight, placed exactly where libketama places them.

    Weights are relative, so every server's points depend on all of them: to change the set, make
    another ring.
    """

    cdef tuple names

    def __init__(self, weights):
        for name, weight in dict(weights).items():
            if not isinstance(name, str) or not isinstance(weight, int):
                raise TypeError(f"weights maps names to integers, but has {name!r}: {weight!r}")
            if not 0 <= weight < 1 << 63:
                raise UsageError(f"the weight of {name!r} is {weight}, not 0 to 2**63 - 1")
        if not 0 < sum(weights.values()) < 1 << 63:
            raise UsageError(f"the weights add up to {sum(weights.values())}, not 1 to 2**63 - 1")
        if len(weights) > DSM_RING_NODES_MAX:
            raise UsageError(f"a ring has up to {DSM_RING_NODES_MAX} servers, not {len(weights)}")
        cdef uint64_t total = sum(weights.values())
        cdef uint32_t count = len(weights), node, rounds
        cdef bytes encoded
        if self.memory is not NULL:
            raise TypeError("a ring is initialised once")
        self.names = tuple(weights)
        budget = sum(dsm_ketama_rounds(weight, total, count) for weight in weights.values())
        self.allocate(count, budget * DSM_KETAMA_ROUND_POINTS, 0)
        for node, name in enumerate(self.names):
            encoded = name.encode()
            rounds = dsm_ketama_rounds(weights[name], total, count)
            if rounds > 0 and dsm_ketama_add(&self.ring, node, encoded, len(encoded),
                                             rounds) != DSM_OK:
                raise UsageError(f"the server name {name!r} is longer than "
                                 f"{DSM_KETAMA_NAME_BYTES_MAX} bytes")

    @property
    def points(self):
        """All points in order, as (32-bit point, server)."""
        return [(self.ring.points[i] >> 32, self.names[self.ring.points[i] & 0xFFFF])
                for i in range(self.ring.point_count)]

    def hash(self, key):
        """ketama's 32-bit hash of a key."""
        cdef Py_ssize_t size = 0
        cdef const char *text = key_bytes(key, &size)
        return dsm_ketama_hash(text, size) >> 32

    def node(self, key):
        """The server of a key (str or bytes)."""
        cdef Py_ssize_t size = 0
        cdef const char *text = key_bytes(key, &size)
        return self.names[self.owner(dsm_ketama_hash(text, size))]

    def prefer(self, key, Py_ssize_t copies):
        """The first copies distinct servers of a key."""
        cdef uint64_t position = <uint64_t>self.hash(key) << 32
        return [self.names[node] for node in self.prefer_ids(position, copies)]
