from typing import Any

from typing_extensions import disjoint_base

from dsm_native._native.handle import Handle
from dsm_native._native.sync import SyncCore

ORDERS: tuple[str, ...]
DTYPES: tuple[str, ...]
NDIM_MAX: int

class CounterCore(SyncCore):
    def __init__(self, handle: Handle, name: str) -> None: ...
    def add(self, difference: int = 1) -> int: ...
    def get(self) -> int: ...
    def reset(self, value: int = 0) -> int: ...

@disjoint_base
class AtomicCore(SyncCore):
    def __init__(self, handle: Handle, name: str, dtype: int, shape: tuple[int, ...]) -> None: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    def load(self, index: int | tuple[int, ...] = (), order: str = "seq_cst") -> Any: ...
    def store(
        self, value: Any, index: int | tuple[int, ...] = (), order: str = "seq_cst"
    ) -> None: ...
    def exchange(
        self, value: Any, index: int | tuple[int, ...] = (), order: str = "seq_cst"
    ) -> Any: ...
    def fetch_add(
        self, value: int, index: int | tuple[int, ...] = (), order: str = "seq_cst"
    ) -> int: ...
    def fetch_sub(
        self, value: int, index: int | tuple[int, ...] = (), order: str = "seq_cst"
    ) -> int: ...
    def fetch_and(
        self, value: int, index: int | tuple[int, ...] = (), order: str = "seq_cst"
    ) -> int: ...
    def fetch_or(
        self, value: int, index: int | tuple[int, ...] = (), order: str = "seq_cst"
    ) -> int: ...
    def fetch_xor(
        self, value: int, index: int | tuple[int, ...] = (), order: str = "seq_cst"
    ) -> int: ...
    def compare_exchange(
        self,
        expected: Any,
        desired: Any,
        index: int | tuple[int, ...] = (),
        success: str = "seq_cst",
        failure: str | None = None,
    ) -> tuple[bool, Any]: ...
