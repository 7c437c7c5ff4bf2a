"""What an object costs beyond its key and its value, at a million objects.

Asked of the store itself (`cluster.stats()`), as the growth of the bytes in use while the objects
go in, one copy each. What the kernel has backed of `/dev/shm` is recorded beside it: it contains
space that is reserved but free, and whatever else happens on the machine.
"""

import os

from rounds import Findings, Measurement
from workload import VALUE_BYTES, Population, value_of

BATCH = 10_000


def used_bytes(cluster) -> int:
    """Bytes in use on all nodes: tables, and slabs with the slots that are still free in them."""
    return sum(node["used_bytes"] for node in cluster.stats()["nodes"].values())


def backed_bytes() -> int:
    """Bytes of `/dev/shm` that are taken, by anybody."""
    shared = os.statvfs("/dev/shm")
    return (shared.f_blocks - shared.f_bfree) * shared.f_frsize


def fill(region, population: Population) -> None:
    """Store 64 bytes under every key of the population, in batches."""
    value = value_of()
    order = population.shuffled()
    for start in range(0, len(order), BATCH):
        region.put_many(dict.fromkeys(population.fresh(order[start : start + BATCH]), value))


def memory_per_object(cluster, region, count: int) -> Findings:
    """Fills an empty region of a cluster with one copy per object."""
    population = Population(count)
    payload = sum(map(len, population.encoded)) + count * VALUE_BYTES
    used, backed = used_bytes(cluster), backed_bytes()
    fill(region, population)
    grown = used_bytes(cluster) - used
    beyond = (grown - payload) / count
    raw = {
        "objects": count,
        "payload_bytes": payload,
        "used_bytes_grown": grown,
        "shm_backed_bytes_grown": backed_bytes() - backed,
        "stored": len(region),
    }
    note = f"{count:,} objects, replication 1"
    found = Findings(raw={"memory": raw})
    found.figures["memory"] = Measurement(beyond, beyond, beyond, 1, note)
    return found
