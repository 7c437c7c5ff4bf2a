"""Plants each bug of `raft_bugs.py` in a copy of the core and reports which test catches it.

    python tests/mutations/plant.py [--jobs N] [--all] [--only MODULE] [part of a name ...]

Prints one table row per bug: the first test that fails, or with --all the first of each module;
with --only, what a single module, such as the simulation's, finds.
Exit status 1 when a bug survives, or when the core without a bug fails. Works in a temporary
directory; needs gcc, Cython and pytest, and no other extension built.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from raft_bugs import BUGS, Bug

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("test_raft_paper.py", "test_raft_core.py", "test_raft_reads.py", "test_scenarios.py",
         "test_raft_seeds.py")  # fmt: skip
SECONDS_MAX = 600
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
FLAGS = ("-std=gnu11", "-O1", "-fPIC", "-I", sysconfig.get_paths()["include"])


def run(*command: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True, **more)


def compile_face(work: Path) -> Path:
    """The Cython face, once for all bugs: it does not change."""
    source = ROOT / "dsm_native" / "_native" / "raft.pyx"
    run(sys.executable, "-m", "cython", "-3", str(source), "-o", str(work / "raft_face.c"))
    face = work / "raft_face.o"
    run("gcc", *FLAGS, "-I", str(ROOT / "csrc"), "-c", str(work / "raft_face.c"), "-o", str(face))
    return face


def build(work: Path, face: Path, bug: Bug | None) -> Path:
    """A directory with a package whose core has the bug."""
    tree = Path(tempfile.mkdtemp(dir=work))
    shutil.copytree(ROOT / "csrc", tree / "csrc")
    package = tree / "dsm_native"
    shutil.copytree(ROOT / "dsm_native" / "testing", package / "testing")
    (package / "_native").mkdir()
    for empty in (package / "__init__.py", package / "_native" / "__init__.py"):
        empty.touch()
    if bug is not None:
        place = tree / "csrc" / "proto" / bug.file
        text = place.read_text()
        if text.count(bug.old) != 1:
            raise SystemExit(
                f"{bug.name}: {bug.file} holds the text to change"
                f" {text.count(bug.old)} times instead of once"
            )
        place.write_text(text.replace(bug.old, bug.new))
    proto = tree / "csrc" / "proto"
    sources = [*sorted(proto.glob("raft*.c")), proto / "quorum.c"]
    sources += [tree / "csrc" / "base" / "check.c", tree / "csrc" / "base" / "status.c"]
    run("gcc", *FLAGS, "-shared", "-I", str(tree / "csrc"), str(face), *map(str, sources),
        "-o", str(package / "_native" / f"raft{SUFFIX}"))  # fmt: skip
    return tree


def catchers(tree: Path, options: argparse.Namespace) -> list[str]:
    """For each test module, the first of its tests that fails; by default for one module."""
    found = []
    environment = os.environ | {"PYTHONPATH": str(tree)}
    for module in options.only or TESTS:
        command = (sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider")
        command += ("--rootdir", str(ROOT / "tests"), str(ROOT / "tests" / module))
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                env=environment,
                cwd=tree,
                check=False,
                timeout=SECONDS_MAX,
            )
        except subprocess.TimeoutExpired:
            found.append(f"{module} does not end")
            break
        failed = re.search(r"^(?:FAILED|ERROR) \S*?(test_\S+)", done.stdout, re.MULTILINE)
        if failed:
            found.append(failed.group(1))
        elif done.returncode != 0:
            found.append(f"{module} ended with status {done.returncode}")
        if found and not options.all:
            break
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", action="append", metavar="MODULE")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    chosen = [bug for bug in BUGS if all(name in bug.name for name in options.names)]
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        face = compile_face(work)

        def hunt(bug: Bug | None) -> list[str]:
            tree = build(work, face, bug)
            found = catchers(tree, options)
            shutil.rmtree(tree)
            return found

        healthy = hunt(None)
        if healthy:
            print(f"without any bug: {', '.join(healthy)}")
            return 1
        print("| bug | caught by |\n|---|---|", flush=True)
        survivors = 0
        with ThreadPoolExecutor(options.jobs) as pool:
            for bug, found in zip(chosen, pool.map(hunt, chosen), strict=True):
                survivors += not found
                caught = ", ".join(f"`{name}`" for name in found) or "**nothing**"
                print(f"| {bug.name} | {caught} |", flush=True)
    print(f"\n{len(chosen) - survivors} of {len(chosen)} bugs caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
