"""The C figures: builds the program of `benches/c` from the checkout's sources, and runs it.

Each compiler that is here builds its own copy in `build/bench`, with the flags of a release of the
extension. The first of them that exists is the one whose figures are judged.
"""

import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
OUTPUT = ROOT / "build" / "bench"
COMPILERS = tuple(dict.fromkeys((os.environ.get("CC", "gcc").split()[0], "gcc", "clang")))
FLAGS = ("-std=gnu11", "-O3", "-g1", "-fPIC", "-fwrapv", "-DNDEBUG", "-fvisibility=hidden")
FLAGS += ("-Wall", "-Wextra", "-Werror")


class NoCompilerError(Exception):
    """None of the compilers is on the PATH; the message names them."""


def compilers() -> tuple[str, ...]:
    """Those that are here, the judged one first."""
    here = tuple(name for name in COMPILERS if shutil.which(name))
    if not here:
        raise NoCompilerError(f"none of {', '.join(COMPILERS)} is on the PATH")
    return here


@cache
def program(compiler: str) -> Path:
    """The built program; what was built from these very files before is used again."""
    folders = [ROOT / folder for folder in ("benches/c", "csrc/base", "csrc/proto")]
    files = sorted(path for folder in folders for path in folder.glob("*.[ch]"))
    contents = hashlib.sha256(" ".join(FLAGS).encode())
    for path in files:
        contents.update(path.read_bytes())
    final = OUTPUT / f"protocols-{compiler}-{contents.hexdigest()[:16]}"
    if not final.exists():
        OUTPUT.mkdir(parents=True, exist_ok=True)
        built = OUTPUT / f"{final.name}-{os.getpid()}"
        sources = [str(path) for path in files if path.suffix == ".c"]
        subprocess.run([compiler, *FLAGS, *sources, "-o", str(built), "-lm"], check=True)
        built.replace(final)
    return final


def version(compiler: str) -> str:
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()[0]


def figures(part: str, rounds: int, compiler: str | None = None) -> dict[str, list[float]]:
    """Nanoseconds per operation of every round, by the names that the C files document."""
    ran = subprocess.run(
        [str(program(compiler or compilers()[0])), part, str(rounds)],
        check=True,
        capture_output=True,
        text=True,
    )
    found = {}
    for line in ran.stdout.splitlines():
        name, *taken = line.split()
        found[name] = [float(ns) for ns in taken]
    return found
