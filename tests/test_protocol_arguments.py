"""What a user may hand to the protocol cores by mistake: a typed error each time, never a crash."""

from __future__ import annotations

import pytest

import dsm_native as dsm
from dsm_native._native.clocks import DottedVersionSet, HybridClock, VectorClock
from dsm_native._native.detector import (
    Detector,
    LocalHealth,
    MembershipMessage,
    MembershipNode,
    News,
    Observer,
    PhiWindow,
    phi,
)
from dsm_native._native.replicas import DigestTree, Exchange, Policy, Quorum, repair_set, resolve
from dsm_native._native.ring import KetamaRing, Ring

NAN = float("nan")
VERSION = (1, 0, 0, 0)
# For a number, each of these is wrong in every place below.
WRONG = (None, -1, 2**64, 2**70, 1.5, NAN, float("inf"), "x", b"x", [], {}, object())


def member(**options):
    return MembershipNode(1, {}, 1, 0, **({"capacity": 4, "seeds": (0,)} | options))


CALLS = {
    "a node of a ring": lambda it: Ring([0, 1]).add(it),
    "a weight": lambda it: Ring([0, 1]).add(5, -it if it in (1.5, 2**64) else it),
    "nodes of a ring": lambda it: Ring([it]),
    "virtual nodes": lambda it: Ring([0], virtual_nodes=it),
    "a node to remove": lambda it: Ring([0]).remove(it),
    "a place on the ring": lambda it: Ring([0]).node_at(it),
    "a load": lambda it: Ring([0]).prefer_bounded("key", {0: it}),
    "copies that move": lambda it: Ring([0]).moved(Ring([1]), it),
    "another ring": lambda it: Ring([0]).moved(it),
    "a ketama weight": lambda it: KetamaRing({"server": it}),
    "all ketama weights": lambda it: KetamaRing(it or None),
    "a counter": lambda it: VectorClock([it]),
    "a node of a clock": lambda it: VectorClock([1]).tick(it),
    "another clock": lambda it: VectorClock([1]).merge(it),
    "an offset": lambda it: HybridClock(it),
    "a last stamp": lambda it: HybridClock(last=it),
    "a time to send at": lambda it: HybridClock().send(it),
    "a time of receipt": lambda it: HybridClock().receive(it, 1),
    "a stamp": lambda it: HybridClock().receive(1, it),
    "an entry": lambda it: DottedVersionSet([(it, 1, (1,))]),
    "a dot": lambda it: DottedVersionSet([(1, it, (1,))]),
    "a sibling": lambda it: DottedVersionSet([(1, 1, (it,))]),
    "another set": lambda it: DottedVersionSet().sync(it),
    "a version": lambda it: resolve([(it, 0, 0, 0)]),
    "versions": lambda it: resolve(it),
    "an answer of a resolver": lambda it: resolve([VERSION], Policy.CUSTOM, lambda rows: it),
    "a voter": lambda it: Quorum([it]),
    "an acknowledged index": lambda it: Quorum([1]).committed({1: it}),
    "a depth": lambda it: DigestTree(it),
    "an item": lambda it: DigestTree().add((it, 1, VERSION)),
    "a query": lambda it: DigestTree().respond(it),
    "an answer": lambda it: Exchange(DigestTree()).receive(it),
    "a tree": lambda it: Exchange(it),
    "replicas": lambda it: repair_set([it or None]),
    "a capacity of a window": lambda it: PhiWindow(it),
    "an interval": lambda it: Detector(0, interval_us=it),
    "missed beats": lambda it: Detector(0, missed_suspected=it),
    "a time of a beat": lambda it: Detector(0).beat(it),
    "a health": lambda it: Detector(0).check(0, it),
    "a member": lambda it: MembershipNode(it, {}, 1, 0, capacity=4, seeds=()),
    "a first member": lambda it: member(seeds=(it,)),
    "a capacity": lambda it: member(capacity=it),
    "a probe's interval": lambda it: member(probe_timeout_us=it),
    "a node in the news": lambda it: member().hear(News(it, "alive", 1, 0), 0),
    "a state in the news": lambda it: member().hear(News(1, it, 1, 0), 0),
    "a kind of message": lambda it: member().step(MembershipMessage(0, 1, it, 1, 0), 0),
    "a time to tick at": lambda it: member().tick(it),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_wrong_argument_is_refused_by_a_typed_error(call):
    for wrong in WRONG:
        with pytest.raises((TypeError, ValueError, OverflowError)) as caught:
            call(wrong)
        assert str(caught.value), wrong


@pytest.mark.parametrize(
    "call",
    [
        lambda: Ring(range(70_000)),
        lambda: Ring([1, 1]),
        lambda: Ring([0], virtual_nodes=2**31),
        lambda: Ring([0], virtual_nodes=2**20).add(1, 1_000.0),
        lambda: Ring([0]).prefer_bounded("key", {}, NAN),
        lambda: KetamaRing({}),
        lambda: KetamaRing({"a": 0}),
        lambda: KetamaRing({"a": 2**63, "b": 1}),
        lambda: KetamaRing({"a" * 5_000: 1}),
        lambda: VectorClock(0 for _ in range((1 << 20) + 1)),
        lambda: HybridClock.stamp(2**52),
        lambda: HybridClock.stamp(1, 4096),
        lambda: HybridClock().send(HybridClock.PHYSICAL_US_MAX + 1),
        lambda: DottedVersionSet([(1, 1, (1, 2))]),
        lambda: DottedVersionSet([(1, 1, ()), (1, 2, ())]),
        lambda: resolve([]),
        lambda: resolve([VERSION], Policy.CUSTOM, lambda rows: 1),
        lambda: Quorum([64]),
        lambda: Quorum([1]).vote([1], [1]),
        lambda: DigestTree(7),
        lambda: DigestTree().respond(b"\xff" * 208),
        lambda: repair_set([[]] * 9),
        lambda: repair_set([[(2, 0, VERSION), (1, 0, VERSION)]]),
        lambda: phi(NAN, 1, 1),
        lambda: phi(1, NAN, 1),
        lambda: phi(1, 1, 0),
        lambda: Detector(0, interval_us=0),
        lambda: Detector(0, accrual=True, phi_suspected=NAN),
        lambda: Detector(0, accrual=True, samples=10**6),
        lambda: member(capacity=0, seeds=()),
        lambda: member(probe_timeout_us=2_000_000),
        lambda: member(indirect=100),
        lambda: member().confirmations(4),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_a_usage_error(call):
    with pytest.raises(dsm.UsageError):
        call()


def test_the_largest_numbers_overflow_nothing():
    largest = 2**64 - 1
    health = LocalHealth(2**32 - 1)
    health.note(2**31 - 1)
    assert health.stretch_us(largest) == largest
    watched = Detector(0, interval_us=2**63)
    assert not watched.check(largest, health)
    assert Observer(largest, 0).tick(largest) == 0
    node = member(suspicion_min_us=largest, suspicion_max_us=largest)
    node.hear(News(2, "suspect", 1, 3), 0)
    assert not [news for news in node.tick(largest - 1).apply if news.state == "dead"]


def test_a_clock_ahead_by_more_than_allowed_is_told_with_both_sides():
    clock = HybridClock(1_000)
    with pytest.raises(dsm.ClockOffsetError, match="2000 us ahead of .* than the 1000"):
        clock.receive(5_000, HybridClock.stamp(7_000))
    assert clock.last == 0, "a refused stamp leaves no trace"
    assert clock.receive(5_000, HybridClock.stamp(6_000, 7)) == HybridClock.stamp(6_000, 8)


def test_the_end_of_a_clock_is_told_and_changes_nothing():
    clock = HybridClock(last=2**64 - 1)
    for call in (lambda: clock.send(5), lambda: clock.receive(5, 5)):
        with pytest.raises(dsm.ClockOverflowError, match="2112"):
            call()
    assert clock.last == 2**64 - 1
    counter = VectorClock([2**64 - 1])
    with pytest.raises(dsm.ClockOverflowError, match="node 0"):
        counter.tick(0)
    with pytest.raises(dsm.ClockOverflowError, match="node 3"):
        DottedVersionSet([(3, 2**64 - 1, ())]).update(DottedVersionSet(), 3, 1)


def test_a_clock_that_jumps_back_goes_on_from_its_last_stamp():
    clock = HybridClock()
    ahead = clock.send(9_000)
    stamps = [clock.send(now) for now in (1_000, 2, 8_999, 9_000)]
    assert stamps == [ahead + 1, ahead + 2, ahead + 3, ahead + 4]
    assert clock.drift_us(1_000) == 8_000
    assert HybridClock.parts(clock.send(9_001)) == (9_001, 0)


def test_a_ring_of_many_nodes_is_the_ring_of_one_after_another():
    one = Ring(seed=3)
    for node in (5, 0, 9, 70, 7):
        one.add(node)
    assert Ring([7, 70, 9, 0, 5], seed=3).points == one.points
    large = Ring(range(10_000))
    assert len(large) == 10_000
    assert large.valid()
    with pytest.raises(dsm.UsageError, match="on the ring already"):
        large.add(9_999)
    assert len(large.prefer("key", 5)) == 5
