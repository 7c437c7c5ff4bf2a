"""One bug to plant: a change of a few words in one file of csrc/proto."""

from __future__ import annotations

from typing import NamedTuple


class Bug(NamedTuple):
    """`old` occurs exactly once in `file` and becomes `new`; `face` is the extension upon it."""

    name: str
    face: str
    file: str
    old: str
    new: str
