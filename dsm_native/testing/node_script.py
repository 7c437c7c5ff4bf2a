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

A subclass says how a node is built and adds the commands of its clients as `do_NAME` methods, and
`state`. What a core refuses (`refusals`) is printed, not raised.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from dsm_native.testing.protocol import CLIENT, NOTHING, Message, Outputs

_DELIVERIES_MAX = 10_000


class NodeScript(ABC):
    """Runs command lines; `execute` returns the printed lines."""

    refusals: ClassVar[tuple[type[Exception], ...]] = ()

    def __init__(self) -> None:
        self.now = 0
        self.printed: list[str] = []
        self.nodes: dict[int, Any] = {}
        self.settings: dict[str, int] = {}
        self.disks: dict[int, dict[Any, Any]] = {}
        self._held: dict[int, list[Outputs] | None] = {}
        self._waiting: list[Any] = []
        self._starts = 0

    @abstractmethod
    def build(self, node: int, durable: dict[Any, Any], seed: int) -> Any:
        """A node of the protocol under test, from what is durable."""

    def started(self, protocol: Any) -> Outputs:
        """What a node wants done as soon as it has started."""
        return NOTHING

    def execute(self, line: str) -> list[str]:
        """Runs one command line."""
        self.printed = []
        name, *arguments = line.split()
        run = getattr(self, "do_" + name.replace("-", "_"), None)
        if run is None:
            raise ValueError(f"no command {name!r} in {line!r}")
        try:
            run(*arguments)
        except self.refusals as refusal:
            self.printed.append(f"refused: {refusal}")
        return self.printed

    def ask(self, node: str, kind: str, body: Any = None) -> None:
        """A client's message, which no network delays."""
        message = Message(CLIENT, int(node), kind, body)
        self.take(int(node), self.living(int(node)).step(message, self.now))

    def do_nodes(self, count: str, *settings: str) -> None:
        pairs = [setting.split("=") for setting in settings]
        self.settings = {name: int(value) for name, value in pairs}
        for node in range(int(count)):
            self.disks[node] = {}
            self.do_restart(str(node))

    def do_wait(self, passed_us: str, *nodes: str) -> None:
        self.now += int(passed_us)
        for node in map(int, nodes) if nodes else sorted(self.nodes):
            if self.nodes[node] is not None:
                self.take(node, self.nodes[node].tick(self.now))

    def do_deliver(self, *links: str) -> None:
        delivered = 0
        while moving := self._on(links):
            for message in moving:
                self._deliver(message)
            delivered += len(moving)
            if delivered > _DELIVERIES_MAX:
                raise RuntimeError(f"no quiet after {delivered} messages")

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
            self.printed.append(f"lost {self.show_message(message)}")

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
        self._waiting = [m for m in self._waiting if not m.source == m.target == int(node)]

    def do_restart(self, node: str) -> None:
        number = int(node)
        self._starts += 1
        self._held[number] = None
        protocol = self.build(number, dict(self.disks[number]), self._starts)
        self.nodes[number] = protocol
        self.take(number, self.started(protocol))

    def take(self, node: int, outputs: Any) -> None:
        """Carries out what a node wants done."""
        self._send(outputs.send_now)
        held = self._held[node]
        if held is None:
            self._after_persist(node, outputs)
        elif outputs.persist or outputs.send_after_persist or outputs.apply:
            held.append(outputs)
            self.printed.append(f"  {node} waits for its disk")

    def living(self, node: int) -> Any:
        """The protocol of a node that is up."""
        if self.nodes[node] is None:
            raise ValueError(f"node {node} is down")
        return self.nodes[node]

    def _on(self, links: Iterable[str]) -> list[Any]:
        wanted = set(links)
        return [m for m in self._waiting if not wanted or f"{m.source}->{m.target}" in wanted]

    def _deliver(self, message: Any) -> None:
        self._waiting.remove(message)
        self.printed.append(self.show_message(message))
        protocol = self.nodes.get(message.target)
        if protocol is None:
            self.printed.append("  nobody there")
        else:
            self.take(message.target, protocol.step(message, self.now))

    def _send(self, messages: Iterable[Any]) -> None:
        for message in messages:
            if message.target == CLIENT:
                self.printed.append(f"  {self.show_message(message)}")
            else:
                self._waiting.append(message)

    def _after_persist(self, node: int, outputs: Any) -> None:
        disk = self.disks[node]
        for key, value in outputs.persist:
            if value is None:
                disk.pop(key, None)
                self.printed.append(f"  {node} deletes {self.show_key(key)}")
            else:
                disk[key] = value
                self.printed.append(f"  {node} writes {self.show_write(key, value)}")
        self._send(outputs.send_after_persist)
        self.printed += [f"  {node} applies {self.show(item)}" for item in outputs.apply]

    def show_message(self, message: Any) -> str:
        """A message in one short line."""
        return repr(message)

    def show_key(self, key: Any) -> str:
        """A written key in one short line."""
        return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)

    def show_write(self, key: Any, value: Any) -> str:
        """A write in one short line."""
        return f"{self.show_key(key)}: {self.show(value)}"

    def show(self, value: Any) -> str:
        """A written or applied value in one short line."""
        if isinstance(value, tuple) and type(value) is not tuple:
            return ".".join(map(str, value))
        if isinstance(value, tuple):
            return " ".join(map(self.show, value))
        return value.decode() if isinstance(value, bytes) else str(value)
