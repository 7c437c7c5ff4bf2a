# cython: language_level=3, binding=False, autotestdict=False
"""How replicas come to agree: conflicts, quorums and anti-entropy, over csrc/proto.

Handles are for one thread at a time. Versions are tuples (stamp, node, checksum, handle), items are
tuples (key_hash, key_check, version); all integers, unsigned, of 64 bits but for the node's 32.
"""

import collections
import enum

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.string cimport memcpy

from dsm_native.exceptions import UsageError

cdef extern from "Python.h":
    object PyNumber_Index(object number)  # a float is no integer, whatever it could be cut to

Version = collections.namedtuple("Version", "stamp node checksum handle", defaults=(0,))
Item = collections.namedtuple("Item", "key_hash key_check version")
Move = collections.namedtuple("Move", "item source targets")


class Policy(enum.IntEnum):
    """Which of several concurrent versions wins."""

    LAST_WRITE_WINS = DSM_CONFLICT_LAST_WRITE_WINS
    FIRST_WRITE_WINS = DSM_CONFLICT_FIRST_WRITE_WINS
    CUSTOM = DSM_CONFLICT_CUSTOM


class VoteResult(enum.IntEnum):
    """Where a vote stands."""

    PENDING = DSM_VOTE_PENDING
    LOST = DSM_VOTE_LOST
    WON = DSM_VOTE_WON


cdef void *zeroed(size_t count, size_t size) except NULL:
    cdef void *memory = PyMem_Calloc(count + 1, size)
    if memory is NULL:
        raise MemoryError(f"no memory for {count} entries of {size} bytes")
    return memory


cdef int write_version(dsm_conflict_version *into, object version) except -1:
    stamp, node, checksum, handle = version
    into.stamp, into.node = PyNumber_Index(stamp), PyNumber_Index(node)
    into.checksum, into.handle = PyNumber_Index(checksum), PyNumber_Index(handle)
    return 0


cdef object read_version(const dsm_conflict_version *version):
    return Version(version.stamp, version.node, version.checksum, version.handle)


cdef size_t ask_resolver(const dsm_conflict_version *versions, size_t count,
                         void *context) noexcept:
    cdef list call = <list>context
    try:
        return call[0]([read_version(&versions[i]) for i in range(count)])
    except BaseException as error:
        call.append(error)
        return count


def resolve(versions, policy=Policy.LAST_WRITE_WINS, resolver=None):
    """The version that wins, the same for any order of the versions.

    With Policy.CUSTOM, resolver gets the distinct versions in ascending order and returns the index
    of the winner; what it raises is raised here.
    """
    cdef list call = [resolver], rows = list(versions)
    cdef dsm_conflict_version winner
    cdef size_t i
    if (policy == Policy.CUSTOM) != callable(resolver):
        raise TypeError("a resolver goes with Policy.CUSTOM, and only with it")
    cdef dsm_conflict_version *table = <dsm_conflict_version *>zeroed(len(rows), sizeof(winner))
    try:
        for i, row in enumerate(rows):
            write_version(&table[i], row)
        status = dsm_conflict_resolve(policy, table, len(rows), ask_resolver, <void *>call,
                                      &winner)
    finally:
        PyMem_Free(table)
    if len(call) > 1:
        raise call[1]
    if status != DSM_OK:
        raise UsageError(f"none of {len(rows)} versions was named the winner")
    return read_version(&winner)


cdef uint64_t set_of(object nodes) except? 0:
    cdef uint64_t bits = 0
    for node in nodes:
        node = PyNumber_Index(node)
        if not 0 <= node < DSM_QUORUM_NODES_MAX:
            raise UsageError(f"voters are below {DSM_QUORUM_NODES_MAX}, but one is {node}")
        bits |= <uint64_t>1 << <int>node
    return bits


@cython.final
cdef class Quorum:
    """A majority of voters, or of two sets of voters at once while the membership changes."""

    cdef dsm_quorum quorum

    def __init__(self, incoming, outgoing=()):
        self.quorum.incoming = set_of(incoming)
        self.quorum.outgoing = set_of(outgoing)

    def reached(self, nodes):
        """Whether the nodes hold a majority of every set."""
        return dsm_quorum_reached(&self.quorum, set_of(nodes))

    def vote(self, yes, no):
        """Result of a vote in which these nodes have answered."""
        cdef uint64_t for_it = set_of(yes), against = set_of(no)
        if for_it & against:
            raise UsageError("a node has voted both yes and no")
        return VoteResult(dsm_quorum_vote(&self.quorum, for_it, against))

    def committed(self, acknowledged):
        """The highest index that a majority of every set has acknowledged.

        acknowledged maps nodes to indexes; nodes that it lacks have none. None when there are no
        voters, so that every index is committed.
        """
        cdef uint64_t[DSM_QUORUM_NODES_MAX] indexes
        cdef uint64_t committed
        for node in range(DSM_QUORUM_NODES_MAX):
            indexes[node] = PyNumber_Index(acknowledged.get(node, 0))
        if not (self.quorum.incoming or self.quorum.outgoing):
            return None
        committed = dsm_quorum_committed(&self.quorum, indexes)
        return committed


@cython.final
cdef class DigestTree:
    """Digests of what a replica holds, in 16 ** depth buckets over the top bits of key hashes."""

    cdef dsm_digest_tree tree
    cdef uint64_t *words

    def __init__(self, depth=3):
        depth = PyNumber_Index(depth)
        if not 1 <= depth <= DSM_DIGEST_DEPTH_MAX:
            raise UsageError(f"depth is 1 to {DSM_DIGEST_DEPTH_MAX}, but is {depth}")
        if self.words is not NULL:
            raise TypeError("a tree is initialised once")
        self.words = <uint64_t *>zeroed(dsm_digest_tree_words(depth), sizeof(uint64_t))
        dsm_digest_tree_init(&self.tree, self.words, depth)

    def __dealloc__(self):
        PyMem_Free(self.words)

    @property
    def depth(self):
        return self.tree.depth

    @property
    def root(self):
        """Digest of everything; equal in two replicas that hold the same."""
        return self.words[0]

    def valid(self):
        """Whether every node is the sum of its children."""
        return dsm_digest_tree_valid(&self.tree)

    def bucket(self, key_hash):
        """The bucket that a key belongs to."""
        key_hash = PyNumber_Index(key_hash)
        return dsm_digest_bucket(&self.tree, key_hash)

    def add(self, item):
        """Count a version of a key in."""
        key_hash, key_check, version = item
        key_hash, key_check = PyNumber_Index(key_hash), PyNumber_Index(key_check)
        cdef dsm_conflict_version held
        write_version(&held, version)
        dsm_digest_tree_add(&self.tree, key_hash, dsm_digest_item(key_hash, key_check, &held))

    def remove(self, item):
        """Count a version of a key, which was added before, out."""
        key_hash, key_check, version = item
        key_hash, key_check = PyNumber_Index(key_hash), PyNumber_Index(key_check)
        cdef dsm_conflict_version held
        write_version(&held, version)
        dsm_digest_tree_remove(&self.tree, key_hash, dsm_digest_item(key_hash, key_check, &held))

    def respond(self, bytes query not None):
        """The answer to a query of another replica's exchange; ValueError for a malformed one."""
        cdef dsm_anti_entropy_query asked
        cdef dsm_anti_entropy_answer answer
        if PyBytes_GET_SIZE(query) != sizeof(asked):
            raise UsageError(f"a query has {sizeof(asked)} bytes, not {len(query)}")
        memcpy(&asked, PyBytes_AS_STRING(query), sizeof(asked))
        if dsm_anti_entropy_respond(&self.tree, &asked, &answer) != DSM_OK:
            raise UsageError(f"the query does not fit a tree of depth {self.tree.depth}")
        return PyBytes_FromStringAndSize(<char *>&answer, sizeof(answer))


@cython.final
cdef class Exchange:
    """Finds the buckets in which another replica differs from a tree, by messages of bounded size.

    Send what next_query() returns, as often as it takes to get an answer; done when it is None.
    """

    cdef DigestTree tree
    cdef dsm_anti_entropy *state

    def __init__(self, DigestTree tree not None, first_round=0):
        first_round = PyNumber_Index(first_round)
        if self.state is not NULL:
            raise TypeError("an exchange is initialised once")
        self.tree = tree
        self.state = <dsm_anti_entropy *>zeroed(1, sizeof(dsm_anti_entropy))
        dsm_anti_entropy_start(self.state, &tree.tree, first_round)

    def __dealloc__(self):
        PyMem_Free(self.state)

    def next_query(self):
        """The query to send now, or again, as bytes; None when the exchange is complete."""
        cdef const dsm_anti_entropy_query *query = dsm_anti_entropy_next(self.state)
        if query is NULL:
            return None
        return PyBytes_FromStringAndSize(<const char *>query, sizeof(dsm_anti_entropy_query))

    def receive(self, bytes answer not None):
        """Buckets that an answer shows to differ; none for a late or repeated one."""
        cdef dsm_anti_entropy_answer got
        cdef uint32_t[DSM_ANTI_ENTROPY_CHILDREN_MAX] buckets
        cdef uint32_t count = 0
        if PyBytes_GET_SIZE(answer) != sizeof(got):
            raise UsageError(f"an answer has {sizeof(got)} bytes, not {len(answer)}")
        memcpy(&got, PyBytes_AS_STRING(answer), sizeof(got))
        if dsm_anti_entropy_receive(self.state, &got, buckets, &count) != DSM_OK:
            raise UsageError("the answer does not fit the query")
        return [buckets[i] for i in range(count)]


def repair_set(replicas, policy=Policy.LAST_WRITE_WINS):
    """The least that makes replicas agree: [Move(item, source, targets), ...] by ascending key.

    replicas holds, for each replica, its items in ascending order of (key_hash, key_check).
    """
    cdef dsm_repair_list[DSM_REPAIR_REPLICAS_MAX] lists
    cdef dsm_repair_set state
    cdef dsm_repair_move move
    cdef dsm_repair_item *table
    cdef size_t place = 0
    rows = [list(items) for items in replicas]
    if len(rows) > DSM_REPAIR_REPLICAS_MAX:
        raise UsageError(f"at most {DSM_REPAIR_REPLICAS_MAX} replicas, but there are {len(rows)}")
    table = <dsm_repair_item *>zeroed(sum(map(len, rows)), sizeof(dsm_repair_item))
    try:
        for i, items in enumerate(rows):
            lists[i].items = &table[place]
            lists[i].count = len(items)
            for key_hash, key_check, version in items:
                table[place].key_hash = PyNumber_Index(key_hash)
                table[place].key_check = PyNumber_Index(key_check)
                write_version(&table[place].version, version)
                place += 1
        if dsm_repair_set_start(&state, lists, len(rows), policy) != DSM_OK:
            raise UsageError("a list is out of order, holds a key twice, or the policy is custom")
        moves = []
        while dsm_repair_set_next(&state, &move):
            item = Item(move.item.key_hash, move.item.key_check, read_version(&move.item.version))
            targets = tuple([i for i in range(len(rows)) if move.targets >> i & 1])
            moves.append(Move(item, move.source, targets))
        return moves
    finally:
        PyMem_Free(table)
