"""Processes that tests start: scripts, waiting for what they do, what they leave behind.

Clusters of tests bear names with this session's prefix, so that what other programs keep in
/dev/shm is neither counted nor touched.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from dsm_native import sweep

ROOT = Path(__file__).resolve().parent.parent
PREFIX = f"t{os.getpid()}."
PATIENCE_S = 20.0
_serial = itertools.count(1)


def fresh_name() -> str:
    """A cluster name that this session never used before."""
    return f"{PREFIX}{next(_serial)}"


def segments_of(name: str) -> list[str]:
    """Segments whose names begin with the cluster name (or name prefix)."""
    return [found for found in sweep.segments() if found.split("-", 2)[2].startswith(name)]


def node_pids(name: str) -> list[int]:
    """Processes of nodes of clusters whose names begin so, zombies left out."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        if "dsm_native.node" in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found += [process.pid for word in line if word.startswith(name)][:1]
    return found


def eventually(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Waits until the condition holds; fails with `what` when it does not in time."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience_s:g} s: {what}"
        time.sleep(0.01)


def gone(name: str, patience_s: float = PATIENCE_S) -> None:
    """Waits until neither segments nor nodes of that name are left."""
    eventually(lambda: not segments_of(name), f"segments {segments_of(name)} vanish", patience_s)
    eventually(lambda: not node_pids(name), f"nodes {node_pids(name)} end", patience_s)


def environment(**more: str) -> dict[str, str]:
    """Ours, with this package importable and the test's own variables."""
    # From 3.12 Python warns of any fork beside a thread. The service thread takes no lock that a
    # child could find taken: forking is what some of these scripts are for.
    quiet = "ignore:This process:DeprecationWarning"
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": quiet,
        **more,
    }


def run(source: str, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs a script to its end by `python -c`; the test looks at its status and output."""
    return subprocess.run(
        [sys.executable, "-c", source, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,  # type: ignore[call-overload]
    )


@contextmanager
def started(source: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A script that runs beside the test, with pipes; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", source, *arguments],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.communicate()


def said(process: subprocess.Popen[str], expected: str) -> None:
    """Reads the script's next line, which must be the expected one."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line == expected, f"expected {expected!r}, the script said {line!r}"
