"""Flow control, membership under way, snapshots, sessions and durability, moved by hand; the log
against a list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raft_stepping import Stepper, accept, deliver, log_of

from dsm_native._native.raft import Raft, RaftEntry, RaftMessage, RaftRefusedError


def leader(voters=(0, 1, 2), **settings):
    node = Stepper(voters=voters, **settings)
    node.lead()
    node.commit_first()
    return node


def test_a_window_bounds_what_is_under_way_and_an_answer_opens_it():
    node = leader(inflight_max=3, entries_per_message_max=2)
    for i in range(8):
        node.propose(b"%d" % i)
    sent = [m for m in node.take_sent() if m.target == 1]
    assert [len(m.entries) for m in sent] == [1, 1, 1]
    assert node.raft.peer(1).paused
    node.step("append_reply", 1, 1, index=3)
    sent = [m for m in node.take_sent() if m.target == 1]
    assert [(m.index, len(m.entries)) for m in sent] == [(4, 2), (6, 2)]


def test_a_window_lost_as_a_whole_is_found_out_by_a_heartbeat():
    node = leader(inflight_max=2)
    for i in range(4):
        node.propose(b"%d" % i)
    node.take_sent()
    node.step("heartbeat_reply", 1, 1)
    (probe,) = [m for m in node.take_sent() if m.target == 1]
    assert (probe.kind, probe.index, probe.entries) == ("append", 3, ())
    node.step("append_reply", 1, 1, index=3, reject=True, hint=1, log_term=1)
    (again,) = [m for m in node.take_sent() if m.target == 1]
    assert (again.index, len(again.entries)) == (1, 4)
    assert node.raft.peer(1).mode == "probe"
    node.receive(accept(again))
    assert node.raft.peer(1).mode == "replicate"


def test_an_old_refusal_is_ignored():
    node = leader()
    node.propose(b"a")
    node.step("append_reply", 1, 1, index=2)
    before = node.raft.peer(1)
    node.step("append_reply", 1, 1, index=1, reject=True, hint=0)
    assert node.raft.peer(1) == before


def test_an_unreachable_node_is_probed():
    node = leader()
    node.propose(b"a")
    node.raft.report_unreachable(1, node.now)
    assert node.raft.peer(1).mode == "probe"
    assert node.raft.peer(1).next == 2


def test_joint_consensus_needs_both_majorities():
    node = leader((0, 1, 2))
    node._take(node.raft.propose_change(
        "joint_explicit", [("remove", 1), ("remove", 2), ("add_voter", 3), ("add_voter", 4)], 0
    ))  # fmt: skip
    node.step("append_reply", 1, 1, index=2)
    assert node.raft.membership.outgoing == {0, 1, 2}
    node.propose(b"x")
    node.step("append_reply", 3, 1, index=3)
    assert node.raft.commit == 2
    node.step("append_reply", 1, 1, index=3)
    assert node.raft.commit == 3
    node.propose(b"y")
    node.step("append_reply", 1, 1, index=4)
    node.step("append_reply", 2, 1, index=4)
    assert node.raft.commit == 3
    node.step("append_reply", 4, 1, index=4)
    assert node.raft.commit == 4


def test_an_implicit_joint_phase_ends_by_itself():
    node = leader((0, 1, 2))
    node._take(node.raft.propose_change("auto", [("remove", 2), ("add_voter", 3)], 0))
    node.step("append_reply", 1, 1, index=2)
    assert node.raft.membership.outgoing
    assert node.raft.entry(3).kind == "config"
    node.step("append_reply", 1, 1, index=3)
    node.step("append_reply", 3, 1, index=3)
    assert node.raft.membership.voters == {0, 1, 3}
    assert not node.raft.membership.outgoing


def test_one_change_at_a_time():
    node = leader((0, 1, 2))
    node._take(node.raft.propose_change("auto", [("add_voter", 3)], 0))
    with pytest.raises(RaftRefusedError):
        node.raft.propose_change("auto", [("add_voter", 4)], 0)
    node.step("append_reply", 1, 1, index=2)
    node._take(node.raft.propose_change("auto", [("add_voter", 4)], 0))
    assert node.raft.last_index == 3


def test_a_new_leader_settles_older_changes_before_it_makes_one():
    node = Stepper(entries=log_of(1), term=1)
    node.lead()
    with pytest.raises(RaftRefusedError):
        node.raft.propose_change("auto", [("add_voter", 3)], 0)


def test_a_removed_leader_steps_down_after_telling_the_commit():
    node = leader((0, 1, 2))
    node._take(node.raft.propose_change("auto", [("remove", 0)], 0))
    node.take_sent()
    node.step("append_reply", 1, 1, index=2)
    node.step("append_reply", 2, 1, index=2)
    assert node.raft.role == "follower"
    assert {m.target: m.commit for m in node.take_sent() if m.kind == "append"} == {1: 2, 2: 2}


def test_a_log_with_two_changes_knows_that_the_first_is_committed():
    change = bytes([0, 1, 0, 3])  # auto, one step, add_voter 3
    entries = [RaftEntry(1, 1, "config", change), RaftEntry(2, 1, "config", bytes([0, 1, 0, 4]))]
    node = Stepper(entries=entries, term=1)
    assert node.raft.commit == 1
    assert node.raft.membership.voters == {0, 1, 2, 3}


def test_a_refused_candidate_learns_of_the_commit_that_makes_it_the_only_voter():
    joint = RaftEntry(1, 1, "config", bytes([2, 1, 2, 0]))  # joint_explicit, remove 0
    leave = RaftEntry(2, 1, "config", bytes([3, 0]))  # leave_joint
    node = Stepper(1, (0, 1), entries=[joint, leave], term=1)
    assert (node.raft.commit, node.raft.membership.outgoing) == (1, {0, 1})
    node.campaign()
    assert [m.target for m in node.take_sent()] == [0]
    # Node 0 led, has left, and its log is longer: it will never vote for node 1.
    node.step("vote_reply", 0, 2, reject=True, commit=2, log_term=9)
    assert (node.raft.commit, node.raft.role) == (1, "follower")
    node.campaign()
    node.take_sent()
    node.step("vote_reply", 0, 3, reject=True, commit=2, log_term=1)
    assert node.raft.membership.voters == {1}
    assert not node.raft.membership.outgoing
    assert node.raft.role == "leader"


def snapshots(node):
    return [m for m in node.take_sent() if m.kind == "snapshot"]


def test_a_follower_behind_the_log_gets_the_snapshot_with_sessions_and_state():
    node = leader()
    node._take(node.raft.propose([RaftEntry(kind="session_open")], 0))
    node._take(node.raft.propose([RaftEntry(payload=b"a", session=2, sequence=1)], 0))
    for index in (2, 3):
        node.step("append_reply", 1, 1, index=index)
    node._take(node.raft.take_snapshot(("state", 3), 0))
    assert node.raft.first_index == 4
    node.step("append_reply", 2, 1, index=3, reject=True, hint=0)
    node.step("heartbeat_reply", 2, 1)
    (message,) = snapshots(node)
    assert message.snapshot.state == ("state", 3)
    assert message.snapshot.sessions == ((2, 1, 3),)
    empty = Stepper(2)
    outputs = empty.receive(message)
    assert (empty.raft.commit, empty.raft.last_index) == (3, 3)
    assert [key for key, _ in outputs.persist] == ["vote", "snapshot", "commit"]
    (reply,) = empty.take_sent()
    assert (reply.kind, reply.index) == ("append_reply", 3)
    retried = RaftEntry(4, 1, "command", b"a", session=2, sequence=1)
    outputs = empty.step("append", 0, 1, index=3, log_term=1, entries=[retried], commit=4)
    assert [item.verdict for item in outputs.apply] == ["duplicate"]


def test_a_snapshot_without_an_answer_is_sent_again():
    node = leader()
    node.propose(b"a")
    node.step("append_reply", 1, 1, index=2)
    node._take(node.raft.take_snapshot((), 0))
    node.step("append_reply", 2, 1, index=2, reject=True, hint=0)
    node.step("heartbeat_reply", 2, 1)
    assert len(snapshots(node)) == 1
    assert node.raft.peer(2).mode == "snapshot"
    node.step("heartbeat_reply", 2, 1)
    assert snapshots(node) == []
    node.now += 10
    node.step("heartbeat_reply", 2, 1)
    node.step("append_reply", 2, 1, index=2, reject=True, hint=0)
    node.step("heartbeat_reply", 2, 1)
    assert len(snapshots(node)) == 1


def test_a_snapshot_of_what_the_log_has_cuts_nothing():
    source = leader()
    for payload in (b"a", b"b"):
        source.propose(payload)
    for index in (2, 3):
        source.step("append_reply", 1, 1, index=index)
    follower = Stepper(2, entries=[source.raft.entry(i) for i in (1, 2, 3)], term=1)
    source._take(source.raft.take_snapshot((), 0, keep_entries=1))
    source.step("append_reply", 2, 1, index=3, reject=True, hint=0)
    source.step("heartbeat_reply", 2, 1)
    (message,) = snapshots(source)
    assert message.index == 3
    extra = RaftEntry(4, 1, "command", b"c")
    follower.step("append", 0, 1, index=3, log_term=1, entries=[extra])
    follower.receive(message)
    assert follower.raft.last_index == 4
    assert follower.raft.commit == 3


def test_sessions_apply_once_in_order_and_the_oldest_gives_way():
    node = Stepper(voters=(0,), session_capacity=2)
    node.lead()
    verdicts = []

    def propose(**fields):
        before = node.raft.last_index
        outputs = node.raft.propose([RaftEntry(**fields)], 0)
        for message in outputs.send_after_persist:
            outputs = node.raft.step(message, 0)
        verdicts.append(outputs.apply[-1].verdict)
        return before + 1

    first = propose(kind="session_open")
    for sequence in (1, 1, 3, 2, 1):
        propose(payload=b"x", session=first, sequence=sequence)
    assert verdicts == ["apply", "apply", "duplicate", "gap", "apply", "duplicate"]
    verdicts.clear()
    second = propose(kind="session_open")
    propose(payload=b"x", session=first, sequence=3)
    third = propose(kind="session_open")  # the second is now the one used longest ago
    propose(payload=b"x", session=second, sequence=1)
    propose(payload=b"x", session=first, sequence=4)
    propose(kind="session_close", session=third)
    propose(payload=b"x", session=third, sequence=1)
    propose(payload=b"x")
    assert verdicts == [
        "apply", "apply", "apply", "expired", "apply", "apply", "expired", "apply"
    ]  # fmt: skip


def test_a_contradiction_to_what_is_committed_is_refused_and_named():
    node = Stepper(entries=log_of(1, 1), term=1, commit=2)
    with pytest.raises(ValueError, match="contradicts"):
        node.step("append", 1, 3, index=1, log_term=1, entries=log_of(1, 2, first=1))
    with pytest.raises(ValueError, match="contradicts"):
        node.step("heartbeat", 1, 3, commit=7)
    assert [entry.term for entry in node.log()] == [1, 1]


def test_a_full_log_refuses_proposals_and_takes_part_of_an_append():
    node = Stepper(voters=(0, 1), log_capacity=32)
    node.lead()
    for _ in range(32 - 8 - 1):
        node.propose(b"x")
    with pytest.raises(RaftRefusedError, match="no room"):
        node.propose(b"x")
    follower = Stepper(1, (0, 1), log_capacity=32)
    follower.step("append", 0, 1, entries=log_of(*[1] * 40))
    (reply,) = follower.take_sent()
    assert reply.index == follower.raft.last_index == 32


appends = st.tuples(st.integers(0, 6), st.integers(0, 4), st.lists(st.integers(0, 4), max_size=5))


@given(st.lists(appends, max_size=12))
def test_a_followers_log_is_what_a_list_would_be(messages):
    node = Stepper()
    twin: list[int] = []
    for index, log_term, terms in messages:
        log_term = 0 if index == 0 else max(1, log_term)
        terms = sorted(max(term, log_term, 1) for term in terms)
        node.step("append", 1, 9, index=index, log_term=log_term,
                  entries=log_of(*terms, first=index + 1))  # fmt: skip
        (reply,) = node.take_sent()
        matches = index == 0 or (index <= len(twin) and twin[index - 1] == log_term)
        assert reply.reject is not matches
        if matches:
            for place, term in enumerate(terms, index):
                if place < len(twin) and twin[place] != term:
                    del twin[place:]
                if place == len(twin):
                    twin.append(term)
            assert reply.index == index + len(terms)
        assert [entry.term for entry in node.log()] == twin
        assert node.raft.valid()


@given(st.lists(st.one_of(st.binary(max_size=120), st.integers(0, 5)), max_size=60))
def test_payloads_survive_wrapping_and_compaction(actions):
    node = Stepper(voters=(0,), log_capacity=64, payload_capacity_bytes=256)
    node.lead()
    twin: dict[int, bytes] = {1: b""}
    for action in actions:
        if isinstance(action, int):
            node._take(node.raft.take_snapshot((), 0, keep_entries=action))
            assert node.raft.first_index <= node.raft.last_index + 1
        else:
            try:
                node.propose(action)
            except RaftRefusedError:
                continue
            twin[node.raft.last_index] = action
        for entry in node.log():
            assert entry.payload == twin[entry.index]
        assert node.raft.valid()


def test_every_prefix_of_the_writes_is_a_state_to_start_from():
    writes = []
    nodes = [Stepper(i, (0, 1, 2), seed=i) for i in range(3)]
    follower = nodes[2]
    take = follower._take

    def recording(outputs):
        writes.extend(outputs.persist)
        return take(outputs)

    follower._take = recording
    nodes[0].lead()
    nodes[0].propose(b"lost", b"lost too")
    deliver(nodes)
    follower.step("append", 1, 5, index=1, log_term=1,
                  entries=[RaftEntry(2, 5, "command", b"new")])  # fmt: skip
    snapshot = nodes[0].raft.take_snapshot(("s",), 0).persist[0][1]
    assert len(writes) > 6
    follower.receive(RaftMessage("snapshot", 1, 2, 6, index=9, log_term=5,
                                 snapshot=snapshot._replace(index=9, term=5)))  # fmt: skip
    for kept in range(len(writes) + 1):
        durable = {}
        for key, value in writes[:kept]:
            if value is None:
                durable.pop(key, None)
            else:
                durable[key] = value
        again = Raft(2, (0, 1, 2), durable=durable)
        assert again.valid()
        assert again.term == durable.get("vote", (0, None))[0]
        assert again.commit >= min(durable.get("commit", 0), again.last_index)
