from collections.abc import Iterable
from typing import Self

from typing_extensions import Buffer, disjoint_base

from dsm_native._native.handle import Handle

@disjoint_base
class Reloader:
    """Puts records back into a cluster. replicas: of each region, by index; 0: no such region."""

    objects: int
    def __new__(cls, handle: Handle, replicas: Iterable[int]) -> Self: ...
    def stripe_of(self, key: Buffer, kind: int, region: int) -> tuple[int, int]: ...
    def put(self, stripe: int, payload: Buffer, marks: bytearray | None = None) -> None: ...
    def put_value(
        self, stripe: int, head: Buffer, value: Buffer, marks: bytearray | None = None
    ) -> None: ...
    def raise_generations(self, generations: Buffer) -> None: ...
