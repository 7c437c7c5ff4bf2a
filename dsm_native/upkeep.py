"""The node processes of a cluster as they start, end, are replaced, come and go.

For the collector's thread alone, once all have started. What becomes of the tasks of a node that
ends is the scheduler's: each step here that concerns them is one call of its.
"""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING

from dsm_native._native.handle import Handle
from dsm_native._native.members import report_exit, report_strike
from dsm_native._native.nodes import node_state, node_table
from dsm_native.exceptions import NodeLostError
from dsm_native.settings import START_TIMEOUT_S
from dsm_native.workers import END_TIMEOUT_S, Worker

if TYPE_CHECKING:
    from dsm_native.scheduler import Scheduler


class Upkeep:
    """Who runs each node. `workers` grows with the node table: one per node id there ever was."""

    def __init__(
        self,
        scheduler: Scheduler,
        handle: Handle,
        count: int,
        replaces: bool,
        options: tuple[str, ...] = (),
    ) -> None:
        self._scheduler: Scheduler = weakref.proxy(scheduler)  # no cycle: see scheduler._collect
        self._handle = handle
        self._replaces = replaces  # whether a node that has died is started again
        self._epoch = 0  # of the node table as it was last followed
        self._options = options  # of the nodes' program
        self.workers = [Worker(handle.name, node, options) for node in range(count)]

    def start_all(self) -> None:
        """Starts every node. NodeLostError if one ends or is late."""
        for worker in self.workers:
            worker.start()
        deadline = time.monotonic() + START_TIMEOUT_S

        def started() -> bool:
            for worker in self.workers:
                if not worker.ready and (worker.ended() or time.monotonic() > deadline):
                    raise NodeLostError(
                        f"{worker.described()} was not ready within {START_TIMEOUT_S:g} s"
                    )
            return all(worker.ready for worker in self.workers)

        self._scheduler.wait_until(started, None)

    def end_all(self, wait: bool) -> None:
        """Ends the nodes' processes, or lets go of them."""
        deadline = time.monotonic() + END_TIMEOUT_S
        for worker in self.workers:
            if wait:
                worker.end(deadline)
            else:
                worker.let_go()

    def nobody_left(self) -> bool:
        """Whether no node has a process, nor will have one."""
        return all(worker.given_up for worker in self.workers)

    def try_again(self) -> None:
        """Nodes that were started in vain are started again."""
        for worker in self.workers:
            worker.attempts = 0

    def waits_for_one(self) -> bool:
        """Whether a node is on its way, so that its coming or end is to be seen soon."""
        return any(not worker.ready and not worker.gone for worker in self.workers)

    def look_around(self) -> None:
        """One round: kills who is late, replaces who has ended, starts who is due."""
        self._follow_members()
        for worker in self.workers:
            if worker.leaving and self._part(worker):
                continue
            if worker.process is None:
                self._start_if_due(worker)
                continue
            late = self._scheduler.lanes[worker.node].overdue()
            if late is not None:
                worker.late = late
                self.kill(worker)
            elif worker.overdue_start():
                self.kill(worker)
            if worker.ended():
                self._replace(worker)

    def kill(self, worker: Worker) -> None:
        """Ends a process that is of no use, and says who did."""
        report_strike(self._handle, worker.node)
        worker.kill()

    def _start_if_due(self, worker: Worker) -> None:
        if worker.given_up or time.monotonic() < worker.start_at:
            return
        try:
            worker.start()
        except OSError as error:
            worker.ending = f"it could not be started: {error}"
            worker.bury()
            self._scheduler.judge(worker)

    def _replace(self, worker: Worker) -> None:
        if not worker.leaving:
            report_exit(self._handle, worker.node, worker.pid, worker.code)
        worker.forsaken = worker.leaving or not self._replaces
        self._scheduler.bury(worker)
        self._scheduler.judge(worker)
        self._start_if_due(worker)
        self._scheduler.feed()

    # ---- nodes that come and go ------------------------------------------------------------------

    def _follow_members(self) -> None:
        """Takes up nodes that were added and gives up those that are removed, by whomever."""
        if self._handle.epoch == self._epoch:
            return
        epoch, table = self._handle.epoch, node_table(self._handle)
        for node in range(max([len(self.workers) - 1, *table]) + 1):
            up = table.get(node, ("",))[0] in ("up", "lost")
            if node == len(self.workers):
                worker = Worker(self._handle.name, node, self._options)
                worker.leave()
                self._scheduler.admit(worker)
            worker = self.workers[node]
            if up and worker.leaving:
                if worker.process is not None:
                    return  # its former process is still to be buried: again at the next look
                worker.arrive()
            elif not up and not worker.leaving:
                worker.leave()
                self._scheduler.release(worker)
        self._epoch = epoch

    def _part(self, worker: Worker) -> bool:
        """Sees a node off that is removed; True while there is nothing else to do for it."""
        if worker.process is None:
            return True
        if worker.ended():
            return False
        idle = self._scheduler.lanes[worker.node].in_flight == 0
        if idle and node_state(self._handle, worker.node) in ("leaving", ""):
            worker.dismiss()
        return not worker.dismissed_for_long()
