"""The source files that the rules of style are about, read once."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def found(*patterns: str) -> list[Path]:
    """Files that match, sorted; what builds and environments put there is left out."""
    paths = {path for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(path for path in paths if not is_generated(path))


def is_generated(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    made_from_skin = path.suffix == ".c" and path.with_suffix(".pyx").exists()
    return made_from_skin or any(
        part in ("build", "__pycache__") or part[0] == "." for part in parts
    )


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def core() -> list[Path]:
    return found("csrc/*/*.[ch]")


def python() -> list[Path]:
    return found("dsm_native/**/*.py", "setup.py")


def skins() -> list[Path]:
    return found("dsm_native/_native/*.p[yx][xdi]")


def tests() -> list[Path]:
    return found("tests/**/*.py", "tests/**/*.[ch]", "benches/**/*.py", "examples/**/*.py")


def everything() -> list[Path]:
    return [*core(), *python(), *skins(), *tests()]


@cache
def without_comments(path: Path) -> str:
    """C text with comments and string contents blanked out; lines stay where they are."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match.group())

    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text(path), flags=re.S)
