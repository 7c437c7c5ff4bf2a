"""The protocol cores, each beside its rival: ring, vector clock, Raft, simulator, checkers.

Its results go to `protocols.json` and `protocols.png`, apart from the engine's, so that each can be
measured when the machine is calm. C figures come from the program of `benches/c`; the ratios are
formed within turns, as everywhere here (`rounds.py`).
"""

import importlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import checkers
import machine
import native_program
import table
from protocol_targets import TARGETS
from raft_clusters import COMMAND_BYTES, HandleCluster, PySyncObjCluster, RivalFailedError
from rounds import Findings, interleave, one_round, ratio, spread

from dsm_native._native.clocks import VectorClock
from dsm_native._native.ring import Ring
from dsm_native.testing.raft_client import RaftClient
from dsm_native.testing.raft_node import RaftNode
from dsm_native.testing.raft_trial import PACE, SHAPES, TICK_US, Trial
from dsm_native.testing.simulator import Simulation

NODES, VIRTUAL_NODES = 16, 160
ENTRIES = 64
PACKAGES = {"uhashring": "uhashring", "PySyncObj": "pysyncobj"}
DOCUMENTED = ("ring", "vector_clock", "raft")
LAYOUTS = {"PySyncObj, one process": False, "PySyncObj, three processes": True}


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    compilers: int = 2
    native_rounds: int = 200
    keys: int = 5_000
    ring_rounds: int = 100
    clocks: int = 32
    messages: int = 50
    merge_rounds: int = 60
    commands: int = 4_096
    raft_rounds: int = 15
    simulator_rounds: int = 25
    calm_us: int = 3_000_000
    sizes: tuple[int, ...] = checkers.SIZES
    checker_rounds: int = 5


QUICK = Effort(1, 3, 500, 3, 2, 20, 3, 500, 2, 2, 300_000, (100, 400), 2)


def absent() -> dict[str, str]:
    """The rivals that cannot be measured against, with the reason."""
    reasons = {}
    for name, package in PACKAGES.items():
        try:
            importlib.import_module(package)
        except ImportError as error:
            reasons[name] = f"not installed ({error})"
    return reasons


def native(effort: Effort) -> Findings:
    """All C figures by every compiler; those of the first one are judged."""
    found = Findings(raw={"native_ns": {}, "compilers": {}})
    try:
        here = native_program.compilers()[: effort.compilers]
        built = {compiler: native_program.program(compiler) for compiler in here}
    except (native_program.NoCompilerError, subprocess.CalledProcessError) as reason:
        names = ("ring_key", "ring_key_chained", "ring_hash", "merge_near", "merge_far")
        for name in (*names, "merge_plain", "raft_1", "raft_64", "raft_256"):
            found.unmeasured[name] = f"C program: {reason}"
        return found
    for compiler in built:
        taken: dict[str, list[float]] = {}
        for part in DOCUMENTED:
            taken |= native_program.figures(part, effort.native_rounds, compiler)
        found.raw["native_ns"][compiler] = taken
        found.raw["compilers"][compiler] = native_program.version(compiler)
    for name, taken in found.raw["native_ns"][here[0]].items():
        each = [1e9 / ns for ns in taken] if name.startswith("raft") else taken
        found.figures[name] = spread(each, native_program.version(here[0]))
    return found


def asking(keys: int, look_up: Callable, seed: int) -> Callable:
    """A contender that looks up as many new random keys in every round."""
    draw = random.Random(seed)

    def fresh() -> tuple:
        return ([f"{draw.getrandbits(48):012x}" for _ in range(keys)],)

    def loop(asked: list[str]) -> None:
        for key in asked:
            look_up(key)

    return one_round(fresh, loop, keys)


def ring(effort: Effort, without: dict[str, str]) -> Findings:
    """`Ring.node` against uhashring's `get_node`, in its default and in its ketama form."""
    ours = Ring(range(NODES), virtual_nodes=VIRTUAL_NODES)
    contenders = {"dsm": asking(effort.keys, ours.node, 1)}
    if "uhashring" not in without:
        from uhashring import HashRing

        names = [f"node-{number}" for number in range(NODES)]
        # Ketama makes four points of each virtual node, so that both rings have 160 per node.
        for label, settings in (
            ("uhashring", {"vnodes": VIRTUAL_NODES}),
            ("uhashring ketama", {"hash_fn": "ketama", "vnodes": VIRTUAL_NODES // 4}),
        ):
            rival = HashRing(names, **settings)
            assert len(rival.ring) == NODES * VIRTUAL_NODES, len(rival.ring)
            contenders[label] = asking(effort.keys, rival.get_node, 1)
    taken = interleave(contenders, effort.ring_rounds)
    found = Findings(raw={"ring_python_ns": taken})
    found.figures["ring_python_ns"] = spread(taken["dsm"])
    if "uhashring" in without:
        found.unmeasured["ring_python"] = f"uhashring: {without['uhashring']}"
    else:
        rivals = [name for name in contenders if name != "dsm"]
        faster = min(rivals, key=lambda name: statistics.median(taken[name]))
        note = f"new random str keys in every round; against its faster form, {faster}"
        found.figures["ring_python"] = ratio(taken[faster], taken["dsm"], note)
    return found


def merging(effort: Effort, make: Callable, merge: Callable) -> Callable:
    """A contender whose clocks each take in the same stream of messages, all of them made anew.

    Time goes on from message to message, so that each merge raises about half of the counters.
    """
    draw = random.Random(2)

    def fresh() -> tuple:
        messages = [
            make([1_000 * number + draw.randrange(2_000) for _ in range(ENTRIES)])
            for number in range(effort.messages)
        ]
        return ([make([0] * ENTRIES) for _ in range(effort.clocks)], messages)

    def loop(clocks: list, messages: list) -> None:
        for clock in clocks:
            for message in messages:
                merge(clock, message)

    return one_round(fresh, loop, effort.clocks * effort.messages)


def merge_dicts(own: dict[int, int], message: dict[int, int]) -> None:
    """The plain way, in place; faster than making a new dict."""
    for node, counter in message.items():
        if counter > own.get(node, 0):
            own[node] = counter


def vector_clock(effort: Effort) -> Findings:
    contenders = {
        "dsm": merging(effort, VectorClock, VectorClock.merge),
        "dict": merging(effort, lambda clock: dict(enumerate(clock)), merge_dicts),
    }
    taken = interleave(contenders, effort.merge_rounds)
    found = Findings(raw={"merge_python_ns": taken})
    note = "in place; about half of the counters rise"
    found.figures["merge_python"] = ratio(taken["dict"], taken["dsm"], note)
    found.figures["merge_python_ns"] = spread(taken["dsm"])
    return found


def raft(effort: Effort, without: dict[str, str]) -> Findings:
    """Commands per second: the C cores, our handles, and PySyncObj in one process and in three."""
    draw = random.Random(3)

    def fresh() -> tuple:
        return ([draw.randbytes(COMMAND_BYTES) for _ in range(effort.commands)],)

    found = Findings()
    handles = HandleCluster()
    contenders = {"handles": one_round(fresh, handles.commit, effort.commands)}
    try:
        native_program.program(native_program.compilers()[0])
        contenders["cores"] = cores_round
    except (native_program.NoCompilerError, subprocess.CalledProcessError) as reason:
        found.unmeasured["raft_pysyncobj"] = f"C program: {reason}"
    taken, why_not = beside_pysyncobj(contenders, fresh, effort, without.get("PySyncObj"))
    assert len(set(handles.applied)) == 1, handles.applied
    found.raw["raft_ns"] = taken
    found.figures["raft_handles"] = spread([1e9 / ns for ns in taken["handles"]])
    if why_not:
        for name in ("pysyncobj", "raft_pysyncobj"):
            found.unmeasured[name] = f"PySyncObj: {why_not}"
        return found
    faster = min(LAYOUTS, key=lambda name: statistics.median(taken[name]))
    note = f"{faster}, loopback, logs in memory"
    found.figures["pysyncobj"] = spread([1e9 / ns for ns in taken[faster]], note)
    if "cores" in taken:
        found.figures["raft_pysyncobj"] = ratio(taken[faster], taken["cores"], note)
    return found


def long_round(prepare: Callable, loop: Callable, operations: int) -> Callable:
    """`one_round` for what takes a second and sleeps meanwhile: no round is measured anew."""

    def one_pass() -> float:
        arguments = prepare()
        started = time.perf_counter_ns()
        loop(*arguments)
        return (time.perf_counter_ns() - started) / operations

    return lambda: (one_pass(), one_pass())


def cores_round() -> tuple[float, float]:
    """The C program's first round of batches of 64, and the median of those after it."""
    first, *settled = native_program.figures("raft", 9)["raft_64"]
    return first, statistics.median(settled)


def beside_pysyncobj(
    ours: dict[str, Callable], fresh: Callable, effort: Effort, why_not: str | None
) -> tuple[dict[str, list], str | None]:
    """Lets our contenders and PySyncObj's clusters take turns; ours alone where those fail, which
    they have been seen to do under load. Returns the figures, and why the rivals' are missing."""
    if not why_not:
        try:
            with ExitStack() as opened:
                contenders = dict(ours)
                for label, processes in LAYOUTS.items():
                    rival = opened.enter_context(PySyncObjCluster(processes))
                    contenders[label] = long_round(fresh, rival.commit, effort.commands)
                return interleave(contenders, effort.raft_rounds), None
        except RivalFailedError as failure:
            why_not = f"it failed: {failure}"
    return interleave(ours, effort.raft_rounds), why_not


def calm_steps(duration_us: int) -> int:
    """Three nodes and five client sessions, with nothing else to do than to serve them."""
    client = RaftClient(0, range(3), sessions=5, timeout_us=60_000, pause_us=6_000)

    def node(number, durable, seed, now) -> RaftNode:
        return RaftNode(number, durable, seed, now, voters=(0, 1, 2), snapshot_every=20, **PACE)

    simulation = Simulation(node, 3, seed=0, client=client, tick_us=TICK_US)
    simulation.run_until(duration_us)
    return simulation.counts.steps


def simulator(effort: Effort) -> Findings:
    """Steps as `Counts` counts them: messages and ticks taken by nodes and by the client.

    A round runs one seed of every shape of cluster that `make sim` runs. The collector stays on.
    """
    taken: dict[str, list[float]] = {"simulator": [], "simulator_calm": []}
    for number in range(effort.simulator_rounds):
        started = time.perf_counter()
        seeds = range(number * len(SHAPES), (number + 1) * len(SHAPES))
        steps = sum(Trial(seed).run().counts.steps for seed in seeds)
        between = time.perf_counter()
        taken["simulator"].append(steps / (between - started))
        steps = calm_steps(effort.calm_us)
        taken["simulator_calm"].append(steps / (time.perf_counter() - between))
    found = Findings(raw={"simulator_steps_per_second": taken})
    notes = {"simulator": f"{len(SHAPES)} shapes of clusters, as in `make sim`, one process"}
    for name, rates in taken.items():
        found.figures[name] = spread(rates, notes.get(name, ""))
    return found


def measure(effort: Effort) -> tuple[Findings, dict[str, str]]:
    without = absent()
    found = Findings()
    for name, part in (
        ("C program", lambda: native(effort)),
        ("ring", lambda: ring(effort, without)),
        ("vector clock", lambda: vector_clock(effort)),
        ("raft", lambda: raft(effort, without)),
        ("simulator", lambda: simulator(effort)),
        ("checkers", lambda: checkers.checkers(effort.sizes, effort.checker_rounds)),
    ):
        started = time.monotonic()
        found.merge(part())
        taken = time.monotonic() - started
        print(f"protocols, {name}: {taken:.1f} s", file=sys.stderr, flush=True)
    return found, without


def report(output: Path, quick: bool) -> str:
    """Measures, writes `protocols.json` and `protocols.png`, and returns the text."""
    described = machine.describe()
    described["packages"] |= machine.versions(PACKAGES.values())
    before = machine.noise()
    found, without = measure(QUICK if quick else Effort())
    after = machine.noise()
    heading = f"{machine.one_line(described)}\n{machine.quietness(before, after)}"
    if quick:
        heading = f"QUICK RUN, THE FIGURES MEAN NOTHING\n{heading}"
    output.mkdir(parents=True, exist_ok=True)
    raw = found.raw["checker_seconds"]
    no_plot = checkers.draw(raw, heading, output / "protocols.png")
    if no_plot:
        without["plot"] = f"matplotlib: {no_plot}"
    entries = table.rows(found, TARGETS)
    result = {
        "machine": described,
        "noise": {"before": before, "after": after},
        "quick": quick,
        "rows": entries,
        "absent": without,
        "raw": found.raw,
    }
    written = json.dumps(result, ensure_ascii=False, allow_nan=False)
    (output / "protocols.json").write_text(written)
    return table.report(entries, {}, without, heading)


def main() -> None:
    """`python benches/protocols.py [part]`, for whoever works on one of them."""
    parts = {"native": native, "vector_clock": vector_clock, "simulator": simulator}
    rivals = {"ring": ring, "raft": raft}
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name in parts:
        found = parts[name](Effort())
    elif name in rivals:
        found = rivals[name](Effort(), absent())
    else:
        sys.exit(f"usage: {os.path.basename(__file__)} {' | '.join([*parts, *rivals])}")
    print(table.report(table.rows(found, TARGETS), {}, {}, "one part"))


if __name__ == "__main__":
    main()
