"""Writes the measured figures into the documents: `python benches/readme_table.py`.

A document holds places like

    <!-- figures:numbers -->
    <!-- /figures -->

and what lies between is replaced by what `benches/results/latest.json` (for the costs of one call
`instructions.json`, for the protocol cores `protocols.json`) says. So no figure in a document is
typed by hand. A quick run is refused, since its figures mean nothing; `--print` shows the blocks of
any run and writes nothing.
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import machine
from peers import OURS
from table import cells
from targets import number

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
DOCUMENTS = ("README.md", "docs/guarantees.md", "docs/one-call.md", "docs/protocol-figures.md")
PLACE = re.compile(r"(<!-- figures:(\w+) -->\n).*?(<!-- /figures -->)", re.DOTALL)
# On the first screen: who is compared there, in this order.
RIVALS = ("Manager().dict()", "Redis, unix socket", "Ray object store", "py-lmdb", OURS, "dict")
LOSES = "only the call that it was in: that one happened or did not, as a whole"
READS = "the latest put that returned before the read began, or one that runs beside it"


def rows_of(heading: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    table = [heading, ("---",) * len(heading), *lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in table)


def percentile_pair(taken: dict, action: str) -> str:
    found = taken.get(action)
    return f"{number(found['p50'])} / {number(found['p99'])} µs" if found else "–"


def measured(result: dict, name: str) -> str:
    for row in result["rows"]:
        if row["name"] == name and row["measured"] is not None:
            return f"{number(row['measured'])} {row['unit']}"
    return "not measured"


def where(result: dict) -> str:
    """The machine and how quiet it was: part of every table."""
    noise = result["noise"]
    return (
        f"{machine.one_line(result['machine'])}; "
        f"{machine.quietness(noise['before'], noise['after'])}."
    )


def guarantees(result: dict, _: dict) -> str:
    ours = result["raw"].get("latency_us", {}).get(OURS, {})
    heading = ("level", "what a read may return", "what a killed process can lose")
    heading += ("get p50 / p99", "put p50 / p99")
    line = ("`strong`", READS, LOSES, percentile_pair(ours, "get"), percentile_pair(ours, "put"))
    return rows_of(heading, [line])


def rivals(result: dict, names: tuple[str, ...]) -> str:
    latencies, absent = result["raw"].get("latency_us", {}), result["absent"]
    lines = []
    for name in names:
        taken = latencies.get(name)
        label = f"**{name}**" if name == OURS else name
        if taken is None:
            reason = absent.get(name, "this part of the run was not asked for")
            lines.append((label, "–", "–", f"not measured: {reason}"))
        else:
            pairs = (percentile_pair(taken, "get"), percentile_pair(taken, "put"))
            lines.append((label, *pairs, taken.get("note") or "–"))
    return rows_of(("64-byte values", "get p50 / p99", "put p50 / p99", "how it is used"), lines)


def numbers(result: dict, _: dict) -> str:
    """The one table of the first screen, with the machine and the command."""
    text = rivals(result, RIVALS)
    text += (
        f"\nFrom SIGKILL of a process inside `put` until the next writer of the same stripe is "
        f"done: p50 {measured(result, 'kill_p50')}, p99 {measured(result, 'kill_p99')}. Memory "
        f"beyond key and value per 64-byte object, one copy: {measured(result, 'memory')}.\n"
        f"\n`make bench` reproduces this. Each single call was timed, the reading of the clock "
        f"included. Machine: {where(result)}\n"
    )
    return text


def targets(result: dict, _: dict) -> str:
    """Every promise with what was measured, missed ones included."""
    lines = [tuple(cells(row)) for row in result["rows"]]
    heading = ("what", "measured", "quartiles", "must", "aim", "verdict")
    return f"{rows_of(heading, lines)}\nMachine: {where(result)}\n"


def stores(result: dict, _: dict) -> str:
    """All stores of the run, the absent ones with the reason."""
    known = [*result["raw"].get("latency_us", {}), *result["absent"]]
    return rivals(result, tuple(name for name in dict.fromkeys(known) if name != "plot"))


def costs(result: dict, instructions: dict) -> str:
    """Time and instructions of one call, as its caller sees it."""
    medians = result["raw"].get("median_ns", {})
    counted = instructions.get("each", {})
    lines = []
    for what, timed, counts in (
        ("`dict.get`", "get dict", "dict get"),
        ("`get` of 64 B, 2 copies", "get dsm", "get"),
        ("the same within `get_many`", "get_many dsm", "get_many"),
        ("`put` of 64 B, 1 copy", "put dsm 1", None),
        ("`put` of 64 B, 2 copies", "put dsm 2", "put"),
        ("the same within `put_many`", "put_many dsm 2", "put_many"),
        ("`view` of 1 MiB of `bytes`", "view bytes dsm", None),
        ("`view` of a 1 MiB array", "view array dsm", None),
    ):
        time = f"{number(medians[timed])} ns" if timed in medians else "not measured"
        entry = counted.get(counts)
        lines.append((what, time, number(entry["instructions"]) if entry else "–"))
    text = rows_of(("call, the loop's own step included", "median", "instructions"), lines)
    return f"{text}\nMachine: {where(result)}\n"


def protocols(result: dict, _: dict) -> str:
    """Every promise of the protocol cores with what was measured, and how it came about."""
    return targets(result["protocols"], {}) + notes(result["protocols"])


def notes(result: dict) -> str:
    said = [f"- {row['what']}: {row['note']}.\n" for row in result["rows"] if row.get("note")]
    compiled = set(result["raw"]["compilers"].values())
    told = [line for line in said if not any(version in line for version in compiled)]
    return "\n" + "".join(told)


def compilers(result: dict, _: dict) -> str:
    """The C figures by compiler."""
    raw = result["protocols"]["raw"]
    lines = []
    for compiler, figures in raw["native_ns"].items():
        medians = [number(statistics.median(taken)) for taken in figures.values()]
        lines.append((raw["compilers"][compiler], *medians))
    names = next(iter(raw["native_ns"].values()))
    return rows_of(("ns per operation, median", *(f"`{name}`" for name in names)), lines)


def checkers(result: dict, _: dict) -> str:
    """Median time of each checker by the size of the history."""
    raw = result["protocols"]["raw"]["checker_seconds"]
    sizes = list(next(iter(raw.values())))
    lines = [
        (name, *(f"{number(1e3 * statistics.median(taken[size]))} ms" for size in sizes))
        for name, taken in raw.items()
    ]
    return rows_of(("operations", *(f"{int(size):,}" for size in sizes)), lines)


BLOCKS: dict[str, Callable[[dict, dict], str]] = {
    "guarantees": guarantees,
    "numbers": numbers,
    "targets": targets,
    "stores": stores,
    "costs": costs,
    "protocols": protocols,
    "compilers": compilers,
    "checkers": checkers,
}


def filled(text: str, result: dict, instructions: dict) -> str:
    """The document with every place filled anew; an unknown place is an error."""
    return PLACE.sub(
        lambda found: found[1] + BLOCKS[found[2]](result, instructions) + found[3], text
    )


def read(path: Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of latest.json")
    parser.add_argument("--print", action="store_true", help="show the blocks, write nothing")
    asked = parser.parse_args()
    result = read(asked.results / "latest.json")
    instructions = read(asked.results / "instructions.json")
    if not result:
        sys.exit(f"{asked.results / 'latest.json'} does not exist: run `make bench` first")
    result["protocols"] = read(asked.results / "protocols.json")
    if asked.print:
        for name, block in BLOCKS.items():
            if result["protocols"] or block not in (protocols, compilers, checkers):
                print(f"== {name}\n{block(result, instructions)}")
        return
    if not result["quick"] and not result["protocols"]:
        sys.exit(f"{asked.results / 'protocols.json'} does not exist: run `make bench` first")
    if result["quick"] or result["protocols"]["quick"]:
        sys.exit("the results are of a quick run, whose figures mean nothing: run `make bench`")
    for name in DOCUMENTS:
        path = ROOT / name
        before = path.read_text()
        after = filled(before, result, instructions)
        path.write_text(after)
        places = len(PLACE.findall(before))
        print(f"{name}: {places} places, {'changed' if after != before else 'as it was'}")


if __name__ == "__main__":
    main()
