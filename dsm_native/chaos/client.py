"""A chaos client: `python -m dsm_native.chaos.client CLUSTER FOLDER KEYS SIZES SEED`.

Says "ready", then works until its standard input is closed, the cluster ends, or it is killed.
"""

from __future__ import annotations

import select
import sys
import time
from pathlib import Path

from dsm_native.chaos.load import Client
from dsm_native.cluster import attach
from dsm_native.exceptions import ClusterNotFoundError

BREATH_S = 0.001  # after every second call: faults are the point, not the rate


def main(arguments: list[str]) -> int:
    """Entry point; see the module's text."""
    name, folder, keys, large, seed = arguments
    try:
        cluster = attach(name)
    except ClusterNotFoundError:  # it has ended meanwhile; the trial knows whether it was to
        return 1
    with cluster:
        client = Client(cluster, Path(folder), int(keys), int(seed), large == "large")
        print("ready", flush=True)
        while client.step():
            if client.draw.random() < 0.5:
                time.sleep(BREATH_S)
            if client.calls % 16 == 0 and select.select([sys.stdin], [], [], 0)[0]:
                break
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
