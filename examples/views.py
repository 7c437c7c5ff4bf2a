"""An array is looked at where it lies in shared memory, by every process, without a copy."""

import numpy as np

import dsm_native as dsm


def total(row):
    matrix = dsm.current().region("data").view("matrix")  # nothing is copied or unpickled
    return float(matrix[row].sum())


def main():
    source = np.arange(1_000_000, dtype="f8").reshape(1000, 1000)
    with dsm.Cluster(nodes=2) as cluster:
        data = cluster.region("data")
        data["matrix"] = source
        same = cluster.map(total, range(1000)) == source.sum(axis=1).tolist()
        print("row sums on the nodes are right:", same)

        view = data.view("matrix")
        print("type:", type(view).__name__, view.shape, "writeable:", view.flags.writeable)
        data["matrix"] = np.zeros(3)  # a new object in new memory; the old one is pinned
        print("the region has", data["matrix"].shape, "now, the view still", view.shape)
    print("after the cluster has ended, the view is unchanged:", np.array_equal(view, source))


if __name__ == "__main__":
    main()
