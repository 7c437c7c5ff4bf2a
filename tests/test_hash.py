"""csrc/base/hash.c against the reference implementation, in each width it can be built for."""

import ctypes
import pathlib
import platform
import shutil
import subprocess

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

SOURCES = pathlib.Path(__file__).resolve().parents[1] / "csrc" / "base"
COMPILER = shutil.which("gcc") or "cc"
WIDTHS_BITS = [64, 128, 256] if platform.machine() == "x86_64" else [64]
SEEDS = st.one_of(st.just(0), st.integers(0, 2**64 - 1))
CLASS_BOUNDS = [0, 1, 3, 4, 8, 9, 16, 17, 32, 64, 96, 128, 129, 240, 241, 256, 512]
BLOCK_BOUNDS = [1023, 1024, 1025, 1088, 1089, 2048, 2049, 4096, 65536]
EXPORT = """
#include "hash.h"
uint64_t hash64(const void *data, size_t length, uint64_t seed) {
  return dsm_hash64(data, length, seed);
}
"""


@pytest.fixture(scope="module", params=WIDTHS_BITS, ids="{}-bit".format)
def hash64(request, tmp_path_factory):
    """The C function, built on the spot for one width of its vectors."""
    folder = tmp_path_factory.mktemp("hash")
    (folder / "export.c").write_text(EXPORT)
    library = folder / "hash.so"
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    flags += [f"-I{SOURCES}", f"-DDSM_HASH_WIDTH_BITS={request.param}"]
    files = [folder / "export.c", SOURCES / "hash.c", SOURCES / "check.c"]
    subprocess.run([COMPILER, *flags, "-o", library, *files], check=True)
    function = ctypes.CDLL(library).hash64
    function.restype = ctypes.c_uint64
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    return function


@given(data=st.binary(max_size=400), seed=SEEDS)
def test_short_and_middle_inputs(hash64, data, seed):
    assert hash64(data, len(data), seed) == xxhash.xxh3_64_intdigest(data, seed)


@given(start=st.integers(0, 255), length=st.integers(129, 20_000), seed=SEEDS)
def test_long_inputs(hash64, start, length, seed):
    data = bytes((start + 7 * i + (i >> 8)) & 255 for i in range(length))
    assert hash64(data, len(data), seed) == xxhash.xxh3_64_intdigest(data, seed)


@pytest.mark.parametrize("length", CLASS_BOUNDS + BLOCK_BOUNDS)
@given(seed=SEEDS, fill=st.binary(min_size=1, max_size=64))
@settings(max_examples=20, deadline=None)
def test_each_bound_between_two_algorithms(hash64, length, seed, fill):
    data = (fill * (length // len(fill) + 1))[:length]
    assert hash64(data, length, seed) == xxhash.xxh3_64_intdigest(data, seed)


def test_every_length_up_to_three_blocks(hash64):
    data = bytes((i * i + 31 * i) & 255 for i in range(3200))
    for length in range(len(data) + 1):
        assert hash64(data, length, length) == xxhash.xxh3_64_intdigest(data[:length], length)
