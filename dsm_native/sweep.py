"""What killed clusters left in /dev/shm: finding it and removing it.

A segment is ours if its name begins with "dsm-<uid>-". It is dead if nobody holds its presence
lock; the kernel drops that lock with the last process that maps the segment, so nothing alive is
removed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from dsm_native._native.handle import segment_alone, segment_sweep, user_number

FOLDER = "/dev/shm"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,62}")


def segments() -> list[str]:
    """Names of all segments of this user, without the folder."""
    prefix = f"dsm-{user_number()}-"
    return sorted(name for name in os.listdir(FOLDER) if name.startswith(prefix))


def clean() -> list[str]:
    """Removes the segments of clusters that nobody is attached to; returns their names."""
    return [name for name in segments() if segment_sweep("/" + name)]


def running() -> Iterator[str]:
    """Names of the clusters that somebody is attached to."""
    prefix = f"dsm-{user_number()}-"
    for segment in segments():
        name = segment[len(prefix) :]
        if re.fullmatch(NAME, name) and segment_alone("/" + segment) is False:
            yield name
