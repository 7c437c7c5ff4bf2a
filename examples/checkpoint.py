"""Takes checkpoints of a bank while money moves, kills it all, and goes on from the last one.

The sum of all accounts is the same in each checkpoint, however many transfers run beside it: it is
one instant. After the SIGKILL of every process of the cluster, its owner included, a cluster with
another number of nodes is made of what is on the disk.
"""

import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import threading
import time

import dsm_native as dsm

ACCOUNTS = 50
CHECKPOINTS = 6


def transfer(bank, rng):
    source, target = rng.sample(range(ACCOUNTS), 2)

    def move(tx):
        tx[source] -= 1
        tx[target] += 1

    bank.transact(move, retries=10_000)


def run_bank(path, pipe):
    with dsm.Cluster(nodes=2) as cluster:
        bank = cluster.region("bank")
        bank.update(dict.fromkeys(range(ACCOUNTS), 100))
        history = cluster.array("history", 1000, "i8")
        rng, transfers = random.Random(1), 0
        for number in range(CHECKPOINTS):
            taking = threading.Thread(target=cluster.checkpoint, args=(path,))
            taking.start()
            while taking.is_alive():
                transfer(bank, rng)
                transfers += 1
            with history.writing(number) as block:
                block[...] = transfers
        pipe.send((transfers, [node.pid for node in cluster.nodes]))
        time.sleep(60)


def main():
    path = tempfile.mkdtemp(prefix="dsm-bank-")
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    owner = multiprocessing.get_context("spawn").Process(target=run_bank, args=(path, theirs))
    owner.start()
    transfers, pids = ours.recv()
    print(f"{CHECKPOINTS} checkpoints while money moved: {transfers >= CHECKPOINTS}")
    for pid in [owner.pid, *pids]:
        os.kill(pid, signal.SIGKILL)
    owner.join()
    dsm.clean()
    print(f"verified: {dsm.verify(path).sound}")
    with dsm.restore(path, nodes=3) as cluster:
        bank = cluster.region("bank")
        print(
            f"restored onto {len(cluster.nodes)} nodes; sum of all accounts: {sum(bank.values())}"
        )
        print(f"array restored: {cluster.array('history').snapshot()[0] > 0}")
        before = bank.get_versioned(0)[1]
        print(f"versions go on: {bank.put(0, 0) > before > 0}")
        print(f"problems in shared memory: {cluster.check().problems}")
    shutil.rmtree(path)


if __name__ == "__main__":
    main()
