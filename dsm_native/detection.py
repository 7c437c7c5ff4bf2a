"""How a cluster watches its nodes, and what follows a death: settings, checked before use. Pure.

A killed process is reported by the kernel at once, whatever stands here. These settings are for
those that live and do nothing: stopped, or starved for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dsm_native.exceptions import UsageError

RECOVERIES = {"adopt": 1, "rebuild": 2, "none": 3}  # dsm_recovery in csrc/mem/layout.h
_MS_MAX = 3_600_000


@dataclass(frozen=True)
class Detection:
    """When a silent node counts as hung. All times in milliseconds.

    heartbeat_ms: between two beats of a node, and between two looks at all others; 1 to 60,000.
    suspect_ms: silence after which a node is suspected (and cleared by its next beat); at least two
    beats. timeout_ms: silence after which it counts as hung: it is killed, its end awaited, and it
    is replaced; at least one beat more. accrual: judge by phi accrual too (Hayashibara et al. 2004,
    "The phi accrual failure detector"): it learns how regular a node beats and, beyond pause_ms of
    silence, suspects it at phi_suspect and gives it up at phi_dead, which may come before
    timeout_ms, never later. phi 8 means: once in 10^8 such silences the node was well.

    An observer that was away itself forgives as much silence to all others.
    """

    heartbeat_ms: int = 100
    suspect_ms: int = 1_000
    timeout_ms: int = 3_000
    accrual: bool = False
    phi_suspect: float = 3.0
    phi_dead: float = 8.0
    pause_ms: int = 500

    def __post_init__(self) -> None:
        self._check_ms("heartbeat_ms", 1, 60_000)
        self._check_ms("suspect_ms", 2 * self.heartbeat_ms, _MS_MAX)
        self._check_ms("timeout_ms", self.suspect_ms + self.heartbeat_ms, _MS_MAX)
        self._check_ms("pause_ms", 0, _MS_MAX)
        if type(self.accrual) is not bool:
            raise UsageError(f"accrual must be True or False, not {self.accrual!r}")
        self._check_phi("phi_suspect", 100)
        self._check_phi("phi_dead", thousandths(self.phi_suspect) + 100)

    def _check_ms(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if type(value) is not int or not low <= value <= high:
            raise UsageError(
                f"Detection: {name} must be an int from {low:,} to {high:,} milliseconds, not "
                f"{value!r}"
            )

    def _check_phi(self, name: str, low: int) -> None:
        value = getattr(self, name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1000 or thousandths(value) < low:
            raise UsageError(
                f"Detection: {name} must be a number from {low / 1000:g} to 1000, not {value!r}"
            )


def thousandths(value: float) -> int:
    """What the core stores of a phi; settings are compared as stored, not as floats."""
    return round(value * 1000)


PRESETS = {
    "default": Detection(),
    "fast": Detection(heartbeat_ms=20, suspect_ms=100, timeout_ms=400, pause_ms=100),
    "relaxed": Detection(heartbeat_ms=500, suspect_ms=5_000, timeout_ms=20_000, pause_ms=2_500),
}


def check_detection(value: Any) -> Detection:
    """The settings that a preset's name or a Detection stands for."""
    if isinstance(value, Detection):
        return value
    if isinstance(value, str) and value in PRESETS:
        return PRESETS[value]
    names = ", ".join(map(repr, PRESETS))
    raise UsageError(f"detection must be {names} or a dsm.Detection, not {value!r}")


def check_recovery(value: Any) -> str:
    """The name of a recovery strategy."""
    if isinstance(value, str) and value in RECOVERIES:
        return value
    raise UsageError(f"recovery must be {', '.join(map(repr, RECOVERIES))}, not {value!r}")


def packed(detection: Detection, recovery: str, faults: bool) -> tuple[int, ...]:
    """As the core stores them: the numbers of dsm_detection_shm, in order."""
    return (
        detection.heartbeat_ms,
        detection.suspect_ms,
        detection.timeout_ms,
        int(detection.accrual),
        thousandths(detection.phi_suspect),
        thousandths(detection.phi_dead),
        detection.pause_ms,
        RECOVERIES[recovery],
        int(faults),
    )


def unpacked(numbers: tuple[int, ...]) -> tuple[Detection, str, bool]:
    """What `packed` was given; how any process learns what the cluster was made with."""
    beat, suspect, timeout, accrual, phi_suspect, phi_dead, pause, recovery, faults = numbers
    detection = Detection(
        *(beat, suspect, timeout, bool(accrual), phi_suspect / 1000, phi_dead / 1000, pause)
    )
    return detection, {number: name for name, number in RECOVERIES.items()}[recovery], bool(faults)
