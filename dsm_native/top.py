"""`dsm top NAME`: what a cluster is doing, looked at from outside, once or again and again."""

from __future__ import annotations

import sys
import time
from typing import Any

from dsm_native._native.mailbox import Mailbox
from dsm_native._native.waits import awaited
from dsm_native.cluster import Cluster
from dsm_native.exceptions import UsageError
from dsm_native.key_lock import held_locks
from dsm_native.settings import check_seconds

INTERVAL_S_MAX = 86_400.0
WAITS_MAX = 20  # lines about who waits for what
CLEAR = "\x1b[H\x1b[J"
COLUMNS = "node  pid      state      incarnation   tasks/s  busy  running  queued        done  pins"


class Top:
    """Keeps the last counts, so that rates can be told."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._before = self._counts()
        self._since = time.monotonic()
        awaited(cluster._handle, True)

    def _counts(self) -> dict[int, tuple[int, float, int, int]]:
        handle = self._cluster._handle
        return {node.id: Mailbox(handle, node.id).counts() for node in self._cluster.nodes}

    def lines(self) -> list[str]:
        """The table; rates are those since the last call."""
        now = time.monotonic()
        elapsed = max(now - self._since, 1e-9)
        counts = self._counts()
        stats = self._cluster.stats()
        pins = {entry["node"]: entry["pins"] for entry in stats["participants"]}
        others = sum(entry["node"] is None for entry in stats["participants"])
        lines = [f"cluster {stats['name']}, {others} other processes"]
        lines.append(COLUMNS + "    memory   objects")
        for info in self._cluster.nodes:
            done, busy, queued, running = counts.get(info.id, (0, 0.0, 0, 0))
            old = self._before.get(info.id, (done, busy))
            rate, share = (done - old[0]) / elapsed, min((busy - old[1]) / elapsed, 1.0)
            lines.append(
                f"{info.id:4}  {info.pid:<7}  {info.state:9}  {info.incarnation:11}  {rate:8,.0f}  "
                f"{share:4.0%}  {running:7}  {queued:6}  {done:10,}  {pins.get(info.id, 0):4}  "
                f"{info.bytes / 2**20:4.0f} MiB  {info.objects:8,}"
            )
        for name, objects in stats["regions"].items():
            lines.append(f"region {name!r}: {objects:,} objects")
        lines += self._waits(stats)
        self._before, self._since = counts, now
        return lines

    def _waits(self, stats: dict[str, Any]) -> list[str]:
        """What somebody waits for, and who has it: objects by name, tiles of arrays, locks of
        keys."""
        found = awaited(self._cluster._handle, True)
        lines = [f"waited for: {kind} {name!r}{_held(holder)}" for kind, name, holder in found]
        for name, array in stats["arrays"].items():
            if array["writers"] or array["readers"]:
                open_blocks = f"{array['writers']} writing, {array['readers']} reading"
                lines.append(f"array {name!r}: open blocks: {open_blocks}")
        for region, key, holder in held_locks(self._cluster.default, WAITS_MAX):
            lines.append(f"lock of key {key!r} of region {region!r}{_held(holder)}")
        return lines[:WAITS_MAX]


def _held(holder: tuple[int, str] | None) -> str:
    return "" if holder is None else f", held by pid {holder[0]} (state {holder[1]})"


def run(cluster: Cluster, once: bool, interval_s: float) -> None:
    """Prints the table, over and over unless `once`; ends with Ctrl-C or the cluster."""
    if check_seconds("interval", interval_s) > INTERVAL_S_MAX:
        raise UsageError(f"interval must be at most {INTERVAL_S_MAX:g} s, not {interval_s:g}")
    top = Top(cluster)
    while True:
        time.sleep(min(interval_s, 0.2) if once else interval_s)
        text = "\n".join(top.lines())
        print(text if once or not sys.stdout.isatty() else CLEAR + text, flush=True)
        if once:
            return
