"""Kills a writer with SIGKILL, again and again: what it was told is stored stays, nothing is torn.

The writer overwrites one key with values of 200 kB made of one number, and says so through a pipe
each time that put() has returned. After every kill the survivor reads the key at once.
"""

import multiprocessing
import os
import random
import signal
import struct
import time

import dsm_native as dsm

KILLS = 12


def write_for_ever(region, pipe, number):
    while True:
        number += 1
        region.put("big", struct.pack("<Q", number) * 25_000)
        os.write(pipe.fileno(), struct.pack("<Q", number))


def last_number(pipe):
    said = b""
    while piece := os.read(pipe.fileno(), 1 << 16):
        said += piece
    return struct.unpack_from("<Q", said, len(said) - 8)[0]


def main():
    context = multiprocessing.get_context("forkserver")
    with dsm.Cluster(nodes=3, replication_factor=2) as cluster:
        region = cluster.default
        number, lost, torn = 0, 0, 0
        for _ in range(KILLS):
            ours, theirs = context.Pipe(duplex=False)
            writer = context.Process(target=write_for_ever, args=(region, theirs, number))
            writer.start()
            theirs.close()
            ours.poll(10)  # it has begun to write
            time.sleep(random.uniform(0, 0.02))
            os.kill(writer.pid, signal.SIGKILL)
            acknowledged = last_number(ours)
            value = region["big"]
            number = struct.unpack_from("<Q", value)[0]
            torn += value != value[:8] * 25_000
            lost += number < acknowledged
            writer.join()
        print(f"{KILLS} writers killed after {number} puts")
        print(f"acknowledged puts lost: {lost}, torn values: {torn}")
        print(f"problems found in shared memory: {cluster.check().problems}")


if __name__ == "__main__":
    main()
