# cython: language_level=3, boundscheck=False, wraparound=False
"""Paxos and CASPaxos for tests and for users' own protocols: the C cores behind `step` and `tick`.

`Acceptor`, `Proposer`, `Register`, `Collector`, `Fence` and `Identity` are handles of one C struct
each; a method that drives one returns (messages to send now, messages to send once durable) and
leaves what else it asked for in the handle's attributes. `PaxosNode` and `RegisterNode` are whole
nodes that speak the protocol interface of `dsm_native.testing.protocol`. A value is `bytes` of at
most 120, or None for the empty one. Not thread-safe. Times are microseconds.
"""

from collections import deque, namedtuple

# The shape of testing.protocol.Outputs; this layer imports nothing from the one above.
Outputs = namedtuple("Outputs", "send_now persist send_after_persist apply")
Ballot = namedtuple("Ballot", "counter node incarnation")
Config = namedtuple("Config", "prepare_nodes accept_nodes prepare_quorum accept_quorum")
Step = namedtuple("Step", "config rescan")

KINDS = ("", "prepare", "promise", "accept", "accepted", "refuse", "chosen", "forget", "aged",
         "fence", "fenced", "erase", "erased")
OUTCOMES = ("none", "done", "refused", "unknown")
COLLECTOR_PHASES = ("tombstone", "forgetting", "fencing", "erasing", "ended")
NO_BALLOT = Ballot(0, 0, 0)
NOTHING = Outputs((), (), (), ())
CLIENT = -1


cdef _check(dsm_status status):
    if status != DSM_OK:
        raise ValueError(dsm_status_message(status).decode())


cdef uint64_t _set_of(nodes) except? 0:
    cdef uint64_t members = 0
    for node in nodes:
        if not 0 <= node < DSM_PAXOS_NODES_MAX:
            raise ValueError(f"node {node} is not between 0 and {DSM_PAXOS_NODES_MAX - 1}")
        members |= <uint64_t>1 << <int>node
    return members


cdef frozenset _nodes_of(uint64_t members):
    return frozenset([node for node in range(DSM_PAXOS_NODES_MAX) if members >> node & 1])


cdef _ballot(const dsm_ballot *raw):
    return Ballot(raw.counter, raw.node, raw.incarnation)


cdef dsm_ballot _raw_ballot(ballot) except *:
    cdef dsm_ballot raw
    raw.counter, raw.node, raw.incarnation = ballot
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
        raise ValueError(f"{len(data)} bytes exceed the {DSM_PAXOS_VALUE_BYTES_MAX} of a value")
    _check(dsm_paxos_value_set(raw, <const char *>data, <uint32_t>len(data)))
    return 0


cdef dsm_paxos_config _raw_config(config) except *:
    cdef dsm_paxos_config raw
    raw.prepare_nodes = _set_of(config.prepare_nodes)
    raw.accept_nodes = _set_of(config.accept_nodes)
    raw.prepare_quorum = config.prepare_quorum
    raw.accept_quorum = config.accept_quorum
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
    cdef uint32_t count = dsm_members_expand(_set_of(nodes), node, steps)
    return [Step(_config(&steps[i].config), bool(steps[i].rescan)) for i in range(count)]


def shrink(nodes, node):
    """The steps that remove `node` from the acceptors `nodes`; empty when that is impossible."""
    cdef dsm_member_step[2] steps
    cdef uint32_t count = dsm_members_shrink(_set_of(nodes), node, steps)
    return [Step(_config(&steps[i].config), bool(steps[i].rescan)) for i in range(count)]


cdef class PaxosMessage:
    """One immutable message to one node."""

    cdef dsm_paxos_message raw
    cdef readonly int target

    def __init__(self, int source, int target, str kind, uint64_t key, ballot, *, value=None,
                 accepted=NO_BALLOT, next=NO_BALLOT, uint64_t age=0, uint32_t about=0):
        self.target = target
        self.raw.source = source
        self.raw.targets = _set_of([target])
        self.raw.kind = KINDS.index(kind)
        self.raw.key = key
        self.raw.ballot = _raw_ballot(ballot)
        self.raw.accepted = _raw_ballot(accepted)
        self.raw.next = _raw_ballot(next)
        self.raw.age = age
        self.raw.about = about
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


class ClientMessage(namedtuple("ClientMessage", "source target kind body")):
    """What a client and a node say to each other; the client's number is -1."""

    __slots__ = ()

    def __repr__(self):
        return f"{self.source}->{self.target} {self.kind} {self.body!r}"


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


cdef class _Machine:
    """The outputs of a handle's last call."""

    cdef dsm_paxos_outputs outputs
    cdef readonly bint persist
    cdef readonly bint persist_identity
    cdef readonly bint persist_fence
    cdef readonly bint change_wanted
    cdef readonly str outcome

    def __cinit__(self):
        dsm_paxos_outputs_clear(&self.outputs)
        self.outcome = "none"

    cdef _taken(self):
        cdef dsm_paxos_outputs *raw = &self.outputs
        result = (_messages(raw.now, raw.now_count),
                  _messages(raw.once_durable, raw.once_durable_count))
        self.persist = raw.persist
        self.persist_identity = raw.persist_identity
        self.persist_fence = raw.persist_fence
        self.change_wanted = raw.change_wanted
        self.outcome = OUTCOMES[raw.outcome]
        dsm_paxos_outputs_clear(raw)
        return result


cdef class Identity(_Machine):
    """What one proposing process is; shared by its proposers, registers and collectors."""

    cdef dsm_proposer_identity core

    def __init__(self, uint32_t node, uint32_t incarnation, uint64_t counter=0, uint64_t age=0):
        self.core.node = node
        self.core.incarnation = incarnation
        self.core.counter = counter
        self.core.age = age

    @property
    def durable(self):
        """(counter, age, incarnation): what to persist when `persist_identity` says so."""
        return (self.core.counter, self.core.age, self.core.incarnation)

    def forget(self, PaxosMessage message not None):
        _check(dsm_proposer_identity_forget(&self.core, &message.raw, &self.outputs))
        return self._taken()


cdef class Acceptor(_Machine):
    cdef dsm_acceptor core
    cdef uint32_t node

    def __init__(self, uint32_t node, durable=None):
        self.node = node
        dsm_acceptor_init(&self.core)
        if durable is not None:
            promised, accepted, value = durable
            self.core.promised = _raw_ballot(promised)
            self.core.accepted = _raw_ballot(accepted)
            _set_value(&self.core.value, value)

    @property
    def durable(self):
        """(promised, accepted, value), or None when nothing is left to persist."""
        if dsm_acceptor_empty(&self.core):
            return None
        return (_ballot(&self.core.promised), _ballot(&self.core.accepted),
                _value(&self.core.value))

    def receive(self, PaxosMessage message not None):
        _check(dsm_acceptor_receive(&self.core, self.node, &message.raw, &self.outputs))
        return self._taken()


cdef class Options:
    cdef dsm_paxos_options raw

    def __init__(self, *, resend_us=50_000, backoff_us=20_000, seed=0):
        self.raw.resend_us = resend_us
        self.raw.backoff_us = backoff_us
        self.raw.seed = seed & 0xFFFFFFFFFFFFFFFF


cdef class Proposer(_Machine):
    """Single decree: propose until something is chosen."""

    cdef dsm_proposer core
    cdef Identity identity

    def __init__(self, key, config, learners, Identity identity not None,
                 Options options not None):
        cdef dsm_paxos_config raw = _raw_config(config)
        self.identity = identity
        _check(dsm_proposer_init(&self.core, key, &raw, _set_of(learners), &options.raw))

    @property
    def chosen(self):
        return _value(&self.core.chosen)

    def propose(self, value, uint64_t now):
        cdef dsm_paxos_value raw
        _set_value(&raw, value)
        _check(dsm_proposer_propose(&self.core, &self.identity.core, &raw, now, &self.outputs))
        return self._taken()

    def receive(self, PaxosMessage message not None, uint64_t now):
        _check(dsm_proposer_receive(&self.core, &self.identity.core, &message.raw, now,
                                    &self.outputs))
        return self._taken()

    def tick(self, uint64_t now):
        dsm_proposer_tick(&self.core, &self.identity.core, now, &self.outputs)
        return self._taken()


cdef class Register(_Machine):
    """The proposer's side of one CASPaxos register."""

    cdef dsm_register core
    cdef Identity identity

    def __init__(self, key, config, Identity identity not None, Options options not None):
        cdef dsm_paxos_config raw = _raw_config(config)
        self.identity = identity
        _check(dsm_register_init(&self.core, key, &raw, &options.raw))

    @property
    def value(self):
        """The state that a wanted change starts from, or that a done one left."""
        return _value(&self.core.round.value)

    @property
    def busy(self):
        return bool(self.core.busy)

    @property
    def stable(self):
        return bool(self.core.stable)

    def configure(self, config):
        cdef dsm_paxos_config raw = _raw_config(config)
        _check(dsm_register_configure(&self.core, &raw))

    def begin(self, uint64_t now, uint64_t deadline, repeatable=False):
        _check(dsm_register_begin(&self.core, &self.identity.core, bool(repeatable), now,
                                  deadline, &self.outputs))
        return self._taken()

    def change(self, value, uint64_t now):
        cdef dsm_paxos_value raw
        _set_value(&raw, value)
        _check(dsm_register_change(&self.core, &self.identity.core, &raw, now, &self.outputs))
        return self._taken()

    def receive(self, PaxosMessage message not None, uint64_t now):
        _check(dsm_register_receive(&self.core, &self.identity.core, &message.raw, now,
                                    &self.outputs))
        return self._taken()

    def tick(self, uint64_t now):
        dsm_register_tick(&self.core, &self.identity.core, now, &self.outputs)
        return self._taken()


cdef class Fence(_Machine):
    """The ages below which an acceptor drops what a proposer sent."""

    cdef dsm_fence core
    cdef uint32_t node

    def __init__(self, uint32_t node, ages=()):
        self.node = node
        dsm_fence_init(&self.core)
        for about, age in ages:
            self.core.age[<int>about] = age

    @property
    def durable(self):
        """((proposer, age), ...) of those with an age."""
        return tuple([(about, self.core.age[about]) for about in range(DSM_PAXOS_NODES_MAX)
                      if self.core.age[about]])

    def admits(self, PaxosMessage message not None):
        return bool(dsm_fence_admits(&self.core, &message.raw))

    def receive(self, PaxosMessage message not None):
        _check(dsm_fence_receive(&self.core, self.node, &message.raw, &self.outputs))
        return self._taken()


cdef class Collector(_Machine):
    """Removes one deleted register from every acceptor."""

    cdef dsm_collector core
    cdef Identity identity

    def __init__(self, key, config, proposers, Identity identity not None,
                 Options options not None):
        cdef dsm_paxos_config raw = _raw_config(config)
        self.identity = identity
        _check(dsm_collector_init(&self.core, key, &raw, _set_of(proposers), &options.raw))

    @property
    def phase(self):
        return COLLECTOR_PHASES[self.core.phase]

    def begin(self, uint64_t now):
        dsm_collector_begin(&self.core, &self.identity.core, now, &self.outputs)
        return self._taken()

    def receive(self, PaxosMessage message not None, uint64_t now):
        _check(dsm_collector_receive(&self.core, &self.identity.core, &message.raw, now,
                                     &self.outputs))
        return self._taken()

    def tick(self, uint64_t now):
        dsm_collector_tick(&self.core, &self.identity.core, now, &self.outputs)
        return self._taken()


class _Node:
    """Acceptors of all keys and the process's identity: what both kinds of node have."""

    def __init__(self, node, durable, seed, options):
        counter, age, incarnation = durable.get("identity", (0, 0, 0))
        self.node = node
        self.seed = seed
        self.options = options
        self.identity = Identity(node, incarnation + 1, counter, age)
        self.acceptors = {entry[1]: Acceptor(node, state) for entry, state in durable.items()
                          if entry[0] == "acceptor"}
        self.fence = Fence(node, durable.get("fence", ()))
        # No ballot may leave before the incarnation in it is durable.
        self.owed = [("identity", self.identity.durable)]

    def _seeded(self, key):
        return Options(seed=self.seed ^ (key + 1) * 0x9E3779B97F4A7C15, **self.options)

    def _accept(self, message):
        """Hand a message to the acceptor of its key."""
        if not self.fence.admits(message):
            return NOTHING
        acceptor = self.acceptors.get(message.key)
        if acceptor is None:
            acceptor = self.acceptors[message.key] = Acceptor(self.node)
        now_messages, later = acceptor.receive(message)
        state = acceptor.durable
        persist = ((("acceptor", message.key), state),) if acceptor.persist else ()
        if state is None:
            del self.acceptors[message.key]
        return Outputs(now_messages, persist, later, ())

    def _paid(self, outputs):
        owed, self.owed = tuple(self.owed), []
        return outputs._replace(persist=owed + outputs.persist)


class PaxosNode(_Node):
    """Acceptor, proposer and learner of single decrees, each under its key.

    A client's message has kind "propose" and body (key, value); it is answered by "chosen" with
    body (key, chosen value). `apply` holds ("chosen", key, value) once per incarnation.
    """

    def __init__(self, node, durable, seed, now, *, nodes, **options):
        super().__init__(node, durable, seed, options)
        self.config = majority(nodes)
        self.nodes = tuple(nodes)
        self.proposers = {}
        self.asked = set()

    def step(self, message, now):
        if message.kind == "propose":
            key, value = message.body
            proposer = self._proposer(key)
            if proposer.chosen is not None:
                reply = ClientMessage(self.node, CLIENT, "chosen", (key, proposer.chosen))
                return self._paid(Outputs((reply,), (), (), ()))
            if key in self.asked:
                return self._paid(NOTHING)
            self.asked.add(key)
            sent = proposer.propose(value, now)
        elif message.kind in ("prepare", "accept"):
            return self._paid(self._accept(message))
        else:
            key = message.key
            proposer = self._proposer(key)
            sent = proposer.receive(message, now)
        return self._paid(self._told(key, proposer, sent))

    def tick(self, now):
        outputs = NOTHING
        for key, proposer in self.proposers.items():
            outputs = _joined(outputs, self._told(key, proposer, proposer.tick(now)))
        return self._paid(outputs)

    def _proposer(self, key):
        if key not in self.proposers:
            self.proposers[key] = Proposer(key, self.config, self.nodes, self.identity,
                                           self._seeded(key))
        return self.proposers[key]

    def _told(self, key, proposer, sent):
        now_messages, later = sent
        apply = ()
        if proposer.outcome == "done":
            apply = (("chosen", key, proposer.chosen),)
            if key in self.asked:
                now_messages += (ClientMessage(self.node, CLIENT, "chosen",
                                               (key, proposer.chosen)),)
        return Outputs(now_messages, (), later, apply)


class RegisterNode(_Node):
    """Acceptor and proposer of CASPaxos registers.

    A client's messages: "change" with body (request, key, name, arguments), where `changes[name]`
    is called as (value, *arguments) and returns the new value (those named in `repeatable` may be
    applied twice); "collect" with body (request, key); "configure" with body (request, config).
    Each is answered once, by "done", "refused" or "unknown" with body (request, key, value) or by
    "configured" with body (request,).
    """

    def __init__(self, node, durable, seed, now, *, config, proposers, changes,
                 repeatable=("read",), timeout_us=2_000_000, **options):
        super().__init__(node, durable, seed, options)
        self.config = config
        self.proposing_nodes = tuple(proposers)
        self.changes = changes
        self.repeatable = frozenset(repeatable)
        self.timeout_us = timeout_us
        self.registers = {}
        self.queues = {}
        self.running = {}
        self.collectors = {}
        self.configuring = None

    def step(self, message, now):
        kind = message.kind
        if kind == "change":
            request, key, name, arguments = message.body
            self.queues.setdefault(key, deque()).append((request, name, arguments))
            outputs = self._pull(key, now)
        elif kind == "collect":
            outputs = self._collect(*message.body, now)
        elif kind == "configure":
            self.configuring = message.body
            outputs = self._configure(now)
        elif kind in ("prepare", "accept", "erase"):
            outputs = self._accept(message)
        elif kind == "fence":
            now_messages, later = self.fence.receive(message)
            persist = (("fence", self.fence.durable),) if self.fence.persist_fence else ()
            outputs = Outputs(now_messages, persist, later, ())
        elif kind == "forget":
            now_messages, later = self.identity.forget(message)
            outputs = Outputs(now_messages, (("identity", self.identity.durable),), later, ())
        else:
            outputs = self._answer(message, now)
        return self._paid(outputs)

    def tick(self, now):
        outputs = NOTHING
        for key, register in tuple(self.registers.items()):
            outputs = _joined(outputs, self._drive(key, register, register.tick(now), now))
        for key, (request, collector) in tuple(self.collectors.items()):
            outputs = _joined(outputs, self._swept(key, request, collector, collector.tick(now)))
        return self._paid(outputs)

    def _answer(self, message, now):
        outputs = NOTHING
        key = message.key
        if key in self.collectors:
            request, collector = self.collectors[key]
            outputs = self._swept(key, request, collector, collector.receive(message, now))
        register = self.registers.get(key)
        if register is not None:
            sent = register.receive(message, now)
            outputs = _joined(outputs, self._drive(key, register, sent, now))
        return outputs

    def _pull(self, key, now):
        """Begin the next queued change of a key, unless one is running or a config waits."""
        queue = self.queues.get(key)
        if not queue or key in self.running or self.configuring is not None:
            return NOTHING
        if key not in self.registers:
            self.registers[key] = Register(key, self.config, self.identity, self._seeded(key))
        register = self.registers[key]
        request = self.running[key] = queue.popleft()
        sent = register.begin(now, now + self.timeout_us, request[1] in self.repeatable)
        return self._drive(key, register, sent, now)

    def _drive(self, key, register, sent, now):
        now_messages, later = sent
        outputs = Outputs(now_messages, (), later, ())
        if register.change_wanted:
            request, name, arguments = self.running[key]
            changed = self.changes[name](register.value, *arguments)
            more = register.change(changed, now)
            outputs = _joined(outputs, self._drive(key, register, more, now))
        elif register.outcome != "none":
            request, name, arguments = self.running.pop(key)
            value = register.value if register.outcome == "done" else None
            reply = ClientMessage(self.node, CLIENT, register.outcome, (request, key, value))
            outputs = _joined(outputs, Outputs((reply,), (), (), ()))
            outputs = _joined(outputs, self._configure(now))
            outputs = _joined(outputs, self._pull(key, now))
        return outputs

    def _collect(self, request, key, now):
        if key in self.collectors:
            reply = ClientMessage(self.node, CLIENT, "refused", (request, key, None))
            return Outputs((reply,), (), (), ())
        collector = Collector(key, self.config, self.proposing_nodes, self.identity,
                              self._seeded(key))
        self.collectors[key] = (request, collector)
        return self._swept(key, request, collector, collector.begin(now))

    def _swept(self, key, request, collector, sent):
        now_messages, later = sent
        if collector.outcome != "none":
            del self.collectors[key]
            now_messages += (ClientMessage(self.node, CLIENT, collector.outcome,
                                           (request, key, None)),)
        return Outputs(now_messages, (), later, ())

    def _configure(self, now):
        """Install a waiting config once no change runs under the old one."""
        if self.configuring is None or self.running or self.collectors:
            return NOTHING
        request, self.config = self.configuring
        self.configuring = None
        for register in self.registers.values():
            register.configure(self.config)
        reply = ClientMessage(self.node, CLIENT, "configured", (request,))
        outputs = Outputs((reply,), (), (), ())
        for key in tuple(self.queues):
            outputs = _joined(outputs, self._pull(key, now))
        return outputs


def _joined(first, second):
    return Outputs(*[a + b for a, b in zip(first, second)])
