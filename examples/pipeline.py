"""A pipeline: producers and consumers around a queue with acknowledgement; one is killed mid-way.

Two producers put numbers, three consumers sum their digits. One of the consumers is killed with
SIGKILL while it has an item: the item is delivered again, to another one, and everything adds up.
"""

import multiprocessing
import os
import signal

import dsm_native as dsm

ITEMS, PRODUCERS, CONSUMERS = 2000, 2, 3


def produce(cluster, first):
    queue = cluster.queue("numbers", maxsize=64, acknowledge=True)
    for number in range(first, ITEMS, PRODUCERS):
        queue.put(number)


def consume(cluster):
    queue = cluster.queue("numbers", maxsize=64, acknowledge=True)
    results = cluster.region("results")
    again = cluster.counter("delivered again")
    while True:
        delivery = queue.take()
        with delivery as number:
            if number is None:
                return
            if number == ITEMS // 2 and delivery.times == 1:
                os.kill(os.getpid(), signal.SIGKILL)  # it has the item and dies with it
            again.add(delivery.times - 1)
            results[number] = sum(map(int, str(number)))


def main():
    context = multiprocessing.get_context("spawn")
    with dsm.Cluster(nodes=2) as cluster:
        producers = [context.Process(target=produce, args=(cluster, n)) for n in range(PRODUCERS)]
        consumers = [context.Process(target=consume, args=(cluster,)) for _ in range(CONSUMERS)]
        for process in producers + consumers:
            process.start()
        queue = cluster.queue("numbers", maxsize=64, acknowledge=True)
        for process in producers:
            process.join()
        queue.join()
        for _ in range(CONSUMERS - 1):
            queue.put(None)
        for process in consumers:
            process.join()
        results = cluster.region("results")
        right = all(results[n] == sum(map(int, str(n))) for n in range(ITEMS))
        killed = [process.exitcode for process in consumers].count(-signal.SIGKILL)
        print(f"{PRODUCERS} producers, {CONSUMERS} consumers, {killed} of them killed mid-way")
        print(f"delivered again: {cluster.counter('delivered again').get()}")
        print(f"{len(results)} of {ITEMS} items processed, all results right: {right}")
        assert (killed, len(results), right) == (1, ITEMS, True)


if __name__ == "__main__":
    main()
