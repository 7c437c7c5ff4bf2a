"""Ray's object store. It has no keys: objects are immutable and found by reference.

So a put is `refs[key] = ray.put(value)` and a get is `ray.get(refs[key])`; the dict of references
belongs to this process alone and would have to be shared by other means.
"""

import os
from collections.abc import Callable, Iterable

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray  # noqa: E402  (it reads the environment when it is imported)

from peers.peer import Peer, PeerAbsentError  # noqa: E402

STORE_BYTES = 256 << 20


class RayStore(Peer):
    note = "by reference, the references in a local dict"

    def __init__(self) -> None:
        try:
            ray.init(
                num_cpus=1,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=STORE_BYTES,
            )
        except Exception as error:
            raise PeerAbsentError(f"ray did not start: {error}") from error
        self.refs: dict[str, ray.ObjectRef] = {}

    def load(self, keys: Iterable, value: bytes) -> None:
        self.put_each(keys, value)

    def get_each(self, keys: Iterable) -> None:
        get, refs = ray.get, self.refs
        for key in keys:
            get(refs[key])

    def put_each(self, keys: Iterable, value: bytes) -> None:
        put, refs = ray.put, self.refs
        for key in keys:
            refs[key] = put(value)

    def single_get(self) -> Callable:
        get, refs = ray.get, self.refs
        return lambda key: get(refs[key])

    def single_put(self) -> Callable:
        put, refs = ray.put, self.refs

        def put_one(key: str, value: bytes) -> None:
            refs[key] = put(value)

        return put_one

    def close(self) -> None:
        self.refs.clear()
        ray.shutdown()


def open_store() -> RayStore:
    return RayStore()
