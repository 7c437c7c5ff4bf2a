from collections.abc import Iterable, Mapping
from typing import Any

from dsm_native._native.reader import RegionReader

class RegionCore(RegionReader):
    def put(
        self, key: Any, value: Any, *, if_version: int | None = None, timeout: float | None = None
    ) -> int: ...
    def put_many(
        self,
        items: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
        *,
        timeout: float | None = None,
    ) -> None: ...
    def delete(
        self, key: Any, *, if_version: int | None = None, timeout: float | None = None
    ) -> int: ...
    def add(self, key: Any, difference: int = 1, *, timeout: float | None = None) -> int: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def __delitem__(self, key: Any, /) -> None: ...
