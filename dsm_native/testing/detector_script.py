"""Scenario commands of failure detection and of membership.

DetectorScript: one observer, one peer, times in milliseconds.

  watch missed|phi [setting=value ...]   start to watch the peer
  beat [INCARNATION]                     the peer is heard of
  wait MS                                time passes, the observer looks at the end of it
  health DELTA                           the observer's own health gets better or worse
  asleep MS                              the observer itself is stopped for so long

MembershipScript: the commands of `NodeScript`, and

  nodes COUNT      every node knows node 0 first
  leave N          node N says that it leaves
  meet ROUNDS      so many intervals in which every message arrives; prints what changed
  state            how everybody sees everybody
"""

from __future__ import annotations

from typing import Any

from dsm_native._native.detector import Detector, LocalHealth, MembershipNode, Observer
from dsm_native.testing.node_script import NodeScript

_MS = 1_000


class DetectorScript:
    """Beats are expected every 100 ms; `execute` returns the printed lines."""

    def __init__(self) -> None:
        self.now = 0
        self.health = LocalHealth()
        self.observer = Observer(100 * _MS, 0)
        self.detector: Detector | None = None
        self.accrual = False

    def execute(self, line: str) -> list[str]:
        """Runs one command line."""
        name, *arguments = line.split()
        run = getattr(self, "do_" + name, None)
        if run is None:
            raise ValueError(f"no command {name!r} in {line!r}")
        run(*arguments)
        return self._shown()

    def do_watch(self, way: str, *settings: str) -> None:
        pairs = dict(setting.split("=") for setting in settings)
        self.accrual = way == "phi"
        self.detector = Detector(
            self.now, interval_us=100 * _MS, accrual=self.accrual, deviation_min_us=20 * _MS,
            pause_us=int(pairs.get("pause", 0)) * _MS,
            missed_suspected=int(pairs.get("suspected", 3)), missed_dead=int(pairs.get("dead", 6)),
        )  # fmt: skip

    def do_beat(self, incarnation: str | None = None) -> None:
        life = None if incarnation is None else int(incarnation)
        self._watched().beat(self.now, life)

    def do_wait(self, passed_ms: str) -> None:
        self.now += int(passed_ms) * _MS
        self._watched().check(self.now, self.health)

    def do_health(self, delta: str) -> None:
        self.health.note(int(delta))

    def do_asleep(self, passed_ms: str) -> None:
        self.observer.tick(self.now)
        self.now += int(passed_ms) * _MS
        slept = self.observer.tick(self.now)
        self._watched().forgive(slept, self.now)
        self._watched().check(self.now, self.health)

    def _watched(self) -> Detector:
        if self.detector is None:
            raise ValueError("nobody is watched yet")
        return self.detector

    def _shown(self) -> list[str]:
        if self.detector is None:
            return []
        detector, phi = self.detector, ""
        if self.accrual:
            phi = f", phi {detector.phi(self.now, self.health):.1f}"
        return [f"{self.now // _MS} ms: {detector.state}, life {detector.incarnation}{phi}"]


class MembershipScript(NodeScript):
    """Probes every 100 us, time-out 30 us, suspicion from 300 us to 900 us."""

    def build(self, node: int, durable: dict[Any, Any], seed: int) -> MembershipNode:
        return MembershipNode(
            node, durable, seed, self.now, capacity=self.settings.get("capacity", 4), seeds=(0,),
            probe_interval_us=100, probe_timeout_us=30, suspicion_min_us=300,
            suspicion_max_us=900, confirmations=1, indirect=2,
            dead_every=self.settings.get("dead_every", 4),
        )  # fmt: skip

    def do_leave(self, node: str) -> None:
        self.ask(node, "leave")

    def do_meet(self, rounds: str) -> None:
        """Some intervals in which every message arrives; prints only what changed."""
        for _ in range(int(rounds)):
            self.do_wait("100")
            self.do_deliver()
        self.printed = [line for line in self.printed if " applies " in line]

    def do_state(self) -> None:
        for node, protocol in sorted(self.nodes.items()):
            if protocol is None:
                self.printed.append(f"{node} is down")
                continue
            view = protocol.view().items()
            seen = " ".join(f"n{other}={state}.{life}" for other, (state, life) in view)
            self.printed.append(f"{node} sees {seen}; health {protocol.score}")
