"""`put` of 1 MiB over one key, beside `np.copyto` of the same bytes."""

import numpy as np
import pytest
from workload import LARGE_BYTES, value_of

COUNT = 20


@pytest.mark.benchmark(group="put 1 MiB")
def test_put_large(passes, ours):
    value = value_of(LARGE_BYTES)
    passes(lambda: ([b"large".decode() for _ in range(COUNT)], value), ours.put_each, COUNT)


@pytest.mark.benchmark(group="put 1 MiB")
def test_copyto(passes):
    source = np.frombuffer(value_of(LARGE_BYTES), dtype=np.uint8)
    target = np.ones(LARGE_BYTES, dtype=np.uint8)

    def copy_each(count: int) -> None:
        for _ in range(count):
            np.copyto(target, source)

    passes(lambda: (COUNT,), copy_each, COUNT)
    assert target.tobytes() == source.tobytes()
