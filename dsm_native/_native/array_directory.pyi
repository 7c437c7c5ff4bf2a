from collections.abc import Callable
from typing import Any

from dsm_native._native.array import ArrayMap
from dsm_native._native.handle import Handle

def find_array(handle: Handle, name: str, timeout: float | None = None) -> ArrayMap | None: ...
def give_up_array(handle: Handle, name: str) -> bool: ...
def create_array(
    handle: Handle, name: str, asked: dict[str, Any], timeout: float | None = None
) -> ArrayMap | None: ...
def replace_array(
    old: ArrayMap,
    asked: dict[str, Any] | None,
    fill: Callable[[ArrayMap], None] | None,
    timeout: float | None = None,
) -> Any: ...
def array_names(handle: Handle) -> list[str]: ...
