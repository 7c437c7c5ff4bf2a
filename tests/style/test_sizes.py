"""Files of at most 400 lines, functions of at most 70, lines of at most 100 columns."""

from __future__ import annotations

import ast
import re

import pytest
import sources
from sources import core, everything, found, python, relative, skins, text, without_comments

LINES_MAX = 400
FUNCTION_MAX = 70
COLUMNS_MAX = 100
# One class whose methods share their inlined steps; a file that says so in its head may be longer.
LONGER = re.compile(r"longer than \d+ lines", re.IGNORECASE)


@pytest.mark.parametrize("path", everything(), ids=relative)
def test_files_are_short(path):
    lines = text(path).count("\n")
    head = "\n".join(text(path).splitlines()[:20])
    assert lines <= LINES_MAX or LONGER.search(head), f"{lines} lines"


@pytest.mark.parametrize(
    "path", [*everything(), *found("docs/**/*.md", "tests/c/Makefile")], ids=relative
)
def test_lines_are_short(path):
    if path.suffix == ".md":
        return
    for number, line in enumerate(text(path).splitlines(), 1):
        assert len(line) <= COLUMNS_MAX, f"line {number} has {len(line)} columns"
        assert line == line.rstrip(), f"line {number} ends in blanks"
    assert text(path) == "" or text(path).endswith("\n")


@pytest.mark.parametrize(
    "path", [path for path in [*python(), *sources.tests()] if path.suffix == ".py"], ids=relative
)
def test_python_functions_are_short(path):
    for node in ast.walk(ast.parse(text(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            # A script that a test runs elsewhere is text, not statements.
            scripts = [
                part.end_lineno - part.lineno
                for part in ast.walk(node)
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
            assert length - sum(scripts) <= FUNCTION_MAX, f"{node.name} has {length} lines"


@pytest.mark.parametrize(
    "path",
    [path for path in [*core(), *sources.tests()] if path.suffix in (".c", ".h")],
    ids=relative,
)
def test_c_functions_are_short(path):
    start = None
    for number, line in enumerate(without_comments(path).splitlines(), 1):
        if line == "{" or (line.endswith("{") and line[0] not in " \t}#" and "(" in line):
            start = number
        elif line.startswith("}") and start is not None:
            assert number - start + 1 <= FUNCTION_MAX, f"the function at line {start}"
            start = None


@pytest.mark.parametrize("path", [path for path in skins() if path.suffix == ".pyx"], ids=relative)
def test_cython_functions_are_short(path):
    start, indent = None, 0
    lines = text(path).splitlines()
    for number, line in enumerate([*lines, "end"], 1):
        body = line.lstrip()
        depth = len(line) - len(body)
        if start is not None and body and depth <= indent and not body.startswith((")", "#")):
            assert number - start <= FUNCTION_MAX + 1, f"the function at line {start}"
            start = None
        if re.match(r"(?:def|cdef|cpdef)\b[^=]*\(", body):
            start, indent = number, depth
