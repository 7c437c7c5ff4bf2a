"""Clients that transfer money in transactions and are killed: what they did is recorded.

    python transaction_clients.py CLUSTER FOLDER ACCOUNTS SECONDS SEED

Forks three clients, kills one at a random instant, replaces it, and so on; prints the number of
kills. A value is "<amount>:<name of the transaction that wrote it>". Each client appends to a file
of its own: what it is about to do, by one write, and, once it is done, what it read and wrote.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from functools import partial

from killer import kill_in_turn

import dsm_native as dsm

EACH = 100


def now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def amount_of(value: str) -> int:
    return int(value.partition(":")[0])


class Client:
    def __init__(self, cluster: dsm.Cluster, folder: str, accounts: int, seed: int) -> None:
        self.regions = [cluster.region("bank 0"), cluster.region("bank 1")]
        self.accounts, self.seed = accounts, seed
        self.draw = random.Random(seed)
        self.file = os.open(f"{folder}/{seed}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.serial = 0

    def note(self, **record: object) -> None:
        os.write(self.file, json.dumps(record).encode() + b"\n")

    def step(self) -> None:
        self.serial += 1
        name = f"{self.seed}.{self.serial}"
        audit = self.draw.random() < 0.2
        # Values of some thousand bytes among the small ones: runs of pages change hands as well.
        padding = "x" * self.draw.choice((0, 0, 0, 40, 3000))
        numbers = range(self.accounts) if audit else self.draw.sample(range(self.accounts), 3)
        self.note(name=name, invoked=now_ns(), writes=[] if audit else list(numbers))
        tx = self.regions[0].transaction()
        try:
            with tx:
                seen = self.read(tx, numbers)
                if audit:
                    # Even a transaction that will fail sees only what was there at one instant.
                    total = sum(amount_of(value) for value in seen.values())
                    assert total == EACH * self.accounts, f"sum {total} within a transaction"
                else:
                    self.transfer(tx, seen, name, padding)
        except dsm.TransactionAbortedError:
            self.note(name=name, aborted=True)
            return
        reads = {}
        for (_region, number), version in tx.reads.items():
            writer = seen[number].split(":")[1]
            reads[number] = (version, writer)
        writes = {number: version for (_region, number), version in tx.versions.items()}
        self.note(name=name, returned=now_ns(), reads=reads, writes=writes)

    def read(self, tx: dsm.Transaction, numbers: list[int] | range) -> dict[int, str]:
        return {number: tx.region(self.regions[number % 2])[number] for number in numbers}

    def transfer(self, tx: dsm.Transaction, seen: dict[int, str], name: str, pad: str) -> None:
        amounts = {number: amount_of(value) for number, value in seen.items()}
        *payers, payee = amounts
        for payer in payers:
            share = self.draw.randrange(-5, 6)
            amounts[payer] -= share
            amounts[payee] += share
        for number, amount in amounts.items():
            tx.region(self.regions[number % 2])[number] = f"{amount}:{name}:{pad}"


def work(cluster: dsm.Cluster, folder: str, accounts: int, seed: int, end: float) -> None:
    if seed % 2:
        cluster = dsm.attach(cluster.name)
    client = Client(cluster, folder, accounts, seed)
    while time.monotonic() < end:
        client.step()
        if client.draw.random() < 0.2:
            time.sleep(0.0002)


def main() -> None:
    name, folder, accounts, seconds, seed = sys.argv[1:]
    cluster = dsm.attach(name)
    client = partial(work, cluster, folder, int(accounts))
    print(kill_in_turn(client, float(seconds), int(seed)))


if __name__ == "__main__":
    main()
