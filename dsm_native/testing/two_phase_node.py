"""A node of two-phase commit: any number of transactions, in either role.

It speaks the interface of `protocol.py`: log records in `persist`, under (role, transaction);
outcomes in `apply`, as (role, transaction, outcome).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, MutableMapping
from typing import Any, cast

from dsm_native._native.two_phase import (
    Coordinator,
    DecisionWord,
    Options,
    Participant,
    TwoPhaseMessage,
    presume,
)
from dsm_native.testing.protocol import CLIENT, NOTHING, Outputs


class TwoPhaseNode:
    """One node: coordinator of what clients begin here, participant of what others begin.

    A client's message has kind "begin" and body (transaction, participants); it is answered by
    "committed" or "aborted". `vote(transaction)` is the application's say: "yes", "no", "read-only"
    or None for "not yet". `words` maps a transaction to its `DecisionWord` and is shared by all
    nodes; with `options.non_blocking` the coordinator opens one there.
    """

    def __init__(
        self,
        node: int,
        durable: Mapping[Hashable, Any],
        seed: int,
        now: int,
        *,
        options: Options,
        vote: Callable[[int], str | None],
        words: MutableMapping[int, DecisionWord] | None = None,
    ) -> None:
        self.node = node
        self.options = options
        self.vote = vote
        self.words = {} if words is None else words
        self.coordinators: dict[int, Coordinator] = {}
        self.participants: dict[int, Participant] = {}
        for entry, value in durable.items():
            role, transaction = cast(tuple[str, int], entry)
            side: Coordinator | Participant
            if role == "coordinator":
                side = self.coordinators[transaction] = Coordinator(
                    transaction, node, [node], options
                )
            else:
                side = self.participants[transaction] = Participant(
                    transaction, node, value[1], options, now
                )
            side.recover(value)

    def step(self, message: Any, now: int) -> Outputs:
        """Takes a message of a peer or a client."""
        kind = message.kind
        if kind == "begin":
            transaction, members = message.body
            return self._begin(transaction, members, now)
        if kind in ("vote", "acknowledge", "inquire"):
            coordinator = self.coordinators.get(message.transaction)
            if coordinator is None:
                return self._presume(message)
            return self._settle(coordinator, coordinator.receive(message, now), now)
        side = self.participants.get(message.transaction)
        if side is None:
            if kind != "prepare":
                return NOTHING
            side = self.participants[message.transaction] = Participant(
                message.transaction, self.node, message.source, self.options, now
            )
        return self._settle(side, side.receive(message, now), now)

    def tick(self, now: int) -> Outputs:
        """Lets every side look at the clock."""
        total = NOTHING
        sides: list[Coordinator | Participant] = list(self.coordinators.values())
        sides += self.participants.values()
        for side in sides:
            total = _joined(total, self._settle(side, side.tick(now), now))
        return total

    def _begin(self, transaction: int, participants: Iterable[int], now: int) -> Outputs:
        if transaction in self.coordinators:
            return NOTHING
        if self.options.non_blocking:
            self.words[transaction] = DecisionWord(transaction)
        side = self.coordinators[transaction] = Coordinator(
            transaction, self.node, participants, self.options
        )
        return self._settle(side, side.begin(now), now)

    def _presume(self, message: TwoPhaseMessage) -> Outputs:
        held = "aborted"
        if self.options.non_blocking and message.transaction in self.words:
            held = self.words[message.transaction].read(message.transaction)
        answer = presume(message, held)
        return Outputs(() if answer is None else (answer,), (), (), ())

    def _settle(self, side: Coordinator | Participant, asked: Any, now: int) -> Outputs:
        """Do what the call asked for besides messages: vote, decide, answer the client."""
        outputs = Outputs(*asked)
        outcome, once_durable, wanted = side.outcome, side.outcome_once_durable, side.decide
        if isinstance(side, Coordinator) and outcome != "none":
            answer = (TwoPhaseMessage(self.node, CLIENT, outcome, side.transaction),)
            now_too = Outputs(
                () if once_durable else answer, (), answer if once_durable else (), ()
            )
            outputs = _joined(outputs, now_too)
        if isinstance(side, Participant) and side.vote_wanted:
            vote = self.vote(side.transaction)
            if vote is not None:
                more = side.vote(vote, now)
                outputs = _joined(outputs, self._settle(side, more, now))
        if wanted != "none":
            word = self.words.get(side.transaction)
            held = "aborted" if word is None else word.decide(side.transaction, wanted)
            more = side.decided(held, now) if isinstance(side, Coordinator) else side.decided(held)
            outputs = _joined(outputs, self._settle(side, more, now))
        return outputs


def _joined(first: Any, second: Any) -> Outputs:
    return Outputs(*[a + b for a, b in zip(first, second, strict=True)])
