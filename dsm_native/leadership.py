"""Who waits for results takes them in for all: one leads, the others follow.

Any thread of the owner may wait. The first to come listens to the bell and lets the scheduler hand
out what comes; the others sleep until they are told, or a slice of time has passed, and then lead
in their turn if the leader has gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from dsm_native._native.lane import Lane
from dsm_native._native.settling import Condition, leading

if TYPE_CHECKING:
    from dsm_native.scheduler import Scheduler

SLICE_S = 0.05


class Leadership:
    """The waiting threads of one scheduler. `bell` is the lane that listens for all."""

    def __init__(self, bell: Lane) -> None:
        self._bell = bell
        self._leader = threading.Lock()  # held by the thread that listens
        self._news = Condition()
        self._followers = 0  # threads that wait for news of what the leader takes in
        self._told = 0  # how often they were told

    def taken(self) -> bool:
        """Whether somebody leads."""
        return self._leader.locked()

    def tell(self) -> None:
        """Something was handed out: who follows looks again."""
        if self._followers:
            with self._news:
                self._told += 1
                self._news.notify_all()

    def wait_until(
        self,
        scheduler: Scheduler,
        done: Callable[[], bool],
        timeout: float | None,
        condition: threading.Condition | None,
    ) -> bool:
        """See `Scheduler.wait_until`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not done():
            scheduler.check_process()
            left = SLICE_S if deadline is None else min(SLICE_S, deadline - time.monotonic())
            if left <= 0:
                return False
            scheduler.check_running()
            if not leading(self._leader, partial(self._lead, scheduler, done, deadline)):
                self._follow(done, left, condition)
        return True

    def _lead(self, scheduler: Scheduler, done: Callable[[], bool], deadline: float | None) -> None:
        deaths = self._bell.deaths()
        try:
            self._bell.lead()
            while not scheduler.closed():
                deaths = self._bell.deaths()
                scheduler.pump()
                if done() or (deadline is not None and time.monotonic() >= deadline):
                    return
                self._bell.listen_first(deaths, 1)
        finally:
            self._bell.leave(deaths)

    def _follow(
        self, done: Callable[[], bool], left: float, condition: threading.Condition | None
    ) -> None:
        if condition is not None:
            with condition:
                if not done():
                    condition.wait(left)
            return
        with self._news:
            self._followers += 1
            seen = self._told
        try:
            if not done():
                with self._news:
                    if self._told == seen:
                        self._news.wait(left)
        finally:
            with self._news:
                self._followers -= 1
