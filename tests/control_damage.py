"""Damages one area of a control segment, and looks at what processes make of it.

usage: python control_damage.py [AREA ...] sweeps all areas of docs/segment-format.md (or these,
"file" being the file as a whole), with an owner and with one that was killed, and prints what was
not as it must be: no process ends, none hangs, no value is wrong. What a process is refused by a
typed error is shown. A truncated file ends who touches it (docs/guarantees.md): there it is the
newcomer that counts.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from processes import ROOT, environment, node_pids, segments_of
from segments import Segment

PROBE = Path(__file__).with_name("control_probe.py")
LIMIT_S = 120
SETTLED_S = 0.3  # a few heartbeats
HOWS = ("zeroed", "ones", "flips")
FILES = ("truncated", "emptied", "unlinked")
STRIPES, SEGMENT_BYTES = 64, 16 << 20


def areas() -> dict[str, tuple[int, int]]:
    """Begin and end of each area in a cluster of control_probe.py, told by the headers."""
    text = (ROOT / "docs/segment-format.md").read_text()
    names = re.findall(r"\| [\d,]+ \| `(\w+)` \|$", text, re.MULTILINE)
    names = names[: names.index("control_bytes") + 1]
    return between(["header", *names], measured(names))


def measured(names: list[str]) -> dict[str, int]:
    prints = "".join(f'printf("{name} %zu\\n", (size_t)layout.{name});' for name in names)
    source = (
        '#include <stdio.h>\n#include "mem/layout.h"\nint main(void) { dsm_layout layout;'
        f"dsm_config_shm config = {{.node_segment_bytes = {SEGMENT_BYTES}, .node_count = 2,"
        f".stripe_count = {STRIPES}, .replicas = 2}};"
        "if (dsm_layout_compute(&config, &layout) != DSM_OK) return 1;" + prints + "}"
    )
    core = ROOT / "csrc"
    program = f"/tmp/dsm-areas-{os.getpid()}"
    files = [core / "mem/layout.c", core / "base/hash.c", core / "base/check.c"]
    command = ["gcc", "-std=gnu11", f"-I{core}", "-x", "c", "-", *map(str, files), "-o", program]
    subprocess.run(command, input=source, text=True, check=True)
    told = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    os.unlink(program)
    return {line.split()[0]: int(line.split()[1]) for line in told.splitlines()}


def between(names: list[str], begins: dict[str, int]) -> dict[str, tuple[int, int]]:
    begins = {"header": 0, **begins}
    names = sorted(names, key=begins.__getitem__)
    after = dict(itertools.pairwise(names))
    return {name: (begins[name], begins[after[name]]) for name in names[:-1]}


def pages(path: str, begin: int, end: int) -> list[int]:
    """Those of the range that have memory."""
    found, at = [], begin
    with open(path, "rb") as file:
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            hole = min(os.lseek(file.fileno(), at, os.SEEK_HOLE), end)
            found += range(at, hole, 4096)
            at = hole
    return found


def damage(name: str, span: tuple[int, int], how: str, draw: random.Random) -> None:
    segment = Segment(name)
    if how == "truncated":
        os.truncate(segment.path, 8192)
    elif how == "emptied":
        os.truncate(segment.path, 0)
    elif how == "unlinked":
        os.unlink(segment.path)
    else:
        room = pages(segment.path, *span)
        for page in room if how != "flips" else []:
            segment.bytes[page : page + 4096] = (b"\0" if how == "zeroed" else b"\xff") * 4096
        filled = [p + i for p in room for i, b in enumerate(segment.bytes[p : p + 4096]) if b]
        for at in draw.sample(filled, min(16, len(filled))) if how == "flips" else []:
            segment.bytes[at] ^= 1 << draw.randrange(8)


def start(name: str, role: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, PROBE, name, role],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if role != "opener":
        line = process.stdout.readline().strip()
        assert line == "ready", process.communicate()[1]
    return process


def answer(process: subprocess.Popen[str]) -> dict[str, str]:
    try:
        out, err = process.communicate("go\n", timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        return {"ended": f"WRONG hung {LIMIT_S} s"}
    told = json.loads(out.splitlines()[-1]) if out.strip() else {}
    if process.returncode:
        told["ended"] = f"WRONG {process.returncode}: {err.strip()[-300:]}"
    return told


def trial(
    name: str, span: tuple[int, int], how: str, owned: bool, seed: str
) -> dict[str, dict[str, str]]:
    """Role to step to outcome; "nodes" tells how many of their processes ended."""
    owner = start(name, "owner")
    client = start(name, "client")
    try:
        if not owned:
            owner.kill()
            owner.wait()
            time.sleep(SETTLED_S)
        before = set(node_pids(name))
        damage(name, span, how, random.Random(seed))
        time.sleep(SETTLED_S)
        told = {"client": answer(client)}
        told["opener"] = answer(start(name, "opener"))
        if owned:
            told["owner"] = answer(owner)
        ended = before - set(node_pids(name))
        told["nodes"] = {"ended": f"WRONG {len(ended)} nodes" if ended else "ok"}
        return told
    finally:
        for process in (owner, client):
            if process.poll() is None:
                process.kill()
            if not process.stdout.closed:
                process.communicate()
        for pid in node_pids(name):
            os.kill(pid, signal.SIGKILL)
        for segment in segments_of(name):
            Path("/dev/shm", segment).unlink(missing_ok=True)


def wrong(told: dict[str, dict[str, str]], how: str) -> list[str]:
    """What must not be."""
    roles = ["opener"] if how in ("truncated", "emptied") else told
    return [
        f"{role} {step}: {said}"
        for role in roles
        for step, said in told[role].items()
        if "WRONG" in said
    ]


def main(wanted: list[str]) -> int:
    spans = {area: span for area, span in areas().items() if not wanted or area in wanted}
    cases = [(area, span, how) for area, span in spans.items() for how in HOWS]
    if not wanted or "file" in wanted:
        cases += [("file", (0, 0), how) for how in FILES]
    bad, serial = 0, 0
    for area, span, how in cases:
        for owned in (False, True):
            serial += 1
            label = f"{area} {how} {'owned' if owned else 'detached'}"
            told = trial(f"c{os.getpid()}.{serial}", span, how, owned, label)
            lines = [
                f"    {role} {step}: {said}"
                for role, steps in told.items()
                for step, said in steps.items()
                if said != "ok"
            ]
            found = wrong(told, how)
            bad += bool(found)
            print(f"{'BAD ' if found else 'fine'} {label}", *lines, sep="\n", flush=True)
    print(f"{len(cases) * 2} trials, {bad} not as they must be")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
