"""Scenario files: commands and, under a line of dashes, what they must print.

A file is a list of blocks parted by blank lines. A block is comment lines (`#`), command lines, the
line `----`, and the expected lines. `rewritten` runs the commands and gives back the file with what
they printed in fact: equal to the file, or a difference to be read and judged as one.
"""

from __future__ import annotations

from collections.abc import Callable

MARK = "----"
Execute = Callable[[str], list[str]]


def _rewritten_block(lines: list[str], execute: Execute) -> list[str]:
    written: list[str] = []
    printed: list[str] = []
    for line in lines:
        if line == MARK:
            break
        written.append(line)
        if not line.startswith("#"):
            printed += execute(line)
    if len(written) == sum(line.startswith("#") for line in written):
        return written
    return [*written, MARK, *(printed or ["nothing"])]


def rewritten(text: str, execute: Execute) -> str:
    """The scenario with the lines that its commands print now. `execute` runs one command line."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            blocks[-1].append(line.rstrip())
        elif blocks[-1]:
            blocks.append([])
    done = [_rewritten_block(block, execute) for block in blocks if block]
    return "\n\n".join("\n".join(block) for block in done) + "\n"
