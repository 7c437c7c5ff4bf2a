"""How long it takes to open a cluster of four nodes and to close it again.

One figure is from before `Cluster(...)` to after `close()`: segments are created, four interpreters
started, attached and ended, and everything is removed.
"""

import time

from rounds import Findings, spread

import dsm_native

NODES = 4


def lifetimes(rounds: int) -> Findings:
    opened, whole = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        with dsm_native.Cluster(nodes=NODES):
            opened.append(time.perf_counter() - started)
        whole.append(time.perf_counter() - started)
    note = f"slowest {max(whole):.2f} s; opening alone {spread(opened).value:.2f} s"
    found = Findings(raw={"lifetime_s": {"opened": opened, "opened and closed": whole}})
    found.figures["lifetime"] = spread(whole, note)
    return found
