"""The commands of Raft's scenario files, besides those of `NodeScript`.

nodes COUNT [voters=N] [setting=value ...]     start nodes 0 .. COUNT-1
log-is NODE TERM ...   term-is NODE TERM       what a node starts with; before anything else
campaign N   tick N COUNT   propose N TEXT ...   open N   command N SESSION.SEQUENCE TEXT
change N TRANSITION [OP:NODE ...]   transfer N TO   read N CONTEXT   snapshot N KEEP
state [N]   log N   peers N
"""

from __future__ import annotations

from typing import Any

from dsm_native._native.raft import Raft, RaftEntry, RaftRefusedError
from dsm_native.testing.node_script import NodeScript
from dsm_native.testing.protocol import Outputs

_DEFAULTS: dict[str, Any] = {
    "election_timeout_us": 10, "heartbeat_us": 1, "pre_vote": False, "check_quorum": False,
}  # fmt: skip


class RaftScript(NodeScript):
    """Elections time out after 10 to 20 us, heartbeats come every us, unless a setting differs."""

    refusals = (RaftRefusedError,)

    def __init__(self) -> None:
        super().__init__()
        self._voters: tuple[int, ...] = ()

    def build(self, node: int, durable: dict[Any, Any], seed: int) -> Raft:
        return Raft(
            node, self._voters, durable=durable, now=self.now, seed=node,
            **(_DEFAULTS | self.settings),
        )  # fmt: skip

    def started(self, protocol: Raft) -> Outputs:
        return Outputs(*protocol.started)

    def show_write(self, key: Any, value: Any) -> str:
        return repr(value) if isinstance(key, int) else f"{key} {value!r}"

    def show(self, value: Any) -> str:
        return repr(value)

    def do_nodes(self, count: str, *settings: str) -> None:
        pairs = [setting for setting in settings if not setting.startswith("voters=")]
        voters = [setting for setting in settings if setting not in pairs]
        self._voters = tuple(range(int(voters[0].split("=")[1] if voters else count)))
        super().do_nodes(count, *pairs)

    def do_log_is(self, node: str, *terms: str) -> None:
        disk = self.disks[int(node)]
        disk.update({i: RaftEntry(i, int(t), "command", b"e") for i, t in enumerate(terms, 1)})
        disk["vote"] = (max(map(int, terms)), None)
        self.do_restart(node)

    def do_term_is(self, node: str, term: str) -> None:
        self.disks[int(node)]["vote"] = (int(term), None)
        self.do_restart(node)

    def do_campaign(self, node: str) -> None:
        self.take(int(node), self.living(int(node)).campaign(self.now))

    def do_tick(self, node: str, count: str) -> None:
        for _ in range(int(count)):
            self.now += 1
            self.take(int(node), self.living(int(node)).tick(self.now))

    def do_propose(self, node: str, *texts: str) -> None:
        entries = [RaftEntry(payload=text.encode()) for text in texts]
        self.take(int(node), self.living(int(node)).propose(entries, self.now))

    def do_open(self, node: str) -> None:
        entry = RaftEntry(kind="session_open")
        self.take(int(node), self.living(int(node)).propose([entry], self.now))

    def do_command(self, node: str, number: str, text: str) -> None:
        session, sequence = map(int, number.split("."))
        entry = RaftEntry(payload=text.encode(), session=session, sequence=sequence)
        self.take(int(node), self.living(int(node)).propose([entry], self.now))

    def do_change(self, node: str, transition: str, *steps: str) -> None:
        pairs = [step.split(":") for step in steps]
        change = [(op, int(target)) for op, target in pairs]
        self.take(int(node), self.living(int(node)).propose_change(transition, change, self.now))

    def do_transfer(self, node: str, target: str) -> None:
        self.take(int(node), self.living(int(node)).transfer(int(target), self.now))

    def do_read(self, node: str, context: str) -> None:
        self.take(int(node), self.living(int(node)).read(int(context), self.now))

    def do_snapshot(self, node: str, keep: str) -> None:
        raft = self.living(int(node))
        state = f"state at {raft.commit}"
        outputs = raft.take_snapshot(state, self.now, keep_entries=int(keep))
        self.take(int(node), outputs)

    def do_state(self, *nodes: str) -> None:
        for number in map(int, nodes) if nodes else sorted(self.nodes):
            raft = self.nodes[number]
            if raft is None:
                self.printed.append(f"{number} is down")
                continue
            leader = "-" if raft.leader is None else raft.leader
            self.printed.append(
                f"{number} {raft.role} term={raft.term} leader={leader} commit={raft.commit}"
                f" last={raft.last_index}/{raft.last_term} {raft.membership!r}"
            )

    def do_log(self, node: str) -> None:
        raft = self.living(int(node))
        entries = [raft.entry(i) for i in range(raft.first_index, raft.last_index + 1)]
        self.printed += [repr(entry) for entry in entries]

    def do_peers(self, node: str) -> None:
        raft = self.living(int(node))
        for number in sorted(self.nodes):
            peer = raft.peer(number)
            if peer is not None:
                paused = " paused" if peer.paused else ""
                self.printed.append(
                    f"{number} {peer.mode} match={peer.match} next={peer.next}"
                    f" inflight={peer.inflight}{paused}"
                )
