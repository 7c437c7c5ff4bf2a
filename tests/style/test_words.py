"""Names and words: no drawers for odds and ends, no promises, a law at the top of each file."""

from __future__ import annotations

import re

import pytest
from sources import ROOT, core, everything, found, python, relative, skins, text, without_comments

FORBIDDEN_NAMES = re.compile(r"(?:^|_)(?:util|utils|helper|helpers|common|manager|misc)(?:_|$)")
PROMISES = "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"))
HEAD_LINES_MAX = 20


@pytest.mark.parametrize("path", everything(), ids=relative)
def test_names_of_files_are_nouns_of_their_own(path):
    assert not FORBIDDEN_NAMES.search(path.stem)
    assert path.stem == path.stem.lower()


@pytest.mark.parametrize(
    "path", [*everything(), *found("docs/**/*.md", "*.md", "Makefile", "tests/*/Makefile")],
    ids=relative,
)  # fmt: skip
def test_nothing_is_promised(path):
    assert not re.search(rf"\b(?:{PROMISES})\b", text(path))


@pytest.mark.parametrize("path", everything(), ids=relative)
def test_a_file_opens_with_its_law(path):
    if path.suffix in (".pyi", ".pxd", ".pxi") or not text(path):
        return
    start = '"""' if path.suffix == ".py" else "#" if path.suffix == ".pyx" else "/*"
    first = text(path).split("\n", 1)[0]
    assert first.startswith(start), "the first line is no comment"
    if path.suffix in (".c", ".h"):
        head = text(path).split("*/", 1)[0].count("\n") + 1
    elif path.suffix == ".py":
        head = text(path).split('"""', 2)[1].count("\n") + 1
    else:
        head = len(re.match(r"(?:#[^\n]*\n)+", text(path)).group().splitlines())
    assert head <= HEAD_LINES_MAX, f"the head has {head} lines"


@pytest.mark.parametrize("path", [path for path in core() if path.suffix == ".c"], ids=relative)
def test_the_core_has_no_mutable_state_of_its_own(path):
    """State is in a segment or in a handle passed in; the simulated kernel is one big state."""
    if path.name.startswith("os_sim"):
        return
    depth = 0
    for number, line in enumerate(without_comments(path).splitlines(), 1):
        if depth == 0 and re.match(r"(?:static\s+)?(?!typedef|extern|const|static const)\w", line):
            variable = re.match(
                r"(?:static\s+)?(?:_Thread_local\s+)?(?:struct\s+)?"
                r"[\w ]+?[\s*]+\w+(?:\[[^]]*\])?\s*(?:=|;)",
                line,
            )
            constant = re.search(
                r"\bconst\b|_Static_assert|^typedef|^extern|^return|^struct \w+;", line
            )
            assert not variable or constant, f"line {number}: {line.strip()}"
        depth += line.count("{") - line.count("}")


@pytest.mark.parametrize("path", [path for path in core() if path.suffix == ".h"], ids=relative)
def test_headers_guard_themselves_and_name_the_folder(path):
    if re.search(r"no\s+(?:\*\s+)?include guard", text(path)):
        return  # expanded several times on purpose, and says so
    guard = f"DSM_{path.parent.name}_{path.stem}_H".upper()
    assert f"#ifndef {guard}\n#define {guard}\n" in text(path)


@pytest.mark.parametrize("path", [path for path in core() if path.suffix == ".h"], ids=relative)
def test_structures_of_segments_hold_no_pointers_and_state_their_size(path):
    for body, name in re.findall(
        r"typedef struct \w+ \{([^}]*)\} (\w+_shm);", without_comments(path), re.S
    ):
        assert "*" not in body, f"{name} holds a pointer"
        assert not re.search(r"\b(?:int|long|size_t|unsigned|bool)\s+\w+;", body), name


@pytest.mark.parametrize("path", [*core(), *python(), *skins()], ids=relative)
def test_plain_assert_is_not_used_in_c(path):
    if path.suffix in (".c", ".h"):
        assert not re.search(r"(?<![\w_])assert\s*\(", without_comments(path))


def test_every_extension_has_a_stub():
    skinned = {path.stem for path in skins() if path.suffix == ".pyx"}
    assert {path.stem for path in skins() if path.suffix == ".pyi"} == skinned


def test_the_license_is_there():
    assert "Apache License" in text(ROOT / "LICENSE")
