"""One recorded session on the keys of a region: every call is announced and reported.

Values tell whose they are in every eight bytes, so that one that mixes two writes is seen. Belongs
to one thread; may be killed at any instant (dsm_native.testing.Recorder).
"""

from __future__ import annotations

import random
from typing import Any

from dsm_native.exceptions import VersionConflictError
from dsm_native.region import Region
from dsm_native.testing.recorder import Recorder

SIZES = (8, 8, 8, 96, 1504, 4096)
SIZES_LARGE = (5000, 40_000)


class TornError(AssertionError):
    """A value that nobody wrote."""


def written(serial: int, draw: random.Random, sizes: tuple[int, ...] = SIZES) -> bytes:
    """A value of that serial number, of one of these sizes."""
    return serial.to_bytes(8, "little") * (draw.choice(sizes) // 8)


def serial_of(value: Any) -> int | None:
    """What `written` was given; TornError for a value that it never made."""
    if value is None:
        return None
    if value != value[:8] * (len(value) // 8):
        raise TornError(f"a value of {len(value)} bytes mixes two writes")
    return int.from_bytes(value[:8], "little")


class KeySession:
    """Calls on keys; serial numbers begin at `serial`, which no other session may share."""

    def __init__(
        self,
        region: Region,
        recorder: Recorder,
        draw: random.Random,
        serial: int,
        sizes: tuple[int, ...] = SIZES,
    ) -> None:
        self.region, self.recorder, self.draw = region, recorder, draw
        self.serial, self.sizes = serial, sizes
        self.versions: dict[str, int] = {}

    def fresh(self) -> bytes:
        """A value that was never written."""
        self.serial += 1
        return written(self.serial, self.draw, self.sizes)

    def get(self, key: str) -> None:
        """A read."""
        with self.recorder.recording("get", key) as outcome:
            try:
                value, version = self.region.get_versioned(key)
            except KeyError:
                return
            outcome.value, outcome.result = serial_of(value), version
        self.versions[key] = version

    def put(self, key: str) -> None:
        """An unconditional write."""
        value = self.fresh()
        with self.recorder.recording("put", key, self.serial) as outcome:
            outcome.result = self.region.put(key, value)
        self.versions[key] = outcome.result

    def put_if(self, key: str) -> None:
        """A write on condition that the key is as this session last saw it."""
        value, expected = self.fresh(), self.versions.get(key, 0)
        with self.recorder.recording("put_if_version", key, self.serial, expected) as outcome:
            try:
                outcome.result = self.region.put(key, value, if_version=expected)
                self.versions[key] = outcome.result
            except VersionConflictError as conflict:
                outcome.result = False
                self.versions[key] = conflict.version

    def delete(self, key: str) -> None:
        """A deletion, of a key that may be absent."""
        with self.recorder.recording("delete", key) as outcome:
            try:
                self.region.delete(key)
                outcome.result = True
            except KeyError:
                outcome.result = False

    def count(self, key: str) -> None:
        """An atomic addition."""
        summand = self.draw.randrange(1, 9)
        with self.recorder.recording("add", key, summand) as outcome:
            outcome.result = self.region.add(key, summand)

    def look(self, key: str) -> None:
        """A read of a counter."""
        with self.recorder.recording("get", key) as outcome:
            outcome.value = self.region.get(key)
