"""Handles in other processes and programs: start methods, scripts, notebooks, standard input."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys

import pytest
from processes import environment, run

import dsm_native as dsm

SMALL = "nodes=2, stripes=64"


def _use(cluster, region, key):
    region[key] = cluster["k"]
    assert type(region) is dsm.Region


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_handles_travel_to_processes_of_every_start_method(cluster, method):
    cluster["k"] = "from the owner"
    region = cluster.region("r", allow_pickle=False)
    context = multiprocessing.get_context(method)
    process = context.Process(target=_use, args=(cluster, region, method))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert region[method] == "from the owner"
    assert cluster.check().clean
    if method == "forkserver":
        multiprocessing.forkserver._forkserver._stop()
    multiprocessing.resource_tracker._resource_tracker._stop()


def test_unpickling_here_gives_the_same_handle(cluster):
    assert pickle.loads(pickle.dumps(cluster)) is cluster
    region = cluster.region("r")
    assert pickle.loads(pickle.dumps(region)) is region


def test_values_may_hold_handles(cluster):
    region = cluster.region("r")
    cluster["the region"] = region
    cluster["the region"]["k"] = 1
    assert region["k"] == 1


def test_an_unguarded_script_works(name, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"""
import dsm_native as dsm
with dsm.Cluster({SMALL}, name={name!r}) as cluster:
    factor = 3
    print(cluster.map(lambda x: x * factor, range(4)))
""")
    result = subprocess.run(
        [sys.executable, script],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (result.stdout, result.stderr) == ("[0, 3, 6, 9]\n", "")


def test_a_script_on_standard_input_works(name):
    source = f"""
import dsm_native as dsm
def double(x):
    return 2 * x
with dsm.Cluster({SMALL}, name={name!r}) as cluster:
    print(cluster.map(double, range(3)))
"""
    result = subprocess.run(
        [sys.executable, "-"], input=source,
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (result.stdout, result.stderr) == ("[0, 2, 4]\n", "")


def test_cells_of_a_notebook_work(name):
    """A notebook executes source text in one namespace, named __main__ and without a file."""
    cells = [
        "import dsm_native as dsm",
        f"cluster = dsm.Cluster({SMALL}, name={name!r})",
        "def square(x):\n    return helper(x)\ndef helper(x):\n    return x * x",
        "print(cluster.map(square, range(3)))",
        "def helper(x):\n    return -x",
        "print(cluster.map(square, range(3)))",
        "cluster.close()",
    ]
    source = f"for cell in {cells!r}: exec(compile(cell, '<cell>', 'exec'), globals())"
    result = run(source)
    assert (result.stdout, result.stderr) == ("[0, 1, 4]\n[0, -1, -2]\n", "")


def test_the_current_folder_is_not_the_nodes_business(name, tmp_path):
    for module in ("signal", "select", "threading", "cloudpickle"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('the wrong module')")
    script = tmp_path / "sub" / "script.py"
    script.parent.mkdir()
    (script.parent / "neighbour.py").write_text("def triple(x):\n    return 3 * x\n")
    script.write_text(f"""
import os, dsm_native as dsm, neighbour
with dsm.Cluster({SMALL}, name={name!r}) as cluster:
    print(cluster.map(neighbour.triple, [1, 2]), cluster.map(os.environ.get, ["PYTHONPATH"]))
""")
    result = subprocess.run(
        [sys.executable, script],
        env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    expected = f"[3, 6] [{environment()['PYTHONPATH']!r}]\n"
    assert (result.stdout, result.stderr) == (expected, "")
