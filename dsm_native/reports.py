"""What a cluster tells of itself: plain records, as of about when they were asked for."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class NodeInfo:
    """One node: its process, and what its segment holds. A dead node's segment goes on serving."""

    id: int
    pid: int
    incarnation: int
    state: str
    """"alive"; "suspected": silent for longer than it should; "dead"; "joining": added, and its
    process not ready yet; "draining": being removed; "lost": its segment is not used any more."""
    heartbeat_age_s: float  # since its service thread was last seen at work
    objects: int
    bytes: int
    weight: float = 1.0  # its share, in relation to other nodes


@dataclass(frozen=True)
class CheckReport:
    """Outcome of `Cluster.check`: what was seen, and the problems as text (at most 256 of them)."""

    stripes: int
    objects: int
    value_bytes: int
    problems: int
    repaired: int
    texts: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        return self.problems == 0
