"""SIGKILL of a lock holder: the time from before the kill to the end of our own put of its key."""

import pytest
from peers import open_peer
from recovery import KEY, PutLoopHolder, check, kill_then_put

ROUNDS = 50


@pytest.mark.benchmark(group="kill a lock holder, then put")
def test_kill_then_put(benchmark, value):
    with open_peer("dsm_native") as opened:
        region = opened.region
        holder = PutLoopHolder(region)
        started = []

        def start_holder():
            if started:
                holder.reap()
            holder.start()
            started.append(holder.pid)
            return (holder.pid, region.put, KEY, value), {}

        benchmark.pedantic(kill_then_put, setup=start_holder, rounds=ROUNDS)
        holder.reap()
        check(region.get(KEY), value, "at once")
