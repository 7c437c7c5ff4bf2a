"""The report as text: one row per target, one row per store, and what is missing and why."""

from collections.abc import Sequence

from rounds import Findings
from targets import TARGETS, Target, number

HEADINGS = ("what", "measured", "quartiles", "must", "aim", "verdict")


def rows(found: Findings, targets: Sequence[Target] = TARGETS) -> list[dict]:
    """Every target, measured or not; in the order of the table."""
    return [row(target, found) for target in targets]


def row(target: Target, found: Findings) -> dict:
    figure = found.figures.get(target.name)
    entry = {
        "name": target.name,
        "what": target.what,
        "unit": target.unit,
        "must": target.bound(target.must),
        "aim": target.bound(target.aim),
    }
    if figure is None:
        reason = found.unmeasured.get(target.name, "this part of the run was not asked for")
        return entry | {"measured": None, "verdict": f"not measured: {reason}"}
    return entry | {
        "measured": figure.value,
        "low": figure.low,
        "high": figure.high,
        "rounds": figure.rounds,
        "note": figure.note,
        "verdict": target.verdict(figure.value),
    }


def cells(entry: dict) -> tuple[str, ...]:
    if entry["measured"] is None:
        return (entry["what"], "–", "–", entry["must"], entry["aim"], entry["verdict"])
    spread = f"{number(entry['low'])}–{number(entry['high'])}"
    measured = f"{number(entry['measured'])} {entry['unit']}"
    single = entry["low"] == entry["high"]
    return (
        *(entry["what"], measured, "–" if single else spread),
        *(entry["must"], entry["aim"], entry["verdict"]),
    )


def latency_cells(name: str, taken: dict) -> tuple[str, ...]:
    """p50 / p99 / p99.9 of get and put, in microseconds."""
    figures = []
    for action in ("get", "put"):
        found = taken.get(action)
        for label in ("p50", "p99", "p99.9"):
            figures.append(number(found[label]) if found else "–")
    return (name, *figures, taken.get("note", ""))


def aligned(table: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their widest cell, in a form that is also Markdown."""
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in table
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def report(entries: list[dict], latencies: dict, absent: dict[str, str], heading: str) -> str:
    """The whole text, ready to be printed."""
    parts = [heading, "", *aligned([HEADINGS, *map(cells, entries)])]
    notes = [f"  {entry['what']}: {entry['note']}" for entry in entries if entry.get("note")]
    parts += ["", *notes]
    if latencies:
        names = [f"{action} {q}" for action in ("get", "put") for q in ("p50", "p99", "p99.9")]
        head = ("single operations, 64 B, µs", *names, "")
        body = [latency_cells(name, taken) for name, taken in latencies.items()]
        parts += ["", *aligned([head, *body])]
    parts += ["", *(f"absent: {name}: {reason}" for name, reason in absent.items())]
    return "\n".join(parts).rstrip()
