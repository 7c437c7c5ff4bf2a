"""Vector clocks, hybrid clock and dotted version sets against naive twins."""

import pathlib
import platform
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dsm_native._native.clocks import ClockOrder, DottedVersionSet, HybridClock, VectorClock

ROOT = pathlib.Path(__file__).resolve().parents[1]
COMPILER = shutil.which("gcc") or "cc"
WIDTHS_BITS = [64, 256, 512] if platform.machine() == "x86_64" else [64]

counters = st.dictionaries(st.integers(0, 200), st.integers(1, 2**64 - 1), max_size=12)


def clock_of(twin):
    return VectorClock(twin.get(node, 0) for node in range(max(twin, default=-1) + 1))


def twin_order(left, right):
    nodes = left.keys() | right.keys()
    below = any(left.get(node, 0) < right.get(node, 0) for node in nodes)
    above = any(left.get(node, 0) > right.get(node, 0) for node in nodes)
    return {
        (False, False): ClockOrder.EQUAL,
        (True, False): ClockOrder.BEFORE,
        (False, True): ClockOrder.AFTER,
        (True, True): ClockOrder.CONCURRENT,
    }[below, above]


@given(left=counters, right=counters)
def test_vector_clocks_compare_and_merge_as_dicts_do(left, right):
    one, other = clock_of(left), clock_of(right)
    order = twin_order(left, right)
    assert one.compare(other) is order
    assert other.compare(one) is twin_order(right, left)
    assert (one == other) == (order is ClockOrder.EQUAL)
    assert (one < other) == (order is ClockOrder.BEFORE)
    assert (one <= other) == (order in (ClockOrder.BEFORE, ClockOrder.EQUAL))
    assert (one > other) == (order is ClockOrder.AFTER)
    assert (one >= other) == (order in (ClockOrder.AFTER, ClockOrder.EQUAL))
    merged = one.copy()
    merged.merge(other)
    expected = {n: max(left.get(n, 0), right.get(n, 0)) for n in left.keys() | right.keys()}
    assert merged == clock_of(expected)
    assert list(merged) == list(clock_of(expected))
    assert list(one) == list(clock_of(left)), "merging into a copy leaves the original"


@pytest.mark.parametrize("width_bits", WIDTHS_BITS)
def test_every_vector_width_passes_the_c_test(width_bits, tmp_path):
    """On a processor without the widest vectors the narrower code runs in their place."""
    program = tmp_path / "test_vector_clock"
    sources = ["tests/c/test_vector_clock.c", "csrc/proto/vector_clock.c", "csrc/base/check.c"]
    flags = ["-std=gnu11", "-O2", f"-DDSM_VECTOR_CLOCK_WIDTH_BITS={width_bits}"]
    subprocess.run([COMPILER, *flags, "-o", program, *sources], check=True, cwd=ROOT)
    output = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    assert output.endswith(" 0 failed\n")


@given(base=counters, node=st.integers(0, 300))
def test_a_tick_is_an_event_after(base, node):
    clock = clock_of({n: min(count, 2**63) for n, count in base.items()})
    before = clock.copy()
    clock.tick(node)
    assert before < clock
    assert clock[node] == before[node] + 1
    assert len(clock) == max(len(before), node + 1)
    assert clock[10**6] == 0


def test_vector_clock_limits():
    with pytest.raises(OverflowError, match="the counter of node 0 is at its end"):
        VectorClock([2**64 - 1]).tick(0)
    with pytest.raises(ValueError, match="nodes are below 1048576, but one is 1048576"):
        VectorClock().tick(1 << 20)
    with pytest.raises(OverflowError):
        VectorClock([-1])
    assert repr(VectorClock([1, 0, 2])) == "VectorClock([1, 0, 2])"
    assert VectorClock() == VectorClock([0, 0])
    assert VectorClock() != "clock"


class CausalBroadcast(RuleBasedStateMachine):
    """Messages delivered by the clock's rule never overtake what they depend on."""

    def __init__(self):
        super().__init__()
        self.clocks = [VectorClock() for _ in range(3)]
        self.known = [set() for _ in range(3)]
        self.sent = []

    @rule(node=st.integers(0, 2))
    def send(self, node):
        self.clocks[node].tick(node)
        message = len(self.sent)
        self.sent.append((node, self.clocks[node].copy(), frozenset(self.known[node])))
        self.known[node].add(message)

    @rule(node=st.integers(0, 2), pick=st.integers(0, 10**6))
    def offer(self, node, pick):
        if not self.sent:
            return
        message = pick % len(self.sent)
        sender, clock, needs = self.sent[message]
        expected = message not in self.known[node] and needs <= self.known[node]
        assert self.clocks[node].deliverable(clock, sender) == expected
        if expected:
            self.clocks[node].merge(clock)
            self.known[node].add(message)

    @invariant()
    def clocks_count_what_is_known(self):
        for clock, known in zip(self.clocks, self.known, strict=True):
            for node in range(3):
                assert clock[node] == sum(self.sent[message][0] == node for message in known)


TestCausalBroadcast = CausalBroadcast.TestCase


class TwoPartClock:
    """The hybrid clock's paper, figure 5, with l and c apart and c unbounded."""

    def __init__(self):
        self.l, self.c = 0, 0

    def send(self, now):
        before, self.l = self.l, max(self.l, now)
        self.c = self.c + 1 if self.l == before else 0

    def receive(self, now, message):
        lm, cm = message
        before, self.l = self.l, max(self.l, lm, now)
        if self.l == before == lm:
            self.c = max(self.c, cm) + 1
        elif self.l == before:
            self.c += 1
        elif self.l == lm:
            self.c = cm + 1
        else:
            self.c = 0


times = st.integers(1_000_000, 1_000_060)
messages = st.tuples(times, st.integers(0, 30))


@given(st.lists(st.tuples(times, st.one_of(st.none(), messages)), max_size=60))
def test_hybrid_clock_follows_the_paper(steps):
    clock, twin, previous = HybridClock(20), TwoPartClock(), 0
    for now, message in steps:
        if message is None:
            stamp = clock.send(now)
            twin.send(now)
        elif message[0] > now + 20:
            with pytest.raises(ValueError, match=f"{message[0] - now} us ahead of this clock"):
                clock.receive(now, HybridClock.stamp(*message))
            continue
        else:
            stamp = clock.receive(now, HybridClock.stamp(*message))
            twin.receive(now, message)
            assert stamp > HybridClock.stamp(*message)
        assert HybridClock.parts(stamp) == (twin.l, twin.c)
        assert clock.drift_us(now) == max(twin.l - now, 0)
        assert clock.last == stamp > previous
        previous = stamp


@given(st.integers(1, 3 * 4096), st.integers(0, 10**15))
@settings(max_examples=20, deadline=None)
def test_hybrid_clock_borrows_and_never_repeats(events, now):
    clock = HybridClock()
    stamps = [clock.send(now) for _ in range(events)]
    first = stamps[0]
    assert stamps == list(range(first, first + events))
    assert clock.drift_us(now) == (first + events - 1) // 4096 - now


def test_hybrid_clock_limits():
    clock = HybridClock(last=2**64 - 1)
    with pytest.raises(OverflowError, match="2112"):
        clock.send(5)
    with pytest.raises(ValueError, match="the clock's end"):
        HybridClock().send(HybridClock.PHYSICAL_US_MAX + 1)
    with pytest.raises(ValueError, match="no stamp holds"):
        HybridClock.stamp(1, HybridClock.LOGICAL_MAX + 1)
    assert HybridClock(last=HybridClock.stamp(77, 5)).send(70) == HybridClock.stamp(77, 6)


class DotSets:
    """Siblings with the causal history written out: all dots seen, and which hold a value."""

    def __init__(self, seen=(), live=()):
        self.seen, self.live = frozenset(seen), dict(live)

    def update(self, context, node, value):
        dot = (node, max((c for n, c in self.seen | context if n == node), default=0) + 1)
        live = {d: v for d, v in self.live.items() if d not in context}
        return DotSets(self.seen | context | {dot}, {**live, dot: value})

    def sync(self, other):
        live = {d: v for d, v in self.live.items() if d in other.live or d not in other.seen}
        live |= {d: v for d, v in other.live.items() if d not in self.seen}
        return DotSets(self.seen | other.seen, live)

    def entries(self):
        rows = []
        for node in sorted({node for node, _ in self.seen}):
            dots = sorted((d for d in self.live if d[0] == node), reverse=True)
            counter = max(c for n, c in self.seen if n == node)
            rows.append((node, counter, tuple(self.live[d] for d in dots)))
        return rows


class SiblingsMachine(RuleBasedStateMachine):
    """Three replicas; clients write with any context that was ever read; syncs in any order."""

    def __init__(self):
        super().__init__()
        self.replicas = [(DottedVersionSet(), DotSets()) for _ in range(3)]
        self.contexts = [(DottedVersionSet(), frozenset())]
        self.next_value = 0

    @rule(node=st.integers(0, 2))
    def read(self, node):
        siblings, twin = self.replicas[node]
        assert siblings.context().values == ()
        self.contexts.append((siblings.context(), twin.seen))

    @rule(node=st.integers(0, 2), pick=st.integers(0, 10**6))
    def write(self, node, pick):
        siblings, twin = self.replicas[node]
        context, seen = self.contexts[pick % len(self.contexts)]
        self.next_value += 1
        self.replicas[node] = (
            siblings.update(context, node, self.next_value),
            twin.update(seen, node, self.next_value),
        )

    @rule(into=st.integers(0, 2), other=st.integers(0, 2))
    def sync(self, into, other):
        siblings, twin = self.replicas[into]
        self.replicas[into] = (
            siblings.sync(self.replicas[other][0]),
            twin.sync(self.replicas[other][1]),
        )

    @invariant()
    def agrees(self):
        for siblings, twin in self.replicas:
            assert siblings.entries == twin.entries()
            assert siblings.anonymous == ()
            assert len(siblings) == len(twin.live)

    @invariant()
    def orders_are_inclusion_of_histories(self):
        for siblings, twin in self.replicas:
            for other, other_twin in self.replicas:
                below, above = twin.seen <= other_twin.seen, twin.seen >= other_twin.seen
                expected = {(1, 1): 0, (1, 0): 1, (0, 1): 2, (0, 0): 3}[below, above]
                assert siblings.compare(other) == expected


TestSiblings = SiblingsMachine.TestCase
TestSiblings.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)

entry_lists = st.dictionaries(
    st.integers(0, 5), st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=4
)


@st.composite
def dotted_sets(draw):
    """Any set over one universe in which a dot always holds the same value."""
    rows = []
    for node, (floor, count) in draw(entry_lists).items():
        top = floor + count
        rows.append((node, top, [100 * node + dot for dot in range(top, floor, -1)]))
    return DottedVersionSet(rows, draw(st.lists(st.integers(900, 905), max_size=3)))


@given(dotted_sets(), dotted_sets(), dotted_sets())
@settings(max_examples=300)
def test_sync_is_a_join(a, b, c):
    assert a.sync(b) == b.sync(a)
    assert a.sync(a) == a
    assert a.sync(b).context() == a.context().sync(b.context())
    assert [row[:2] for row in a.sync(b.sync(c)).entries] == [
        row[:2] for row in a.sync(b).sync(c).entries
    ]
    assert a.sync(b.sync(c)).entries == a.sync(b).sync(c).entries


@given(dotted_sets(), st.integers(0, 20))
def test_keep_and_reconcile_leave_the_history(siblings, index):
    settled = siblings.reconcile(7)
    assert settled.values == settled.anonymous == (7,)
    assert settled.context() == siblings.context()
    if index >= len(siblings):
        with pytest.raises(IndexError, match=f"none at {index}"):
            siblings.keep(index)
        return
    kept = siblings.keep(index)
    assert kept.values == (siblings.values[index],)
    assert kept.context() == siblings.context()
    newest = [values[0] for _, _, values in siblings.entries if values]
    assert (kept.anonymous == ()) == (kept.values[0] in newest)


def test_dotted_sets_check_their_arguments():
    with pytest.raises(ValueError, match="more values than its counter"):
        DottedVersionSet([(1, 1, [5, 6])])
    with pytest.raises(ValueError, match="a node two entries"):
        DottedVersionSet([(1, 1, []), (1, 2, [])])
    with pytest.raises(OverflowError, match="the counter of node 3 is at its end"):
        DottedVersionSet([(3, 2**64 - 1, [])]).update(DottedVersionSet(), 3, 1)
    assert repr(DottedVersionSet([(1, 2, [5])], [9])) == "DottedVersionSet([(1, 2, (5,))], (9,))"
