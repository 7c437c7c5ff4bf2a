"""Membership changes as functions: etcd-io/raft's conf-change data, and a twin made of sets.

In the tables a step is v, l or r (voter, learner, remove) and a node; memberships are written
`voters | outgoing | learners | learners_next`. Our `auto` enters joint consensus where etcd's
`simple` refuses, and a cluster without voters does not exist here, so the cases that begin with
one begin with node 1.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsm_native._native.raft import RaftMembership, changed_membership

OPS = {"v": "add_voter", "l": "add_learner", "r": "remove"}


def steps_of(text):
    return [(OPS[word[0]], int(word[1:])) for word in text.split()]


def membership_of(text):
    parts = [frozenset(map(int, part.split())) for part in text.split("|")]
    return RaftMembership(*parts)


def written(membership):
    parts = [" ".join(map(str, sorted(nodes))) for nodes in membership[:4]]
    while parts and not parts[-1]:
        parts.pop()
    return " | ".join(parts)


JOINT = "joint_explicit"
LEAVE = "leave_joint"
REFUSED = "refused"

DATA = {
    "simple_idempotency": [
        ("auto", "v1", "1"),
        ("auto", "v2", "1 2"),
        ("auto", "l1", "2 |  | 1"),
        ("auto", "l1", "2 |  | 1"),
        ("auto", "r1", "2"),
        ("auto", "r1", "2"),
        ("auto", "v3", "2 3"),
        ("auto", "r3", "2"),
        ("auto", "r3", "2"),
        ("auto", "r4", "2"),
    ],
    "simple_promote_demote": [
        ("auto", "v2", "1 2"),
        ("auto", "v3", "1 2 3"),
        ("auto", "l1 v1", "1 2 3"),
        ("auto", "l2", "1 3 |  | 2"),
        ("auto", "v2 l2", "1 3 |  | 2"),
        ("auto", "v2", "1 2 3"),
    ],
    "simple_safety": [
        ("auto", "l1", REFUSED),
        ("auto", "v2 l3", "1 2 |  | 3"),
        ("auto", "r1 r2", REFUSED),
        ("auto", "l1 l2", REFUSED),
        ("auto", "l2 l3 l4 l5", "1 |  | 2 3 4 5"),
        ("auto", "r1", REFUSED),
        ("auto", "r2 r3 r4 r5", "1"),
    ],
    "joint_safety": [
        (LEAVE, "", REFUSED),
        (JOINT, "", "1 | 1"),
        (JOINT, "", REFUSED),
        (LEAVE, "", "1"),
        (LEAVE, "", REFUSED),
        (JOINT, "r1 v2 v3 l4", "2 3 | 1 | 4"),
        (JOINT, "", REFUSED),
        (JOINT, "v12", REFUSED),
        ("auto", "l15", REFUSED),
        (LEAVE, "", "2 3 |  | 4"),
        ("auto", "l9", "2 3 |  | 4 9"),
    ],
    "joint_idempotency": [
        (JOINT, "r1 r2 r9 v2 v3 v4 v2 v3 v4 l2 l2 r4 r4 l1 l1", "3 | 1 | 2 | 1"),
        (LEAVE, "", "3 |  | 1 2"),
    ],
    "joint_learners_next": [
        (JOINT, "v2 l1", "2 | 1 |  | 1"),
        (LEAVE, "", "2 |  | 1"),
    ],
    "joint_autoleave": [
        ("joint_implicit", "v2 v3", "1 2 3 | 1"),
        (JOINT, "", REFUSED),
        (LEAVE, "", "1 2 3"),
    ],
}


@pytest.mark.parametrize("name", DATA)
def test_published_changes(name):
    membership = membership_of("1")
    for transition, steps, expected in DATA[name]:
        if expected == REFUSED:
            with pytest.raises(ValueError, match="does not fit"):
                changed_membership(membership, transition, steps_of(steps))
            continue
        membership = changed_membership(membership, transition, steps_of(steps))
        assert written(membership) == expected, (transition, steps)


@pytest.mark.parametrize("steps", ["r1 v5", "v3 v4", "l1 v5"])
def test_auto_goes_through_joint_consensus_when_two_voters_change(steps):
    before = membership_of("1 2 |  | 3")
    during = changed_membership(before, "auto", steps_of(steps))
    assert during.outgoing == {1, 2}
    assert during.auto_leave


def test_auto_leave_is_remembered_and_ends_with_the_joint_phase():
    during = changed_membership(membership_of("1"), "joint_implicit", steps_of("v2"))
    assert during.auto_leave
    assert not changed_membership(during, LEAVE, ()).auto_leave
    assert not changed_membership(membership_of("1"), JOINT, steps_of("v2")).auto_leave


@pytest.mark.parametrize("node", [64, 200, -1])
def test_nodes_outside_the_range_are_named(node):
    with pytest.raises(ValueError, match=str(node)):
        changed_membership(membership_of("1"), "auto", [("add_voter", node)])


step_lists = st.lists(st.tuples(st.sampled_from(list(OPS.values())), st.integers(0, 7)), max_size=9)


def twin(voters, learners, steps):
    """What a change comes to in the end, by plain sets."""
    voters, learners = set(voters), set(learners)
    for op, node in steps:
        if op == "add_learner" and node in learners:
            continue
        voters.discard(node)
        learners.discard(node)
        if op != "remove":
            (voters if op == "add_voter" else learners).add(node)
    return voters, learners


@given(st.frozensets(st.integers(0, 7), min_size=1), st.frozensets(st.integers(0, 7)), step_lists)
def test_the_joint_way_and_the_direct_way_end_alike(voters, learners, steps):
    before = RaftMembership(voters, learners=learners - voters)
    expected_voters, expected_learners = twin(before.voters, before.learners, steps)
    if not expected_voters:
        with pytest.raises(ValueError, match="does not fit"):
            changed_membership(before, JOINT, steps)
        return
    joint = changed_membership(before, JOINT, steps)
    assert joint.outgoing == before.voters
    assert not joint.learners & (joint.voters | joint.outgoing)
    after = changed_membership(joint, LEAVE, ())
    assert (after.voters, after.learners) == (expected_voters, expected_learners)
    direct = changed_membership(before, "auto", steps)
    if len(before.voters ^ expected_voters) <= 1:
        assert direct == after
    else:
        assert direct == joint._replace(auto_leave=True)
