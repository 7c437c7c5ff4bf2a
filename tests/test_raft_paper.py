"""Raft, section by section of the paper (Ongaro and Ousterhout 2014, extended version).

The list of cases is the one that etcd's raft derives from the paper; nodes count from 0 here.
"""

from __future__ import annotations

import pytest
from raft_stepping import ELECTION, Stepper, accept, deliver, log_of, terms_of

from dsm_native._native.raft import RaftEntry


def in_role(role):
    node = Stepper()
    if role == "follower":
        node.follow(1, 1)
    elif role == "candidate":
        node.campaign()
    else:
        node.lead()
    node.take_sent()
    assert node.raft.role == role
    return node


@pytest.mark.parametrize("role", ["follower", "candidate", "leader"])
def test_5_1_a_newer_term_is_adopted_and_makes_a_follower(role):
    node = in_role(role)
    node.step("append", 1, 2)
    assert (node.raft.term, node.raft.role, node.raft.leader) == (2, "follower", 1)


def test_5_1_a_message_of_an_older_term_changes_nothing():
    node = Stepper(term=2)
    node.step("append", 1, 1, entries=log_of(1))
    assert node.raft.last_index == 0
    assert node.raft.leader is None
    assert node.take_sent() == []


def test_5_2_servers_start_as_followers():
    assert Stepper().raft.role == "follower"


def test_5_2_a_leader_sends_heartbeats_to_all():
    node = in_role("leader")
    node.propose(*[b"x"] * 10)
    node.take_sent()
    node.run(1)
    sent = node.take_sent()
    assert [(m.kind, m.target, m.term, m.index, m.log_term, m.commit, m.entries) for m in sent] == [
        ("heartbeat", 1, 1, 0, 0, 0, ()),
        ("heartbeat", 2, 1, 0, 0, 0, ()),
    ]


@pytest.mark.parametrize("role", ["follower", "candidate"])
def test_5_2_silence_starts_an_election(role):
    node = in_role(role)
    while node.raft.term == 1:
        node.run(1)
    assert node.now < 2 * ELECTION
    assert (node.raft.term, node.raft.role, node.raft.vote) == (2, "candidate", 0)
    assert node.written["vote"] == (2, 0)
    assert [(m.kind, m.target, m.term, m.index, m.log_term) for m in node.take_sent()] == [
        ("vote", 1, 2, 0, 0),
        ("vote", 2, 2, 0, 0),
    ]


@pytest.mark.parametrize(
    ("size", "votes", "role"),
    [
        (1, {}, "leader"),
        (3, {1: True, 2: True}, "leader"),
        (3, {1: True}, "leader"),
        (5, {1: True, 2: True, 3: True, 4: True}, "leader"),
        (5, {1: True, 2: True, 3: True}, "leader"),
        (5, {1: True, 2: True}, "leader"),
        (3, {1: False, 2: False}, "follower"),
        (5, {1: False, 2: False, 3: False, 4: False}, "follower"),
        (5, {1: True, 2: False, 3: False, 4: False}, "follower"),
        (3, {}, "candidate"),
        (5, {1: True}, "candidate"),
        (5, {1: False, 2: False}, "candidate"),
        (5, {}, "candidate"),
    ],
)
def test_5_2_one_round_of_votes_wins_loses_or_leaves_it_open(size, votes, role):
    node = Stepper(voters=range(size))
    node.campaign()
    for voter, granted in votes.items():
        node.step("vote_reply", voter, 1, reject=not granted)
    assert (node.raft.role, node.raft.term) == (role, 1)


@pytest.mark.parametrize(
    ("voted_for", "asked_by", "refused"),
    [(None, 1, False), (None, 2, False), (1, 1, False), (2, 2, False), (1, 2, True), (2, 1, True)],
)
def test_5_2_one_vote_per_term_first_come_first_served(voted_for, asked_by, refused):
    node = Stepper(term=1, vote=voted_for)
    node.step("vote", asked_by, 1)
    (reply,) = node.take_sent()
    assert (reply.kind, reply.target, reply.term) == ("vote_reply", asked_by, 1)
    assert reply.reject is refused


def test_5_2_a_vote_leaves_only_once_it_is_durable():
    node = Stepper()
    outputs = node.step("vote", 1, 1)
    assert outputs.send_now == ()
    assert outputs.persist == (("vote", (1, 1)),)
    assert [m.kind for m in outputs.send_after_persist] == ["vote_reply"]


@pytest.mark.parametrize("term", [1, 2])
def test_5_2_a_candidate_yields_to_a_leader_of_its_term_or_a_newer_one(term):
    node = in_role("candidate")
    node.step("append", 1, term)
    assert (node.raft.role, node.raft.term) == ("follower", term)


@pytest.mark.parametrize("role", ["follower", "candidate"])
def test_5_2_time_outs_are_spread_over_the_whole_interval(role):
    node = Stepper(seed=3)
    seen = set()
    for _ in range(50 * ELECTION):
        if role == "follower":
            node.follow(1, node.raft.term + 1)
        else:
            node.campaign()
            node.take_sent()
        start = node.now
        while not node.sent:
            node.run(1)
        seen.add(node.now - start)
    assert seen == set(range(ELECTION, 2 * ELECTION))


@pytest.mark.parametrize("role", ["follower", "candidate"])
def test_5_2_most_often_a_single_server_times_out(role):
    nodes = [Stepper(i, range(5), seed=11) for i in range(5)]
    conflicts = 0
    for _ in range(1000):
        term = max(node.raft.term for node in nodes) + 1
        for node in nodes:
            node.step("heartbeat", (node.node + 1) % 5, term)
            if role == "candidate":
                node.campaign()
            node.take_sent()
        timed_out = 0
        while timed_out == 0:
            for node in nodes:
                node.run(1)
                timed_out += bool(node.take_sent())
        conflicts += timed_out > 1
    assert conflicts <= 300


def test_5_3_a_proposal_is_appended_and_sent_with_its_predecessor():
    node = Stepper()
    node.lead()
    node.commit_first()
    last = node.raft.last_index
    node.propose(b"some data")
    entry = RaftEntry(last + 1, 1, "command", b"some data")
    assert (node.raft.last_index, node.raft.commit) == (last + 1, last)
    assert node.written[last + 1] == entry
    sent = node.take_sent()
    assert [(m.kind, m.target, m.index, m.log_term, m.commit, m.entries) for m in sent] == [
        ("append", 1, last, 1, last, (entry,)),
        ("append", 2, last, 1, last, (entry,)),
    ]


def leader_with_a_proposal(size=3):
    node = Stepper(voters=range(size))
    node.lead()
    node.commit_first()
    node.applied.clear()
    last = node.raft.last_index
    node.propose(b"some data")
    return node, last, node.take_sent()


def test_5_3_what_a_majority_has_is_committed_applied_and_told():
    node, last, appends = leader_with_a_proposal()
    for message in appends:
        node.receive(accept(message))
    assert node.raft.commit == last + 1
    assert [entry.payload for entry in node.applied] == [b"some data"]
    told = [(m.kind, m.target, m.commit) for m in node.take_sent()]
    assert told == [("append", 1, last + 1), ("append", 2, last + 1)]


@pytest.mark.parametrize(
    ("size", "acceptors", "committed"),
    [
        (1, (), True),
        (3, (), False),
        (3, (1,), True),
        (3, (1, 2), True),
        (5, (), False),
        (5, (1,), False),
        (5, (1, 2), True),
        (5, (1, 2, 3), True),
        (5, (1, 2, 3, 4), True),
    ],
)
def test_5_3_an_entry_is_committed_once_a_majority_replicated_it(size, acceptors, committed):
    node, last, appends = leader_with_a_proposal(size)
    for message in appends:
        if message.target in acceptors:
            node.receive(accept(message))
    assert (node.raft.commit > last) is committed


@pytest.mark.parametrize("terms", [(), (2,), (1, 2), (1,)])
def test_5_3_committing_commits_everything_before(terms):
    node = Stepper(entries=log_of(*terms), term=2)
    node.lead()
    node.propose(b"some data")
    while node.sent:
        for message in node.take_sent():
            node.receive(accept(message))
    expected = [*enumerate(terms, 1), (len(terms) + 1, 3), (len(terms) + 2, 3)]
    assert terms_of(node.applied) == expected
    assert node.applied[-1].payload == b"some data"


@pytest.mark.parametrize(
    ("payloads", "commit"),
    [([b"a"], 1), ([b"a", b"b"], 2), ([b"b", b"a"], 2), ([b"a", b"b"], 1)],
)
def test_5_3_a_follower_applies_what_it_learns_is_committed(payloads, commit):
    node = in_role("follower")
    entries = [RaftEntry(i, 1, "command", p) for i, p in enumerate(payloads, 1)]
    node.step("append", 1, 1, entries=entries, commit=commit)
    assert node.raft.commit == commit
    assert node.applied == entries[:commit]


@pytest.mark.parametrize(
    ("log_term", "index", "answered", "refusal"),
    [
        (0, 0, 1, None),
        (1, 1, 1, None),
        (2, 2, 2, None),
        (1, 2, 2, (1, 1)),
        (3, 3, 3, (2, 2)),
    ],
)
def test_5_3_the_consistency_check_of_an_append(log_term, index, answered, refusal):
    node = Stepper(entries=log_of(1, 2), commit=1)
    node.follow(1, 3)
    node.step("append", 1, 3, index=index, log_term=log_term)
    (reply,) = node.take_sent()
    assert (reply.kind, reply.target, reply.term, reply.index) == ("append_reply", 1, 3, answered)
    assert reply.reject is (refusal is not None)
    assert (reply.hint, reply.log_term) == (refusal or (0, 0))


@pytest.mark.parametrize(
    ("index", "log_term", "sent", "log", "written"),
    [
        (2, 2, (3,), (1, 2, 3), (3,)),
        (1, 1, (3, 4), (1, 3, 4), (3, 4)),
        (0, 0, (1,), (1, 2), ()),
        (0, 0, (3,), (3,), (3,)),
    ],
)
def test_5_3_conflicts_are_deleted_and_only_they(index, log_term, sent, log, written):
    node = Stepper(entries=log_of(1, 2))
    node.follow(1, 4)
    entries = log_of(*sent, first=index + 1)
    outputs = node.step("append", 1, 4, index=index, log_term=log_term, entries=entries)
    assert [entry.term for entry in node.log()] == list(log)
    values = [value for key, value in outputs.persist if isinstance(key, int) and value is not None]
    assert [entry.term for entry in values] == list(written)


FIGURE_7 = {
    "a": (1, 1, 1, 4, 4, 5, 5, 6, 6),
    "b": (1, 1, 1, 4),
    "c": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
    "d": (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
    "e": (1, 1, 1, 4, 4, 4, 4),
    "f": (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
}


@pytest.mark.parametrize("name", FIGURE_7)
def test_5_3_figure_7_a_leader_brings_every_log_into_line(name):
    log = (1, 1, 1, 4, 4, 5, 5, 6, 6, 6)
    leader = Stepper(0, entries=log_of(*log), term=8, commit=len(log))
    follower = Stepper(1, entries=log_of(*FIGURE_7[name]), term=7)
    leader.lead(supporters=(2,))
    leader.propose(b"")
    deliver([leader, follower])
    assert [entry.term for entry in leader.log()] == [*log, 9, 9]
    assert follower.log() == leader.log()


@pytest.mark.parametrize(("terms", "term"), [((1,), 2), ((1, 2), 3)])
def test_5_4_1_a_vote_request_tells_of_the_candidates_log(terms, term):
    node = Stepper()
    node.step("append", 1, term - 1, entries=log_of(*terms))
    node.take_sent()
    node.run(2 * ELECTION)
    asked = [m for m in node.take_sent() if m.term == term]
    assert [(m.kind, m.target) for m in asked] == [("vote", 1), ("vote", 2)]
    assert {(m.index, m.log_term) for m in asked} == {(len(terms), terms[-1])}


@pytest.mark.parametrize(
    ("terms", "log_term", "index", "refused"),
    [
        ((1,), 1, 1, False),
        ((1,), 1, 2, False),
        ((1, 1), 1, 1, True),
        ((1,), 2, 1, False),
        ((1,), 2, 2, False),
        ((1, 1), 2, 1, False),
        ((2,), 1, 1, True),
        ((2,), 1, 2, True),
        ((2, 2), 1, 1, True),
    ],
)
def test_5_4_1_no_vote_for_a_log_that_is_behind(terms, log_term, index, refused):
    node = Stepper(voters=(0, 1), entries=log_of(*terms))
    node.step("vote", 1, 3, log_term=log_term, index=index)
    (reply,) = node.take_sent()
    assert reply.kind == "vote_reply"
    assert reply.reject is refused


@pytest.mark.parametrize(("acknowledged", "commit"), [(1, 0), (2, 0), (3, 3)])
def test_5_4_2_older_terms_are_not_committed_by_counting(acknowledged, commit):
    node = Stepper(voters=(0, 1), entries=log_of(1, 2), term=2)
    node.lead()
    node.propose(b"")
    node.step("append_reply", 1, 3, index=acknowledged)
    assert node.raft.commit == commit
