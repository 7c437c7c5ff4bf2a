"""Chaos: a recorded load on a cluster, faults injected into it, and a verdict on what it did.

`chaos.run(Plan(...))` is what `dsm chaos` calls. Three parts: `load` is what the client
processes do, `injuries` does the harm, `trial` runs both, waits until the cluster has healed, and
judges: histories must be linearizable, money conserved, blocks of arrays whole, structures sound.
"""

from dsm_native.chaos.injuries import INJURIES
from dsm_native.chaos.plan import Plan
from dsm_native.chaos.report import Report
from dsm_native.chaos.trial import run

__all__ = ["INJURIES", "Plan", "Report", "run"]
