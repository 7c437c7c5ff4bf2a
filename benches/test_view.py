"""`view` of 1 MiB, as a memoryview and as an array, each dropped before the next is asked for."""

import numpy as np
import pytest
from workload import LARGE_BYTES, value_of

COUNT = 500


@pytest.mark.benchmark(group="view 1 MiB")
@pytest.mark.parametrize("kind", ["memoryview", "ndarray"])
def test_view(passes, ours, kind):
    content = value_of(LARGE_BYTES)
    stored = content if kind == "memoryview" else np.frombuffer(content, dtype=np.float64)
    ours.region.put("viewed", stored)
    passes(lambda: ([b"viewed".decode() for _ in range(COUNT)],), ours.view_each, COUNT)
    assert bytes(ours.region.view("viewed")) == content
