from typing import Self

from typing_extensions import disjoint_base

from dsm_native._native.handle import Handle

RECORD_BYTES_MAX: int
SLOTS: int
READY: int
REQUEST: int
SETTING: int
DEFINE: int
FORGET: int
RESULT: int
ERROR: int
REFUSED: int
REPLY: int
REPLY_ERROR: int
PLAIN: int
PICKLE: int
CALL: int
PARCEL: int
CALL_PARCEL: int
ARRAY: int
CALL_ARRAYS: int

@disjoint_base
class Mailbox:
    def __new__(cls, handle: Handle, node: int, *_: object) -> Self: ...
    @property
    def handle(self) -> Handle: ...
    @property
    def node(self) -> int: ...
    def counts(self) -> tuple[int, float, int, int]: ...

def plain(value: object) -> bool: ...
