from collections.abc import Iterable
from typing import Any, Self

from typing_extensions import Buffer, disjoint_base

from dsm_native._native.handle import Handle

def place_of(key: Any, region: int, seed: int, stripes: int) -> tuple[int, int, int, bytes]: ...
def seed_of(handle: Handle) -> int: ...
def key_of(kind: int, encoded: bytes) -> Any: ...
def value_of(codec: int, encoded: bytearray) -> Any: ...

@disjoint_base
class Reloader:
    """Puts records back into a cluster. replicas: of each region, by index; 0: no such region.

    anew: absent keys are put as if by a user, with new versions. lost: only what the cluster has
    lost. `refused`: the latest error came of the cluster and not of the record.
    """

    objects: int
    value_bytes: int
    refused: bool
    def __new__(
        cls, handle: Handle, replicas: Iterable[int], anew: bool = False, lost: bool = False
    ) -> Self: ...
    def put(self, stripe: int, payload: Buffer, marks: bytearray | None = None) -> None: ...
    def put_value(
        self, stripe: int, head: Buffer, value: Buffer, marks: bytearray | None = None
    ) -> None: ...
    def raise_generations(self, generations: Buffer) -> None: ...
