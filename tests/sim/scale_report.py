"""Makes docs/scale.md's tables and plots of the counts in benches/results/scale.json.

    python tests/sim/scale_report.py [--check]

The page's prose stands in the page; tables stand between marks and are written anew. --check writes
nothing and exits with 1 when a table is not what the counts say. Plots need matplotlib.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benches" / "results" / "scale.json"
PAGE = ROOT / "docs" / "scale.md"
PLOT = ROOT / "docs" / "scale.png"
PLACE = re.compile(r"(<!-- scale:(\w+) -->\n).*?(<!-- /scale -->)", re.DOTALL)
# Table by table: heading, and per column the field and how it is written.
TABLES = {
    "joins": (
        ("intervals until all know all", "intervals", "{:.1f}"),
        ("messages per node and interval", "messages_per_node_interval", "{:.2f}"),
        ("bytes per node and interval", "bytes_per_node_interval", "{:,.0f}"),
        ("messages in all", "messages", "{:,.0f}"),
        ("bytes in all", "bytes", "{:,.0f}"),
    ),
    "death": (
        ("first suspects, after intervals", "first_suspected", "{:.1f}"),
        ("first declares it dead", "first_buried", "{:.1f}"),
        ("all know", "last_buried", "{:.1f}"),
        ("messages per node and interval", "messages_per_node_interval", "{:.2f}"),
        ("bytes per node and interval", "bytes_per_node_interval", "{:,.0f}"),
        ("others declared dead", "others_buried", "{:.0f}"),
    ),
    "lossy": (
        ("members wrongly suspected", "suspected_members", "{:.1f}"),
        ("members wrongly declared dead", "buried_members", "{:.1f}"),
        ("messages per node and interval", "messages_per_node_interval", "{:.2f}"),
        ("bytes per node and interval", "bytes_per_node_interval", "{:,.0f}"),
    ),
    "replicas": (
        ("half of the nodes, after intervals", "half_intervals", "{:.1f}"),
        ("all nodes", "intervals", "{:.1f}"),
        ("messages per node and interval", "messages_per_node_interval", "{:.1f}"),
        ("bytes per node and interval", "bytes_per_node_interval", "{:,.0f}"),
        ("bytes with nothing new", "idle_bytes_per_node_interval", "{:,.0f}"),
        ("items sent per item needed", "items_sent_per_needed", "{:.1f}"),
    ),
    "ring": (
        ("share that moves", "moved_share", "{:.3%}"),
        ("1 / (nodes + 1)", "ideal_share", "{:.3%}"),
        ("share copied with 3 copies", "copied_share", "{:.3%}"),
        ("ranges that move", "ranges", "{:,.0f}"),
        ("members that send", "senders", "{:,.0f}"),
        ("most loaded, times the mean", "most_loaded", "{:.2f}"),
        ("the same with bounded loads", "most_loaded_bounded", "{:.2f}"),
        ("bytes of the ring", "ring_bytes", "{:,.0f}"),
    ),
}


def means(rows: list[dict], field: str) -> dict[int, float]:
    """A field's mean over the seeds, by size."""
    found: dict[int, list[float]] = {}
    for row in rows:
        found.setdefault(row["nodes"], []).append(row[field])
    return {nodes: sum(values) / len(values) for nodes, values in sorted(found.items())}


def table(name: str, rows: list[dict]) -> str:
    columns = TABLES[name]
    lines = [("nodes", *(heading for heading, _, _ in columns))]
    lines.append(("---:",) * len(lines[0]))
    taken = [means(rows, field) for _, field, _ in columns]
    for nodes in taken[0]:
        cells = (
            form.format(mean[nodes]) for (_, _, form), mean in zip(columns, taken, strict=True)
        )
        lines.append((f"{nodes:,}", *cells))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def written(page: str, results: dict) -> str:
    """The page with all its tables made anew."""

    def block(found: re.Match[str]) -> str:
        return found.group(1) + table(found.group(2), results[found.group(2)]) + found.group(3)

    return PLACE.sub(block, page)


def draw(results: dict) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(16, 5), layout="constrained")
    curves = (
        ("joins", "intervals", "all know all after a start"),
        ("death", "first_buried", "first declares a death"),
        ("death", "last_buried", "all know of a death"),
        ("replicas", "intervals", "all replicas have the news"),
    )
    plot(axes[0], results, curves)
    axes[0].set_ylabel("intervals")
    axes[0].set_yscale("log")
    axes[0].set_title("time to converge")
    curves = (
        ("joins", "bytes_per_node_interval", "membership, all join"),
        ("death", "bytes_per_node_interval", "membership, one dies"),
        ("lossy", "bytes_per_node_interval", "membership, 5 % lost"),
        ("replicas", "bytes_per_node_interval", "anti-entropy, news spread"),
        ("replicas", "idle_bytes_per_node_interval", "anti-entropy, nothing new"),
    )
    plot(axes[1], results, curves)
    axes[1].set_ylabel("bytes per node and interval")
    axes[1].set_yscale("log")
    axes[1].set_title("what one node sends")
    curves = (
        ("ring", "moved_share", "moves, 1 copy"),
        ("ring", "copied_share", "copied, 3 copies"),
        ("ring", "ideal_share", "1 / (nodes + 1)"),
    )
    plot(axes[2], results, curves)
    axes[2].set_ylabel("share of all keys")
    axes[2].set_yscale("log")
    axes[2].set_title("one more member of the ring")
    figure.savefig(PLOT, dpi=90)
    pyplot.close(figure)


def plot(axes, results: dict, curves) -> None:
    for name, field, label in curves:
        mean = means(results[name], field)
        axes.plot(list(mean), list(mean.values()), marker="o", label=label)
        spread = [(row["nodes"], row[field]) for row in results[name]]
        axes.scatter(*zip(*spread, strict=True), s=6, color="gray")
    axes.set_xscale("log")
    axes.set_xlabel("nodes")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text())
    page = PAGE.read_text()
    made = written(page, results)
    if options.check:
        return int(made != page)
    PAGE.write_text(made)
    draw(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
