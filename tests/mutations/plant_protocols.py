"""Plants each bug of `protocol_bugs.py` in a copy of the core and reports what catches it.

    python tests/mutations/plant_protocols.py [--all] [part of a name ...]

Runs the tests of the bug's face, quickest first, up to the first that fails; with --all, every one.
Prints one table row per bug; exit status 1 when one survives, or when the core without a bug fails.
Works in a temporary directory; needs gcc, Cython and pytest.
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
from pathlib import Path

from protocol_bugs import BUGS, Bug

ROOT = Path(__file__).resolve().parents[2]
FACES = {
    "two_phase": (
        ["two_phase_coordinator", "two_phase_participant"],
        ["test_two_phase_commit"],
        ["test_two_phase.py", "test_protocol_scenarios.py -k two_phase",
         "test_two_phase_simulation.py"],
    ),
    "paxos": (
        ["paxos", "paxos_proposer", "caspaxos", "caspaxos_collector"],
        ["test_paxos"],
        ["test_paxos.py", "test_protocol_scenarios.py -k paxos", "test_paxos_simulation.py"],
    ),
    "detector": (
        ["failure_detector", "membership", "membership_probe"],
        ["test_failure_detector"],
        ["test_detector.py", "test_protocol_scenarios.py -k 'detector or membership'",
         "test_membership.py"],
    ),
}  # fmt: skip
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
FLAGS = ("-std=gnu11", "-O1", "-fPIC", "-w")


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def translate(face: str, work: Path) -> Path:
    """A Cython face as C, once for all bugs: only what it includes changes."""
    source = ROOT / "dsm_native" / "_native" / f"{face}.pyx"
    run(sys.executable, "-m", "cython", "-3", str(source), "-o", str(work / f"{face}.c"))
    return work / f"{face}.c"


def link(tree: Path, face: str, source: Path) -> None:
    """Builds one face upon the core of a tree, into the tree's package."""
    target = tree / "dsm_native" / "_native" / f"{face}{SUFFIX}"
    run("gcc", *FLAGS, "-shared", "-I", sysconfig.get_paths()["include"], "-I",
        str(tree / "csrc"), str(source), *core(tree, face), "-lm", "-o", str(target))  # fmt: skip


def core(tree: Path, face: str) -> list[str]:
    names = [f"proto/{name}.c" for name in FACES[face][0]] + ["base/check.c", "base/status.c"]
    return [str(tree / "csrc" / name) for name in names]


def plant(clean: Path, bug: Bug, source: Path) -> Path:
    """A copy of the clean tree whose core, and face upon it, have the bug."""
    tree = Path(tempfile.mkdtemp(dir=clean.parent)) / "tree"
    shutil.copytree(clean, tree)
    place = tree / "csrc" / "proto" / bug.file
    text = place.read_text()
    if text.count(bug.old) != 1:
        raise SystemExit(
            f"{bug.name}: {bug.file} holds the text to change {text.count(bug.old)}"
            " times instead of once"
        )
    place.write_text(text.replace(bug.old, bug.new))
    link(tree, bug.face, source)
    return tree


def clean_tree(work: Path, translated: dict[str, Path]) -> Path:
    """Core, C tests and package without a bug; the tests import every face."""
    tree = work / "clean"
    shutil.copytree(ROOT / "csrc", tree / "csrc")
    shutil.copytree(ROOT / "tests" / "c", tree / "tests" / "c")
    package = tree / "dsm_native"
    shutil.copytree(ROOT / "dsm_native" / "testing", package / "testing")
    (package / "_native").mkdir()
    for empty in (package / "__init__.py", package / "_native" / "__init__.py"):
        empty.touch()
    for face, source in translated.items():
        link(tree, face, source)
    return tree


def catchers(tree: Path, face: str, *, every: bool) -> list[str]:
    """The tests that fail, up to the first unless `every`."""
    found = []
    for name in FACES[face][1]:
        program = tree / name
        run("gcc", *FLAGS, str(tree / "tests" / "c" / f"{name}.c"), *core(tree, face), "-lm",
            "-o", str(program))  # fmt: skip
        done = subprocess.run([program], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            line = re.search(r"(test_\w+\.c):\d+", done.stderr)
            found.append(line.group(0) if line else f"{name}.c")
    for test in FACES[face][2]:
        if found and not every:
            break
        done = subprocess.run(
            f"{sys.executable} -m pytest -x -q --tb=no -p no:cacheprovider {ROOT}/tests/{test}",
            shell=True, capture_output=True, text=True, check=False, cwd=tree,
            env=os.environ | {"PYTHONPATH": str(tree)},
        )  # fmt: skip
        failed = re.search(r"^(?:FAILED|ERROR) \S*?(test_\S+)", done.stdout, re.MULTILINE)
        if failed:
            found.append(failed.group(1))
        elif done.returncode != 0:
            raise SystemExit(f"{test} did not run:\n{done.stdout}{done.stderr}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="plants bugs and reports what catches them")
    parser.add_argument("--all", action="store_true", help="run every test of a face")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    chosen = [
        bug for bug in BUGS if not options.names or any(name in bug.name for name in options.names)
    ]
    survivors = 0
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        translated = {face: translate(face, work) for face in FACES}
        clean = clean_tree(work, translated)
        for face in sorted({bug.face for bug in chosen}):
            wrong = catchers(clean, face, every=True)
            if wrong:
                print(f"{face} without a bug fails in {', '.join(wrong)}")
                return 1
        print("| bug | face | caught by |\n|---|---|---|")
        for bug in chosen:
            tree = plant(clean, bug, translated[bug.face])
            found = catchers(tree, bug.face, every=options.all)
            shutil.rmtree(tree)
            survivors += not found
            print(f"| {bug.name} | {bug.face} | {', '.join(found) or 'NOTHING'} |", flush=True)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
