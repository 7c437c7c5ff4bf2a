"""How soon changes of the nodes are followed, what is refused, and what errors say."""

from __future__ import annotations

import subprocess
import sys
import threading

from dsm_native._native.lane import Bell, Lane

HEAVY = ("asyncio", "numpy", "ssl", "subprocess", "multiprocessing", "psutil")


def test_who_deals_with_nodes_is_called_out_of_its_sleep(shared):
    bell, lane = Bell(shared._handle), Lane(shared._handle, 0)
    deaths = lane.deaths()
    bell.wait(deaths, 1)  # calls from before
    lane.wake_second()
    assert bell.wait(deaths, 1_000_000)  # a call in between is not lost
    waiting = threading.Thread(target=bell.wait, args=(deaths, 1_000_000), daemon=True)
    waiting.start()
    lane.wake_second()
    waiting.join(20)
    ended = not waiting.is_alive()
    bell.over = True
    waiting.join()
    bell.release()
    assert ended


def test_a_node_starts_without_what_it_may_never_need():
    script = "import sys, dsm_native.node; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True
    )
    assert [name for name in HEAVY if name in done.stdout.split()] == []
