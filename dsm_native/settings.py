"""What clusters and regions may be asked for: every setting is checked before anything is made.

Each check raises UsageError, which names the setting, its range and what was given. Pure.
"""

from __future__ import annotations

import os
import re
import threading
from typing import Any

from dsm_native import sweep
from dsm_native.exceptions import UsageError

STRIPES = 1024
SCRUB_BYTES_PER_S = 16 << 20  # of each node; an idle store costs nothing worth mentioning
NODES_MAX = 63
OWN_REGIONS = "\0"  # regions whose name begins so are the package's own
START_TIMEOUT_S = 30.0  # for a node's process to be ready
LOCK_TIMEOUT_MAX_S = 1e6  # eleven days: what fits the core's milliseconds


def check_count(name: str, value: Any, low: int, high: int) -> int:
    """The value, if it is an int of that range."""
    if type(value) is not int or not low <= value <= high:
        raise UsageError(f"{name} must be an int from {low} to {high}, not {value!r}")
    return value


def check_flag(name: str, value: Any) -> bool:
    """The value, if it is True or False."""
    if type(value) is not bool:
        raise UsageError(f"{name} must be True or False, not {value!r}")
    return value


def scrub_pace(bytes_per_s: Any) -> int:
    """The limit of a scrubber in the core's KiB per second, rounded up; 0: it does not scrub."""
    return -(-check_count("scrub_bytes_per_s", bytes_per_s, 0, 1 << 40) // 1024)


def check_lock_timeout(seconds: Any, name: str = "lock_timeout") -> float:
    """The seconds as a float that fits the core."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise UsageError(f"{name} must be a number of seconds from 0 on, not {seconds!r}")
    return float(min(seconds, LOCK_TIMEOUT_MAX_S))


def check_seconds(name: str, seconds: Any) -> float:
    """The seconds as a float, if they are above zero."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise UsageError(f"{name} must be a number of seconds above 0, not {seconds!r}")
    return float(seconds)


def check_interval(interval: Any, path: Any) -> float | None:
    """The seconds between checkpoints, if there is a directory for them."""
    if interval is None and path is None:
        return None
    if interval is None or path is None:
        raise UsageError("checkpoint_interval and checkpoint_path go together")
    if not isinstance(path, str | bytes | os.PathLike):
        raise UsageError(f"checkpoint_path must be the path of a directory, not {path!r}")
    return min(check_seconds("checkpoint_interval", interval), threading.TIMEOUT_MAX)


def check_recover_from(source: Any, checkpoint_path: Any, recovery: str) -> str | None:
    """The checkpoint, as an absolute path, from which lost objects may be taken."""
    if source is None:
        return None
    if recovery == "none":
        raise UsageError("recover_from needs recovery: with recovery='none' nothing is recovered")
    if source == "checkpoint":
        if checkpoint_path is None:
            raise UsageError("recover_from='checkpoint' is the checkpoint_path, which is not given")
        source = checkpoint_path
    if not isinstance(source, str | bytes | os.PathLike):
        raise UsageError(
            f"recover_from must be 'checkpoint' or the path of a checkpoint, not {source!r}"
        )
    return os.path.abspath(os.fsdecode(source))


def check_region_name(name: Any, what: str = "a region") -> None:
    """Refuses what cannot be a region's, or an array's, name."""
    try:
        good = isinstance(name, str) and 0 < len(name.encode()) <= 64
        good = good and not name.startswith(OWN_REGIONS)
    except UnicodeEncodeError:
        good = False
    if not good:
        raise UsageError(
            f"{what}'s name is a str of 1 to 64 bytes that begins with no zero, so not {name!r}"
        )


def check_object_name(name: Any) -> str:
    """The name, if a lock, queue or the like may have it."""
    try:
        good = isinstance(name, str) and 0 < len(name.encode()) <= 64
    except UnicodeEncodeError:
        good = False
    if not good:
        raise UsageError(f"a name is a str of 1 to 64 bytes, not {name!r}")
    return str(name)


def check_name(name: Any) -> str:
    """The name, if a cluster may have it: it becomes part of file names."""
    if not isinstance(name, str) or not re.fullmatch(sweep.NAME, name):
        raise UsageError(
            f"a cluster's name has 1 to 63 letters, digits, '_' or '.' and begins with a letter or "
            f"digit, so not {name!r}"
        )
    return name
