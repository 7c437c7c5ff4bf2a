"""Membership: merging against a naive twin, and what clusters do (test_trials.py has the seeds)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsm_native._native.detector import MembershipMessage, MembershipNode, News
from dsm_native.testing.faults import Fault
from dsm_native.testing.membership_trial import FAST, MS, cluster, states
from dsm_native.testing.protocol import CLIENT, Message

RANK = {"alive": 1, "suspect": 2, "dead": 3, "left": 4}


def news_strategy(nodes):
    return st.builds(
        News,
        st.sampled_from(nodes),
        st.sampled_from(list(RANK)),
        st.integers(0, 4),
        st.sampled_from(nodes),
    )


@given(st.lists(news_strategy([1, 2, 3])), st.randoms())
def test_news_end_the_same_in_any_order(news, shuffler):
    """The table is the greatest (incarnation, state) heard: the naive twin is `max`."""
    twin = {}
    for item in news:
        pair = (item.incarnation, RANK[item.state])
        twin[item.node] = max(twin.get(item.node, (-1, 0)), pair)
    shuffled = list(news) * 2
    shuffler.shuffle(shuffled)
    for order in (news, shuffled):
        node = MembershipNode(0, {}, 1, 0, capacity=4, seeds=())
        for item in order:
            node.hear(item, 0)
        seen = {number: (life, RANK[state]) for number, (state, life) in node.view().items()}
        assert seen.pop(0) == (1, RANK["alive"])
        assert seen == twin
        states = [rank for _, rank in twin.values()]
        assert node.counts == (states.count(1), states.count(2))


@given(st.lists(news_strategy([0])))
def test_a_member_outbids_whatever_is_said_of_it(news):
    node = MembershipNode(0, {}, 1, 0, capacity=4, seeds=())
    for item in news:
        life = node.view()[0][1]
        node.hear(item, 0)
        threatened = (item.incarnation, RANK[item.state]) > (life, RANK["alive"])
        assert node.view()[0] == ("alive", item.incarnation + 1 if threatened else life)


def test_confirmations_count_each_accuser_once_and_shorten_the_suspicion():
    node = MembershipNode(0, {}, 1, 0, capacity=8, seeds=range(6), **FAST)
    told = ((1, 0), (1, 0), (1, 0), (2, 1), (1, 1), (2, 1), (3, 2), (4, 3), (5, 3))
    for accuser, counted in told:
        node.hear(News(7, "suspect", 3, accuser), 0)
        assert node.confirmations(7) == counted
    assert not node.tick(149 * MS).apply
    assert News(7, "dead", 3, 0) in node.tick(150 * MS).apply


def test_who_is_known_from_a_list_is_not_told_on():
    node = MembershipNode(0, {}, 1, 0, capacity=200, seeds=(), **FAST)
    node.know(dict.fromkeys(range(200), 3))
    assert node.view() == {member: ("alive", 3 if member else 1) for member in range(200)}
    assert node.counts == (199, 0)
    node.hear(News(150, "suspect", 3, 9), 0)
    answer = node.step(MembershipMessage(7, 0, "ping", 5, 0), 1).send_now[0]
    assert News(150, "suspect", 3, 9) in answer.news[:2], "news before what all know"
    assert (answer.news_count, len(answer.news)) == (32, 32), "what all know fills the room"
    for member in (0, 7, 200):
        with pytest.raises(ValueError, match="outside its documented range"):
            node.know({member: 1} if member else {8: 1})


def test_a_message_tells_its_target_first_what_it_must_refute():
    node = MembershipNode(0, {}, 1, 0, capacity=200, seeds=range(150), **FAST)
    node.hear(News(199, "suspect", 7, 3), 0)
    answer = node.step(MembershipMessage(199, 0, "ping", 5, 0), 1).send_now[0]
    assert answer.news[0] == News(199, "suspect", 7, 3)
    assert len(answer.news) == 32


def test_damaged_messages_are_refused():
    node = MembershipNode(0, {}, 1, 0, capacity=4, seeds=range(4), **FAST)
    bad = [
        MembershipMessage(9, 0, "ping", 1, 0),
        MembershipMessage(0, 0, "ping", 1, 0),
        MembershipMessage(1, 0, "ack", 1, 4),
        MembershipMessage(1, 0, "ping", 1, 0, [News(4, "alive", 1, 1)]),
        MembershipMessage(1, 0, "ping", 1, 0, [News(1, "unknown", 1, 1)]),
    ]
    for message in bad:
        with pytest.raises(ValueError, match="outside its documented range"):
            node.step(message, 0)


def test_the_dead_are_found_by_all_and_nobody_else_is_buried():
    for seed in range(40):
        plan = [Fault("crash", 1_000_000, 9_000_000, (5,), 0.5)]
        simulation = cluster(seed, 8, plan)
        simulation.run_until(6_000_000)
        for node, view in states(simulation).items():
            expected = {member: "dead" if member == 5 else "alive" for member in range(8)}
            assert view == expected, (seed, node)


def test_who_leaves_is_not_buried_and_does_not_come_back():
    simulation = cluster(3, 5, [])
    simulation.run_until(1_000_000)
    simulation.inject(Message(CLIENT, 4, "leave"))
    simulation.run_until(5_000_000)
    views = states(simulation)
    assert [views[node][4] for node in range(5)] == ["left"] * 5


def test_two_halves_find_each_other_again():
    simulation = cluster(11, 6, [Fault("partition", 500_000, 4_000_000, (0, 1, 2))])
    simulation.run_until(3_900_000)
    assert states(simulation)[0][5] == "dead"
    assert states(simulation)[5][0] == "dead"
    simulation.run_until(8_000_000)
    assert states(simulation) == {node: dict.fromkeys(range(6), "alive") for node in range(6)}
