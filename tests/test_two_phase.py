"""Two-phase commit, one side at a time, against naive twins; R* section 3 names the rules."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsm_native._native.two_phase import (
    Coordinator,
    DecisionWord,
    Options,
    Participant,
    TwoPhaseMessage,
    presume,
)
from dsm_native.testing.two_phase_node import TwoPhaseNode

TIMES = {"vote_timeout_us": 100, "work_timeout_us": 150, "resend_us": 30, "inquire_timeout_us": 40}
VOTES = st.sampled_from(["yes", "no", "read-only"])


class TwinCoordinator:
    """Presumed abort as plainly as it can be written: sets, and no time but the deadline."""

    def __init__(self, participants):
        self.participants = set(participants)
        self.votes = {}
        self.acknowledged = set()
        self.outcome = "none"
        self.done = False

    def end(self, outcome):
        self.outcome = outcome
        self.done = outcome == "aborted" or not self.waiting()

    def waiting(self):
        readers = {node for node, vote in self.votes.items() if vote == "read-only"}
        return self.participants - readers - self.acknowledged

    def receive(self, kind, source, vote):
        if kind == "vote" and self.outcome == "none":
            self.votes.setdefault(source, vote)
            if vote == "no":
                self.end("aborted")
            elif len(self.votes) == len(self.participants):
                self.end("committed")
        elif kind == "acknowledge" and self.outcome == "committed":
            self.acknowledged.add(source)
            self.done = not self.waiting()

    def tick(self, now):
        if self.outcome == "none" and now >= TIMES["vote_timeout_us"]:
            self.end("aborted")


EVENTS = st.one_of(
    st.tuples(st.just("vote"), st.integers(0, 3), VOTES),
    st.tuples(st.just("acknowledge"), st.integers(0, 3), st.just("")),
    st.tuples(st.just("inquire"), st.integers(0, 3), st.just("")),
    st.tuples(st.just("tick"), st.integers(0, 40), st.just("")),
)


@given(st.sets(st.integers(0, 3), min_size=1), st.lists(EVENTS, max_size=25))
def test_a_coordinator_like_its_naive_twin(participants, events):
    coordinator = Coordinator(1, 9, participants, Options(**TIMES))
    twin = TwinCoordinator(participants)
    coordinator.begin(0)
    now, logged, voted = 0, [], {}
    for kind, number, vote in events:
        known = twin.outcome
        if kind == "tick":
            now += number
            outputs = coordinator.tick(now)
            twin.tick(now)
        elif number in participants:
            # A participant never votes twice in different ways.
            vote = voted.setdefault(number, vote) if kind == "vote" else ""
            message = TwoPhaseMessage(number, 9, kind, 1, vote)
            outputs = coordinator.receive(message, now)
            twin.receive(kind, number, vote)
        else:
            continue
        logged += [value[0] for _, value in outputs.persist]
        assert coordinator.decision == twin.outcome
        assert (coordinator.state == "done") == twin.done
        if known == "none" and twin.outcome != "none":
            assert coordinator.outcome == twin.outcome
        else:
            assert coordinator.outcome == "none"
        # Presumed abort: a commit speaks only once durable, an abort writes nothing.
        assert all(message.kind != "commit" for message in outputs.send_now)
        if twin.outcome == "aborted":
            assert not logged
        if kind == "inquire" and twin.outcome == "none":
            assert not outputs.send_now + outputs.send_after_persist
    writers = [vote for vote in voted.values() if vote != "read-only"]
    expected = [] if twin.outcome != "committed" or not writers else ["commit"]
    assert logged == expected + (["end"] if expected and twin.done else [])


class TwinParticipant:
    RANK = ("working", "asked", "prepared", "committed", "aborted", "read-only")

    def __init__(self):
        self.state = "working"
        self.deadline = TIMES["work_timeout_us"]

    def receive(self, kind):
        undecided = self.state in ("working", "asked", "prepared")
        if kind == "prepare" and self.state == "working":
            self.state = "asked"
        elif kind == "commit" and self.state in ("prepared", "committed"):
            self.state = "committed"
        elif kind == "commit":
            raise ValueError
        elif kind == "abort" and undecided:
            self.state = "aborted"

    def vote(self, vote, now):
        if self.state != "asked":
            raise ValueError
        self.state = {"yes": "prepared", "no": "aborted", "read-only": "read-only"}[vote]
        self.deadline = now + TIMES["inquire_timeout_us"]

    def tick(self, now):
        if now >= self.deadline and self.state in ("working", "asked"):
            self.state = "aborted"


PARTICIPANT_EVENTS = st.one_of(
    st.sampled_from([("prepare",), ("commit",), ("abort",)]),
    st.tuples(st.just("vote"), VOTES),
    st.tuples(st.just("tick"), st.integers(0, 60)),
)


@given(st.lists(PARTICIPANT_EVENTS, max_size=20), st.booleans())
def test_a_participant_like_its_naive_twin(events, non_blocking):
    options = Options(**TIMES, non_blocking=non_blocking)
    side, twin, now, durable = Participant(1, 2, 0, options, 0), TwinParticipant(), 0, []
    for kind, *rest in events:
        before = twin.state
        refused = False
        try:
            if kind == "vote":
                twin.vote(rest[0], now)
            elif kind == "tick":
                now += rest[0]
                twin.tick(now)
            else:
                twin.receive(kind)
        except ValueError:
            refused = True
        if kind == "vote":
            call = partial(side.vote, rest[0], now)
        elif kind == "tick":
            call = partial(side.tick, now)
        else:
            call = partial(side.receive, TwoPhaseMessage(0, 2, kind, 1), now)
        if refused:
            with pytest.raises(ValueError, match="."):
                call()
            assert side.state == before
            continue
        outputs = call()
        assert side.state == twin.state
        durable += [value for _, value in outputs.persist]
        changed = before != side.state
        assert (side.outcome != "none") == (changed and side.state in ("committed", "aborted"))
        # A yes and an acknowledgement leave only once durable.
        assert all(
            message.vote != "yes" and message.kind != "acknowledge" for message in outputs.send_now
        )
        asks = [message.kind for message in outputs.send_now] == ["inquire"]
        assert asks <= (side.state == "prepared" and not non_blocking)
        assert (side.decide == "aborted") <= (side.state == "prepared" and non_blocking)
    # Whoever restarts from the records is where it was, unless it had promised nothing.
    again = Participant(1, 2, 0, options, now)
    for value in durable:
        again.recover(value)
    if side.state in ("prepared", "committed") or "prepared" in [value[0] for value in durable]:
        assert again.state == side.state


def test_a_recovered_coordinator_goes_on_telling_until_all_acknowledge():
    coordinator = Coordinator(5, 0, [1, 2], Options(**TIMES))
    coordinator.begin(0)
    coordinator.receive(TwoPhaseMessage(1, 0, "vote", 5, "yes"), 1)
    record = coordinator.receive(TwoPhaseMessage(2, 0, "vote", 5, "yes"), 1).persist[0]
    again = TwoPhaseNode(0, dict([record]), 0, 50, options=Options(**TIMES), vote=lambda _: "yes")
    sent = again.tick(50).send_after_persist
    assert [(message.kind, message.target) for message in sent] == [("commit", 1), ("commit", 2)]
    again.step(TwoPhaseMessage(1, 0, "acknowledge", 5), 60)
    assert [message.target for message in again.tick(90).send_after_persist] == [2]
    ended = again.step(TwoPhaseMessage(2, 0, "acknowledge", 5), 95)
    assert ended.persist == ((("coordinator", 5), ("end", 0, 0, False)),)
    assert not any(again.tick(500))


def test_no_record_means_abort_but_the_word_knows_better():
    inquiry = TwoPhaseMessage(3, 0, "inquire", 8)
    assert presume(inquiry) == TwoPhaseMessage(0, 3, "abort", 8)
    assert presume(inquiry, "committed") == TwoPhaseMessage(0, 3, "commit", 8)
    assert presume(inquiry, "none") is None
    assert presume(TwoPhaseMessage(3, 0, "vote", 8, "no")) is None
    words = {8: DecisionWord(8)}
    words[8].decide(8, "committed")
    node = TwoPhaseNode(0, {}, 0, 0, options=Options(non_blocking=True), vote=None, words=words)
    late = node.step(TwoPhaseMessage(3, 0, "vote", 8, "yes"), 1)
    assert late.send_now == (TwoPhaseMessage(0, 3, "commit", 8),)


@given(st.lists(st.sampled_from(["committed", "aborted"]), min_size=1))
def test_the_first_swap_of_a_word_is_the_decision(wishes):
    word = DecisionWord(3)
    assert word.read(3) == "none"
    assert {word.decide(3, wish) for wish in wishes} == {wishes[0]}
    assert word.read(3) == wishes[0]
    word.open(4)
    assert word.read(3) == "aborted"
    assert word.decide(3, "committed") == "aborted"
    assert word.read(4) == "none"


def test_arguments_outside_their_range_are_refused():
    options = Options()
    with pytest.raises(ValueError, match="0 to 63, but is 64"):
        Coordinator(1, 0, [64], options)
    with pytest.raises(ValueError, match="a decision word is 0 to 4611686018427387903"):
        DecisionWord(1 << 62)
    with pytest.raises(ValueError, match="documented range"):
        Coordinator(1, 0, [], options)
    with pytest.raises(ValueError, match="neither"):
        DecisionWord(1).decide(1, "none")
