"""Where and when a run took place, and how quiet the machine was meanwhile."""

import datetime
import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

PACKAGES = (
    *("dsm_native", "numpy", "lmdb", "redis", "UltraDict", "diskcache", "ray"),
    *("pytest-benchmark", "matplotlib"),
)


def describe() -> dict:
    """CPU, kernel, Python, package versions and the date of this run."""
    return {
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "packages": versions(PACKAGES),
    }


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """The installed version of each package, None for what is not installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def cpu_model() -> str:
    """The kernel's name of the processor; arm64 has none, so the architecture stands in."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def noise() -> dict:
    """Load average and the ticks that the hypervisor gave to others, to be read as a difference."""
    ticks = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return {"load_average_1min": os.getloadavg()[0], "steal_ticks": int(ticks[7])}


def one_line(described: dict) -> str:
    return (
        f"{described['cpu']}, {described['cpus']} CPUs, {described['memory_gib']} GiB, "
        f"{described['kernel']}, {described['python']}, {described['date']}"
    )


def quietness(before: dict, after: dict) -> str:
    """What else went on; our own run adds about one to the load average."""
    return (
        f"load average {before['load_average_1min']:.1f} before and "
        f"{after['load_average_1min']:.1f} after the run, "
        f"{after['steal_ticks'] - before['steal_ticks']} ticks taken by the hypervisor"
    )
