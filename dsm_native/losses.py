"""What the submitter of a task is told when its workers were lost. Messages name both sides."""

from __future__ import annotations

from dsm_native._native.lane import Task
from dsm_native.exceptions import WorkerLostError
from dsm_native.workers import Worker


def described(task: Task) -> str:
    """For messages: the task as its submitter knows it."""
    return f"task {task.index} of {task.function.name}()"


def lost(task: Task, worker: Worker, late: object) -> WorkerLostError:
    """The end of a task whose processes were lost too often."""
    why = f"; it ran for longer than task_timeout={task.timeout:g} s" if task is late else ""
    return WorkerLostError(
        f"{described(task)} was lost {task.tries} times, last on {worker.described()}{why}; "
        f"retries={task.retries}",
        pid=worker.pid,
        ending=worker.ending,
    )


def given_up(worker: Worker) -> WorkerLostError:
    """The end of tasks that have no node to run on."""
    why = f"was started {worker.attempts} times in vain; a new call tries again"
    if worker.forsaken:
        why = "is not replaced, as the cluster was made with recovery='none'"
    return WorkerLostError(
        f"no node process is left to run the task: {worker.described()} {why}",
        pid=worker.pid,
        ending=worker.ending,
    )
