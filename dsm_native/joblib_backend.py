"""joblib on the nodes of a cluster: importing this module registers the backend "dsm_native".

    with dsm.Cluster(nodes=4) as cluster, joblib.parallel_config("dsm_native", cluster=cluster):
        joblib.Parallel()(joblib.delayed(work)(n) for n in range(1000))

Without `cluster=`, the process's only open cluster is taken. joblib is an optional dependency.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from joblib.parallel import (
    AutoBatchingMixin,
    ParallelBackendBase,
    register_parallel_backend,
)

from dsm_native.cluster import Cluster, owned
from dsm_native.exceptions import UsageError
from dsm_native.executor import ClusterExecutor, TaskFuture


def _call(function: Callable[[], Any]) -> Any:
    return function()


class ClusterBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Tasks of `joblib.Parallel` as tasks of the cluster's nodes."""

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, cluster: Cluster | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        if cluster is None:
            found = owned()
            if len(found) != 1:
                raise UsageError(f"say which cluster: cluster=…; {len(found)} are open here")
            cluster = found[0]
        self._cluster = cluster
        self._executor: ClusterExecutor | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many tasks run at once: as many as there are nodes, whatever was asked for."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        return self._cluster.node_count

    def configure(self, n_jobs: int = 1, parallel: Any = None, **settings: Any) -> int:
        """Begins a call of Parallel."""
        self.parallel = parallel
        self._executor = self._cluster.executor()
        return self.effective_n_jobs(n_jobs)

    def submit(self, func: Callable[[], Any], callback: Any = None) -> TaskFuture:
        """Schedules a batch of calls."""
        assert self._executor is not None
        future = self._executor.submit(_call, func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result_callback(self, future: TaskFuture) -> Any:
        """The results of a batch."""
        return future.result()

    def terminate(self) -> None:
        """Ends a call of Parallel; the nodes stay."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            self._executor = None
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Takes back what has not begun."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = self._cluster.executor() if ensure_ready else None


register_parallel_backend("dsm_native", ClusterBackend)
