"""Reads, leases, promises and handing over leadership, moved by hand (dissertation 3.10, 6.4)."""

from __future__ import annotations

import pytest
from raft_stepping import Stepper

from dsm_native._native.raft import RaftRead, RaftRefusedError

LEASE = {"election_timeout_us": 1000, "heartbeat_us": 100, "check_quorum": True,
         "lease_reads": True, "clock_drift_ppm": 100_000}  # fmt: skip


def leader(**settings):
    node = Stepper(**settings)
    node.now = 5000
    node.lead()
    node.commit_first()
    return node


def reads_in(outputs):
    return [item for item in outputs.apply if isinstance(item, RaftRead)]


def ask(node, context):
    outputs = node.raft.read(context, node.now)
    rounds = {m.context for m in outputs.send_now if m.kind == "heartbeat"}
    return reads_in(outputs), max(rounds, default=None)


def answer(node, source, round_):
    return reads_in(node.step("heartbeat_reply", source, node.raft.term, context=round_))


def test_a_read_waits_for_a_majority_that_answers_a_later_heartbeat():
    node = leader()
    done, first_round = ask(node, 70)
    assert done == []
    done, second_round = ask(node, 71)
    assert done == []
    assert second_round > first_round
    assert answer(node, 1, first_round - 1) == []
    assert answer(node, 1, first_round) == [RaftRead(70, 1, 0)]
    assert answer(node, 2, second_round) == [RaftRead(71, 1, 0)]


def test_a_new_leader_serves_no_read_before_its_first_commit():
    node = Stepper(entries=[], term=1)
    node.lead()
    appends = node.take_sent()
    done, round_ = ask(node, 9)
    assert (done, round_) == ([], None)
    outputs = node.step("append_reply", 1, node.raft.term, index=1)
    assert reads_in(outputs) == []
    round_ = max(m.context for m in outputs.send_now if m.kind == "heartbeat")
    assert answer(node, 2, round_) == [RaftRead(9, 1, 0)]
    assert appends


def test_a_single_voter_needs_nobody():
    node = Stepper(voters=(0,))
    node.lead()
    assert ask(node, 5)[0] == [RaftRead(5, 1, 0)]


def test_a_follower_asks_its_leader_and_hands_on_the_answer():
    node = Stepper()
    with pytest.raises(RaftRefusedError, match="no leader is known"):
        node.raft.read(3, 0)
    node.follow(2, 1)
    (asked,) = node.raft.read(3, 0).send_now
    assert (asked.kind, asked.target, asked.context) == ("read_index", 2, 3)
    outputs = node.step("read_index_reply", 2, 1, context=3, index=8)
    assert reads_in(outputs) == [RaftRead(3, 8, 0)]


def test_a_leader_confirms_a_followers_read():
    node = leader()
    outputs = node.step("read_index", 2, 1, context=44)
    round_ = max(m.context for m in outputs.send_now)
    node.take_sent()
    node.step("heartbeat_reply", 1, 1, context=round_)
    replies = [m for m in node.take_sent() if m.kind == "read_index_reply"]
    assert [(m.target, m.context, m.index) for m in replies] == [(2, 44, 1)]


def lease_holder():
    node = leader(**LEASE)
    node.run(100)
    sent = [m for m in node.take_sent() if m.kind == "heartbeat"]
    node.now += 50
    answer(node, 1, sent[0].context)
    return node, node.now - 50


def test_a_lease_serves_at_once_until_it_ends_less_the_drift():
    node, sent_at = lease_holder()
    end = sent_at + 1000 - 100 - 1
    node.now = end - 1
    assert ask(node, 1)[0] == [RaftRead(1, 1, end)]
    node.now = end
    assert ask(node, 2)[0] == []


def test_no_lease_without_an_answer_of_a_majority():
    node = leader(**LEASE)
    node.run(100)
    assert ask(node, 1)[0] == []


def test_offering_leadership_ends_the_lease_for_the_whole_term():
    node, _ = lease_holder()
    node._take(node.raft.transfer(1, node.now))
    assert [m.kind for m in node.take_sent()] == ["timeout_now"]
    assert ask(node, 1)[0] == []
    node.run(1001)
    node.step("heartbeat_reply", 1, 1, context=node.take_sent()[-1].context)
    assert ask(node, 2)[0] == []


def test_a_follower_keeps_its_promise_in_whatever_term():
    node = Stepper(**LEASE)
    node.now = 5000
    node.follow(1, 4)
    node.step("vote", 2, 9)
    assert (node.raft.term, node.take_sent()) == (4, [])
    node.step("vote_reply", 2, 5)  # an old answer raises the term
    assert node.raft.term == 5
    node.step("vote", 2, 5)
    assert node.take_sent() == []
    with pytest.raises(RaftRefusedError):
        node.campaign()
    node.now += 1000
    node.step("vote", 2, 6)
    (reply,) = node.take_sent()
    assert not reply.reject


def test_a_request_of_the_leaders_own_choice_overrides_the_promise():
    node = Stepper(**LEASE)
    node.now = 5000
    node.follow(1, 4)
    node.step("vote", 2, 5, force=True)
    (reply,) = node.take_sent()
    assert (reply.kind, reply.term, reply.reject) == ("vote_reply", 5, False)


def test_a_restarted_node_keeps_the_promise_it_may_have_given():
    node = Stepper(term=4, **LEASE)
    node.step("vote", 2, 5)
    assert node.take_sent() == []
    node.now = 1000
    node.step("vote", 2, 5)
    assert [m.kind for m in node.take_sent()] == ["vote_reply"]


def test_leadership_is_handed_over_once_the_target_has_everything():
    node = leader()
    node.propose(b"x")
    appends = [m for m in node.take_sent() if m.target == 2]
    node._take(node.raft.transfer(2, node.now))
    assert [m.kind for m in node.take_sent()] == []
    with pytest.raises(RaftRefusedError):
        node.propose(b"y")
    node.step("append_reply", 2, 1, index=appends[0].index + 1)
    assert [m.kind for m in node.take_sent() if m.target == 2][-1] == "timeout_now"
    target = Stepper(2, pre_vote=True)
    target.follow(0, 1)
    target.step("timeout_now", 0, 1)
    asked = target.take_sent()
    assert [(m.kind, m.term, m.force) for m in asked] == [("vote", 2, True)] * 2


def test_a_handing_over_that_takes_too_long_is_given_up():
    node = leader()
    node.propose(b"x")
    node._take(node.raft.transfer(2, node.now))
    node.run(11)
    node.propose(b"y")
    assert node.raft.last_index == 3


def test_a_pre_candidate_disturbs_nobody_and_asks_again_in_earnest_when_it_would_win():
    node = Stepper(pre_vote=True)
    node.campaign()
    asked = node.take_sent()
    assert (node.raft.term, node.written) == (0, {})
    assert [(m.kind, m.term) for m in asked] == [("pre_vote", 1)] * 2
    node.step("pre_vote_reply", 1, 1)
    assert (node.raft.role, node.raft.term) == ("candidate", 1)
    assert [m.kind for m in node.take_sent()] == ["vote", "vote"]


def test_a_leader_that_hears_from_no_majority_steps_down():
    node = leader(check_quorum=True)
    node.run(9)
    assert node.raft.role == "leader"
    node.step("heartbeat_reply", 1, 1)
    node.run(5)
    assert node.raft.role == "leader"
    node.run(12)
    assert node.raft.role == "follower"
