"""Builds the engine's C tests in a copy of the tree, with or without a bug, and runs them.

The programs are those of tests/c and tests/kill, in their release flavour; quickest first.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 300


class Program(NamedTuple):
    """A program by its folder and target in there, and what it is started with."""

    folder: str
    target: str
    arguments: tuple[str, ...] = ()


PROGRAMS = (
    *(
        Program("tests/c", f"../../build/c/ctest/{name}")
        for name in (
            "test_sim_intent", "test_sim_peek", "test_sim_order",
            "test_sim_nodes", "test_sim_move", "test_sim_move_crash", "test_sim_balance_crash",
            "test_thread_store", "test_sim_objects", "test_crash_kill", "test_sim_crash",
            "test_sim_cut_crash",
        )
    ),
    Program("tests/kill", "../../build/kill/step", ("--quick",)),
)  # fmt: skip


def build(tree: Path, program: Program) -> None:
    quiet = ("WARNINGS=-w", "WARN=-std=gnu11 -w")  # a bug may well leave something unused
    command = ["make", "-s", "-C", str(tree / program.folder), *quiet, program.target]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}:\n{done.stderr}")


def clean_tree(work: Path) -> Path:
    tree = work / "engine"
    for folder in ("csrc", "tests/c", "tests/kill"):
        shutil.copytree(ROOT / folder, tree / folder)
    for program in PROGRAMS:
        build(tree, program)
    return tree


def failed(tree: Path, program: Program) -> str | None:
    """Where a program fails, if it does."""
    build(tree, program)
    path = tree / program.folder / program.target
    try:
        done = subprocess.run(
            [path, *program.arguments], cwd=tree / program.folder, capture_output=True,
            text=True, check=False, timeout=SECONDS_MAX,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{path.name} does not end"
    if done.returncode == 0:
        return None
    line = re.search(r"(test_\w+\.c):\d+", done.stderr)
    return line.group(0) if line else f"{program.folder}/{path.name}"


def catchers(tree: Path, *, every: bool) -> list[str]:
    """The programs that fail, up to the first unless `every`."""
    found: list[str] = []
    for program in PROGRAMS:
        if every or not found:
            found += filter(None, [failed(tree, program)])
    return found
