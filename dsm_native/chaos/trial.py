"""One run of chaos: the load, the faults, the wait until all is whole again, the verdict.

The clients are processes of their own, ended by closing their standard input. A client that ends
by itself, other than because the cluster has ended, is a violation, and so is everything that a
client reports as a fault. The trial's own temporary folder is removed at the end.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dsm_native.chaos import keys, load
from dsm_native.chaos.injuries import INJURIES, Victim, check_promise
from dsm_native.chaos.plan import QUIET_S, Plan
from dsm_native.chaos.report import Report
from dsm_native.cluster import Cluster, attach
from dsm_native.exceptions import DSMError, NodeLostError
from dsm_native.testing import UndecidedError, check_linearizable, merge
from dsm_native.testing.history import Operation

HEAL_S_MAX = 60.0
READY_S_MAX = 60.0
POLL_S = 0.02
CLIENT_END_S = 30.0
PROBLEMS_SHOWN = 5


class Load:
    """The client processes."""

    def __init__(self, cluster: str, folder: Path, plan: Plan) -> None:
        sizes = "small" if "corrupt" in plan.kinds else "large"
        self._arguments = [cluster, str(folder), str(plan.keys), sizes]
        self._next_seed = 1
        self._running: list[subprocess.Popen[str]] = []
        for _ in range(plan.clients):
            self._running.append(self._start())
        for client in self._running:
            self._await_ready(client)

    def _start(self) -> subprocess.Popen[str]:
        seed, self._next_seed = self._next_seed, self._next_seed + 1
        return subprocess.Popen(
            [sys.executable, "-m", "dsm_native.chaos.client", *self._arguments, str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            process_group=0,  # Ctrl-C is for us, who end them
        )

    @staticmethod
    def _await_ready(client: subprocess.Popen[str]) -> None:
        assert client.stdout is not None
        line = client.stdout.readline()
        if line.strip() != "ready":
            raise DSMError(f"a chaos client (pid {client.pid}) ended before it began: {line!r}")

    def kill(self, draw: random.Random) -> int:
        """Kills a client and starts its successor."""
        client = self._running.pop(draw.randrange(len(self._running)))
        client.kill()
        self._close(client)
        self._running.append(self._start())
        return client.pid

    @staticmethod
    def _close(client: subprocess.Popen[str]) -> str:
        try:
            told, _ = client.communicate(timeout=CLIENT_END_S)
        except subprocess.TimeoutExpired:
            client.kill()
            client.communicate()
            return f"client {client.pid} hung and was killed"
        return "" if client.returncode in (0, -9) else f"client {client.pid} ended: {told}"

    def end(self) -> list[str]:
        """Lets all clients end; what went wrong with them."""
        told = [self._close(client) for client in self._running]
        self._running = []
        return [text for text in told if text]


def run(plan: Plan, tell: Callable[[str], None] = print) -> Report:
    """Runs the plan; blocks for about its seconds and until the cluster is whole again.

    `tell` is called with a line per fault. Raises DSMError if the cluster cannot be opened,
    UsageError if it promises less than the plan wants to try; whatever goes wrong afterwards is in
    the report. Ctrl-C ends the faults; what was done until then is judged.
    """
    with tempfile.TemporaryDirectory(prefix="dsm-chaos-") as folder:
        if plan.name is not None:
            with attach(plan.name) as cluster:
                return _Trial(plan, cluster, Path(folder), tell).run()
        with Cluster(
            nodes=plan.nodes, replication_factor=plan.replication_factor, faults=True
        ) as cluster:
            return _Trial(plan, cluster, Path(folder), tell).run()


class _Trial:
    def __init__(
        self, plan: Plan, cluster: Cluster, folder: Path, tell: Callable[[str], None]
    ) -> None:
        self.plan, self.cluster, self.folder, self.tell = plan, cluster, folder, tell
        self.report = Report(plan.seed)
        self.draw = random.Random(plan.seed)

    def run(self) -> Report:
        self.cluster.faults.check()
        check_promise(self.plan, self.cluster)
        load.set_up(self.cluster)
        failures = len(self.cluster.failures())
        clients = Load(self.cluster.name, self.folder, self.plan)
        try:
            began = time.monotonic()
            time.sleep(QUIET_S)
            hurt_at = time.monotonic_ns()
            victim = Victim(self.cluster, self.draw, clients.kill, len(self.cluster.nodes))
            try:
                self._injure(victim, began + QUIET_S + self.plan.seconds)
            except KeyboardInterrupt:
                self.report.interrupted = True
                self.tell("interrupted: what was done so far is judged")
            self._heal(victim)
            self.report.seconds = time.monotonic() - began
        finally:
            self.report.violations += clients.end()
        self.report.failures = len(self.cluster.failures()) - failures
        self._judge(hurt_at)
        return self.report

    def _injure(self, victim: Victim, end: float) -> None:
        began = time.monotonic()
        rounds = 0
        while time.monotonic() < end and rounds != self.plan.rounds:
            kind = self.draw.choice(self.plan.kinds)
            done = None
            try:
                done = INJURIES[kind](victim)
            except DSMError as error:
                early = isinstance(error, NodeLostError) and kind not in ("add", "remove")
                if not early:  # otherwise the victim had ended before it was hurt
                    self.report.violations.append(f"{kind}: {type(error).__name__}: {error}")
            if done:
                rounds += 1
                self.report.injuries[kind] += 1
                self.tell(f"{time.monotonic() - began:8.3f} s  {done}")
            self._wait(victim, min(self.draw.expovariate(1 / self.plan.gap), 4 * self.plan.gap))
            if victim.is_damaged and self._is_whole(victim):
                self._mend(victim)

    def _wait(self, victim: Victim, seconds: float) -> None:
        """Sleeps, and lets the paused go on whose time is over."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, POLL_S))
            self._go_on(victim)

    def _go_on(self, victim: Victim) -> None:
        if not victim.paused:
            return
        now = time.monotonic()
        for info in self.cluster.nodes:
            pause = victim.paused.get(info.id)
            if pause is None:
                continue
            if info.incarnation != pause.incarnation:  # it was found, and replaced
                del victim.paused[info.id]
            elif now >= pause.until:
                with contextlib.suppress(NodeLostError):  # it was found just now
                    self.cluster.faults.resume(info.id)
                del victim.paused[info.id]

    def _is_whole(self, victim: Victim) -> bool:
        return len(victim.alive()) == len(self.cluster.nodes) and not victim.paused

    def _mend(self, victim: Victim) -> None:
        """Damage that nobody met is found and repaired by a check; a second finds nothing."""
        self.report.repaired += self.cluster.check(repair=True).repaired
        report = self.cluster.check()
        for text in report.texts[:PROBLEMS_SHOWN]:
            self.report.violations.append(f"after a repair: {text}")
        victim.is_damaged = False

    def _heal(self, victim: Victim) -> None:
        began = time.monotonic()
        while not self._is_whole(victim):
            if time.monotonic() - began > HEAL_S_MAX:
                states = ", ".join(f"{info.id} {info.state}" for info in self.cluster.nodes)
                self.report.violations.append(f"not whole after {HEAL_S_MAX:.0f} s: {states}")
                break
            self._wait(victim, POLL_S)
        self.report.healed_s = time.monotonic() - began

    def _judge(self, hurt_at: int) -> None:
        for line in load.journal_lines(self.folder, "stalls"):
            stalls = self.report.quiet if line["at_ns"] < hurt_at else self.report.stalls
            stalls.note(line["call"], line["took_ns"])
        for line in load.journal_lines(self.folder, "faults"):
            self.report.violations.append(f"{line['call']}: {line['kind']}: {line['text']}")
        history = merge(self.folder)
        self.report.operations = len(history)
        self.report.open_operations = sum(operation.is_open for operation in history)
        try:
            verdict = check_linearizable([*history, *self._last_words(history)])
            if not verdict:
                self.report.violations.append(str(verdict))
        except UndecidedError as error:
            self.report.violations.append(f"the history could not be judged: {error}")
        except DSMError as error:
            self.report.violations.append(f"at the end: {type(error).__name__}: {error}")
        for text in self.cluster.check().texts[:PROBLEMS_SHOWN]:
            self.report.violations.append(f"at the end: {text}")

    def _last_words(self, history: list[Operation]) -> list[tuple[object, ...]]:
        """A read of every key after everything."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        region = self.cluster.region(load.REGION)
        words: list[tuple[object, ...]] = []
        for serial, key in enumerate(sorted({operation.key for operation in history})):
            value = region.get(key)
            shown = keys.serial_of(value) if isinstance(value, bytes) else value
            words.append(
                ("the survivor", "get", key, shown, now + 2 * serial, now + 2 * serial + 1)
            )
        return words
