"""Four processes add to the same counter at once, and none of the additions is lost."""

import dsm_native as dsm

ROUNDS = 5_000


def add_often(worker):
    hits = dsm.current().region("hits")
    for _ in range(ROUNDS):
        hits.add("all", 1)
        hits.add(("by worker", worker), 1)
    return hits["all"]


def main():
    with dsm.Cluster(nodes=4) as cluster:
        seen = cluster.map(add_often, range(4))
        hits = cluster.region("hits")
        print("each by itself:", *(hits["by worker", worker] for worker in range(4)))
        print(f"last one saw the full count: {max(seen) == 4 * ROUNDS}")
        print(f"expected {4 * ROUNDS}, counted {hits['all']}")


if __name__ == "__main__":
    main()
