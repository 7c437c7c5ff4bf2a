"""Who holds a block of the array "grid" in tests: another process, or another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

HOLDER = """
import dsm_native as dsm, sys
array = dsm.attach(sys.argv[1]).array("grid")
with getattr(array, sys.argv[2])(slice(0, 8)) as block:
    if sys.argv[2] == "writing":
        block[:] = 99
    print("inside", flush=True)
    sys.stdin.readline()
print("out", flush=True)
"""


def in_thread(action: Callable[[], None]) -> threading.Thread:
    """Runs the action in a thread, which is returned."""
    thread = threading.Thread(target=action)
    thread.start()
    return thread
