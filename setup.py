"""Builds the C core as one static library and the Cython skins that link it."""

import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CORE = sorted(
    path
    for folder in ("base", "os", "mem", "store", "proto", "node")
    for path in glob(f"csrc/{folder}/*.c")
    if "_sim" not in os.path.basename(path)
)
HEADERS = sorted(glob("csrc/*/*.h") + glob("dsm_native/_native/*.px[di]"))
FLAGS = ["-std=gnu11", "-O3", "-g1", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fPIC"]
FLAGS += ["-fvisibility=hidden", *os.environ.get("DSM_CFLAGS", "").split()]
SKIN_FLAGS = [*FLAGS, "-Wno-unused-function", "-Wno-sign-compare", "-Wno-cpp"]


class BuildSkins(build_ext):
    """The skins link the static library, so it is built first, in-place builds included."""

    def run(self) -> None:
        self.run_command("build_clib")
        super().run()


def skin(name: str) -> Extension:
    return Extension(
        f"dsm_native._native.{name}",
        [f"dsm_native/_native/{name}.pyx"],
        include_dirs=["csrc"],
        libraries=["pthread", "rt", "m"],
        depends=[*HEADERS, *CORE],
        extra_compile_args=SKIN_FLAGS,
    )


setup(
    cmdclass={"build_ext": BuildSkins},
    libraries=[
        ("dsm_core", {"sources": CORE, "obj_deps": {"": HEADERS}, "cflags": FLAGS}),
    ],
    ext_modules=cythonize(
        [skin(os.path.basename(path)[:-4]) for path in sorted(glob("dsm_native/_native/*.pyx"))],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "binding": False,
            "embedsignature": True,
        },
    ),
)
