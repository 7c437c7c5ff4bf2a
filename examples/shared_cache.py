"""Processes of your own share a cache: each result is computed once, whoever asks first.

The processes are started by multiprocessing; a region that is passed to them attaches where it
arrives. `dsm_native.attach(name)` does the same for a process that was started by other means.
"""

import multiprocessing

import dsm_native as dsm


def slow_square(number):
    return sum(number for _ in range(number))


def ask(cache, name, start):
    computed = dsm.attach(name).region("computed")
    for step in range(300):
        number = (start + step) % 300
        if cache.get(number) is None:
            result = slow_square(number)
            try:
                cache.put(number, result, if_version=0)  # only if nobody else was faster
                computed.add("times", 1)
            except dsm.VersionConflictError:
                computed.add("in vain", 1)


def main():
    spawn = multiprocessing.get_context("spawn")
    with dsm.Cluster(nodes=2, name="example.cache") as cluster:
        cache = cluster.region("squares")
        arguments = [(cache, cluster.name, 100 * k) for k in range(3)]
        processes = [spawn.Process(target=ask, args=each) for each in arguments]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        print("exit codes:", *(process.exitcode for process in processes))
        right = all(cache[number] == number * number for number in range(300))
        print(
            f"{len(cache)} results, all of them right: {right}; "
            f"asked 900 times, stored {cluster.region('computed')['times']} times"
        )


if __name__ == "__main__":
    main()
