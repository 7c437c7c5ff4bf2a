"""Failure detection: published tables, and a naive twin."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsm_native._native.detector import (
    Detector,
    LocalHealth,
    Observer,
    PhiWindow,
    phi,
    suspicion_timeout_us,
)

MS = 1_000
SECOND = 1_000_000


def distribution(elapsed, mean, deviation):
    return 1 - 10 ** -phi(elapsed, mean, deviation)


@pytest.mark.parametrize(
    ("elapsed", "mean", "deviation", "expected", "tolerance"),
    [
        (0, 0, 10, 0.5, 0.001),
        (6, 0, 10, 0.7257, 0.001),
        (15, 0, 10, 0.9332, 0.001),
        (20, 0, 10, 0.97725, 0.001),
        (25, 0, 10, 0.99379, 0.001),
        (35, 0, 10, 0.99977, 0.001),
        (40, 0, 10, 0.99997, 0.0001),
        (22, 20, 3, 0.7475, 0.001),
    ],
)
def test_distribution_as_akka_publishes_it(elapsed, mean, deviation, expected, tolerance):
    """PhiAccrualFailureDetectorSpec, "use good enough cumulative distribution function"."""
    assert distribution(elapsed, mean, deviation) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(
    ("elapsed", "expected"),
    [(0, 0.0), (500, 0.1), (1000, 0.3), (1200, 1.6), (1400, 4.7), (1600, 10.8), (1700, 15.3)],
)
def test_phi_table_of_akka(elapsed, expected):
    """The same specification, "return realistic phi values": mean 1000, deviation 100."""
    assert phi(elapsed, 1000, 100) == pytest.approx(expected, abs=0.1)


def test_phi_of_outliers_as_akka_publishes_it():
    assert phi(10, 0, 1) == pytest.approx(38.0, abs=1.0)
    assert phi(-25, 0, 1) == 0.0
    assert phi(1100, 1000, 500) < phi(1100, 1000, 100)


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.floats(1e-3, 1e9), st.floats(0, 1e9))
def test_phi_is_finite_and_grows_with_silence(elapsed, mean, deviation, more):
    first, later = phi(elapsed, mean, deviation), phi(elapsed + more, mean, deviation)
    assert math.isfinite(first)
    assert 0 <= first <= later


def test_window_as_akka_publishes_it():
    """The same specification, "Statistics for heartbeats"."""
    window = PhiWindow(20)
    for interval in (100, 200, 125, 340, 130):
        window.add(interval)
    assert window.mean == pytest.approx(179.0)
    assert window.variance == pytest.approx(7584.0)
    window = PhiWindow(3)
    expected = [(100, 66.6666667), (113.333333, 422.222222), (103.333333, 688.88888889)]
    for interval in (100, 110, 90):
        window.add(interval)
    for (mean, variance), interval in zip(expected, (140, 80, 1), strict=True):
        assert window.mean == pytest.approx(mean)
        assert window.variance == pytest.approx(variance)
        window.add(interval)


@given(st.integers(1, 256), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=600))
@settings(max_examples=60)
def test_window_never_drifts_from_its_naive_twin(capacity, intervals):
    window = PhiWindow(capacity)
    for interval in intervals:
        window.add(interval)
    kept = intervals[-capacity:]
    assert len(window) == len(kept)
    assert window.mean == pytest.approx(sum(kept) / len(kept), rel=1e-12)
    # Whole numbers, so that the twin is exact: n * sum of squares - square of the sum.
    spread = len(kept) * sum(x * x for x in kept) - sum(kept) ** 2
    assert window.variance == pytest.approx(spread / len(kept) ** 2, rel=1e-9)


def accrual(now=0, **options):
    settings_ = {
        "interval_us": SECOND,
        "accrual": True,
        "phi_suspected": 8.0,
        "phi_dead": 16.0,
        "deviation_min_us": 100 * MS,
        "samples": 200,
    }
    return Detector(now, **(settings_ | options))


def test_phi_after_one_beat_as_akka_publishes_it():
    """ "Return phi based on guess when only one heartbeat"."""
    detector, health = accrual(), LocalHealth()
    assert detector.phi(1 * SECOND, health) == pytest.approx(0.3, abs=0.2)
    assert detector.phi(2 * SECOND, health) == pytest.approx(4.5, abs=0.3)
    assert detector.phi(3 * SECOND, health) > 15.0


def test_old_intervals_leave_the_window_as_akka_publishes_it():
    """ "Use maxSampleSize heartbeats": 100 ms beats, later 500 ms beats, the same phi."""
    health = LocalHealth()
    detector = accrual(interval_us=100 * MS, samples=3, phi_suspected=1e6, phi_dead=2e6)
    for moment in (100, 200, 300):
        detector.beat(moment * MS)
    before = detector.phi(400 * MS, health)
    for moment in (1000, 1500, 2000, 2500):
        detector.beat(moment * MS)
    assert detector.phi(3000 * MS, health) == pytest.approx(before, abs=0.001)


def test_a_long_pause_is_no_sample_and_the_peer_may_come_back():
    """Akka, "mark node as available if it starts heartbeat again after being marked dead"; here a
    suspicion is what a beat takes back, and a death needs a new incarnation."""
    health = LocalHealth()
    detector = accrual(pause_us=3 * SECOND, phi_dead=1e9)
    for moment in range(1, 1000):
        detector.beat(moment * SECOND)
    now = 999 * SECOND + 300 * SECOND
    assert detector.check(now, health)
    assert detector.state == "suspected"
    assert detector.beat(now + 100 * MS)
    assert not detector.check(now + SECOND, health)
    detector.beat(now + SECOND)
    assert detector.check(now + 8 * SECOND, health)
    assert detector.state == "suspected"


def test_accepted_pauses_as_akka_publishes_them():
    """ "Accept some configured missing heartbeats" and "fail after" them."""
    health = LocalHealth()
    detector = accrual(pause_us=3 * SECOND)
    for moment in (1, 2, 3):
        detector.beat(moment * SECOND)
    assert not detector.check(7 * SECOND, health)
    detector.beat(8 * SECOND)
    assert not detector.check(9 * SECOND, health)
    detector = accrual(pause_us=3 * SECOND)
    for moment in (1, 2, 3, 4, 5):
        detector.beat(moment * SECOND)
    assert not detector.check(5 * SECOND + 500 * MS, health)
    detector.beat(6 * SECOND)
    assert detector.check(11 * SECOND, health)


@pytest.mark.parametrize(
    ("confirmations", "elapsed", "remaining"),
    [
        (0, 0, 30_000),
        (1, 2_000, 14_000),
        (2, 3_000, 4_810),
        (3, 4_000, -2_000),
        (4, 5_000, -3_000),
        (5, 10_000, -8_000),
    ],
)
def test_suspicion_table_of_memberlist(confirmations, elapsed, remaining):
    """memberlist's suspicion_test.go: 3 confirmations expected, from 30 s down to 2 s."""
    timeout = suspicion_timeout_us(confirmations, 3, 2 * SECOND, 30 * SECOND)
    assert timeout - elapsed * MS == remaining * MS


@pytest.mark.parametrize(
    ("confirmations", "expected"), [(0, 2000), (1, 1250), (2, 810), (3, 500), (4, 500)]
)
def test_suspicion_timer_of_memberlist(confirmations, expected):
    """The same file's timer test, which allows 25 ms either way."""
    timeout = suspicion_timeout_us(confirmations, 3, 500 * MS, 2000 * MS)
    assert timeout == pytest.approx(expected * MS, abs=25 * MS)


def test_health_table_of_memberlist():
    """memberlist's awareness_test.go: (change, score, what one second becomes), scores 0 to 7."""
    health = LocalHealth(7)
    table = [
        (0, 0, 1),
        (-1, 0, 1),
        (-10, 0, 1),
        (1, 1, 2),
        (-1, 0, 1),
        (10, 7, 8),
        (-1, 6, 7),
        (-1, 5, 6),
        (-1, 4, 5),
        (-1, 3, 4),
        (-1, 2, 3),
        (-1, 1, 2),
        (-1, 0, 1),
        (-1, 0, 1),
    ]
    for delta, score, seconds in table:
        health.note(delta)
        assert health.score == score
        assert health.stretch_us(SECOND) == seconds * SECOND


def test_missed_beats_go_through_suspicion_and_death_is_final():
    health = LocalHealth()
    detector = Detector(0, interval_us=SECOND, missed_suspected=3, missed_dead=5)
    assert not detector.check(3 * SECOND - 1, health)
    assert detector.check(3 * SECOND, health)
    assert detector.state == "suspected"
    assert detector.beat(3 * SECOND + 1)
    assert detector.state == "alive"
    # Never from alive to dead in one check, however long nobody looked.
    assert detector.check(100 * SECOND, health)
    assert detector.state == "suspected"
    assert detector.check(100 * SECOND, health)
    assert detector.state == "dead"
    assert not detector.beat(101 * SECOND)
    assert detector.state == "dead"
    assert detector.beat(102 * SECOND, incarnation=2)
    assert (detector.state, detector.incarnation) == ("alive", 2)
    assert not detector.beat(103 * SECOND, incarnation=1)


def test_an_overloaded_observer_doubts_itself():
    tired, well = LocalHealth(), LocalHealth()
    tired.note(2)
    for options in ({}, {"accrual": True}):
        calm = Detector(0, interval_us=SECOND, **options)
        hasty = Detector(0, interval_us=SECOND, **options)
        assert hasty.check(4 * SECOND, well)
        assert not calm.check(4 * SECOND, tired)
        assert calm.check(20 * SECOND, tired)


def test_a_stopped_observer_forgives_what_it_slept_through():
    observer = Observer(100 * MS, 0)
    detector = Detector(0, interval_us=SECOND)
    for moment in range(1, 11):
        assert observer.tick(moment * 100 * MS) == 0
        detector.beat(moment * 100 * MS)
    slept = observer.tick(31 * SECOND)
    assert slept == 30 * SECOND - 100 * MS
    assert observer.score == 1
    detector.forgive(slept, 31 * SECOND)
    assert not detector.check_as(31 * SECOND, observer)
    assert observer.tick(31 * SECOND + 100 * MS) == 0
    assert observer.score == 0


class TwinDetector:
    """Missed beats, as plainly as they can be written."""

    def __init__(self):
        self.state, self.incarnation, self.last = "alive", 1, 0

    def beat(self, now, incarnation):
        if incarnation > self.incarnation:
            self.state, self.incarnation, self.last = "alive", incarnation, now
        elif incarnation == self.incarnation and self.state != "dead":
            self.state, self.last = "alive", now

    def check(self, now, score):
        missed = (now - self.last) // (SECOND * (score + 1))
        if self.state == "suspected":
            self.state = "dead" if missed >= 6 else "suspected" if missed >= 3 else "alive"
        elif self.state == "alive" and missed >= 3:
            self.state = "suspected"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["beat", "check", "note"]),
            st.integers(0, 4 * SECOND),
            st.integers(0, 3),
        )
    )
)
def test_missed_beats_like_the_naive_twin(events):
    detector = Detector(0, incarnation=1, interval_us=SECOND, missed_suspected=3, missed_dead=6)
    twin, health, now = TwinDetector(), LocalHealth(), 0
    for event, passed, number in events:
        now += passed
        before = twin.state
        if event == "beat":
            changed = detector.beat(now, number)
            twin.beat(now, number)
        elif event == "check":
            changed = detector.check(now, health)
            twin.check(now, health.score)
        else:
            health.note(number - 2)
            continue
        assert detector.state == twin.state
        assert detector.incarnation == twin.incarnation
        assert changed == (before != twin.state)


@pytest.mark.parametrize(
    "options",
    [
        {"interval_us": 0},
        {"missed_suspected": 0},
        {"missed_dead": 3},
        {"accrual": True, "samples": 257},
        {"accrual": True, "phi_dead": 8.0},
        {"accrual": True, "deviation_min_us": 0},
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="outside its documented range"):
        Detector(0, **options)
