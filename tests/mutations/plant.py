"""Plants each bug in a copy of the C core and reports which test catches it, and how fast.

    python tests/mutations/plant.py [--all] [--face FACE] [--write] [part of a name ...]

The tests of a bug's face run quickest first, up to the first that fails; with --all, every one.
--write puts what ran into docs/mutations.md and keeps its other rows. Exit status 1 when a bug
survives, or when the core without a bug fails. Works in a temporary directory; needs gcc, Cython
and pytest, and no other extension built. Only what a bug touches is compiled again: one file, or
all when it is a header.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import elastic_bugs
import engine
import engine_bugs
import protocol_bugs
import raft_bugs
import replica_bugs
from bug import Bug

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "mutations.md"
BUGS = (
    *raft_bugs.BUGS,
    *protocol_bugs.BUGS,
    *replica_bugs.BUGS,
    *engine_bugs.BUGS,
    *elastic_bugs.BUGS,
)
SECONDS_MAX = 60
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
FLAGS = ("-std=gnu11", "-O1", "-fPIC", "-w")
BASE = ("base/check", "base/status", "base/hash", "base/md5")


class Face(NamedTuple):
    """The core files under an extension, and the tests of it: C programs first, then modules."""

    core: tuple[str, ...]
    programs: tuple[str, ...]
    modules: tuple[str, ...]


FACES = {
    "raft": Face(
        ("raft", "raft_apply", "raft_candidate", "raft_follower", "raft_leader", "raft_log",
         "raft_look", "raft_membership", "raft_progress", "raft_read", "raft_session",
         "raft_snapshot", "raft_start", "quorum"),
        (),
        ("test_raft_paper.py", "test_raft_core.py", "test_raft_reads.py",
         "test_scenarios.py", "test_raft_seeds.py"),
    ),
    "two_phase": Face(
        ("two_phase_coordinator", "two_phase_participant"),
        ("test_two_phase_commit",),
        ("test_two_phase.py", "test_protocol_scenarios.py -k two_phase",
         "test_two_phase_simulation.py", "test_trials.py -k two-phase"),
    ),
    "paxos": Face(
        ("paxos", "paxos_proposer", "caspaxos", "caspaxos_collector"),
        ("test_paxos",),
        ("test_paxos.py", "test_protocol_scenarios.py -k paxos", "test_paxos_simulation.py",
         "test_trials.py -k paxos"),
    ),
    "detector": Face(
        ("failure_detector", "membership", "membership_probe"),
        ("test_failure_detector",),
        ("test_detector.py", "test_protocol_scenarios.py -k 'detector or membership'",
         "test_membership.py", "test_trials.py -k 'membership or detector'"),
    ),
    "ring": Face(("ring", "ring_difference", "ketama"), ("test_ring",),
                 ("test_ring.py", "test_trials.py -k ring")),
    "clocks": Face(
        ("vector_clock", "hybrid_clock", "dotted_version"),
        ("test_vector_clock", "test_hybrid_clock", "test_dotted_version"),
        ("test_clocks.py", "test_trials.py -k clocks"),
    ),
    "replicas": Face(
        ("conflict", "quorum", "digest_tree", "anti_entropy", "repair_set"),
        ("test_conflict", "test_quorum", "test_anti_entropy"),
        ("test_replicas.py", "test_trials.py -k anti-entropy"),
    ),
}  # fmt: skip


EXTENSIONS = tuple(FACES)
FACES["engine"] = Face((), tuple(program.target for program in engine.PROGRAMS), ())


class Caught(NamedTuple):
    bug: Bug
    tests: list[str]
    seconds: float


def run(*command: str | Path) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(map(str, command))}:\n{done.stderr}")


def core_names(face: str) -> list[str]:
    return [*(f"proto/{name}" for name in FACES[face].core), *BASE]


def objects(tree: Path, face: str) -> list[Path]:
    return [tree / "objects" / f"{name}.o" for name in core_names(face)]


def compile_core(tree: Path, name: str) -> None:
    target = tree / "objects" / f"{name}.o"
    target.parent.mkdir(parents=True, exist_ok=True)
    run("gcc", *FLAGS, "-I", tree / "csrc", "-c", tree / "csrc" / f"{name}.c", "-o", target)


def compile_face(tree: Path, face: str) -> None:
    """A Cython face as C, once, and as an object, for each set of headers."""
    source = ROOT / "dsm_native" / "_native" / f"{face}.pyx"
    translated = tree.parent / f"{face}.c"
    if not translated.exists():
        run(sys.executable, "-m", "cython", "-3", source, "-o", translated)
    run("gcc", *FLAGS, "-I", sysconfig.get_paths()["include"], "-I", tree / "csrc",
        "-c", translated, "-o", tree / "objects" / f"{face}.o")  # fmt: skip


def link(tree: Path, face: str) -> None:
    target = tree / "dsm_native" / "_native" / f"{face}{SUFFIX}"
    run("gcc", "-shared", tree / "objects" / f"{face}.o", *objects(tree, face), "-lm", "-o", target)


def clean_tree(work: Path) -> Path:
    """Core, C tests and package without a bug; the tests import every face."""
    tree = work / "clean"
    shutil.copytree(ROOT / "csrc", tree / "csrc")
    shutil.copytree(ROOT / "tests" / "c", tree / "tests" / "c")
    package = tree / "dsm_native"
    shutil.copytree(ROOT / "dsm_native" / "testing", package / "testing")
    (package / "_native").mkdir()
    for empty in (package / "__init__.py", package / "_native" / "__init__.py"):
        empty.touch()
    shutil.copy(ROOT / "dsm_native" / "exceptions.py", package)
    # What tests/conftest.py asks about segments left behind: a package without an engine has none.
    (package / "sweep.py").write_text("def segments():\n    return []\n")
    for name in sorted({name for face in EXTENSIONS for name in core_names(face)}):
        compile_core(tree, name)
    for face in EXTENSIONS:
        compile_face(tree, face)
        link(tree, face)
    return tree


def plant(clean: Path, bug: Bug) -> Path:
    """A copy of the clean tree whose core, and face upon it, have the bug."""
    tree = bug.plant(clean, "planted")
    if bug.file.endswith(".h"):
        for name in core_names(bug.face):
            compile_core(tree, name)
        compile_face(tree, bug.face)
    else:
        compile_core(tree, f"proto/{bug.file.removesuffix('.c')}")
    link(tree, bug.face)
    return tree


def failed_program(tree: Path, face: str, name: str) -> str | None:
    """The line at which a C test fails, if it does."""
    program = tree / name
    run(
        "gcc",
        *FLAGS,
        tree / "tests" / "c" / f"{name}.c",
        *objects(tree, face),
        "-lm",
        "-o",
        program,
    )
    try:
        done = subprocess.run(
            [program], capture_output=True, text=True, check=False, timeout=SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return f"{name}.c does not end"
    if done.returncode == 0:
        return None
    line = re.search(r"(test_\w+\.c):\d+", done.stderr)
    return line.group(0) if line else f"{name}.c"


def failed_module(tree: Path, test: str) -> str | None:
    """The first test of a module that fails, if one does."""
    module, *selection = shlex.split(test)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider"]
    command += ["--rootdir", str(ROOT / "tests"), str(ROOT / "tests" / module), *selection]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tree, timeout=SECONDS_MAX,
            env=os.environ | {"PYTHONPATH": str(tree)},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{module} does not end"
    found = re.search(r"^(?:FAILED|ERROR) \S*?(test_[^\s\[]+)", done.stdout, re.MULTILINE)
    if found:
        return found.group(1)
    return f"{module} ended with status {done.returncode}" if done.returncode else None


def catchers(tree: Path, face: str, *, every: bool) -> list[str]:
    """The tests that fail, up to the first unless `every`."""
    found: list[str] = []
    for name in FACES[face].programs:
        if every or not found:
            found += filter(None, [failed_program(tree, face, name)])
    for test in FACES[face].modules:
        if every or not found:
            found += filter(None, [failed_module(tree, test)])
    return found


def title(bug: Bug) -> str:
    """The first columns of a bug's row."""
    return f"| {bug.face} | {bug.name} (`{bug.file}`) |"


class Trees:
    """Trees without a bug, made when first asked for, and the ways to plant in them."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.made: dict[bool, Path] = {}

    def clean(self, face: str) -> Path:
        of_engine = face == "engine"
        if of_engine not in self.made:
            make = engine.clean_tree if of_engine else clean_tree
            self.made[of_engine] = make(self.work)
        return self.made[of_engine]

    def catchers(self, face: str, bug: Bug | None, *, every: bool) -> list[str]:
        tree = self.clean(face)
        if face == "engine":
            return engine.catchers(bug.plant(tree, "planted-engine") if bug else tree, every=every)
        return catchers(plant(tree, bug) if bug else tree, face, every=every)


def rows(caught: list[Caught]) -> str:
    lines = ["| core | bug | caught by | after |", "| --- | --- | --- | --- |"]
    for bug, tests, seconds in caught:
        by = ", ".join(f"`{name}`" for name in tests) or "**nothing**"
        lines.append(f"{title(bug)} {by} | {seconds:.1f} s |")
    return "\n".join(lines)


def page(caught: list[Caught], before: str) -> str:
    """docs/mutations.md as a whole: the rows of what ran now, the others as they were `before`."""
    now = {one.bug.name: rows([one]).splitlines()[-1] for one in caught}
    kept = {bug.name: line for bug in BUGS for line in before.splitlines() if title(bug) in line}
    missing = [bug.name for bug in BUGS if bug.name not in kept | now]
    if missing:
        raise SystemExit(f"never run, so the page would lack: {', '.join(missing)}")
    lines = [(kept | now)[bug.name] for bug in BUGS]
    found = sum("**nothing**" not in line for line in lines)
    seconds = sum(float(line.split("|")[-2].split()[0]) for line in lines)
    per_face = ", ".join(f"{name} {n}" for name, n in Counter(bug.face for bug in BUGS).items())
    table = "\n".join([*rows([]).splitlines(), *lines])
    return f"""# Bugs planted in the core, and what catches them

Written by `make mutations` (`tests/mutations/plant.py --write`); nothing here is typed by hand.

A test that cannot fail proves nothing. Each line below is a change of a few words in one file of
`csrc/proto`, or for the engine of `csrc/store` and `csrc/mem`, kept in `tests/mutations/*_bugs.py`:
it is built into a copy of the core, and the tests of that core run against it, quickest first,
until one fails. First all of them run against the core without a bug, and must pass.

**{found} of {len(BUGS)} bugs caught** ({per_face}), in {seconds:.0f} s, one at a time, with
Python {platform.python_version()} on {platform.machine()}. The last column is the time from
planting the bug, compilation included, to the failing test.

{table}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="plants bugs and reports what catches them")
    parser.add_argument("--all", action="store_true", help="run every test of a face")
    parser.add_argument("--face", action="append", choices=sorted(FACES))
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    chosen = [
        bug
        for bug in BUGS
        if (not options.face or bug.face in options.face)
        and all(name in bug.name for name in options.names)
    ]
    caught: list[Caught] = []
    with tempfile.TemporaryDirectory() as directory:
        trees = Trees(Path(directory))
        for face in sorted({bug.face for bug in chosen}):
            wrong = trees.catchers(face, None, every=True)
            if wrong:
                print(f"{face} without a bug fails in {', '.join(wrong)}")
                return 1
        for bug in chosen:
            begin = time.monotonic()
            tests = trees.catchers(bug.face, bug, every=options.all)
            caught.append(Caught(bug, tests, time.monotonic() - begin))
            print(rows(caught[-1:]).splitlines()[-1], flush=True)
    survivors = sum(not one.tests for one in caught)
    print(f"\n{len(caught) - survivors} of {len(caught)} bugs caught")
    if options.write:
        PAGE.write_text(page(caught, PAGE.read_text()))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
