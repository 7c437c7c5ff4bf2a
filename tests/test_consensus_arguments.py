"""What a user may hand to Raft, Paxos and two-phase commit by mistake: typed errors, no crash."""

from __future__ import annotations

import pytest

import dsm_native as dsm
from dsm_native._native.paxos import (
    Acceptor,
    Collector,
    Fence,
    Identity,
    PaxosMessage,
    Proposer,
    Register,
    compatible,
    expand,
    majority,
    shrink,
)
from dsm_native._native.paxos import Options as PaxosOptions
from dsm_native._native.raft import (
    Raft,
    RaftEntry,
    RaftMembership,
    RaftMessage,
    RaftRefusedError,
    RaftSnapshot,
    changed_membership,
)
from dsm_native._native.two_phase import (
    Coordinator,
    DecisionWord,
    Options,
    Participant,
    TwoPhaseMessage,
    presume,
)

NAN = float("nan")
# For a number, each of these is wrong in every place below.
WRONG = (None, -1, 2**64, 2**70, 1.5, NAN, float("inf"), "x", b"x", [], {}, object())
NODE_NUMBERS = (-1, 64, 255, 256, 2**32, 2**70)
THREE = majority([0, 1, 2])


def raft(**options):
    return Raft(0, [0], **options)


def leader():
    """A Raft node that leads a cluster of itself."""
    node = raft()
    outputs = node.campaign(400_000)
    waiting = [*outputs.send_now, *outputs.send_after_persist]
    while waiting:
        outputs = node.step(waiting.pop(0), 400_000)
        waiting += [*outputs.send_now, *outputs.send_after_persist]
    assert node.role == "leader"
    return node


def append(**fields):
    """A follower that gets an append with these fields."""
    return Raft(0, [0, 1]).step(RaftMessage("append", 1, 0, 1, **fields), 1)


def snapshot(**fields):
    whole = RaftSnapshot(1, 1, RaftMembership(frozenset([0])), (), None)
    return raft(durable={"snapshot": whole._replace(**fields)})


def register():
    return Register(1, THREE, Identity(0, 1), PaxosOptions())


def asked():
    """A participant that was asked to prepare."""
    side = Participant(1, 1, 0, Options(), 0)
    side.receive(TwoPhaseMessage(0, 1, "prepare", 1), 0)
    return side


def coordinator(transaction=1, node=0, participants=(1,)):
    return Coordinator(transaction, node, participants, Options())


CORES = {
    "a seed": lambda it: raft(seed=it),
    "an election's time-out": lambda it: raft(election_timeout_us=it),
    "a log's capacity": lambda it: raft(log_capacity=it),
    "entries of a message": lambda it: raft(entries_per_message_max=it),
    "room for messages": lambda it: raft(message_capacity=it),
    "what is durable": lambda it: raft(durable=it if it != {} and it is not None else 0),
    "a durable vote": lambda it: raft(durable={"vote": it}),
    "a durable term": lambda it: raft(durable={"vote": (it, 0)}),
    "a durable entry": lambda it: raft(durable={1: it}),
    "a durable commit": lambda it: raft(durable={"commit": it}),
    "a durable snapshot": lambda it: raft(durable={"snapshot": it if it is not None else 0}),
    "a snapshot's index": lambda it: snapshot(index=it),
    "a snapshot's membership": lambda it: snapshot(membership=it),
    "a snapshot's sessions": lambda it: snapshot(sessions=(it,)),
    "a payload": lambda it: RaftEntry(payload=it if it != b"x" else "x"),
    "a kind of entry": lambda it: RaftEntry(kind=it),
    "a session": lambda it: RaftEntry(session=it),
    "an entry to propose": lambda it: leader().propose([it], 3),
    "a time to propose at": lambda it: leader().propose([RaftEntry()], it),
    "a transition": lambda it: leader().propose_change(it, [], 3),
    "a step of a change": lambda it: leader().propose_change("auto", [it], 3),
    "a context": lambda it: leader().read(it, 3),
    "an index": lambda it: leader().entry(2**64 if it is None else it),
    "entries to keep": lambda it: leader().take_snapshot("state", 3, keep_entries=it),
    "a Raft message": lambda it: leader().step(it, 3),
    "a kind of Raft message": lambda it: RaftMessage(it, 0, 0, 1),
    "a term of a message": lambda it: RaftMessage("append", 1, 0, it),
    "an index of a message": lambda it: append(index=it),
    "an entry of a message": lambda it: append(entries=[it]),
    "a snapshot of a message": lambda it: append(snapshot=it if it is not None else 0),
    "a membership": lambda it: changed_membership(it, "auto", []),
    "a proposer's counter": lambda it: Identity(0, 1, it),
    "an acceptor's state": lambda it: Acceptor(0, it if it is not None else 0),
    "an acceptor's ballot": lambda it: Acceptor(0, (it, (0, 0, 0), b"")),
    "a config": lambda it: Register(1, it, Identity(0, 1), PaxosOptions()),
    "a quorum": lambda it: compatible(THREE, THREE._replace(prepare_quorum=it)),
    "an age": lambda it: Fence(0, [(1, it)]),
    "ages": lambda it: Fence(0, [it]),
    "a kind of Paxos message": lambda it: PaxosMessage(0, 1, it, 1, (1, 0, 1)),
    "a ballot": lambda it: PaxosMessage(0, 1, "prepare", 1, it),
    "a ballot's counter": lambda it: PaxosMessage(0, 1, "prepare", 1, (it, 0, 1)),
    "a register's key": lambda it: Register(it, THREE, Identity(0, 1), PaxosOptions()),
    "a Paxos message": lambda it: register().receive(it, 0),
    "a deadline": lambda it: register().begin(0, it),
    "an identity": lambda it: Register(1, THREE, it, PaxosOptions()),
    "a value": lambda it: register().change(2 if it in (None, b"x") else it, 0),
    "a time to resend": lambda it: PaxosOptions(resend_us=it),
    "a transaction": lambda it: coordinator(it),
    "participants": lambda it: coordinator(participants=it),
    "a time to begin": lambda it: coordinator().begin(it),
    "a two-phase message": lambda it: coordinator().receive(it, 0),
    "a vote": lambda it: asked().vote(it, 0),
    "an outcome": lambda it: asked().decided(it),
    "a record": lambda it: asked().recover(it),
    "a kind of record": lambda it: asked().recover((it, 0, 0, True)),
    "a set of participants": lambda it: coordinator().recover(("commit", 0, it, True)),
    "a message to presume": lambda it: presume(it),
    "a decision word": lambda it: DecisionWord(it),
    "a wanted decision": lambda it: DecisionWord(1).decide(1, it),
    "a time-out": lambda it: Options(vote_timeout_us=it),
}  # fmt: skip

NUMBERED = {
    "a Raft node": lambda it: Raft(it, [0]),
    "a voter": lambda it: Raft(0, [0, it]),
    "a vote": lambda it: raft(durable={"vote": (1, it)}),
    "a new voter": lambda it: leader().propose_change("auto", [("add_voter", it)], 3),
    "a new leader": lambda it: leader().transfer(it, 3),
    "a peer": lambda it: leader().peer(it),
    "a node out of reach": lambda it: leader().report_unreachable(it, 3),
    "the source of a Raft message": lambda it: RaftMessage("append", it, 0, 1),
    "the target of a Raft message": lambda it: RaftMessage("append", 1, it, 1),
    "a proposer": lambda it: Identity(it, 1),
    "an acceptor": lambda it: Acceptor(it),
    "one of a majority": lambda it: majority([it]),
    "a member to add": lambda it: expand([0], it),
    "a member to remove": lambda it: shrink([0, 1], it),
    "a fence": lambda it: Fence(it),
    "a fenced proposer": lambda it: Fence(0, [(it, 1)]),
    "the source of a Paxos message": lambda it: PaxosMessage(it, 0, "prepare", 1, (1, 0, 1)),
    "a ballot's node": lambda it: PaxosMessage(1, 0, "prepare", 1, (1, it, 1)),
    "whom a fence is about": lambda it: PaxosMessage(1, 0, "fence", 1, (1, 0, 1), about=it),
    "a learner": lambda it: Proposer(1, THREE, [it], Identity(0, 1), PaxosOptions()),
    "a coordinator": lambda it: coordinator(node=it),
    "a participant": lambda it: coordinator(participants=[it]),
    "a participant's coordinator": lambda it: Participant(1, 1, it, Options(), 0),
    "a recovered coordinator": lambda it: asked().recover(("prepared", it, 0, True)),
    "who votes": lambda it: coordinator().receive(TwoPhaseMessage(it, 0, "vote", 1, "yes"), 0),
}


@pytest.mark.parametrize("call", CORES.values(), ids=CORES)
def test_a_wrong_argument_of_a_consensus_core_is_refused(call):
    for wrong in WRONG:
        with pytest.raises((TypeError, dsm.UsageError)) as caught:
            call(wrong)
        assert str(caught.value), wrong


@pytest.mark.parametrize("call", NUMBERED.values(), ids=NUMBERED)
def test_a_node_beyond_the_last_one_is_refused_and_never_another_one(call):
    for wrong in NODE_NUMBERS:
        with pytest.raises(dsm.UsageError, match="0 to 63"):
            call(wrong)
    for wrong in (1.5, NAN, "x", b"x", object()):
        with pytest.raises(TypeError):
            call(wrong)


@pytest.mark.parametrize(
    "call",
    [
        lambda: raft(log_capacity=100),
        lambda: raft(heartbeat_us=150_000),
        lambda: raft(election_timeout_us=2**43),
        lambda: raft(clock_drift_ppm=1_000_001),
        lambda: raft(lease_reads=True, check_quorum=False),
        lambda: raft(durable={1: RaftEntry(2, 1)}),
        lambda: raft(durable={1: RaftEntry(1, 1), 3: RaftEntry(3, 1)}),
        lambda: raft(durable={1: RaftEntry(1, 2), 2: RaftEntry(2, 1)}),
        lambda: raft(durable={"vote": (1,)}),
        lambda: leader().tick(2**63),
        lambda: Options(vote_timeout_us=2**56 + 1),
        lambda: coordinator(participants=()),
        lambda: coordinator().decided("committed", 0),
        lambda: coordinator().recover(("prepared", 0, 0, True)),
        lambda: coordinator().recover(("commit", 0, 0, True)),
        lambda: asked().vote("maybe", 0),
        lambda: asked().recover(("prepared", 0, 0)),
        lambda: asked().receive(TwoPhaseMessage(0, 1, "commit", 1), 0),
        lambda: DecisionWord(2**62),
        lambda: DecisionWord(1).open(2**62),
        lambda: DecisionWord(1).read(2**62),
        lambda: Register(1, THREE._replace(accept_quorum=1), Identity(0, 1), PaxosOptions()),
        lambda: register().change(b"x", 0),
        lambda: PaxosMessage(0, 1, "accept", 1, (1, 0, 1), value=b"x" * 121),
    ],
)
def test_what_does_not_fit_a_consensus_core_is_a_usage_error(call):
    with pytest.raises(dsm.UsageError):
        call()


def test_a_handle_that_was_never_initialised_says_so_and_touches_nothing():
    for call in (
        lambda: Raft.__new__(Raft).tick(0),
        lambda: Raft.__new__(Raft).term,
        lambda: Raft.__new__(Raft).step(RaftMessage("append", 1, 0, 1), 0),
        lambda: Raft.__new__(Raft).entry(1),
        lambda: raft().__init__(0, [0]),
    ):
        with pytest.raises(TypeError, match="initialised"):
            call()
    outputs = Collector.__new__(Collector).begin(0)
    assert outputs[1] == ()


def test_time_outs_as_long_as_allowed_do_not_overflow():
    longest = 2**56
    last = 2**63 - 1
    patient = Coordinator(1, 0, [1], Options(vote_timeout_us=longest, resend_us=longest))
    patient.begin(last)
    assert patient.tick(last).send_now == ()
    assert patient.state == "preparing"
    waiting = Participant(1, 1, 0, Options(work_timeout_us=longest), last)
    waiting.tick(last)
    assert waiting.state == "working"
    one = Register(1, THREE, Identity(0, 1), PaxosOptions(resend_us=longest, backoff_us=longest))
    one.begin(last - 1, last)
    one.tick(last - 1)
    assert one.busy
    assert one.outcome == "none"
    node = Raft(0, [0, 1], election_timeout_us=2**42, heartbeat_us=1, clock_drift_ppm=1_000_000)
    assert node.tick(2**42 - 1).send_now == ()
    assert node.role == "follower"


def test_the_term_of_a_refused_message_is_made_durable_with_the_next_outputs():
    entries = [RaftEntry(1, 1), RaftEntry(2, 1)]
    node = Raft(0, [0, 1, 2])
    node.step(RaftMessage("append", 1, 0, 1, commit=2, entries=entries), 1)
    forged = RaftMessage("heartbeat", 2, 0, 7, commit=9)
    with pytest.raises(dsm.UsageError, match="contradicts"):
        node.step(forged, 2)
    assert node.commit == 2
    assert ("vote", (node.term, node.vote)) in node.tick(3).persist
    assert node.tick(4).persist == ()


def test_no_term_reaches_the_end_of_its_range():
    node = Raft(0, [0, 1, 2])
    with pytest.raises(dsm.UsageError):
        node.step(RaftMessage("timeout_now", 1, 0, 2**64 - 1), 1)
    assert node.term == 0
    with pytest.raises((dsm.UsageError, RaftRefusedError)):
        raft(durable={"vote": (2**64 - 1, None)})
