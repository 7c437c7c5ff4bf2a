"""One bug to plant: a change of a few words in one file of csrc."""

from __future__ import annotations

import shutil
from pathlib import Path
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

    def plant(self, clean: Path, name: str) -> Path:
        """A copy of the built tree beside it, with the bug; what depends on it is not built yet."""
        tree = clean.parent / name
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(clean, tree)
        place = tree / "csrc" / self.path
        text = place.read_text()
        if text.count(self.old) != 1:
            raise SystemExit(
                f"{self.name}: {self.file} holds the text to change {text.count(self.old)}"
                " times instead of once"
            )
        place.write_text(text.replace(self.old, self.new))
        return tree
