"""A cluster grows and shrinks while it is used: nothing is lost, and nobody waits for the move.

A writer counts in a hundred keys without a pause while nodes are added and the first ones removed,
until none of those is left that the cluster began with.
"""

import threading

import dsm_native as dsm

KEYS = 100


def count(region, stop, counted):
    while not stop.is_set():
        for key in range(KEYS):
            region.add(key, 1)
            counted[key] += 1


def main():
    with dsm.Cluster(nodes=2, replication_factor=2) as cluster:
        region = cluster.default
        region.update({f"text {number}": "x" * number for number in range(2000)})
        stop, counted = threading.Event(), [0] * KEYS
        writer = threading.Thread(target=count, args=(region, stop, counted))
        writer.start()
        first = [node.id for node in cluster.nodes]
        for node in first:
            added = cluster.add_node()
            cluster.remove_node(node)
            shares = {info.id: info.objects for info in cluster.nodes}
            print(f"node {added} in the place of node {node}; objects by node: {shares}")
        stop.set()
        writer.join()
        right = [region[key] for key in range(KEYS)] == counted
        texts = all(region[f"text {number}"] == "x" * number for number in range(2000))
        kinds = [event.kind for event in cluster.events()]
        print(f"every count is right: {right}, every text is there: {texts}")
        print(f"nodes that have left: {kinds.count('left')}, failures: {len(cluster.failures())}")
        print(f"problems in shared memory: {cluster.check().problems}")


if __name__ == "__main__":
    main()
