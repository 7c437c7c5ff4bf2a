"""The commands of Raft's scenario files: a handful of nodes moved message by message.

Nothing happens by itself: messages wait until they are delivered or dropped, a node's disk may be
held, and time passes only by `tick`. Every command prints what it caused.

  nodes COUNT [voters=N] [setting=value ...]     start nodes 0 .. COUNT-1
  log-is NODE TERM ...   term-is NODE TERM       what a node starts with; before anything else
  campaign N   tick N COUNT   propose N TEXT ...   open N   command N SESSION.SEQUENCE TEXT
  change N TRANSITION [OP:NODE ...]   transfer N TO   read N CONTEXT   snapshot N KEEP
  deliver [A->B ...]     pass on what waits (on these links), and what that causes, until quiet
  step [A->B ...]        pass on what waits now, but nothing that it causes
  drop [A->B ...]        lose what waits
  hold N   disk N        writes wait from now on; carry out what waits, and wait no longer
  crash N   restart N    lose what is not durable; start from what is
  state [N]   log N   peers N
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dsm_native._native.raft import Raft, RaftEntry, RaftMessage, RaftOutputs, RaftRefusedError

_DEFAULTS: dict[str, Any] = {
    "election_timeout_us": 10, "heartbeat_us": 1, "pre_vote": False, "check_quorum": False,
}  # fmt: skip

_DELIVERIES_MAX = 10_000


class RaftScript:
    """Runs command lines; `execute` returns the printed lines."""

    def __init__(self) -> None:
        self.now = 0
        self._settings: dict[str, Any] = {}
        self._voters: tuple[int, ...] = ()
        self._nodes: dict[int, Raft | None] = {}
        self._disks: dict[int, dict[Any, Any]] = {}
        self._held: dict[int, list[RaftOutputs] | None] = {}
        self._waiting: list[RaftMessage] = []
        self._printed: list[str] = []

    def execute(self, line: str) -> list[str]:
        """Runs one command line."""
        self._printed = []
        name, *arguments = line.split()
        run = getattr(self, "do_" + name.replace("-", "_"), None)
        if run is None:
            raise ValueError(f"no command {name!r} in {line!r}")
        try:
            run(*arguments)
        except RaftRefusedError as refusal:
            self._printed.append(f"refused: {refusal}")
        return self._printed

    def do_nodes(self, count: str, *settings: str) -> None:
        pairs = dict(setting.split("=") for setting in settings)
        voters = int(pairs.pop("voters", count))
        self._voters = tuple(range(voters))
        self._settings = _DEFAULTS | {name: int(value) for name, value in pairs.items()}
        for node in range(int(count)):
            self._disks[node] = {}
            self.do_restart(str(node))

    def do_log_is(self, node: str, *terms: str) -> None:
        disk = self._disks[int(node)]
        disk.update({i: RaftEntry(i, int(t), "command", b"e") for i, t in enumerate(terms, 1)})
        disk["vote"] = (max(map(int, terms)), None)
        self.do_restart(node)

    def do_term_is(self, node: str, term: str) -> None:
        self._disks[int(node)]["vote"] = (int(term), None)
        self.do_restart(node)

    def do_campaign(self, node: str) -> None:
        self._take(int(node), self._raft(node).campaign(self.now))

    def do_tick(self, node: str, count: str) -> None:
        for _ in range(int(count)):
            self.now += 1
            self._take(int(node), self._raft(node).tick(self.now))

    def do_propose(self, node: str, *texts: str) -> None:
        entries = [RaftEntry(payload=text.encode()) for text in texts]
        self._take(int(node), self._raft(node).propose(entries, self.now))

    def do_open(self, node: str) -> None:
        entry = RaftEntry(kind="session_open")
        self._take(int(node), self._raft(node).propose([entry], self.now))

    def do_command(self, node: str, number: str, text: str) -> None:
        session, sequence = map(int, number.split("."))
        entry = RaftEntry(payload=text.encode(), session=session, sequence=sequence)
        self._take(int(node), self._raft(node).propose([entry], self.now))

    def do_change(self, node: str, transition: str, *steps: str) -> None:
        pairs = [step.split(":") for step in steps]
        change = [(op, int(target)) for op, target in pairs]
        self._take(int(node), self._raft(node).propose_change(transition, change, self.now))

    def do_transfer(self, node: str, target: str) -> None:
        self._take(int(node), self._raft(node).transfer(int(target), self.now))

    def do_read(self, node: str, context: str) -> None:
        self._take(int(node), self._raft(node).read(int(context), self.now))

    def do_snapshot(self, node: str, keep: str) -> None:
        raft = self._raft(node)
        state = f"state at {raft.commit}"
        outputs = raft.take_snapshot(state, self.now, keep_entries=int(keep))
        self._take(int(node), outputs)

    def do_deliver(self, *links: str) -> None:
        delivered = 0
        while moving := self._waiting_on(links):
            for message in moving:
                self._deliver(message)
            delivered += len(moving)
            if delivered > _DELIVERIES_MAX:
                raise RuntimeError(f"no quiet after {delivered} messages")

    def do_step(self, *links: str) -> None:
        for message in self._waiting_on(links):
            self._deliver(message)

    def do_drop(self, *links: str) -> None:
        for message in self._waiting_on(links):
            self._waiting.remove(message)
            self._printed.append(f"lost {message!r}")

    def do_hold(self, node: str) -> None:
        self._held[int(node)] = []

    def do_disk(self, node: str) -> None:
        held = self._held[int(node)] or []
        self._held[int(node)] = None
        for outputs in held:
            self._after_persist(int(node), outputs)

    def do_crash(self, node: str) -> None:
        self._nodes[int(node)] = None
        self._held[int(node)] = None
        self._waiting = [m for m in self._waiting if not m.source == m.target == int(node)]

    def do_restart(self, node: str) -> None:
        number = int(node)
        raft = Raft(
            number, self._voters, durable=self._disks[number], now=self.now, seed=number,
            **self._settings,
        )  # fmt: skip
        self._nodes[number] = raft
        self._held[number] = None
        self._take(number, raft.started)

    def do_state(self, *nodes: str) -> None:
        for number in map(int, nodes) if nodes else sorted(self._nodes):
            raft = self._nodes[number]
            if raft is None:
                self._printed.append(f"{number} is down")
                continue
            leader = "-" if raft.leader is None else raft.leader
            self._printed.append(
                f"{number} {raft.role} term={raft.term} leader={leader} commit={raft.commit}"
                f" last={raft.last_index}/{raft.last_term} {raft.membership!r}"
            )

    def do_log(self, node: str) -> None:
        raft = self._raft(node)
        entries = [raft.entry(i) for i in range(raft.first_index, raft.last_index + 1)]
        self._printed += [repr(entry) for entry in entries]

    def do_peers(self, node: str) -> None:
        raft = self._raft(node)
        for number in sorted(self._nodes):
            peer = raft.peer(number)
            if peer is not None:
                paused = " paused" if peer.paused else ""
                self._printed.append(
                    f"{number} {peer.mode} match={peer.match} next={peer.next}"
                    f" inflight={peer.inflight}{paused}"
                )

    def _raft(self, node: str) -> Raft:
        raft = self._nodes[int(node)]
        if raft is None:
            raise ValueError(f"node {node} is down")
        return raft

    def _waiting_on(self, links: Iterable[str]) -> list[RaftMessage]:
        wanted = set(links)
        return [m for m in self._waiting if not wanted or f"{m.source}->{m.target}" in wanted]

    def _deliver(self, message: RaftMessage) -> None:
        self._waiting.remove(message)
        self._printed.append(repr(message))
        raft = self._nodes.get(message.target)
        if raft is None:
            self._printed.append("  nobody there")
        else:
            self._take(message.target, raft.step(message, self.now))

    def _take(self, node: int, outputs: RaftOutputs) -> None:
        self._waiting += outputs.send_now
        held = self._held[node]
        if held is None:
            self._after_persist(node, outputs)
        elif outputs.persist or outputs.send_after_persist or outputs.apply:
            held.append(outputs)
            self._printed.append(f"  {node} waits for its disk")

    def _after_persist(self, node: int, outputs: RaftOutputs) -> None:
        for key, value in outputs.persist:
            if value is None:
                self._disks[node].pop(key, None)
                self._printed.append(f"  {node} deletes {key}")
            else:
                self._disks[node][key] = value
                shown = repr(value) if isinstance(key, int) else f"{key} {value!r}"
                self._printed.append(f"  {node} writes {shown}")
        self._waiting += outputs.send_after_persist
        self._printed += [f"  {node} applies {item!r}" for item in outputs.apply]
