"""`dsm top NAME`: what a cluster is doing, looked at from outside, once or again and again."""

from __future__ import annotations

import sys
import time

from dsm_native._native.mailbox import Mailbox
from dsm_native.cluster import Cluster

CLEAR = "\x1b[H\x1b[J"
COLUMNS = "node  pid      state  incarnation   tasks/s  busy  running  queued        done  pins"


class Top:
    """Keeps the last counts, so that rates can be told."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._before = self._counts()
        self._since = time.monotonic()

    def _counts(self) -> dict[int, tuple[int, float, int, int]]:
        handle = self._cluster._handle
        return {info.id: Mailbox(handle, info.id).counts() for info in self._cluster.nodes}

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
                f"{info.id:4}  {info.pid:<7}  {info.state:5}  {info.incarnation:11}  {rate:8,.0f}  "
                f"{share:4.0%}  {running:7}  {queued:6}  {done:10,}  {pins.get(info.id, 0):4}  "
                f"{info.bytes / 2**20:4.0f} MiB  {info.objects:8,}"
            )
        for name, objects in stats["regions"].items():
            lines.append(f"region {name!r}: {objects:,} objects")
        self._before, self._since = counts, now
        return lines


def run(cluster: Cluster, once: bool, interval_s: float) -> None:
    """Prints the table, over and over unless `once`; ends with Ctrl-C or the cluster."""
    top = Top(cluster)
    while True:
        time.sleep(min(interval_s, 0.2) if once else interval_s)
        text = "\n".join(top.lines())
        print(text if once or not sys.stdout.isatty() else CLEAR + text, flush=True)
        if once:
            return
