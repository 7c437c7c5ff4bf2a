"""What killed clusters left in /dev/shm: finding it and removing it.

A segment is ours if its name begins with "dsm-<uid>-". It is dead if nobody holds its presence
lock; the kernel drops that lock with the last process that maps the segment, so nothing alive is
removed. Some segments may be mapped by nobody for a while and live as long as their cluster's
control segment does: an array's, and that of a node whose maker was killed before others followed.
The names of arrays carry the cluster's identity, so that a later cluster of the same name does not
keep them; it makes its nodes' names its own when it begins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from dsm_native._native.handle import segment_alone, segment_sweep, user_number

FOLDER = "/dev/shm"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,62}")
IDENTITY_OFFSET = 16  # of cluster_id in the control segment, docs/segment-format.md
NODE = re.compile(r"(?P<control>dsm-\d+-.+)-n\d+")
ARRAY = re.compile(r"(?P<control>dsm-\d+-[^-]+)-a(?P<identity>[0-9a-f]{16})[0-9a-f]+-[0-9]+")


def segments() -> list[str]:
    """Names of all segments of this user, without the folder."""
    prefix = f"dsm-{user_number()}-"
    return sorted(name for name in os.listdir(FOLDER) if name.startswith(prefix))


def segment_of(name: str, node: int) -> str:
    """Name of the segment of a cluster's node, without the folder."""
    return f"dsm-{user_number()}-{name}-n{node}"


def clean() -> list[str]:
    """Removes the segments of clusters that nobody is attached to; returns their names."""
    return [name for name in segments() if not kept(name) and segment_sweep("/" + name)]


def kept(segment: str) -> bool:
    """Whether it is a node's or an array's segment of a cluster that somebody is attached to."""
    found = re.fullmatch(NODE, segment) or re.fullmatch(ARRAY, segment)
    if found is None or segment_alone("/" + found["control"]) is not False:
        return False
    return found.re is NODE or identity(found["control"]) == int(found["identity"], 16)


def identity(control: str) -> int:
    """The random number of the cluster whose control segment that is; 0 if it has none."""
    try:
        with open(f"{FOLDER}/{control}", "rb") as file:
            file.seek(IDENTITY_OFFSET)
            return int.from_bytes(file.read(8), "little")
    except OSError:
        return 0


def ownerless() -> list[str]:
    """Segments that `clean` would remove."""
    return [name for name in segments() if not kept(name) and segment_alone("/" + name)]


def running() -> Iterator[str]:
    """Names of the clusters that somebody is attached to."""
    prefix = f"dsm-{user_number()}-"
    for segment in segments():
        name = segment[len(prefix) :]
        if re.fullmatch(NAME, name) and segment_alone("/" + segment) is False:
            yield name
