"""Options of the test suite."""

from __future__ import annotations


def pytest_addoption(parser):
    parser.addoption(
        "--rewrite-scenarios",
        action="store_true",
        help="write what scenarios print now into their files; read the difference as a change",
    )
