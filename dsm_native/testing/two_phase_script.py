"""Scenario commands of two-phase commit, besides those of `NodeScript`.

nodes COUNT [non_blocking=1]
begin N TRANSACTION PARTICIPANT ...    a client begins a transaction at node N
votes N TRANSACTION VOTE               what node N will say: yes (the default), no, read-only
state                                  where every side of every transaction stands
"""

from __future__ import annotations

from typing import Any

from dsm_native._native.two_phase import DecisionWord, Options
from dsm_native.testing.node_script import NodeScript
from dsm_native.testing.two_phase_node import TwoPhaseNode


class TwoPhaseScript(NodeScript):
    """Time-outs: votes 100 us, work 200 us, resend 30 us, inquiry 50 us."""

    def __init__(self) -> None:
        super().__init__()
        self._votes: dict[tuple[int, int], str] = {}
        self._words: dict[int, DecisionWord] = {}

    def build(self, node: int, durable: dict[Any, Any], seed: int) -> TwoPhaseNode:
        options = Options(
            vote_timeout_us=100, work_timeout_us=200, resend_us=30, inquire_timeout_us=50,
            non_blocking=bool(self.settings.get("non_blocking")),
        )  # fmt: skip
        return TwoPhaseNode(
            node, durable, seed, self.now, options=options, words=self._words,
            vote=lambda transaction: self._votes.get((node, transaction), "yes"),
        )  # fmt: skip

    def do_begin(self, node: str, transaction: str, *participants: str) -> None:
        self.ask(node, "begin", (int(transaction), tuple(map(int, participants))))

    def do_votes(self, node: str, transaction: str, vote: str) -> None:
        self._votes[int(node), int(transaction)] = vote

    def do_state(self) -> None:
        for node, protocol in sorted(self.nodes.items()):
            if protocol is None:
                self.printed.append(f"{node} is down")
                continue
            for number, side in sorted(protocol.coordinators.items()):
                self.printed.append(f"{node} coordinates t{number}: {side.state}, {side.decision}")
            for number, side in sorted(protocol.participants.items()):
                self.printed.append(f"{node} takes part in t{number}: {side.state}")
