"""The command `dsm`: look at clusters, check them, end them, sweep up, show off.

Every command exits with 0 if all is well, 1 if it found a problem, 2 for wrong usage, 130 if Ctrl-C
ended it before its time.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import psutil

from dsm_native import sweep
from dsm_native.cluster import Cluster, attach
from dsm_native.exceptions import DSMError, UsageError
from dsm_native.failures import Failure

FAILURES_SHOWN = 8
INTERRUPTED = 130  # as shells have it: 128 and SIGINT


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _told(failure: Failure) -> str:
    who = failure.member if failure.node is None else f"node {failure.node}"
    ended = f", {failure.signal}" if failure.signal else ""
    after = (
        "" if failure.recovery_ms is None else f", served again {failure.recovery_ms:.0f} ms later"
    )
    when = time.strftime("%H:%M:%S", time.localtime(failure.when))
    return (
        f"failure at {when}: {who}, pid {failure.pid}, found by {failure.found}{ended}, "
        f"{failure.repaired} locks repaired{after}"
    )


def _list(_: argparse.Namespace) -> int:
    for name in sweep.running():
        try:
            with attach(name) as cluster:
                nodes = cluster.nodes
                alive = sum(node.state == "alive" for node in nodes)
                size = _size(sum(node.bytes for node in nodes))
                print(f"{name}  nodes {alive}/{len(nodes)} alive  {size} in use")
        except DSMError as error:
            print(f"{name}  {error}")
    dead = sweep.ownerless()
    if dead:
        print(f"{len(dead)} segments belong to nobody; `dsm clean` removes them")
    return 0


def _stat(arguments: argparse.Namespace) -> int:
    with attach(arguments.name) as cluster:
        stats = cluster.stats()
        print(
            f"cluster {stats['name']}: {stats['stripes']} stripes, replication factor "
            f"{stats['replication_factor']}"
        )
        for info in cluster.nodes:
            usage = stats["nodes"].get(info.id)
            if usage is None:  # it has come since
                continue
            print(
                f"  node {info.id}: {info.state}, pid {info.pid}, heartbeat "
                f"{info.heartbeat_age_s * 1000:.0f} ms ago, {info.objects:,} objects, "
                f"{_size(usage['used_bytes'])} in use, {_size(usage['free_bytes'])} free, "
                f"{_size(usage['limbo_bytes'])} held by views"
            )
        for name, objects in stats["regions"].items():
            print(f"  region {name!r}: {objects:,} objects")
        for name, entry in stats["arrays"].items():
            print(f"  array {name!r}: {entry['shape']} {entry['dtype']}, {_size(entry['bytes'])}")
        for failure in cluster.failures()[-FAILURES_SHOWN:]:
            print(f"  {_told(failure)}")
        for entry in stats["participants"]:
            if entry["kind"] != "node":
                print(f"  {entry['kind']}: pid {entry['pid']}, {entry['pins']} pins")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    with attach(arguments.name) as cluster:
        report = cluster.check(repair=arguments.repair)
    for text in report.texts:
        print(f"problem: {text}")
    for text in report.repairs:
        print(f"repaired: {text}")
    print(
        f"{report.stripes:,} stripes, {report.objects:,} objects, {_size(report.value_bytes)}: "
        f"{report.problems} problems, {report.repaired} repaired"
    )
    return 0 if report.clean else 1


def _verify(arguments: argparse.Namespace) -> int:
    from dsm_native.restore import verify

    if not os.path.exists(arguments.path):
        print(f"{arguments.path}: there is no such file or directory")
        return 1
    report = verify(arguments.path)
    for text in report.problems:
        print(f"damaged: {text}")
    print(
        f"{report.files} files, {report.frames:,} frames, {_size(report.bytes)}: "
        f"{len(report.problems)} problems"
    )
    return 0 if report.sound else 1


def _clean(_: argparse.Namespace) -> int:
    removed = sweep.clean()
    for segment in removed:
        print(f"removed {segment}")
    print(f"{len(removed)} segments removed")
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    with attach(arguments.name) as cluster:
        pids = [node.pid for node in cluster.nodes if node.state == "alive"]
        processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        cluster._handle.stop()
        _, left = psutil.wait_procs(processes, timeout=5)
        cluster._handle.unlink()
    for process in left:
        print(f"pid {process.pid} did not end within 5 s ({process.status()})")
    print(f"{arguments.name} stopped")
    return 1 if left else 0


def _top(arguments: argparse.Namespace) -> int:
    from dsm_native import top

    with attach(arguments.name) as cluster:
        try:
            top.run(cluster, arguments.once, arguments.interval)
        except KeyboardInterrupt:
            print()
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from dsm_native import demo

    return demo.run(nodes=arguments.nodes, files=arguments.files)


def _bench(arguments: argparse.Namespace) -> int:
    """A minute of the most telling figures; `make bench` measures them beside the peers."""
    from dsm_native import demo

    with Cluster(nodes=arguments.nodes) as cluster:
        started = time.perf_counter()
        for line in demo.figures(cluster):
            print(line)
        print(f"measured in {time.perf_counter() - started:.1f} s")
    return 0


def _chaos(arguments: argparse.Namespace) -> int:
    from dsm_native import chaos

    asked = [kind for kind in chaos.INJURIES if getattr(arguments, kind)]
    settings = {
        name: value
        for name in ("seconds", "nodes", "replication_factor", "rounds", "gap", "seed")
        if (value := getattr(arguments, name)) is not None
    }
    if asked:
        settings["kinds"] = tuple(asked)
    report = chaos.run(chaos.Plan(name=arguments.name, **settings))
    for line in report.lines():
        print(line)
    return 1 if not report.good else INTERRUPTED if report.interrupted else 0


def _add_chaos(commands: Any) -> None:
    chaos = commands.add_parser("chaos", help="inject faults under a recorded load, and judge")
    chaos.add_argument("name", nargs="?", help="a cluster made with faults=True; default: its own")
    chaos.add_argument("--seconds", type=float, help="of load and faults, default 10")
    for kind, text in (
        ("kill", "SIGKILL of nodes and clients"),
        ("stop", "SIGSTOP of nodes, for a moment or until they are found"),
        ("corrupt", "flip bits in segments"),
        ("unlink", "remove segments' files"),
        ("add", "add nodes"),
        ("remove", "remove nodes"),
    ):
        chaos.add_argument(f"--{kind}", action="store_true", help=text)
    chaos.add_argument("--rounds", type=int, help="end after so many faults")
    chaos.add_argument("--gap", type=float, help="mean seconds between faults, default 0.15")
    chaos.add_argument("--nodes", type=int, help="of its own cluster, default 3")
    chaos.add_argument(
        "--replication-factor", type=int, help="of its own cluster, default 2, or 1 with one node"
    )
    chaos.add_argument("--seed", type=int, help="repeats a run's draws")
    chaos.set_defaults(run=_chaos)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dsm", description="Clusters of shared objects on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ls", help="running clusters of this user").set_defaults(run=_list)
    stat = commands.add_parser("stat", help="nodes, regions and attached processes of a cluster")
    stat.set_defaults(run=_stat)
    check = commands.add_parser("check", help="verify a cluster's segments while it runs")
    check.add_argument("--repair", action="store_true", help="mend what replicas still tell")
    check.set_defaults(run=_check)
    stop = commands.add_parser("stop", help="end a cluster, detached or not")
    stop.set_defaults(run=_stop)
    top = commands.add_parser("top", help="nodes, tasks, rates, pins, memory, live")
    top.add_argument("--once", action="store_true", help="print one table and end")
    top.add_argument("--interval", type=float, default=1.0, metavar="SECONDS")
    top.set_defaults(run=_top)
    for command in (stat, check, stop, top):
        command.add_argument("name")
    verify = commands.add_parser("verify", help="read a checkpoint and check every byte of it")
    verify.add_argument("path", help="a directory of checkpoints, or a file with a stream")
    verify.set_defaults(run=_verify)
    commands.add_parser("clean", help="remove what killed clusters left").set_defaults(run=_clean)
    demo = commands.add_parser("demo", help="index the standard library, kill a worker, compare")
    demo.add_argument("--nodes", type=int, default=4)
    demo.add_argument("--files", type=int, default=None, help="only that many files")
    demo.set_defaults(run=_demo)
    _add_chaos(commands)
    bench = commands.add_parser("bench", help="a few figures of this machine")
    bench.add_argument("--nodes", type=int, default=4)
    bench.set_defaults(run=_bench)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the command; returns the exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except DSMError as error:
        print(f"dsm {parsed.command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print(f"dsm {parsed.command}: interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
