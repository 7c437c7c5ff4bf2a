"""One bug to plant: a change of a few words in one file of csrc."""

from __future__ import annotations

from typing import NamedTuple


class Bug(NamedTuple):
    """`old` occurs exactly once in `file` and becomes `new`; `face` says whose tests must fail.

    `face` is an extension upon a core of csrc/proto, where `file` then lies, or "engine".
    """

    name: str
    face: str
    file: str
    old: str
    new: str

    @property
    def path(self) -> str:
        """The file, seen from csrc."""
        return self.file if "/" in self.file else f"proto/{self.file}"
