"""Records of what happened to the members of a cluster: events, and failures put together of them.

The core records events in shared memory, each fact once (csrc/node/event.h). Here they get names.
Pure, but for the reading.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from dsm_native._native.handle import Handle
from dsm_native._native.members import Reader, oldest

KINDS = {  # dsm_event_kind in csrc/node/event.h
    1: "joined",
    2: "suspected",
    3: "cleared",
    4: "fenced",
    5: "dead",
    6: "repaired",
    7: "exited",
    8: "replaced",
    9: "client_dead",
    10: "owner_dead",
    11: "draining",
    12: "left",
    13: "segment_lost",
    14: "rebuild_started",
    15: "rebuild_done",
    16: "rebalance_started",
    17: "rebalance_done",
    18: "checkpoint_done",
    19: "damage_found",
    20: "damage_mended",
    21: "filled",
    22: "unfilled",
    23: "array_mended",
    24: "array_lost",
}
FINDINGS = {  # dsm_finding
    0: "",
    1: "kernel",
    2: "heartbeat",
    3: "parent",
    4: "checksum",
    5: "injected",
}
MISSED = "missed"
_DEATHS = {"dead": "node", "client_dead": "client", "owner_dead": "owner"}


@dataclass(frozen=True)
class NodeEvent:
    """Something that happened to a member of the cluster.

    kind: "joined" (serves for the first time), "suspected" (silent for suspect_ms), "cleared",
    "fenced" (hung, so it was sent SIGKILL), "dead" (the kernel ends its process: no task of it goes
    on, though it may still be freeing memory; nothing is taken over before that is done),
    "repaired" (`amount` locks that it held were put in order), "exited" (its parent learned
    `exitcode`), "replaced" (the next incarnation serves, `recovery_ms` after the death, once
    `amount` parts of its segment were mended), "client_dead", "owner_dead";
    "draining", "left", "segment_lost", "rebuild_started", "rebuild_done", "rebalance_started",
    "rebalance_done", "checkpoint_done", "damage_found" (`amount` objects are lost),
    "damage_mended", "filled" (`amount` lost objects of `stripes` stripes came from `checkpoint`,
    the number of one that was taken at `checkpoint_at`), "unfilled" (objects of `stripes` stripes
    are in none), "array_mended" (`amount` copies of arrays were made anew), "array_lost" (no copy
    is left of `amount` arrays); and "missed": `amount` events were overwritten or damaged before
    this subscriber came to read them.

    sequence: grows by one with each event of the cluster. when: seconds since the epoch. found:
    "kernel" (reported the end of the process), "heartbeat" (silence), "parent" (who started the
    process ended it: task_timeout, or a vain start), "injected" (`cluster.faults`), "checksum", or
    "". exitcode: minus the signal, or the exit status, None if it is not known. detection_ms: from
    the failure to this record: from the last beat of a hung node, from the kernel's report (which
    is at once) of one that was killed, from the call of one that was killed by `faults`.
    """

    sequence: int
    when: float
    kind: str
    node: int | None = None
    incarnation: int = 0
    pid: int = 0
    found: str = ""
    exitcode: int | None = None
    amount: int = 0
    bytes: int = 0
    detection_ms: float = 0.0
    recovery_ms: float = 0.0
    monotonic: float = 0.0  # of time.monotonic(), when it was recorded
    stripes: int = 0
    checkpoint: int | None = None
    checkpoint_at: float | None = None  # seconds since the epoch


@dataclass(frozen=True)
class Failure:
    """A process of the cluster that has ended without leaving it, or a loss of objects.

    member: "node", "client" or "owner"; "objects" if `lost` objects had no replica left.
    when: seconds since the epoch at which it was found. found,
    detection_ms: see NodeEvent. exitcode, signal: how it ended, as its parent has learned; None if
    not known (yet). repaired: locks whose interrupted work was finished or undone. successor: the
    incarnation that serves in its place, None while none does. recovery_ms: from the finding until
    the successor served; None while there is none.

    Of a loss: filled: objects that came back from a checkpoint, as far as one was allowed;
    checkpoint, checkpoint_at: the number of the latest that was used, and when it was taken, in
    seconds since the epoch; recovery_ms: from the finding until then. Losses that follow each other
    before anything was filled are one failure each, of which the first gets what fits it.
    """

    when: float
    member: str
    node: int | None
    pid: int
    incarnation: int
    found: str
    detection_ms: float
    exitcode: int | None = None
    signal: str | None = None
    repaired: int = 0
    successor: int | None = None
    recovery_ms: float | None = None
    lost: int = 0
    filled: int = 0
    checkpoint: int | None = None
    checkpoint_at: float | None = None


def event_of(entry: tuple[int | None, ...] | int, sequence: int) -> NodeEvent:
    """A record as the core gives it; a number stands for so many events that are gone."""
    if isinstance(entry, int):
        return NodeEvent(sequence, 0.0, MISSED, amount=entry)
    number, real, monotonic, kind, node, incarnation, pid, found, exitcode, *rest = entry
    amount, size, detection, recovery, stripes, checkpoint, taken = (value or 0 for value in rest)
    used = KINDS.get(kind or 0) == "filled"
    return NodeEvent(
        sequence=number or 0,
        when=(real or 0) / 1e9,
        kind=KINDS.get(kind or 0, f"kind {kind}"),
        node=node,
        incarnation=incarnation or 0,
        pid=pid or 0,
        found=FINDINGS.get(found or 0, ""),
        exitcode=exitcode,
        amount=amount,
        bytes=size,
        detection_ms=detection / 1e6,
        recovery_ms=recovery / 1e6,
        monotonic=(monotonic or 0) / 1e9,
        stripes=stripes,
        checkpoint=checkpoint if used else None,
        checkpoint_at=taken / 1e9 if used else None,
    )


def recorded(handle: Handle) -> Iterator[NodeEvent]:
    """All events that can still be read, the oldest first."""
    reader = Reader(handle, oldest(handle))
    try:
        while (entry := reader.take()) is not None:
            yield event_of(entry, reader.next)
    finally:
        reader.release()


def failures_of(events: Iterable[NodeEvent]) -> list[Failure]:
    """Puts together what was recorded of each death, in order of the deaths."""
    found: list[Failure] = []
    died: list[float] = []
    waiting: dict[int, list[int]] = {}  # by node: places in `found` that have no successor yet
    early: dict[tuple[int, int], NodeEvent] = {}  # a parent can learn of an end before the others
    for event in events:
        member = _DEATHS.get(event.kind)
        if member is not None:
            if event.node is not None:
                waiting.setdefault(event.node, []).append(len(found))
            died.append(event.monotonic)
            found.append(
                Failure(
                    *(event.when, member, event.node, event.pid, event.incarnation, event.found),
                    event.detection_ms,
                )
            )
            exited = early.pop((event.pid, event.incarnation), None)
            if exited is not None:
                found[-1] = _completed(found[-1], exited)
        elif event.kind == "damage_found":
            died.append(event.monotonic)
            found.append(Failure(event.when, "objects", None, 0, 0, event.found, 0.0))
            found[-1] = replace(found[-1], lost=event.amount)
        elif event.kind == "filled":
            _fill(found, died, event)
        elif event.kind in ("repaired", "exited"):
            if event.kind == "exited":
                early[event.pid, event.incarnation] = event
            for place, failure in enumerate(found):
                if (failure.pid, failure.incarnation) == (event.pid, event.incarnation):
                    found[place] = _completed(failure, event)
        elif event.kind == "replaced" and event.node is not None:
            for place in waiting.pop(event.node, []):
                found[place] = replace(
                    found[place],
                    successor=event.incarnation,
                    recovery_ms=(event.monotonic - died[place]) * 1000,
                )
    return found


def _fill(found: list[Failure], died: list[float], event: NodeEvent) -> None:
    """Shares what came back among the losses that lack something, the earliest first."""
    left = event.amount
    for place, failure in enumerate(found):
        share = min(left, failure.lost - failure.filled)
        if share <= 0:
            continue
        left -= share
        found[place] = replace(
            failure,
            filled=failure.filled + share,
            checkpoint=event.checkpoint,
            checkpoint_at=event.checkpoint_at,
            recovery_ms=(event.monotonic - died[place]) * 1000,
        )


def _completed(failure: Failure, event: NodeEvent) -> Failure:
    if event.kind == "repaired":
        return replace(failure, repaired=event.amount)
    return replace(failure, exitcode=event.exitcode, signal=_signal(event.exitcode))


def _signal(exitcode: int | None) -> str | None:
    if exitcode is None or exitcode >= 0:
        return None
    try:
        return signal.Signals(-exitcode).name
    except ValueError:  # a real-time signal has no name
        return f"signal {-exitcode}"
