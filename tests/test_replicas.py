"""Conflicts, quorums and anti-entropy against naive twins."""

import contextlib
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsm_native._native.replicas import (
    DigestTree,
    Exchange,
    Item,
    Policy,
    Quorum,
    Version,
    VoteResult,
    repair_set,
    resolve,
)

WORDS = st.integers(0, 2**64 - 1)
versions = st.builds(
    Version, st.integers(0, 4), st.integers(0, 3), st.integers(0, 2), st.integers(0, 9)
)


@given(st.lists(versions, min_size=1, max_size=5))
def test_every_order_has_the_same_winner(rows):
    least, greatest = min(row[:3] for row in rows), max(row[:3] for row in rows)
    distinct = sorted({row[:3] for row in rows})
    for order in itertools.islice(itertools.permutations(rows), 24):
        assert resolve(order)[:3] == greatest
        assert resolve(order, Policy.FIRST_WRITE_WINS)[:3] == least
        asked = []
        winner = resolve(order, Policy.CUSTOM, lambda seen, asked=asked: asked.append(seen) or 0)
        assert [row[:3] for row in asked[0]] == distinct
        assert winner == asked[0][0]


def test_resolvers_errors_come_through():
    rows = [Version(1, 1, 1), Version(2, 1, 1)]
    with pytest.raises(ZeroDivisionError):
        resolve(rows, Policy.CUSTOM, lambda seen: 1 // 0)
    with pytest.raises(ValueError, match="none of 2 versions"):
        resolve(rows, Policy.CUSTOM, lambda seen: 2)
    with pytest.raises(ValueError, match="none of 0 versions"):
        resolve([])
    with pytest.raises(TypeError, match=r"a resolver goes with Policy\.CUSTOM"):
        resolve(rows, Policy.CUSTOM)
    with pytest.raises(TypeError, match=r"a resolver goes with Policy\.CUSTOM"):
        resolve(rows, Policy.LAST_WRITE_WINS, lambda seen: 0)


voters = st.sets(st.integers(0, 63), max_size=9)


def majority(config, nodes):
    return not config or 2 * len(config & nodes) > len(config)


@given(voters, voters, st.sets(st.integers(0, 63)), st.sets(st.integers(0, 63)))
def test_votes_follow_the_definition(incoming, outgoing, yes, no):
    no -= yes
    quorum, everyone = Quorum(incoming, outgoing), set(range(64))
    won = majority(incoming, yes) and majority(outgoing, yes)
    possible = majority(incoming, everyone - no) and majority(outgoing, everyone - no)
    result = VoteResult.WON if won else VoteResult.PENDING if possible else VoteResult.LOST
    assert quorum.vote(yes, no) is result
    assert quorum.reached(yes) == won


@given(voters, voters, st.dictionaries(st.integers(0, 63), st.integers(0, 20)))
def test_committed_index_follows_the_definition(incoming, outgoing, acknowledged):
    def reached(index):
        nodes = {node for node in range(64) if acknowledged.get(node, 0) >= index}
        return majority(incoming, nodes) and majority(outgoing, nodes)

    expected = max(index for index in range(21) if reached(index))
    committed = Quorum(incoming, outgoing).committed(acknowledged)
    assert committed == (expected if incoming or outgoing else None)


def test_quorum_arguments():
    with pytest.raises(ValueError, match="voters are below 64, but one is 64"):
        Quorum([64])
    with pytest.raises(ValueError, match="both yes and no"):
        Quorum([1, 2]).vote([1], [1])


items = st.builds(Item, WORDS, st.integers(0, 3), versions)


@given(st.lists(items, max_size=30), st.randoms(use_true_random=False))
def test_digests_do_not_know_the_order(rows, source):
    one, other = DigestTree(2), DigestTree(2)
    for row in rows:
        one.add(row)
    extra = [Item(7, 7, Version(7, 7, 7)), *rows[:3]]
    changes = [(other.add, row) for row in rows + extra]
    source.shuffle(changes)
    changes += [(other.remove, row) for row in extra]
    for change, row in changes:
        change(row)
    assert one.root == other.root
    assert other.valid()
    query = Exchange(one).next_query()
    assert Exchange(one).receive(other.respond(query)) == []


def exchange(mine, theirs, source, loss):
    """Buckets found over a link that loses and repeats messages, and how many answers came."""
    run, found, answers = Exchange(mine, source.getrandbits(40)), [], 0
    while (query := run.next_query()) is not None:
        if source.random() < loss:
            continue
        answer = theirs.respond(query)
        if source.random() < loss:
            continue
        answers += 1
        found += run.receive(answer)
        assert run.receive(answer) == [], "a repeated answer changes nothing"
    return found, answers


@given(st.integers(1, 4), st.integers(0, 60), st.sampled_from([0.0, 0.4]), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_an_exchange_finds_exactly_what_differs(depth, changed, loss, seed):
    source = random.Random(seed)
    mine, theirs, expected = DigestTree(depth), DigestTree(depth), set()
    for i in range(200):
        item = Item(source.getrandbits(64), 0, Version(1, 0, source.getrandbits(64)))
        if i >= changed:
            mine.add(item)
        else:
            expected.add(mine.bucket(item.key_hash))
        theirs.add(item)
    found, answers = exchange(mine, theirs, source, loss)
    assert sorted(found) == sorted(expected)
    assert answers <= 1 + depth * (1 + changed)
    if not changed:
        assert answers == 1


def test_messages_are_input():
    tree = DigestTree(2)
    query = Exchange(tree).next_query()
    with pytest.raises(ValueError, match=f"a query has {len(query)} bytes, not 3"):
        tree.respond(b"abc")
    with pytest.raises(ValueError, match="does not fit a tree of depth 3"):
        DigestTree(3).respond(query)
    with pytest.raises(ValueError, match="bytes, not 3"):
        Exchange(tree).receive(b"abc")
    with pytest.raises(ValueError, match="depth is 1 to 6, but is 7"):
        DigestTree(7)
    source = random.Random(5)
    for _ in range(2000):
        mutated = bytearray(query)
        for _ in range(source.randint(1, 6)):
            mutated[source.randrange(len(mutated))] = source.randrange(256)
        run = Exchange(tree)
        with contextlib.suppress(ValueError):
            run.receive(tree.respond(bytes(mutated)))
        assert tree.valid()


replica_items = st.dictionaries(
    st.tuples(st.integers(0, 5), st.integers(0, 1)), versions, max_size=8
)


@given(
    st.lists(replica_items, max_size=4),
    st.sampled_from([Policy.LAST_WRITE_WINS, Policy.FIRST_WRITE_WINS]),
)
def test_repair_sends_the_least_that_makes_replicas_agree(replicas, policy):
    lists = [[Item(*key, held[key]) for key in sorted(held)] for held in replicas]
    choose = max if policy is Policy.LAST_WRITE_WINS else min
    moves = repair_set(lists, policy)
    expected = []
    for key in sorted(set().union(*replicas)):
        winner = choose(held[key][:3] for held in replicas if key in held)
        holds = [key in held and held[key][:3] == winner for held in replicas]
        targets = tuple(i for i, has in enumerate(holds) if not has)
        if targets:
            expected.append((key, winner, holds.index(True), targets))
    assert [
        (move.item[:2], move.item.version[:3], move.source, move.targets) for move in moves
    ] == expected


def test_repair_arguments():
    item = Item(1, 1, Version(1, 1, 1))
    with pytest.raises(ValueError, match="holds a key twice"):
        repair_set([[item, item]])
    with pytest.raises(ValueError, match="the policy is custom"):
        repair_set([[item]], Policy.CUSTOM)
    with pytest.raises(ValueError, match="at most 8 replicas, but there are 9"):
        repair_set([[item]] * 9)
    assert repair_set([]) == []
