import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Self

from typing_extensions import disjoint_base

class Condition(threading.Condition): ...

@disjoint_base
class Telling:
    def __new__(cls, future: Future[Any], waiters: list[Any], good: bool) -> Self: ...
    def tell(self) -> None: ...

def leading(lock: threading.Lock, call: Callable[[], object]) -> bool: ...
def settle(
    future: Future[Any], good: bool, value: object, calls: SimpleQueue[Any] | None
) -> None: ...
