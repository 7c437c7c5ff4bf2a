"""What a cluster tells of itself: plain records, as of about when they were asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


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
    """Outcome of `Cluster.check`: what was seen, the problems as text, and, item by item, what was
    repaired (at most 256 texts of each sort and part)."""

    stripes: int
    objects: int
    value_bytes: int
    problems: int
    repaired: int
    texts: list[str] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)

    def joined(
        self, problems: int, repaired: int, texts: list[str], repairs: list[str]
    ) -> CheckReport:
        """This report with what else was found."""
        return replace(
            self,
            problems=self.problems + problems,
            repaired=self.repaired + repaired,
            texts=self.texts + texts,
            repairs=self.repairs + repairs,
        )

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        return self.problems == 0
