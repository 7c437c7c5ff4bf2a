"""The ring through its Python face, against twins that sort all points and search each."""

import hashlib
import random
import struct
from fractions import Fraction

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dsm_native._native.ring import KetamaRing, Ring

NODES = st.integers(0, 62)
HASHES = st.integers(0, 2**64 - 1)
WEIGHTS = st.sampled_from([0.1, 0.5, 1.0, 2.0, 3.3])


class NaiveRing:
    """All points in a list; every question is answered by looking at each of them."""

    def __init__(self, virtual_nodes, seed):
        self.virtual_nodes, self.seed, self.counts = virtual_nodes, seed, {}

    def points(self):
        return sorted(
            (xxhash.xxh3_64_intdigest(struct.pack("<II", node, index), self.seed) >> 16, node)
            for node, count in self.counts.items()
            for index in range(count)
        )

    def add(self, node, weight=1.0):
        self.counts[node] = max(1, int(self.virtual_nodes * weight + 0.5))

    def prefer_at(self, place, copies):
        points = self.points()
        later = [node for at, node in points if at >= place >> 16]
        order = dict.fromkeys(later + [node for _, node in points])
        return list(order)[:copies]


class RingMachine(RuleBasedStateMachine):
    """Any sequence of changes leaves the ring where the naive one is."""

    def __init__(self):
        super().__init__()
        self.ring, self.naive = Ring(virtual_nodes=8, seed=7), NaiveRing(8, 7)

    @rule(node=NODES, weight=WEIGHTS)
    def add(self, node, weight):
        if node in self.naive.counts:
            with pytest.raises(ValueError, match=f"node {node} is on the ring already"):
                self.ring.add(node, weight)
        else:
            self.ring.add(node, weight)
            self.naive.add(node, weight)

    @rule(node=NODES)
    def remove(self, node):
        if node in self.naive.counts:
            self.ring.remove(node)
            del self.naive.counts[node]
        else:
            with pytest.raises(KeyError):
                self.ring.remove(node)

    @rule(place=HASHES, copies=st.integers(0, 70))
    def prefer(self, place, copies):
        assert self.ring.prefer_at(place, copies) == self.naive.prefer_at(place, copies)

    @precondition(lambda self: self.naive.counts)
    @rule(key=st.one_of(st.text(max_size=20), st.binary(max_size=20)))
    def look_up(self, key):
        data = key.encode() if isinstance(key, str) else key
        place = xxhash.xxh3_64_intdigest(data, 7)
        assert self.ring.hash(key) == place
        assert self.ring.node(key) == self.naive.prefer_at(place, 1)[0]
        assert self.ring.prefer(key, 3) == self.naive.prefer_at(place, 3)

    @rule(stripe=st.integers(0, 2**32 - 1))
    def stripe(self, stripe):
        place = xxhash.xxh3_64_intdigest(struct.pack("<I", stripe), 7)
        assert self.ring.stripe(stripe, 5) == self.naive.prefer_at(place, 5)

    @rule()
    def copy(self):
        self.ring = self.ring.copy()

    @invariant()
    def agrees(self):
        assert self.ring.valid()
        assert self.ring.nodes == dict(sorted(self.naive.counts.items()))
        assert len(self.ring) == len(self.naive.counts)
        assert all(node in self.ring for node in self.naive.counts)
        expected = [(place << 16 | 0xFFFF, node) for place, node in self.naive.points()]
        assert self.ring.points == expected


TestRingMachine = RingMachine.TestCase
TestRingMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_an_empty_ring_says_so():
    ring = Ring()
    assert ring.prefer("key", 3) == []
    assert 3 not in ring
    with pytest.raises(LookupError, match="the ring has no node"):
        ring.node("key")


def test_arguments_are_named():
    ring = Ring([1])
    with pytest.raises(TypeError, match="a key is str or bytes, not float"):
        ring.node(1.5)
    with pytest.raises(ValueError, match="node ids are below 65535"):
        ring.add(65535)
    with pytest.raises(ValueError, match="a weight is above 0"):
        ring.add(2, 0.0)
    with pytest.raises(ValueError, match="copies must not be negative, but is -1"):
        ring.prefer("key", -1)
    with pytest.raises(ValueError, match="copies is 1 to 8, but is 9"):
        ring.moved(ring, 9)


def test_a_thousand_nodes():
    ring = Ring(range(1000))
    assert ring.valid()
    assert len(ring.points) == 160_000
    owners = [ring.node(f"key {i}") for i in range(20_000)]
    counts = np.bincount(owners, minlength=1000)
    assert counts.sum() == 20_000
    assert counts.max() < 60


sets_of_weights = st.dictionaries(st.integers(0, 20), WEIGHTS, max_size=8)


def build(weights):
    ring = Ring(virtual_nodes=6, seed=3)
    for node, weight in weights.items():
        ring.add(node, weight)
    return ring


@given(before=sets_of_weights, after=sets_of_weights, copies=st.integers(1, 4))
def test_moved_ranges_are_exactly_the_difference(before, after, copies):
    old, new = build(before), build(after)
    moves = old.moved(new, copies)
    edges = sorted({0, 2**64 - 1} | {at for ring in (old, new) for at, _ in ring.points})
    for edge in edges:
        for place in {max(edge - 0xFFFF, 0), edge, min(edge + 1, 2**64 - 1)}:
            lists = tuple(old.prefer_at(place, copies)), tuple(new.prefer_at(place, copies))
            holding = [move[2:] for move in moves if move[0] <= place <= move[1]]
            assert holding == ([lists] if lists[0] != lists[1] else [])
    for left, right in zip(moves, moves[1:], strict=False):
        assert left[1] < right[0]
        assert left[1] + 1 < right[0] or left[2:] != right[2:], "two ranges that could be one"


@given(nodes=st.sets(NODES, min_size=1, max_size=12), newcomer=NODES, seed=HASHES)
def test_a_newcomer_only_takes(nodes, newcomer, seed):
    nodes.discard(newcomer)
    old, new = Ring(nodes, virtual_nodes=20, seed=seed), Ring(nodes, virtual_nodes=20, seed=seed)
    new.add(newcomer)
    for _, _, before, after in old.moved(new):
        assert after == (newcomer,)
        assert before != after
    for _, _, before, after in new.moved(old, 3):
        assert newcomer in before
        assert [node for node in before if node != newcomer] == list(after)[: len(before) - 1]


def test_moved_share_is_the_newcomers():
    ring, larger = Ring(range(15)), Ring(range(16))
    share = sum(last - first + 1 for first, last, *_ in ring.moved(larger)) / 2**64
    assert 0.7 / 16 < share < 1.4 / 16


@given(seed=st.integers(0, 2**32), factor=st.sampled_from([1.0, 1.1, 1.25, 2.0]))
@settings(max_examples=30, deadline=None)
def test_bounded_loads_hold_at_every_step(seed, factor):
    weights = {0: 1.0, 1: 1.0, 2: 2.0, 5: 0.5}
    ring = Ring(virtual_nodes=40)
    for node, weight in weights.items():
        ring.add(node, weight)
    loads = dict.fromkeys(weights, 0)
    source = random.Random(seed)
    for total in range(1, 150):
        key = source.randbytes(8)
        node = ring.prefer_bounded(key, loads, factor)
        bound = Fraction(str(factor)) * total / Fraction(sum(weights.values()))
        full = [n for n in weights if loads[n] >= bound * Fraction(weights[n])]
        order = ring.prefer(key, 4)
        assert node == next(n for n in order if n not in full)
        loads[node] += 1
        assert loads[node] < bound * Fraction(weights[node]) + 1


def test_bounded_loads_without_room():
    ring = Ring([1, 2])
    with pytest.raises(LookupError, match="no node has room"):
        ring.prefer_bounded("key", {1: 5, 2: 5}, 0.5)


PUBLISHED_SERVERS = {
    "10.0.1.1:11211": 600,
    "10.0.1.2:11211": 300,
    "10.0.1.3:11211": 200,
    "10.0.1.4:11211": 350,
    "10.0.1.5:11211": 1000,
    "10.0.1.6:11211": 800,
    "10.0.1.7:11211": 950,
    "10.0.1.8:11211": 100,
}


def test_ketama_published_thousand_keys():
    """The first 1,000 lines of libketama's ketama_test, as MediaWiki's HashRingTest gives them."""
    ring = KetamaRing(PUBLISHED_SERVERS)
    ascending = ring.points
    lines = []
    for key in map(str, range(1000)):
        place = ring.hash(key)
        point = next((at for at, _ in ascending if at >= place), ascending[0][0])
        lines.append(f"{place} {point} {ring.node(key)}\n")
    text = "\n" + "".join(lines)
    assert hashlib.md5(text.encode()).hexdigest() == "d1a4912a80e4654ec2e4e462c8b911c6"


def test_ketama_hashes_keys_of_every_length():
    ring = KetamaRing({"a": 1})
    for length in range(200):
        key = bytes(range(length))
        assert ring.hash(key) == int.from_bytes(hashlib.md5(key).digest()[:4], "little")


@given(
    weights=st.dictionaries(
        st.text(min_size=1, max_size=12), st.integers(1, 5000), min_size=1, max_size=9
    ),
    keys=st.lists(st.binary(max_size=80), max_size=20),
)
def test_ketama_points_are_successive_words_of_the_digests(weights, keys):
    ring = KetamaRing(weights)
    total, names = np.float32(sum(weights.values())), list(weights)
    expected = []
    for name, weight in weights.items():
        share = np.float32(weight) / total
        for i in range(int(np.float32(float(share) * 40.0 * len(weights)))):
            digest = hashlib.md5(f"{name}-{i}".encode()).digest()
            expected += [(point, names.index(name)) for point in struct.unpack("<4I", digest)]
    expected.sort()
    assert ring.points == [(point, names[i]) for point, i in expected]
    assert ring.valid()
    for key in keys:
        place = struct.unpack_from("<I", hashlib.md5(key).digest())[0]
        assert ring.hash(key) == place
        order = [i for point, i in expected if point >= place] + [i for _, i in expected]
        assert ring.node(key) == names[order[0]]
        assert ring.prefer(key, 2) == [names[i] for i in dict.fromkeys(order)][:2]
