"""k-means over points in shared memory: no point is ever copied or pickled.

Each worker takes the tiles that are dealt to its node, labels their points in place and returns the
sums of its clusters. numpy alone, in one process, must find the same centres and labels.
"""

import numpy as np

import dsm_native as dsm

POINTS, AXES, CLUSTERS, ROUNDS = 20_000, 4, 5, 12


def assign(points, centres):
    """Nearest centre of each point; sums and counts by centre."""
    distances = ((points[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    labels = distances.argmin(axis=1)
    counts = np.bincount(labels, minlength=len(centres))
    sums = np.stack([points[labels == k].sum(axis=0) for k in range(len(centres))])
    return labels, sums, counts


def work(task):
    """One tile of points: labels it in shared memory. Runs on a node."""
    points, labels, rows, centres = task
    found, sums, counts = assign(np.asarray(points)[rows], centres)
    with labels.writing(rows) as block:
        block[:] = found
    return sums, counts


def main():
    draw = np.random.default_rng(11)
    middles = draw.normal(scale=4, size=(CLUSTERS, AXES))
    data = middles[draw.integers(CLUSTERS, size=POINTS)] + draw.normal(size=(POINTS, AXES))

    with dsm.Cluster(nodes=2, replication_factor=1) as cluster:
        points = cluster.array("points", data.shape, tile_rows=2_500)
        labels = cluster.array("labels", POINTS, "i8", tile_rows=2_500)
        points.copy_from(data)
        tiles = [tile.index[0] for tile in points.tiles()]
        centres = data[:CLUSTERS].copy()
        for _ in range(ROUNDS):
            found = cluster.map(work, [(points, labels, rows, centres) for rows in tiles])
            sums, counts = (sum(column) for column in zip(*found, strict=True))
            centres = sums / np.maximum(counts, 1)[:, None]
        shared_labels = labels.snapshot()
        print(f"{POINTS} points in {len(tiles)} tiles, {ROUNDS} rounds on 2 nodes")

    alone = data[:CLUSTERS].copy()
    for _ in range(ROUNDS):
        # The same parts in the same order, so that even the rounding is the same.
        found = [assign(data[rows], alone) for rows in tiles]
        sums = sum(part[1] for part in found)
        counts = sum(part[2] for part in found)
        alone, alone_labels = sums / np.maximum(counts, 1)[:, None], [part[0] for part in found]
    same = np.array_equal(centres, alone)
    same_labels = np.array_equal(shared_labels, np.concatenate(alone_labels))
    print(f"the same as numpy in one process: centres {same}, labels {same_labels}")


if __name__ == "__main__":
    main()
