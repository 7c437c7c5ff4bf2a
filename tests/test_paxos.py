"""Paxos and CASPaxos, one part at a time; the acceptor and the quorums against naive twins."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsm_native._native.paxos import (
    Acceptor,
    Ballot,
    Collector,
    Config,
    Fence,
    Identity,
    Options,
    PaxosMessage,
    Register,
    compatible,
    expand,
    majority,
    shrink,
)
from dsm_native.testing.paxos_node import PaxosNode

NONE = Ballot(0, 0, 0)
BALLOTS = st.builds(Ballot, st.integers(1, 4), st.integers(5, 6), st.integers(1, 2))


class TwinAcceptor:
    """ "Paxos Made Simple", section 2.2: P1a and P2 in tuples."""

    def __init__(self):
        self.promised, self.accepted, self.value = NONE, NONE, None

    def prepare(self, ballot):
        if ballot < self.promised:
            return ("refuse", self.promised)
        self.promised = ballot
        return ("promise", self.accepted, self.value)

    def accept(self, ballot, value, following):
        if ballot != self.accepted:
            if ballot < self.promised:
                return ("refuse", self.promised)
            self.accepted, self.value = ballot, value
            self.promised = following if following != NONE else ballot
        return ("accepted", following if self.promised == following else NONE)


@given(st.lists(st.tuples(st.sampled_from(["prepare", "accept", "accept+"]), BALLOTS)))
def test_an_acceptor_like_its_naive_twin(inputs):
    acceptor, twin, durable = Acceptor(0), TwinAcceptor(), None
    for kind, ballot in inputs:
        following = NONE if kind != "accept+" else ballot._replace(counter=ballot.counter + 1)
        value = None if kind == "prepare" else repr(ballot).encode()
        message = PaxosMessage(
            ballot.node, 0, kind.rstrip("+"), 1, ballot, value=value, following=following
        )
        before = acceptor.durable
        sent_now, sent_later = acceptor.receive(message)
        expected = (
            twin.prepare(ballot) if kind == "prepare" else twin.accept(ballot, value, following)
        )
        (answer,) = sent_now + sent_later
        assert answer.kind == expected[0]
        assert answer.ballot == ballot
        assert answer.target == ballot.node
        if answer.kind == "refuse":
            assert answer.accepted == expected[1]
            assert sent_now
        else:
            # Whatever promises something waits for the disk.
            assert sent_later
        if answer.kind == "promise":
            assert (answer.accepted, answer.value) == expected[1:]
        if answer.kind == "accepted":
            assert answer.next == expected[1]
        assert acceptor.persist == (acceptor.durable != before)
        durable = acceptor.durable
        state = (twin.promised, twin.accepted, twin.value)
        assert durable == (None if state == (NONE, NONE, None) else state)
        acceptor = Acceptor(0, durable)  # a restart from what is durable changes nothing


def quorums(nodes, count):
    return [set(quorum) for quorum in combinations(sorted(nodes), count)]


def configs(nodes):
    sets = st.frozensets(st.sampled_from(range(nodes)), min_size=1)
    return st.tuples(sets, sets).flatmap(
        lambda both: st.builds(
            Config,
            st.just(both[0]),
            st.just(both[1]),
            st.integers(1, len(both[0])),
            st.integers(1, len(both[1])),
        )
    )


@given(configs(6), configs(6))
@settings(max_examples=150)
def test_compatible_means_that_all_quorums_meet(one, other):
    def meet(first, second):
        return all(
            p & a
            for p in quorums(first.prepare_nodes, first.prepare_quorum)
            for a in quorums(second.accept_nodes, second.accept_quorum)
        )

    assert compatible(one, other) == (meet(one, other) and meet(other, one))


@given(st.frozensets(st.integers(0, 6), min_size=1, max_size=6), st.integers(0, 6), st.booleans())
def test_no_step_of_a_membership_change_loses_what_was_accepted(nodes, node, grow):
    """What some accept quorum took is found by every prepare quorum of each step, and lies on an
    accept quorum again when the change is over (rescans carry it over)."""
    steps = (expand if grow else shrink)(nodes, node)
    assert bool(steps) == ((node not in nodes) if grow else (node in nodes and len(nodes) > 1))
    config = majority(nodes)
    held = [set(quorum) for quorum in quorums(config.accept_nodes, config.accept_quorum)]
    for step in steps:
        assert compatible(config, step.config)
        config = step.config
        for copies in held:
            assert all(
                copies & quorum for quorum in quorums(config.prepare_nodes, config.prepare_quorum)
            )
        if step.rescan:
            held = quorums(config.accept_nodes, config.accept_quorum)
    for copies in held:
        assert len(copies & config.accept_nodes) >= config.accept_quorum
    after = nodes | {node} if grow else nodes - {node}
    assert not steps or config == majority(after)


class Rig:
    """Three acceptors and one register, by hand: `answer` carries messages over at once."""

    def __init__(self):
        self.acceptors = [Acceptor(number) for number in range(3)]
        self.identity = Identity(5, 1)
        self.register = Register(7, majority(range(3)), self.identity, Options())
        self.kinds = []

    def answer(self, sent, up=(0, 1, 2)):
        queue = list(sent[0] + sent[1])
        while queue:
            message = queue.pop(0)
            if message.target < 3:
                self.kinds.append(message.kind)
                if message.target in up:
                    now, later = self.acceptors[message.target].receive(message)
                    queue += now + later
            else:
                now, later = self.register.receive(message, 0)
                queue += now + later
                if self.register.outcome != "none":
                    self.outcome = self.register.outcome

    def change(self, function, up=(0, 1, 2)):
        self.outcome = None
        self.kinds = []
        self.answer(self.register.begin(0, 1_000_000), up)
        self.answer(self.register.change(function(self.register.value), 0), up)
        return self.outcome, self.register.value


def add_one(value):
    return str(int(value or b"0") + 1).encode()


def test_a_stable_proposer_needs_one_round():
    """CASPaxos section 2.2.1."""
    rig = Rig()
    assert rig.change(add_one) == ("done", b"1")
    assert rig.kinds == ["prepare"] * 3 + ["accept"] * 3
    for expected in (b"2", b"3"):
        assert rig.register.stable
        assert rig.change(add_one) == ("done", expected)
        assert rig.kinds == ["accept"] * 3


def test_one_round_needs_a_promise_from_a_whole_quorum():
    rig = Rig()
    rig.answer(rig.register.begin(0, 1_000_000))
    accepts, _ = rig.register.change(b"x", 0)
    ballot, following = accepts[0].ballot, accepts[0].next
    # Acceptor 1 took the value, but has promised a higher ballot to somebody else since.
    rig.register.receive(PaxosMessage(0, 5, "accepted", 7, ballot, following=following), 0)
    rig.register.receive(PaxosMessage(1, 5, "accepted", 7, ballot), 0)
    assert rig.register.outcome == "done"
    assert not rig.register.stable


def test_a_rival_ends_the_one_round_path_and_no_change_is_lost():
    rig, rival = Rig(), Rig()
    rival.identity = Identity(5, 2)
    rival.register = Register(7, majority(range(3)), rival.identity, Options())
    rival.acceptors = rig.acceptors
    assert rig.change(add_one) == ("done", b"1")
    # The rival is refused, learns the counter from it, and goes on after its backoff.
    assert rival.register.begin(0, 10_000_000)
    for attempt in range(3):
        rival.answer(rival.register.tick((attempt + 1) * 1_000_000))
        if rival.register.change_wanted or rival.register.value:
            break
    rival.answer(rival.register.change(add_one(rival.register.value), 0))
    assert rival.outcome == "done"
    assert rival.register.value == b"2"
    # The first one's carried promise is void now: its ACCEPT is refused by all.
    rig.answer(rig.register.begin(0, 10_000_000))
    rig.answer(rig.register.change(add_one(rig.register.value), 0))
    assert rig.register.busy
    rig.outcome = None
    rig.answer(rig.register.tick(1_000_000))
    # It finds a foreign ballot above its own, so it cannot tell, and says so.
    assert rig.outcome == "unknown"
    assert [acceptor.durable[2] for acceptor in rig.acceptors] == [b"2"] * 3


def test_a_minority_decides_nothing_and_the_deadline_tells_what_is_known():
    rig = Rig()
    rig.answer(rig.register.begin(0, 100), up=(0,))
    assert rig.register.busy
    rig.register.tick(100)
    assert rig.register.outcome == "refused"
    rig.answer(rig.register.begin(0, 100))
    rig.answer(rig.register.change(b"x", 0), up=(0,))
    rig.register.tick(100)
    assert rig.register.outcome == "unknown"


def test_deletion_leaves_nothing_behind_and_fences_the_past():
    """CASPaxos section 3.1."""
    rig = Rig()
    assert rig.change(lambda _: b"old") == ("done", b"old")
    assert rig.register.begin(0, 1_000_000) == ((), ())
    in_flight = rig.register.change(b"late", 0)
    other = Identity(4, 1, counter=50)
    collector = Collector(7, majority(range(3)), [5], other, Options())
    fences = [Fence(number) for number in range(3)]

    def sweep(sent):
        queue = list(sent[0] + sent[1])
        outcome = None
        while queue:
            message = queue.pop(0)
            if message.target == 4:
                now, later = collector.receive(message, 0)
                outcome = collector.outcome if collector.outcome != "none" else outcome
            elif message.target == 5:
                now, later = rig.identity.forget(message)
                assert not now
            elif message.kind == "fence":
                now, later = fences[message.target].receive(message)
                assert not now
            else:
                now, later = rig.acceptors[message.target].receive(message)
            queue += now + later
        return outcome

    assert sweep(collector.begin(0)) == "refused"  # it holds a value
    for acceptor in rig.acceptors:
        ballot = Ballot(90, 6, 1)
        acceptor.receive(PaxosMessage(6, 0, "accept", 7, ballot))
    other_round = Identity(4, 1, counter=100)
    collector = Collector(7, majority(range(3)), [5], other_round, Options())
    assert sweep(collector.begin(0)) == "done"
    assert [acceptor.durable for acceptor in rig.acceptors] == [None] * 3
    assert rig.identity.durable == (101, 1, 1)
    late = [message for message in in_flight[0] if message.target == 0]
    assert not fences[0].admits(late[0])
    # The proposer itself starts again with its new age, and is let in.
    fresh = Register(7, majority(range(3)), rig.identity, Options())
    prepare = fresh.begin(0, 100)[1][0]
    assert prepare.ballot.counter == 102
    assert fences[0].admits(prepare)
    again = Fence(0, fences[0].durable)
    assert not again.admits(late[0])


def test_a_restarted_node_never_uses_a_ballot_twice():
    class Ask:
        kind, body = "propose", (1, b"v")

    ballots, durable = set(), {}
    for _ in range(3):
        node = PaxosNode(0, durable, 1, 0, nodes=range(3))
        outputs = node.step(Ask(), 0)
        durable |= dict(outputs.persist)
        assert durable["identity"]
        assert not outputs.send_now
        ballots |= {message.ballot for message in outputs.send_after_persist}
    assert len(ballots) == 3


def test_values_and_nodes_outside_their_range_are_refused():
    with pytest.raises(ValueError, match="121 bytes"):
        PaxosMessage(0, 1, "accept", 1, (1, 0, 1), value=b"x" * 121)
    with pytest.raises(ValueError, match="a node is 0 to 63, but is 64"):
        PaxosMessage(0, 64, "accept", 1, (1, 0, 1))
    with pytest.raises(ValueError, match="documented range"):
        Register(1, Config({0, 1, 2}, {0, 1, 2}, 1, 2), Identity(0, 1), Options())
    assert PaxosMessage(0, 1, "accept", 1, (1, 0, 1), value=b"x" * 120).value == b"x" * 120
    assert PaxosMessage(0, 1, "accept", 1, (1, 0, 1), value=b"").value == b""
