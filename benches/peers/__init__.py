"""The stores we are compared with, one adapter per file, opened by name.

A peer that cannot be opened is not an error of the run and not a silent gap either: `open_peers`
returns it among the absent, with the reason.
"""

import importlib
from collections.abc import Iterable

from peers.peer import Peer, PeerAbsentError

FILES = {
    "dict": "dictionary",
    "dsm_native": "dsm_region",
    "py-lmdb": "lmdb_store",
    "Redis, unix socket": "redis_server",
    "Manager().dict()": "manager_dict",
    "UltraDict": "ultra_dict",
    "diskcache": "disk_cache",
    "Ray object store": "ray_store",
}


def open_peer(name: str, **options) -> Peer:
    """Start and open one store; PeerAbsentError says why it is not to be had."""
    try:
        module = importlib.import_module(f"peers.{FILES[name]}")
        return module.open_store(**options)
    except ImportError as error:
        if name == "dsm_native":
            raise
        raise PeerAbsentError(f"not installed ({error})") from error


def open_peers(names: Iterable[str] = tuple(FILES)) -> tuple[dict[str, Peer], dict[str, str]]:
    """All that can be opened, and the reason for each that cannot."""
    present: dict[str, Peer] = {}
    absent: dict[str, str] = {}
    for name in names:
        try:
            present[name] = open_peer(name)
        except PeerAbsentError as reason:
            absent[name] = str(reason)
    return present, absent


__all__ = ["FILES", "Peer", "PeerAbsentError", "open_peer", "open_peers"]
