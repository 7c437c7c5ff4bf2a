"""How many instructions one get and one put take: `python benches/instructions.py`.

Callgrind counts; the count does not depend on the machine's mood, so it shows a change of a few
per cent that no timing on a shared machine would. A child attaches to a cluster that lives outside
the counter and runs the same loop in two lengths; the difference, divided by the difference of the
lengths, is one operation as its caller sees it: the loop's own step, the call and all beneath it.
"loop" and "dict" are the same loops with nothing and with a dict inside, for comparison.
Written to `benches/results/instructions.json`, with the functions that they are spent in.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import machine
from peers.dsm_region import NODES
from workload import Population, batches, value_of

import dsm_native

RESULTS = Path(__file__).parent / "results" / "instructions.json"
LENGTHS = (2_000, 10_000)
ACTIONS = ("loop", "dict get", "get", "get_many", "dict put", "put", "put_many")
KEYS_FILE = "keys"
FUNCTIONS_SHOWN = 24
LISTED = re.compile(r"^ *([\d,]+) \([^)]*\)  \S+?:(\S+)", re.MULTILINE)
ENVIRONMENT = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}


def operate(region, action: str, count: int, keys_file: Path) -> None:
    """The counted child: all lengths prepare the same keys, so preparation cancels out."""
    text = keys_file.read_text()
    asked = text.split()[:count]
    value = value_of()
    private = dict.fromkeys(text.split(), value)
    lists = batches(asked) if action.endswith("many") else []
    if action == "get_many":
        for keys in lists:
            region.get_many(keys)
    elif action == "put_many":
        for keys in lists:
            region.put_many(dict.fromkeys(keys, value))
    elif action.endswith("get"):
        get = private.get if action == "dict get" else region.get
        for key in asked:
            get(key)
    elif action.endswith("put"):
        put = private.__setitem__ if action == "dict put" else region.put
        for key in asked:
            put(key, value)
    else:
        for key in asked:
            key  # noqa: B018


def count(name: str, action: str, length: int, folder: str) -> Counter[str]:
    """Instructions of a whole child process, by function."""
    output = Path(folder) / f"{action}.{length}".replace(" ", "-")
    ran = subprocess.run(
        [
            *("valgrind", "--tool=callgrind", f"--callgrind-out-file={output}"),
            *(sys.executable, __file__, "--attach", name, "--action", action),
            *("--length", str(length), "--keys", str(Path(folder) / KEYS_FILE)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | ENVIRONMENT,
    )
    if ran.returncode != 0:
        raise SystemExit(
            f"{action}: the counted process ended with {ran.returncode}:\n{ran.stderr}"
        )
    listed = subprocess.run(
        ["callgrind_annotate", "--threshold=100", str(output)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found: Counter[str] = Counter()
    for instructions, function in LISTED.findall(listed):
        found[function] += int(instructions.replace(",", ""))
    return found


def per_operation(name: str, folder: str) -> dict[str, dict]:
    """For every action the instructions of one operation, and of the functions beneath it."""
    found = {}
    for action in ACTIONS:
        short, long = (count(name, action, length, folder) for length in LENGTHS)
        operations = LENGTHS[1] - LENGTHS[0]
        grown = Counter({f: (long[f] - short[f]) / operations for f in long})
        each = sum(grown.values())
        functions = {f: round(n, 1) for f, n in grown.most_common(FUNCTIONS_SHOWN) if n >= 1}
        found[action] = {"instructions": round(each, 1), "functions": functions}
        print(f"{action:10} {each:10,.1f} instructions per operation", flush=True)
    return found


def measure(output: Path, replication_factor: int) -> None:
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not on the PATH: nothing was counted")
    name = f"bench.instructions.{os.getpid()}"
    with (
        tempfile.TemporaryDirectory() as folder,
        dsm_native.Cluster(
            nodes=NODES, replication_factor=replication_factor, name=name
        ) as cluster,
    ):
        population = Population()
        keys = population.fresh(population.shuffled())
        cluster.region("bench").put_many(dict.fromkeys(keys, value_of()))
        (Path(folder) / KEYS_FILE).write_text("\n".join(keys))
        found = per_operation(name, folder)
    described = machine.describe()
    result = {"machine": described, "replication_factor": replication_factor, "each": found}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(machine.one_line(described))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--replication-factor", type=int, default=2)
    parser.add_argument("--attach", help=argparse.SUPPRESS)
    parser.add_argument("--action", choices=ACTIONS, help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--keys", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.attach is None:
        measure(asked.output, asked.replication_factor)
    else:
        region = dsm_native.attach(asked.attach).region("bench")
        operate(region, asked.action, asked.length, asked.keys)


if __name__ == "__main__":
    main()
