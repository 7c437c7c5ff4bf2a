"""What a chaos client does: one random call after another, and all of it on record.

It reads, writes, deletes and counts keys, moves money between accounts, fills blocks of an array.
Everything that a verdict needs is written as it happens, one write(2) per line, so that a SIGKILL
loses nothing that was said:

  client-SEED.session.jsonl   the history of the keys (dsm_native.testing.Recorder)
  stalls-SEED.jsonl           calls that took longer than a millisecond: kind, begin, duration
  faults-SEED.jsonl           what must not be: exceptions, torn values, sums that are off
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dsm_native.chaos.keys import SIZES, SIZES_LARGE, KeySession, TornError
from dsm_native.cluster import Cluster
from dsm_native.exceptions import ClosedError, DSMError, TransactionAbortedError
from dsm_native.testing.recorder import Recorder

REGION = "chaos.keys"
ACCOUNTS = "chaos.accounts"
ARRAY = "chaos.grid"
ACCOUNT_COUNT = 16
BALANCE = 1000
GRID = (16, 512)
STALL_NS = 1_000_000


class Journal:
    """A file of JSON lines, made at the first of them; each is written by one system call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def write(self, **fields: Any) -> None:
        """Appends a line."""
        if self._file < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
        os.write(self._file, json.dumps(fields).encode() + b"\n")


def journal_lines(folder: Path, kind: str) -> list[dict[str, Any]]:
    """All lines of that kind of journal in the folder; one that a kill tore is left out."""
    lines = []
    for path in sorted(folder.glob(f"{kind}-*.jsonl")):
        lines += [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    return lines


class Client:
    """One session: what it does next is drawn, what it did is recorded.

    is_large: also values over 4 KiB, which have no checksum for some milliseconds
    (docs/guarantees.md, "Lazily settled checksums"), so not while bits are flipped.
    """

    def __init__(
        self, cluster: Cluster, folder: Path, keys: int, seed: int, is_large: bool
    ) -> None:
        self.accounts = cluster.region(ACCOUNTS)
        self.grid = cluster.array(ARRAY)
        self.stalls = Journal(folder / f"stalls-{seed}.jsonl")
        self.faults = Journal(folder / f"faults-{seed}.jsonl")
        self.key_count = keys
        self.draw = random.Random(seed)
        self.keys = KeySession(
            cluster.region(REGION),
            Recorder(folder, f"client-{seed}"),
            self.draw,
            seed << 24,
            SIZES + SIZES_LARGE if is_large else SIZES,
        )
        self.calls = 0
        self._steps: list[tuple[Callable[[str], None], int]] = [
            (self.keys.get, 30),
            (self.keys.put, 20),
            (self.keys.put_if, 6),
            (self.keys.delete, 6),
            (self.keys.count, 14),
            (self.keys.look, 6),
            (self.transfer, 8),
            (self.audit, 3),
            (self.fill, 4),
            (self.snapshot, 3),
        ]

    def step(self) -> bool:
        """One call; False if the cluster has ended."""
        (call,) = self.draw.choices(
            [call for call, _ in self._steps], [weight for _, weight in self._steps]
        )
        kind = "counter" if call in (self.keys.count, self.keys.look) else "key"
        began = time.monotonic_ns()
        try:
            call(f"{kind} {self.draw.randrange(self.key_count)}")
        except ClosedError:
            return False
        except (DSMError, TornError, OSError) as error:
            self.faults.write(
                call=call.__name__, at_ns=began, kind=type(error).__name__, text=str(error)
            )
        took = time.monotonic_ns() - began
        if took > STALL_NS:
            self.stalls.write(call=call.__name__, at_ns=began, took_ns=took)
        self.calls += 1
        return True

    def transfer(self, _: str) -> None:
        """Moves money between two accounts; gives up if others are faster."""
        source, target = self.draw.sample(range(ACCOUNT_COUNT), 2)
        amount = self.draw.randrange(1, 20)
        try:
            with self.accounts.transaction() as tx:
                tx[source] -= amount
                tx[target] += amount
        except TransactionAbortedError:
            pass

    def audit(self, _: str) -> None:
        """The sum of all accounts at one instant."""
        try:
            with self.accounts.transaction() as tx:
                total = sum(tx[account] for account in range(ACCOUNT_COUNT))
        except TransactionAbortedError:
            return
        if total != ACCOUNT_COUNT * BALANCE:
            raise TornError(f"the accounts hold {total}, not {ACCOUNT_COUNT * BALANCE}")

    def fill(self, _: str) -> None:
        """Writes one number into all of a row."""
        row = self.draw.randrange(GRID[0])
        with self.grid.writing(slice(row, row + 1)) as block:
            block[:] = self.draw.randrange(1 << 62)

    def snapshot(self, _: str) -> None:
        """Reads a row, which holds one number."""
        row = self.draw.randrange(GRID[0])
        block = self.grid.snapshot(slice(row, row + 1))
        if np.any(block != block.flat[0]):
            raise TornError(f"row {row} of the array mixes two writes")


def set_up(cluster: Cluster) -> None:
    """Makes what the clients use; once, before the first of them starts."""
    accounts = cluster.region(ACCOUNTS)
    accounts.put_many(dict.fromkeys(range(ACCOUNT_COUNT), BALANCE))
    cluster.region(REGION).clear()  # of what an earlier run left
    cluster.array(ARRAY, GRID, "i8", tile_rows=1)
