"""Data flows one way: who may include or import what."""

from __future__ import annotations

import ast
import re

import pytest
from sources import core, python, relative, skins, text, without_comments

MAY_INCLUDE = {
    "base": {"base"},
    "os": {"os", "base"},
    "mem": {"mem", "base", "os"},
    "store": {"store", "base", "mem", "os"},
    "proto": {"proto", "base"},
    "node": {"node", "base", "os", "mem", "store", "proto"},
}
# Freestanding headers, and what every hosted C11 offers without asking the kernel for anything.
C_HEADERS = {
    "assert.h", "float.h", "inttypes.h", "limits.h", "math.h", "stdalign.h", "stdarg.h",
    "stdatomic.h", "stdbool.h", "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "stdnoreturn.h",
    "string.h", "immintrin.h", "x86intrin.h", "arm_neon.h", "arm_acle.h", "nmmintrin.h",
}  # fmt: skip
PURE_HEADERS = C_HEADERS - {"stdio.h", "stdlib.h", "stdatomic.h"}
# Which of our own modules a Python module may import. Later ones may import earlier ones.
PYTHON_ORDER = [
    "exceptions", "_native", "testing", "sweep", "settings", "reports", "waiting", "sync",
    "barriers", "atomics", "transaction", "key_wait", "key_lock", "region",
    "recovery", "checking", "array_geometry", "array_blocks",
    "arrays", "checkpoint_frames", "checkpoint_arrays", "checkpoint", "checkpoint_file",
    "checkpoint_directory", "checkpoint_chain", "saved", "filling", "checkpoint_timer", "queues",
    "named",
    "detection", "failures", "subscription", "injection", "membership", "progress",
    "outcomes", "parcels", "functions", "placement", "nesting", "callbacks", "requester", "node",
    "workers", "elastic", "losses", "backlog", "upkeep", "leadership", "scheduler", "executor",
    "contents", "safekeeping", "tasks", "cluster",
    "restore_arrays", "restore",
    "joblib_backend", "top", "demo", "chaos", "cli", "__main__", "__init__",
]  # fmt: skip
# A node is started by the workers but is itself a program that uses a cluster; handles that were
# pickled find their cluster where they arrive.
MAY_LOOK_UP = {
    ("node", "cluster"),
    ("region", "cluster"),
    ("arrays", "cluster"),
    ("sync", "cluster"),
}


def includes(path):
    return re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', text(path), flags=re.M)


@pytest.mark.parametrize("path", core(), ids=relative)
def test_a_layer_includes_only_lower_ones(path):
    layer = path.parent.name
    assert layer in MAY_INCLUDE, f"csrc/{layer} is no layer"
    for bracket, header in includes(path):
        if bracket == '"':
            target = (path.parent / header).resolve()
            assert target.exists(), f"{header} does not exist"
            assert target.parent.name in MAY_INCLUDE[layer], f"{layer} includes {header}"
        elif layer != "os":
            assert header in C_HEADERS, f"<{header}> is for csrc/os alone"


@pytest.mark.parametrize(
    "path", [path for path in core() if path.parent.name == "proto"], ids=relative
)
def test_protocols_are_pure(path):
    for bracket, header in includes(path):
        assert bracket == '"' or header in PURE_HEADERS, f"<{header}> lets the world in"
    calls = r"\b(?:malloc|calloc|realloc|free|time|clock|rand|random|printf|fopen|dsm_os_\w+)\s*\("
    assert not re.search(calls, without_comments(path))


@pytest.mark.parametrize("path", core(), ids=relative)
def test_raw_atomics_are_in_one_header(path):
    if relative(path) != "csrc/base/atomic.h":
        assert ("<", "stdatomic.h") not in includes(path)


@pytest.mark.parametrize("path", skins(), ids=relative)
def test_skins_import_only_what_is_below(path):
    for line in text(path).splitlines():
        match = re.match(r"\s*(?:from|import|cimport)\s+(dsm_native[\w.]*)(.*)", line)
        if match:
            module, rest = match.groups()
            below = module.startswith("dsm_native._native") or module == "dsm_native.exceptions"
            assert below or (module == "dsm_native" and rest.strip() == "import exceptions"), line


@pytest.mark.parametrize("path", python(), ids=relative)
def test_python_modules_import_downwards(path):
    here = relative(path).removeprefix("dsm_native/").removesuffix(".py").split("/")[0]
    if here == "setup":
        return
    assert here in PYTHON_ORDER, f"where does {here} stand? say so in this test"
    tree = ast.parse(text(path))
    for node in imports_at_run_time(tree):
        names = []
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.startswith("dsm_native")
        ):
            parts = node.module.split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        for name in names:
            if name not in PYTHON_ORDER or name == here or (here, name) in MAY_LOOK_UP:
                continue
            assert PYTHON_ORDER.index(name) < PYTHON_ORDER.index(here), f"{here} imports {name}"


def imports_at_run_time(tree):
    """All import statements but those under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        yield from imports_at_run_time(node)


def test_judging_histories_needs_no_extension():
    judges = {"history", "linearizability", "recorder", "register", "shrink", "verdict"}
    for path in python():
        if "/testing/" in relative(path) and path.stem in judges:
            assert "dsm_native._native" not in text(path), relative(path)
            judges.remove(path.stem)
    assert not judges
