"""A process that SIGSTOP has met within a put, so that it holds the stripe of the key "held"."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from processes import said, started

import dsm_native as dsm

HOLDER = """
import dsm_native as dsm, sys
cluster = dsm.attach(sys.argv[1])
value = bytes(32 << 20)
print("ready", flush=True)
while True:
    cluster["held"] = value
"""


@contextmanager
def stopped_holder(cluster: dsm.Cluster) -> Iterator[subprocess.Popen[str]]:
    """Such a process; killed at the end. It goes on by SIGCONT."""
    with started(HOLDER, cluster.name) as holder:
        said(holder, "ready")
        _stop_within_put(cluster, holder)
        yield holder


def _stop_within_put(cluster: dsm.Cluster, holder: subprocess.Popen[str]) -> None:
    # Within its put when one of ours is not granted.
    for _ in range(200):
        os.kill(holder.pid, signal.SIGSTOP)
        try:
            cluster.default.put("held", b"probe", timeout=0.05)
        except dsm.LockTimeoutError:
            return
        os.kill(holder.pid, signal.SIGCONT)
        time.sleep(0.003)
    pytest.fail("the child was never stopped while it held the stripe")
