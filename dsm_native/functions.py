"""Functions on their way to the nodes: numbered, sent to each node once, and never stale.

What can be imported travels by name. Everything else travels by value (cloudpickle), together with
the globals and the closure that it refers to. Those may change between two calls, so the bytes are
made anew for each call, unless all that the function refers to is known not to change.
"""

from __future__ import annotations

import itertools
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from dsm_native._native.lane import Function
from dsm_native.parcels import Encoded, pickled
from dsm_native.region import Region

KNOWN_MAX = 512  # functions kept at the nodes
_DEPTH_MAX = 3
_CONSTANT = (types.ModuleType, types.BuiltinFunctionType, Region)
_ATOMS = (int, float, complex, str, bytes, bool, type(None))


class _Unstable(Exception):  # noqa: N818 - it never leaves this module
    pass


def is_importable(function: Any) -> bool:
    """Whether the name under which the function is known leads to it in another process too."""
    module = getattr(function, "__module__", None)
    if module is None or module == "__main__":
        return False
    found: Any = sys.modules.get(module)
    for part in getattr(function, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    return found is function


def fingerprint(function: Any) -> tuple[Any, ...] | None:
    """Something that changes when the function's bytes would; None if that cannot be told."""
    try:
        return tuple(_prints(function, _DEPTH_MAX))
    except _Unstable:
        return None


def _prints(function: Any, depth: int) -> list[Any]:
    if type(function) is not types.FunctionType or depth == 0 or function.__dict__:
        raise _Unstable
    prints: list[Any] = [id(function.__code__)]
    try:
        values = [cell.cell_contents for cell in function.__closure__ or ()]
    except ValueError:  # a cell that is still empty
        raise _Unstable from None
    values += function.__defaults__ or ()
    values += (function.__kwdefaults__ or {}).values()
    for name in _names(function.__code__):
        if name in function.__globals__:
            values.append(function.__globals__[name])
    for value in values:
        kind = type(value)
        if kind in _ATOMS:
            prints.append((kind, value))
        elif isinstance(value, _CONSTANT) or (
            isinstance(value, type | types.FunctionType) and is_importable(value)
        ):
            prints.append(id(value))
        elif value is not function:
            prints += _prints(value, depth - 1)
    return prints


def _names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


class Functions:
    """The owner's numbering. May be used by any number of threads."""

    def __init__(self, encode: Callable[[bytes], Encoded]) -> None:
        self._encode = encode  # of a pickle that no record can hold
        self._numbers = itertools.count(1)
        self._by_identity: OrderedDict[Any, tuple[Any, Any, Function]] = OrderedDict()
        self._by_payload: OrderedDict[Any, Function] = OrderedDict()

    def entry(self, function: Any, setup: Function | None = None) -> Function:
        """The function's number and bytes; what cannot be pickled raises here."""
        identity = (id(function), setup and setup.number)
        known = self._by_identity.get(identity)
        if known is not None and known[0] is function:
            printed = known[1]
            if printed is True or (printed is not None and printed == fingerprint(function)):
                return known[2]
        printed = True if is_importable(function) else fingerprint(function)
        entry = self.numbered(pickled(function), setup, _name(function))
        if printed is not None:
            self._by_identity[identity] = (function, printed, entry)
            while len(self._by_identity) > KNOWN_MAX:
                self._by_identity.popitem(last=False)
        return entry

    def setup(self, call: tuple[Any, tuple[Any, ...]]) -> Function:
        """The entry of an initializer with its arguments, one of its own for each executor."""
        payload, codec, _ = self._encode(pickled(call))
        return Function(next(self._numbers), payload, codec, None, _name(call[0]))

    def numbered(self, data: bytes, setup: Function | None, name: str) -> Function:
        """The entry of a pickled function."""
        key = (data, setup and setup.number)
        entry = self._by_payload.get(key)
        if entry is None:
            payload, codec, _ = self._encode(data)
            entry = Function(next(self._numbers), payload, codec, setup, name)
            self._by_payload[key] = entry
        return entry

    def surplus(self) -> list[Function]:
        """The oldest functions beyond what is kept: nobody will be given them any more."""
        gone: list[Function] = []
        while len(self._by_payload) > KNOWN_MAX:
            gone.append(self._by_payload.popitem(last=False)[1])
        if gone:
            numbers = {entry.number for entry in gone}
            for identity, (_, _, entry) in list(self._by_identity.items()):
                if entry.number in numbers:
                    del self._by_identity[identity]
        return gone


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)
