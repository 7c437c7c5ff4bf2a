"""The heat equation on a shared grid, by four workers, one of which is killed on the way.

Each step reads one array and writes the other; a step ends when all its tasks have, so no task
meets half-written neighbours. The killed worker's tile is restored and its task runs again. The
result is compared, bit by bit, with what one process computes alone.
"""

import os
import signal

import numpy as np

import dsm_native as dsm

SIZE, STEPS, DEADLY_STEP = 256, 40, 17


def diffuse(halo, out):
    """One step for the rows between the first and the last of the halo."""
    inside = halo[1:-1, 1:-1]
    around = halo[:-2, 1:-1] + halo[2:, 1:-1] + halo[1:-1, :-2] + halo[1:-1, 2:]
    out[:, 1:-1] = inside + 0.2 * (around - 4 * inside)


def work(task):
    """One task: a band of rows of one step. Runs on a node."""
    step, rows, old, new = task
    with old.reading(slice(rows.start - 1, rows.stop + 1)) as halo, new.writing(rows) as band:
        diffuse(halo, band)
        if step == DEADLY_STEP and dsm.current().default.add("kills") == 1:
            band[:] = np.nan  # what a kill in the middle may leave
            os.kill(os.getpid(), signal.SIGKILL)


def start():
    grid = np.zeros((SIZE, SIZE))
    grid[0], grid[-1] = 100.0, 50.0
    grid[SIZE // 2, SIZE // 2] = 1000.0
    return grid


def main():
    with dsm.Cluster(nodes=4, replication_factor=2) as cluster:
        grids = [cluster.array(f"grid {n}", (SIZE, SIZE), tile_rows=32) for n in range(2)]
        for grid in grids:
            grid.copy_from(start())
        bands = [
            slice(max(tile.index[0].start, 1), min(tile.index[0].stop, SIZE - 1))
            for tile in grids[0].tiles()
        ]
        for step in range(STEPS):
            old, new = grids[step % 2], grids[(step + 1) % 2]
            cluster.map(work, [(step, band, old, new) for band in bands])
        shared = grids[STEPS % 2].snapshot()
        killed = [node.pid for node in cluster.nodes if node.state == "dead"]
        print(f"workers killed with SIGKILL inside a block: {len(killed)}")
        print("problems in shared memory:", cluster.check().problems)

    grid, other = start(), start()
    for _ in range(STEPS):
        diffuse(grid, other[1:-1])
        grid, other = other, grid
    print(f"{STEPS} steps of {SIZE} x {SIZE}; centre {shared[SIZE // 2, SIZE // 2]:.3f}")
    print("the same as computed by one process:", np.array_equal(shared, grid))


if __name__ == "__main__":
    main()
