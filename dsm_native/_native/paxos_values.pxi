# Part of paxos.pyx: ballots, values, configs and messages between C and Python.

cdef _check(dsm_status status):
    if status != DSM_OK:
        raise UsageError(dsm_status_message(status).decode())


cdef uint32_t _node(node) except? U32_MAX:
    return <uint32_t>number(node, "a node", DSM_PAXOS_NODES_MAX - 1)


cdef uint64_t _set_of(nodes) except? 0:
    cdef uint64_t members = 0
    for node in nodes:
        members |= <uint64_t>1 << _node(node)
    return members


cdef uint64_t _key(key) except? U64_MAX:
    return number(key, "a key", U64_MAX)


cdef frozenset _nodes_of(uint64_t members):
    return frozenset([node for node in range(DSM_PAXOS_NODES_MAX) if members >> node & 1])


cdef _ballot(const dsm_ballot *raw):
    return Ballot(raw.counter, raw.node, raw.incarnation)


cdef dsm_ballot _raw_ballot(ballot) except *:
    cdef dsm_ballot raw
    counter, node, incarnation = parts(ballot, 3, "a ballot")
    raw.counter = number(counter, "a ballot's counter", U64_MAX)
    raw.node = _node(node)
    raw.incarnation = <uint32_t>number(incarnation, "an incarnation", U32_MAX)
    return raw


cdef _value(const dsm_paxos_value *raw):
    return (<const char *>raw.bytes)[:raw.size] if raw.present else None


cdef int _set_value(dsm_paxos_value *raw, value) except -1:
    raw.present = False
    raw.size = 0
    if value is None:
        return 0
    cdef bytes data = value
    if len(data) > DSM_PAXOS_VALUE_BYTES_MAX:
        raise UsageError(f"{len(data)} bytes exceed the {DSM_PAXOS_VALUE_BYTES_MAX} of a value")
    _check(dsm_paxos_value_set(raw, <const char *>data, <uint32_t>len(data)))
    return 0


cdef dsm_paxos_config _raw_config(config) except *:
    cdef dsm_paxos_config raw
    of_type(config, Config, "the quorums")
    raw.prepare_nodes = _set_of(config.prepare_nodes)
    raw.accept_nodes = _set_of(config.accept_nodes)
    raw.prepare_quorum = <uint32_t>number(config.prepare_quorum, "a quorum", DSM_PAXOS_NODES_MAX)
    raw.accept_quorum = <uint32_t>number(config.accept_quorum, "a quorum", DSM_PAXOS_NODES_MAX)
    return raw


cdef _config(const dsm_paxos_config *raw):
    return Config(_nodes_of(raw.prepare_nodes), _nodes_of(raw.accept_nodes), raw.prepare_quorum,
                  raw.accept_quorum)


def majority(nodes):
    """The config in which both phases need a majority of `nodes`."""
    cdef dsm_paxos_config raw = dsm_paxos_config_majority(_set_of(nodes))
    return _config(&raw)


def compatible(one, other):
    """Whether rounds of the two configs may run at the same time."""
    cdef dsm_paxos_config first = _raw_config(one)
    cdef dsm_paxos_config second = _raw_config(other)
    return bool(dsm_paxos_config_compatible(&first, &second))


def expand(nodes, node):
    """The steps that add `node` to the acceptors `nodes`; empty when it is one already."""
    cdef dsm_member_step[2] steps
    cdef uint32_t count = dsm_members_expand(_set_of(nodes), _node(node), steps)
    return [Step(_config(&steps[i].config), bool(steps[i].rescan)) for i in range(count)]


def shrink(nodes, node):
    """The steps that remove `node` from the acceptors `nodes`; empty when that is impossible."""
    cdef dsm_member_step[2] steps
    cdef uint32_t count = dsm_members_shrink(_set_of(nodes), _node(node), steps)
    return [Step(_config(&steps[i].config), bool(steps[i].rescan)) for i in range(count)]


cdef class PaxosMessage:
    """One immutable message to one node."""

    cdef dsm_paxos_message raw
    cdef readonly int target

    def __init__(self, source, target, kind, key, ballot, *, value=None, accepted=NO_BALLOT,
                 following=NO_BALLOT, age=0, about=0):
        self.target = _node(target)
        self.raw.source = _node(source)
        self.raw.targets = _set_of([target])
        self.raw.kind = named(KINDS, kind, "a kind of message")
        self.raw.key = _key(key)
        self.raw.ballot = _raw_ballot(ballot)
        self.raw.accepted = _raw_ballot(accepted)
        self.raw.next = _raw_ballot(following)
        self.raw.age = number(age, "an age", U64_MAX)
        self.raw.about = _node(about)
        _set_value(&self.raw.value, value)

    @property
    def source(self):
        return <int>self.raw.source

    @property
    def kind(self):
        return KINDS[self.raw.kind]

    @property
    def key(self):
        return self.raw.key

    @property
    def ballot(self):
        return _ballot(&self.raw.ballot)

    @property
    def accepted(self):
        return _ballot(&self.raw.accepted)

    @property
    def next(self):
        return _ballot(&self.raw.next)

    @property
    def age(self):
        return self.raw.age

    @property
    def about(self):
        return self.raw.about

    @property
    def value(self):
        return _value(&self.raw.value)

    def _key(self):
        return (self.source, self.target, self.kind, self.key, self.ballot, self.accepted,
                self.next, self.age, self.about, self.value)

    def __eq__(self, other):
        return isinstance(other, PaxosMessage) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def __repr__(self):
        parts = [f"{self.source}->{self.target} {self.kind} k{self.key} {_dots(self.ballot)}"]
        if self.accepted.counter:
            parts.append(f"accepted {_dots(self.accepted)}")
        if self.next.counter:
            parts.append(f"next {_dots(self.next)}")
        if self.value is not None:
            parts.append(repr(self.value))
        if self.kind in ("aged", "fence", "fenced"):
            parts.append(f"p{self.about} age {self.age}")
        return " ".join(parts)


def _dots(ballot):
    return ".".join(map(str, ballot))


cdef tuple _messages(const dsm_paxos_message *list, uint32_t count):
    cdef PaxosMessage message
    messages = []
    for i in range(count):
        for target in range(DSM_PAXOS_NODES_MAX):
            if list[i].targets >> target & 1:
                message = PaxosMessage.__new__(PaxosMessage)
                message.raw = list[i]
                message.raw.targets = <uint64_t>1 << <int>target
                message.target = target
                messages.append(message)
    return tuple(messages)
