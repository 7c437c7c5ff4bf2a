"""The instant: sums that transactions keep, writes that returned, causes before effects."""

from __future__ import annotations

import io
import multiprocessing
import threading
import time

import numpy as np
import pytest
from processes import eventually

import dsm_native as dsm

context = multiprocessing.get_context("forkserver")
ACCOUNTS = 40
ROUNDS = 8


def transfer_for_ever(region, seed, stop=None):
    """Until told or killed. Who may be killed shares no event: its lock would stay taken."""
    draw = np.random.default_rng(seed)
    while stop is None or not stop.is_set():
        source, target = (int(i) for i in draw.choice(ACCOUNTS, 2, replace=False))
        amount = int(draw.integers(1, 9))

        def move(tx, source=source, target=target, amount=amount):
            # The note's size changes, so that extents of all kinds are replaced.
            for account, sign in ((source, -amount), (target, amount)):
                balance, note = tx.region(region)[account]
                tx.region(region)[account] = (balance + sign, note[: amount * 40] or b"n" * 4000)

        region.transact(move, retries=10_000)


def count_for_ever(region, number, stop):
    """Effects after causes, over stripes: a link is put after the one that it names."""
    step = 0
    while not stop.is_set():
        step += 1
        region.put(("link", number, step), step)
        region.put(("latest", number), step)
        region.put(("large", number), step.to_bytes(8, "little") * 12_000)
        time.sleep(0.001)  # what a slow machine must save and restore stays bounded


@pytest.fixture
def writers(name):
    """A cluster with two processes that write, until the end."""
    stop = context.Event()
    with dsm.Cluster(nodes=2, stripes=32, name=name) as cluster:
        bank, chain = cluster.region("bank"), cluster.region("chain")
        for account in range(ACCOUNTS):
            bank[account] = (100, b"n" * 4000)
        processes = [
            context.Process(target=transfer_for_ever, args=(bank, 1, stop)),
            context.Process(target=count_for_ever, args=(chain, 2, stop)),
        ]
        for process in processes:
            process.start()
        while ("latest", 2) not in chain:
            time.sleep(0.01)
        yield cluster
        stop.set()
        for process in processes:
            process.join(30)
            assert process.exitcode == 0
        assert cluster.check().clean


def assert_an_instant(source):
    with dsm.restore(source, nodes=1) as cluster:
        bank, chain = cluster.region("bank"), cluster.region("chain")
        assert sum(balance for balance, _ in bank.values()) == 100 * ACCOUNTS
        latest = chain[("latest", 2)]
        links = sorted(step for kind, _, *rest in chain if kind == "link" for step in rest)
        assert links == list(range(1, len(links) + 1)), "no cause is missing"
        assert latest <= len(links) <= latest + 1
        large = int.from_bytes(chain[("large", 2)][:8], "little")
        assert chain[("large", 2)] == large.to_bytes(8, "little") * 12_000
        assert latest - 1 <= large <= latest
        assert cluster.check().clean


def test_every_checkpoint_is_an_instant(writers, tmp_path):
    streams = []
    for number in range(ROUNDS):
        writers.checkpoint(tmp_path / "directory", full=number % 3 == 0)
        file = io.BytesIO()
        writers.checkpoint(file)
        streams.append(file)
        if number % 2:
            assert_an_instant(tmp_path / "directory")
    for file in streams[::2]:
        file.seek(0)
        assert_an_instant(file)


def test_killed_writers_leave_an_instant(name):
    """Transfers whose process is killed at random, while checkpoints are taken in a row."""
    with dsm.Cluster(nodes=2, stripes=32, name=name) as cluster:
        bank = cluster.region("bank")
        for account in range(ACCOUNTS):
            bank[account] = (100, b"n" * 4000)
        files = []
        for attempt in range(10):
            child = context.Process(target=transfer_for_ever, args=(bank, attempt))
            child.start()
            before = {account: bank.get_versioned(account)[1] for account in range(ACCOUNTS)}
            eventually(
                lambda before=before: any(bank.get_versioned(a)[1] != before[a] for a in before),
                "money moves",
            )
            killer = threading.Timer(0.002 * attempt, child.kill)
            killer.start()
            for _ in range(3):
                files.append(io.BytesIO())
                cluster.checkpoint(files[-1])
            killer.join()
            child.join()
        assert cluster.check().clean
    for file in files:
        file.seek(0)
        with dsm.restore(file, nodes=1) as restored:
            balances = [balance for balance, _ in restored.region("bank").values()]
            assert (len(balances), sum(balances)) == (ACCOUNTS, 100 * ACCOUNTS)


def test_what_returned_before_is_in_it_and_what_began_after_is_not(writers):
    """Real time: a thread says what it has put, at the call and at the return."""
    region = writers.region("times")
    said = [0]
    ended = threading.Event()

    def put_on():
        while not ended.is_set():
            step = said[0] + 1
            for part in range(6):
                region.put((part, step % 5), step)
            said[0] = step

    thread = threading.Thread(target=put_on)
    thread.start()
    try:
        for _ in range(ROUNDS):
            before = said[0]
            file = io.BytesIO()
            writers.checkpoint(file)
            after = said[0]
            file.seek(0)
            with dsm.restore(file, nodes=1) as cluster:
                found = cluster.region("times")
                for part in range(6):
                    steps = [found[key] for key in found if key[0] == part]
                    latest = max(steps, default=0)
                    assert before <= latest <= after + 1, (before, latest, after)
    finally:
        ended.set()
        thread.join()


def test_arrays_are_of_the_same_instant(name, tmp_path):
    """A block writes one number everywhere, then a key tells it: the key is never ahead."""
    with dsm.Cluster(nodes=2, stripes=16, name=name) as cluster:
        grid = cluster.array("grid", (512, 512), "i4", tile_rows=32)
        cluster["number"] = 0
        ended = threading.Event()
        waits = []

        def write_on():
            number = 0
            while not ended.is_set():
                number += 1
                started = time.perf_counter()
                with grid.writing() as block:
                    block[:] = number
                waits.append(time.perf_counter() - started)
                cluster["number"] = number

        thread = threading.Thread(target=write_on)
        thread.start()
        try:
            for number in range(ROUNDS):
                cluster.checkpoint(tmp_path, full=number == 5)
                with dsm.restore(tmp_path, nodes=1) as restored:
                    content = restored.array("grid").snapshot()
                    assert content.min() == content.max()
                    assert restored["number"] <= content.min() <= restored["number"] + 1
        finally:
            ended.set()
            thread.join()
        assert len(waits) > ROUNDS


def test_raw_writes_are_written_again(tmp_path):
    """np.asarray changes no version, so that array is written as a whole each time."""
    with dsm.Cluster(nodes=1, stripes=4) as cluster:
        grid = cluster.array("grid", 100_000, "f8")
        raw = np.asarray(grid)
        for number in range(3):
            raw[number] = number + 1
            cluster.checkpoint(tmp_path)
            with dsm.restore(tmp_path) as restored:
                assert np.array_equal(restored.array("grid").snapshot(), raw)


def test_torn_tiles_are_told(tmp_path):
    with dsm.Cluster(nodes=1, stripes=4) as cluster:
        grid = cluster.array("grid", 100, "f8", undo=False)
        child = context.Process(target=die_within, args=(grid,))
        child.start()
        child.join()
        with pytest.raises(dsm.TornWriteError):
            cluster.checkpoint(tmp_path)
        grid.accept()
        assert cluster.checkpoint(tmp_path).arrays == 1


def die_within(grid):
    import os
    import signal

    with grid.writing() as block:
        block[:50] = 1
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_block_of_this_thread_is_told(tmp_path):
    with dsm.Cluster(nodes=1, stripes=4) as cluster:
        grid = cluster.array("grid", 100, "f8")
        with grid.writing() as block:
            block[:] = 3
            with pytest.raises(dsm.UsageError, match="block"):
                cluster.checkpoint(tmp_path)
        cluster.checkpoint(tmp_path)


def test_nodes_come_and_go_while_checkpoints_are_taken(writers, tmp_path):
    """Stripes move, and segments appear and go, under the walk and under what writers keep."""
    ended = threading.Event()
    failures = []

    def change_nodes():
        try:
            while not ended.is_set():
                writers.remove_node(writers.add_node())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=change_nodes)
    thread.start()
    try:
        for number in range(ROUNDS):
            writers.checkpoint(tmp_path, full=number == 4)
            if number % 2:
                assert_an_instant(tmp_path)
    finally:
        ended.set()
        thread.join()
    assert not failures
    assert_an_instant(tmp_path)
