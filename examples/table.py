"""A shared array as columns of other libraries: pandas, pyarrow, and whoever speaks DLPack.

A two-dimensional array in F order has each column in one piece, which is how data frames keep
theirs: so their columns are the shared memory itself. What is not installed is passed over.
"""

import importlib.util

import numpy as np

import dsm_native as dsm

ROWS, COLUMNS = 1_000, ["price", "volume", "spread"]


def with_pandas(table, raw):
    import pandas as pd

    frame = pd.DataFrame(np.asarray(table), columns=COLUMNS, copy=False)
    raw[5, 0] = 123.0
    print("pandas sees the write, without a copy:", frame["price"][5] == 123.0)
    print("mean volume by pandas:", frame["volume"].mean())


def with_pyarrow(table, raw):
    import pyarrow as pa

    columns = [pa.Array.from_buffers(pa.float64(), ROWS, [None, pa.py_buffer(column)])
               for column in np.asarray(table).T]  # fmt: skip
    shown = pa.table(columns, names=COLUMNS)
    raw[6, 0] = 321.0
    print("pyarrow sees the write, without a copy:", shown["price"][6].as_py() == 321.0)


def main():
    with dsm.Cluster(nodes=2) as cluster:
        table = cluster.array("table", (ROWS, len(COLUMNS)), "f8", order="F")
        with table.writing() as block:
            block[:] = np.arange(ROWS)[:, None]
        raw = np.asarray(table)
        for package, show in (("pandas", with_pandas), ("pyarrow", with_pyarrow)):
            if importlib.util.find_spec(package) is None:
                print(f"{package} is not installed here")
            else:
                show(table, raw)
        taken = np.from_dlpack(table)
        raw[7, 2] = 1.5
        print("DLPack sees the write, without a copy:", taken[7, 2] == 1.5)


if __name__ == "__main__":
    main()
