"""One Raft core moved by hand: what it sends is kept, what it says to itself is answered at once.

Times are plain numbers: an election time-out of 10 and a heartbeat of 1, as in the paper's terms of
ticks, so `run(10)` lets an election time-out pass.
"""

from __future__ import annotations

from dsm_native._native.raft import Raft, RaftEntry, RaftMessage

ELECTION = 10


class Stepper:
    """A node whose disk is immediate. `sent` holds the messages to others since last looked at."""

    def __init__(
        self, node=0, voters=(0, 1, 2), *, entries=(), term=0, vote=None, commit=0, **more
    ):
        settings = {"election_timeout_us": ELECTION, "heartbeat_us": 1, "pre_vote": False}
        settings |= {"check_quorum": False} | more
        durable = {"vote": (term, vote), "commit": commit}
        durable |= {entry.index: entry for entry in entries}
        self.node = node
        self.now = 0
        self.raft = Raft(node, voters, durable=durable, **settings)
        self.sent: list[RaftMessage] = []
        self.applied: list[RaftEntry] = []
        self.written: dict[object, object] = {}
        self._take(self.raft.started)

    def _take(self, outputs):
        own = []
        for message in outputs.send_now + outputs.send_after_persist:
            (own if message.target == self.node else self.sent).append(message)
        self.written.update(outputs.persist)
        self.applied += [item.entry for item in outputs.apply if hasattr(item, "entry")]
        for message in own:
            self._take(self.raft.step(message, self.now))
        return outputs

    def take_sent(self):
        """The messages since the last call, ordered by target."""
        sent, self.sent = self.sent, []
        return sorted(sent, key=lambda message: message.target)

    def step(self, kind, source, term, **fields):
        return self._take(
            self.raft.step(RaftMessage(kind, source, self.node, term, **fields), self.now)
        )

    def receive(self, message):
        return self._take(self.raft.step(message, self.now))

    def run(self, ticks):
        for _ in range(ticks):
            self.now += 1
            self._take(self.raft.tick(self.now))

    def campaign(self):
        return self._take(self.raft.campaign(self.now))

    def propose(self, *payloads):
        entries = [RaftEntry(payload=payload) for payload in payloads]
        return self._take(self.raft.propose(entries, self.now))

    def lead(self, supporters=None):
        """Wins an election; nothing is acknowledged yet."""
        self.campaign()
        voters = sorted(self.raft.membership.voters)
        for voter in supporters or voters:
            if voter != self.node and self.raft.role == "candidate":
                self.step("vote_reply", voter, self.raft.term)
        assert self.raft.role == "leader"

    def commit_first(self):
        """Every follower acknowledges all that the leader has."""
        for message in self.take_sent():
            if message.kind == "append":
                self.receive(accept(message))
        self.take_sent()

    def follow(self, leader, term):
        self.step("heartbeat", leader, term)
        self.take_sent()

    def log(self):
        raft = self.raft
        return [raft.entry(i) for i in range(raft.first_index, raft.last_index + 1)]


def accept(message):
    """The acknowledgement of an append by a follower that takes all of it."""
    return RaftMessage(
        "append_reply", message.target, message.source, message.term,
        index=message.index + len(message.entries),
    )  # fmt: skip


def log_of(*terms, first=1):
    """Entries of these terms from index `first` on."""
    return [RaftEntry(first + i, term, "command", b"e") for i, term in enumerate(terms)]


def terms_of(entries):
    return [(entry.index, entry.term) for entry in entries]


def deliver(steppers, *, lost=()):
    """Passes messages between steppers until none is left; `lost` nodes receive nothing."""
    by_node = {stepper.node: stepper for stepper in steppers}
    busy, rounds = True, 0
    while busy:
        busy, rounds = False, rounds + 1
        assert rounds < 1_000, "the nodes talk without end"
        for stepper in steppers:
            for message in stepper.take_sent():
                if message.target in by_node and message.target not in lost:
                    by_node[message.target].receive(message)
                    busy = True
