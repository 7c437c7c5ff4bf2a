"""The commands of scenario files for any protocol: some nodes moved message by message.

Nothing happens by itself: messages wait until they are delivered or lost, a node's disk may be
held, and time passes only by `wait`. Every command prints what it caused.

  nodes COUNT [setting=value ...]   start nodes 0 .. COUNT-1
  wait US [N ...]                   let time pass, then tick these nodes (all)
  deliver [A->B ...]                pass on what waits (on these links), and what that causes
  step [A->B ...]                   pass on what waits now, but nothing that it causes
  repeat [A->B ...]                 pass on what waits now, and keep it waiting
  drop [A->B ...]                   lose what waits
  hold N   disk N                   writes wait from now on; carry out what waits
  crash N   restart N               lose what is not durable; start from what is

A subclass adds the commands of its clients as `do_NAME` methods, and `state`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dsm_native.testing.protocol import CLIENT, Message, Outputs


class NodeScript:
    """Runs command lines; `execute` returns the printed lines."""

    def __init__(self) -> None:
        self.now = 0
        self.printed: list[str] = []
        self.nodes: dict[int, Any] = {}
        self.settings: dict[str, int] = {}
        self._disks: dict[int, dict[Any, Any]] = {}
        self._held: dict[int, list[Outputs] | None] = {}
        self._waiting: list[Any] = []
        self._starts = 0

    def build(self, node: int, durable: dict[Any, Any], seed: int) -> Any:
        """A node of the protocol under test, from what is durable."""
        raise NotImplementedError

    def execute(self, line: str) -> list[str]:
        """Runs one command line."""
        self.printed = []
        name, *arguments = line.split()
        run = getattr(self, "do_" + name.replace("-", "_"), None)
        if run is None:
            raise ValueError(f"no command {name!r} in {line!r}")
        run(*arguments)
        return self.printed

    def ask(self, node: str, kind: str, body: Any = None) -> None:
        """A client's message, which no network delays."""
        message = Message(CLIENT, int(node), kind, body)
        self.take(int(node), self._living(int(node)).step(message, self.now))

    def do_nodes(self, count: str, *settings: str) -> None:
        pairs = [setting.split("=") for setting in settings]
        self.settings = {name: int(value) for name, value in pairs}
        for node in range(int(count)):
            self._disks[node] = {}
            self.do_restart(str(node))

    def do_wait(self, passed_us: str, *nodes: str) -> None:
        self.now += int(passed_us)
        for node in map(int, nodes) if nodes else sorted(self.nodes):
            if self.nodes[node] is not None:
                self.take(node, self.nodes[node].tick(self.now))

    def do_deliver(self, *links: str) -> None:
        while moving := self._on(links):
            for message in moving:
                self._deliver(message)

    def do_step(self, *links: str) -> None:
        for message in self._on(links):
            self._deliver(message)

    def do_repeat(self, *links: str) -> None:
        for message in self._on(links):
            self._waiting.append(message)
            self._deliver(message)

    def do_drop(self, *links: str) -> None:
        for message in self._on(links):
            self._waiting.remove(message)
            self.printed.append(f"lost {message!r}")

    def do_hold(self, node: str) -> None:
        self._held[int(node)] = []

    def do_disk(self, node: str) -> None:
        held = self._held[int(node)] or []
        self._held[int(node)] = None
        for outputs in held:
            self._after_persist(int(node), outputs)

    def do_crash(self, node: str) -> None:
        self.nodes[int(node)] = None
        self._held[int(node)] = None

    def do_restart(self, node: str) -> None:
        number = int(node)
        self._starts += 1
        self._held[number] = None
        self.nodes[number] = self.build(number, dict(self._disks[number]), self._starts)

    def take(self, node: int, outputs: Any) -> None:
        """Carries out what a node wants done."""
        self._send(outputs.send_now)
        held = self._held[node]
        if held is None:
            self._after_persist(node, outputs)
        elif outputs.persist or outputs.send_after_persist or outputs.apply:
            held.append(outputs)
            self.printed.append(f"  {node} waits for its disk")

    def _living(self, node: int) -> Any:
        if self.nodes[node] is None:
            raise ValueError(f"node {node} is down")
        return self.nodes[node]

    def _on(self, links: Iterable[str]) -> list[Any]:
        wanted = set(links)
        return [m for m in self._waiting if not wanted or f"{m.source}->{m.target}" in wanted]

    def _deliver(self, message: Any) -> None:
        self._waiting.remove(message)
        self.printed.append(repr(message))
        protocol = self.nodes.get(message.target)
        if protocol is None:
            self.printed.append("  nobody there")
        else:
            self.take(message.target, protocol.step(message, self.now))

    def _send(self, messages: Iterable[Any]) -> None:
        for message in messages:
            if message.target == CLIENT:
                self.printed.append(f"  {message!r}")
            else:
                self._waiting.append(message)

    def _after_persist(self, node: int, outputs: Any) -> None:
        disk = self._disks[node]
        for key, value in outputs.persist:
            name = " ".join(map(str, key)) if isinstance(key, tuple) else key
            if value is None:
                disk.pop(key, None)
                self.printed.append(f"  {node} deletes {name}")
            else:
                disk[key] = value
                self.printed.append(f"  {node} writes {name}: {self.show(value)}")
        self._send(outputs.send_after_persist)
        self.printed += [f"  {node} applies {self.show(item)}" for item in outputs.apply]

    def show(self, value: Any) -> str:
        """A written or applied value in one short line."""
        if isinstance(value, tuple) and type(value) is not tuple:
            return ".".join(map(str, value))
        if isinstance(value, tuple):
            return " ".join(map(self.show, value))
        return value.decode() if isinstance(value, bytes) else str(value)
