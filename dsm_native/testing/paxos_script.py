"""Scenario commands of Paxos and of CASPaxos, besides those of `NodeScript`.

nodes COUNT [acceptors=N]       the first N are acceptors (all), every node proposes
propose N KEY TEXT              PaxosScript: single decrees
change N KEY NAME [TEXT]        RegisterScript: set, append, read or delete
collect N KEY                   RegisterScript: remove a deleted register everywhere
expand|shrink NODE              RegisterScript: print the steps of a membership change
install STEP N ...              RegisterScript: give that step's config to these nodes
state                           what acceptors hold; which registers are stable
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dsm_native._native.paxos import Step, expand, majority, shrink
from dsm_native.testing.node_script import NodeScript
from dsm_native.testing.paxos_node import PaxosNode, RegisterNode


def _append(value: bytes | None, text: bytes) -> bytes:
    return (value or b"") + text


_CHANGES: dict[str, Callable[..., bytes | None]] = {
    "set": lambda value, text: text,
    "append": _append,
    "read": lambda value: value,
    "delete": lambda value: None,
}


class _AcceptorScript(NodeScript):
    def do_state(self) -> None:
        for node, protocol in sorted(self.nodes.items()):
            if protocol is None:
                self.printed.append(f"{node} is down")
                continue
            for key, acceptor in sorted(protocol.acceptors.items()):
                promised, accepted, value = acceptor.durable
                shown = "nothing" if value is None else value.decode()
                self.printed.append(
                    f"{node} k{key}: promised {self.show(promised)}, accepted"
                    f" {self.show(accepted)}, holds {shown}"
                )


class PaxosScript(_AcceptorScript):
    """Single decrees; resend after 100 us, backoff from 50 us."""

    def build(self, node: int, durable: dict[Any, Any], seed: int) -> PaxosNode:
        acceptors = range(self.settings.get("acceptors", 3))
        return PaxosNode(
            node, durable, seed, self.now, nodes=acceptors, resend_us=100, backoff_us=50
        )

    def do_propose(self, node: str, key: str, text: str) -> None:
        self.ask(node, "propose", (int(key), text.encode()))


class RegisterScript(_AcceptorScript):
    """Registers; resend after 100 us, backoff from 50 us, a change may take 1000 us."""

    def __init__(self) -> None:
        super().__init__()
        self._requests = 0
        self._steps: list[Step] = []

    def build(self, node: int, durable: dict[Any, Any], seed: int) -> RegisterNode:
        acceptors = range(self.settings.get("acceptors", 3))
        return RegisterNode(
            node, durable, seed, self.now, config=majority(acceptors),
            proposers=range(self.settings.get("proposers", 3)), changes=_CHANGES,
            timeout_us=1_000, resend_us=100, backoff_us=50,
        )  # fmt: skip

    def do_change(self, node: str, key: str, name: str, *texts: str) -> None:
        self._requests += 1
        arguments = tuple(text.encode() for text in texts)
        self.ask(node, "change", (self._requests, int(key), name, arguments))

    def do_collect(self, node: str, key: str) -> None:
        self._requests += 1
        self.ask(node, "collect", (self._requests, int(key)))

    def do_expand(self, node: str) -> None:
        self._print_steps(expand(self._acceptors(), int(node)))

    def do_shrink(self, node: str) -> None:
        self._print_steps(shrink(self._acceptors(), int(node)))

    def do_install(self, step: str, *nodes: str) -> None:
        for node in nodes:
            self._requests += 1
            self.ask(node, "configure", (self._requests, self._steps[int(step)].config))

    def do_state(self) -> None:
        super().do_state()
        for node, protocol in sorted(self.nodes.items()):
            if protocol is not None:
                stable = [key for key, register in protocol.registers.items() if register.stable]
                self.printed += [f"{node} is stable at k{key}" for key in sorted(stable)]

    def _acceptors(self) -> frozenset[int]:
        alive = next(protocol for protocol in self.nodes.values() if protocol is not None)
        accept_nodes: frozenset[int] = alive.config.accept_nodes
        return accept_nodes

    def _print_steps(self, steps: list[Step]) -> None:
        self._steps = steps
        for number, (config, rescan) in enumerate(steps):
            prepare = ",".join(map(str, sorted(config.prepare_nodes)))
            accept = ",".join(map(str, sorted(config.accept_nodes)))
            self.printed.append(
                f"{number}: prepare {config.prepare_quorum} of {prepare},"
                f" accept {config.accept_quorum} of {accept}{', then rescan' if rescan else ''}"
            )
