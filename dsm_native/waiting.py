"""Waiting in an event loop for what changes in shared memory, without a thread per waiter.

Whoever awaits tries, and if it is not yet its turn waits for the object's word to change. That
sleep is done by a small pool of threads, in slices of at most 50 ms; all tasks of a process that
wait for the same change share one sleep. The trying is done in the loop's own thread, so that what
a cancelled task was waiting for is never taken in its name.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
import time
from collections.abc import Callable

from dsm_native._native.sync import SyncCore

SLICE_S = 0.05
THREADS_MAX = 16  # beyond so many objects awaited at once, their sleeps take turns

_guard = threading.Lock()
_pool: concurrent.futures.ThreadPoolExecutor | None = None
_sleeps: dict[tuple[str, int, int, int], concurrent.futures.Future[None]] = {}


def _forget() -> None:
    """In a forked child the threads are the parent's."""
    global _guard, _pool
    _guard, _pool = threading.Lock(), None
    _sleeps.clear()


os.register_at_fork(after_in_child=_forget)


def _sleep(core: SyncCore, which: int, prepared: int) -> concurrent.futures.Future[None]:
    global _pool
    key = (core.handle.name, core.index, which, prepared)
    with _guard:
        known = _sleeps.get(key)
        if known is not None and not known.done():
            return known
        if _pool is None:
            _pool = concurrent.futures.ThreadPoolExecutor(THREADS_MAX, "dsm-waiting")
        for old in [old for old, sleep in _sleeps.items() if sleep.done()]:
            del _sleeps[old]
        _sleeps[key] = _pool.submit(core.slumber, which, prepared, SLICE_S)
        return _sleeps[key]


async def until(
    core: SyncCore, which: int, attempt: Callable[[], bool], timeout: float | None
) -> bool:
    """Tries until `attempt` succeeds; False after `timeout` seconds (None: never)."""
    import asyncio  # here: a node that starts again has no time for what few tasks need

    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        prepared = core.prepare(which)
        if attempt():
            return True
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        sleep = asyncio.wrap_future(_sleep(core, which, prepared))
        try:
            # Others may share the sleep: leaving does not end it.
            await asyncio.wait({asyncio.shield(sleep)}, timeout=left)
        except asyncio.CancelledError:
            core.pass_on(which)
            raise
        if sleep.done() and not sleep.cancelled():
            sleep.result()
