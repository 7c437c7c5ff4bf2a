"""The hand-written stubs against the extensions as they were built."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module, util

import pytest
from sources import ROOT, skins

MODULES = [f"dsm_native._native.{path.stem}" for path in skins() if path.suffix == ".pyx"]
# What Cython adds to every module, and the names that the buffer protocol has from 3.12 on.
# A constructor with keyword arguments alone is told as (*args, **kwargs).
ADDED = [
    r".*\.Options\.__init__",
    r".*\.__test__",
    r".*\.__pyx_capi__",
    r".*\.__buffer__",
    r".*\.__release_buffer__",
]


@pytest.mark.parametrize("module", MODULES)
def test_public_methods_say_what_they_do(module):
    for name, found in vars(import_module(module)).items():
        if inspect.isclass(found) and found.__module__ == module and not name.startswith("_"):
            assert found.__doc__, name


def test_stubs_agree_with_the_extensions(tmp_path):
    if util.find_spec("mypy") is None:
        # The stubs are then compared by name only; `make types` runs the whole comparison.
        for module in MODULES:
            stub = (ROOT / (module.replace(".", "/") + ".pyi")).read_text()
            for name, found in vars(import_module(module)).items():
                if inspect.isclass(found) and found.__module__ == module:
                    assert f"class {name}" in stub
        return
    allowed = tmp_path / "allowed"
    allowed.write_text("\n".join(ADDED))
    command = [sys.executable, "-m", "mypy.stubtest", "--ignore-unused-allowlist"]
    result = subprocess.run(
        [*command, "--allowlist", allowed, *MODULES],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout
