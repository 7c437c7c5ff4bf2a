"""What must hold after every step, whatever happened.

An invariant watches the protocol from outside: the simulation shows it each node's state and
outputs after each input. It keeps what it needs in itself and raises `InvariantError` at the first
step after which it does not hold.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, NoReturn

from dsm_native.exceptions import DSMError
from dsm_native.testing.protocol import Outputs, Protocol


class InvariantError(DSMError, AssertionError):
    """Something that must never happen did; the message names both sides of the broken relation."""


class Invariant:
    """Base class: override what is of interest. `checks` counts the relations looked at."""

    name = "invariant"
    part: int | None = None
    """Which part of `Outputs` it looks at; `stepped` is not called where that part is empty. None:
    it is shown every step that has outputs."""

    def __init__(self) -> None:
        self.checks = 0

    def started(
        self, node: int, protocol: Protocol, durable: Mapping[Hashable, Any], now: int
    ) -> None:
        """A node started or restarted from what was durable."""

    def stepped(self, node: int, protocol: Protocol, outputs: Outputs, now: int) -> None:
        """A node took one input and answered with `outputs`; `now` is true time."""

    def crashed(self, node: int) -> None:
        """A node is gone, and with it what was not durable."""

    def require(self, holds: bool, message: str) -> None:
        """Counts a check; `InvariantError` names the invariant when it does not hold."""
        self.checks += 1
        if not holds:
            self.fail(message)

    def fail(self, message: str) -> NoReturn:
        """Raises `InvariantError`. For relations looked at so often that their message must not be
        made before it is needed; those count in `checks` by themselves."""
        raise InvariantError(f"{self.name}: {message}")
