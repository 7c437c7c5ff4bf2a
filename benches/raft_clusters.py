"""Clusters of three Raft nodes that take 64-byte commands: PySyncObj's, and our handles'.

PySyncObj's nodes talk over loopback, keep their logs in memory (its default) and send entries in
batches (its default, too). Its own benchmark submits from an open loop and counts callbacks; here
windows are submitted to the leader, each when every callback of the one before has said SUCCESS, so
that what is counted is committed and applied at the leader. Nodes tick without PySyncObj's thread,
which costs it less; its heartbeat, which paces its batches, and the windows are what suits it best.
`PySyncObjCluster(processes=True)` puts the two followers into processes of their own. What it logs
under such a load (entries that followers cut and take again) is not shown.

`HandleCluster` moves messages between three `Raft` handles in one process and carries their
outputs out: writes into a dict per node, then what waits for them, then applies.
"""

import logging
import os
import socket
import subprocess
import sys
import time
from collections import deque

COMMAND_BYTES = 64
HEARTBEAT_S = 0.02
ELECTION_S = (0.1, 0.2)
PATIENT_ELECTION_S = (20.0, 30.0)
DEADLINE_S = 30.0
WINDOW, WINDOW_OF_ONE_PROCESS = 4_096, 1_024
NEVER = 10**9  # its followers fail when they cut a log that was compacted


def free_ports(count: int) -> list[str]:
    """Addresses on loopback that nobody listens on at the moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{taken.getsockname()[1]}" for taken in sockets]
    for taken in sockets:
        taken.close()
    return addresses


def syncobj_node(own: str, others: list[str], leads: bool):
    """One PySyncObj node whose state machine counts what it applies."""
    from pysyncobj import SyncObj, SyncObjConf, replicated

    logging.getLogger("pysyncobj.syncobj").disabled = True

    class Counter(SyncObj):
        def __init__(self) -> None:
            shortest, longest = ELECTION_S if leads else PATIENT_ELECTION_S
            settings = SyncObjConf(
                autoTick=False,
                appendEntriesPeriod=HEARTBEAT_S,
                raftMinTimeout=shortest,
                raftMaxTimeout=longest,
                connectionTimeout=2 * PATIENT_ELECTION_S[1],
                connectionRetryTime=0.05,
                logCompactionMinEntries=NEVER,
                logCompactionMinTime=NEVER,
            )
            super().__init__(own, others, settings)
            self.applied = 0

        @replicated
        def take(self, command: bytes) -> None:
            self.applied += 1

    return Counter()


class RivalFailedError(Exception):
    """PySyncObj did not commit what it was given; the message says how it failed."""


class PySyncObjCluster:
    """Three nodes; `commit` hands commands to the leader and waits until they are committed."""

    def __init__(self, processes: bool) -> None:
        self._window = WINDOW if processes else WINDOW_OF_ONE_PROCESS
        addresses = free_ports(3)
        self._followers: list[subprocess.Popen] = []
        self._nodes = [syncobj_node(addresses[0], addresses[1:], leads=True)]
        for own in addresses[1:]:
            others = [other for other in addresses if other != own]
            if processes:
                command = [sys.executable, __file__, str(os.getpid()), own, *others]
                self._followers.append(subprocess.Popen(command))
            else:
                self._nodes.append(syncobj_node(own, others, leads=False))
        self._succeeded = 0
        self._failed: list = []
        until = time.monotonic() + DEADLINE_S
        while not (self._nodes[0]._isLeader() and self._connected() == 2):
            self._turn(0.01)
            if time.monotonic() > until:
                self.close()
                raise RivalFailedError(f"no leader after {DEADLINE_S} s")
        self.commit([os.urandom(COMMAND_BYTES)])

    def _connected(self) -> int:
        leader = self._nodes[0]
        return sum(leader.isNodeConnected(other) for other in leader.otherNodes)

    def _turn(self, wait_s: float) -> None:
        for node in self._nodes:
            node.doTick(wait_s)

    def _called_back(self, _, error) -> None:
        if error:
            self._failed.append(error)
        else:
            self._succeeded += 1

    def commit(self, commands: list[bytes]) -> None:
        """Returns once every command is committed and applied at the leader."""
        try:
            for first in range(0, len(commands), self._window):
                self._commit_window(commands[first : first + self._window])
        except Exception as error:
            raise RivalFailedError(f"{type(error).__name__}: {error}") from error

    def _commit_window(self, commands: list[bytes]) -> None:
        until = time.monotonic() + DEADLINE_S
        target = self._succeeded + len(commands)
        leader, called_back = self._nodes[0], self._called_back
        for command in commands:
            leader.take(command, callback=called_back)
        # With followers elsewhere the leader sleeps until one of them answers.
        wait_s = 0.001 if self._followers else 0.0
        while self._succeeded < target:
            self._turn(wait_s)
            if self._failed:
                raise RuntimeError(f"PySyncObj refused commands: {set(self._failed)}")
            if time.monotonic() > until:
                raise TimeoutError(f"PySyncObj committed too little in {DEADLINE_S} s")

    def close(self) -> None:
        for follower in self._followers:
            follower.terminate()
        for follower in self._followers:
            follower.wait()
        for node in self._nodes:
            node.destroy()
            node.doTick(0.0)

    def __enter__(self) -> "PySyncObjCluster":
        return self

    def __exit__(self, *_) -> None:
        self.close()


class HandleCluster:
    """Three `Raft` handles; `commit` returns once all three have applied every command."""

    SNAPSHOT_EVERY = 4096

    def __init__(self) -> None:
        from dsm_native._native.raft import Raft, RaftEntry

        self._entry = RaftEntry
        self._now = 150_000
        size = {"log_capacity": 1 << 14, "payload_capacity_bytes": 1 << 20}
        self._nodes = [
            Raft(node, (0, 1, 2), seed=node, session_capacity=0, **size) for node in range(3)
        ]
        self._disks: list[dict] = [{} for _ in self._nodes]
        self.applied = [0, 0, 0]
        self._snapshots = [0, 0, 0]
        self._letters: deque = deque()
        self._carry_out(0, self._nodes[0].campaign(self._now))
        self._deliver()
        assert self._nodes[0].role == "leader"

    def _carry_out(self, node: int, outputs) -> None:
        send_now, persist, send_after_persist, apply = outputs
        self._letters += send_now
        disk = self._disks[node]
        for key, value in persist:
            if value is None:
                disk.pop(key, None)
            else:
                disk[key] = value
        self._letters += send_after_persist
        for item in apply:
            self.applied[node] += item.entry.kind == "command"

    def _deliver(self) -> None:
        letters = self._letters
        while letters:
            message = letters.popleft()
            target = message.target
            self._carry_out(target, self._nodes[target].step(message, self._now))

    def commit(self, commands: list[bytes], batch: int = 64) -> None:
        """Proposes in batches, each delivered and applied everywhere before the next."""
        entry = self._entry
        for first in range(0, len(commands), batch):
            self._now += batch
            for node, raft in enumerate(self._nodes):
                self._carry_out(node, raft.tick(self._now))
            entries = [entry(payload=command) for command in commands[first : first + batch]]
            self._carry_out(0, self._nodes[0].propose(entries, self._now))
            self._deliver()
            self._compact()

    def _compact(self) -> None:
        for node, raft in enumerate(self._nodes):
            if raft.commit - self._snapshots[node] > self.SNAPSHOT_EVERY:
                self._snapshots[node] = raft.commit
                self._carry_out(node, raft.take_snapshot(None, self._now, keep_entries=256))


def follow(parent: int, own: str, others: list[str]) -> None:
    """A follower's process: ticks until it is told to end or its parent is gone."""
    node = syncobj_node(own, others, leads=False)
    while os.getppid() == parent:
        node.doTick(0.005)


if __name__ == "__main__":
    follow(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
