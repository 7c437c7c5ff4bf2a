"""The stores we are compared with, opened by name through one small adapter each.

A peer that cannot be opened is not an error of the run and not a silent gap either: opening it
raises PeerAbsentError with the reason, which the report prints. Our own store is never absent.
"""

import importlib

from peers.peer import Peer, PeerAbsentError

OURS = "dsm_native"
OPENERS = {
    "dict": "mappings:open_dict",
    OURS: "dsm_region:open_store",
    "py-lmdb": "lmdb_store:open_store",
    "Redis, unix socket": "redis_server:open_store",
    "Manager().dict()": "mappings:open_manager",
    "UltraDict": "mappings:open_ultradict",
    "diskcache": "mappings:open_diskcache",
    "Ray object store": "ray_store:open_store",
}


def open_peer(name: str, **options) -> Peer:
    """Start and open one store; PeerAbsentError says why it is not to be had."""
    try:
        module, opener = OPENERS[name].split(":")
        return getattr(importlib.import_module(f"peers.{module}"), opener)(**options)
    except ImportError as error:
        if name == OURS:
            raise
        raise PeerAbsentError(f"not installed ({error})") from error
    except PeerAbsentError:
        raise
    except Exception as error:
        if name == OURS:
            raise
        raise PeerAbsentError(f"could not be opened: {error!r}") from error


__all__ = ["OPENERS", "OURS", "Peer", "PeerAbsentError", "open_peer"]
