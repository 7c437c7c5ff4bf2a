"""The report as a picture: how far each figure is from its bound, and the latencies."""

from pathlib import Path

from targets import BY_NAME

KEPT, BROKEN, GET, PUT = "#4a7", "#c44", "#47a", "#d84"
MARKERS = {"p50": "o", "p99": "s", "p99.9": "d"}


def draw(entries: list[dict], latencies: dict, heading: str, path: Path) -> str | None:
    """Write a PNG; returns the reason when there is no matplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        return f"not installed ({error})"
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(17, 7), width_ratios=(3, 2), layout="constrained"
    )
    draw_targets(left, entries)
    draw_latencies(right, latencies)
    figure.suptitle(heading, fontsize=9)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return None


def share_of_bound(name: str, value: float) -> float:
    """The figure as a share of its bound, turned over where more is better: below 1 is kept."""
    target = BY_NAME[name]
    return target.must / value if target.at_least else value / target.must


def draw_targets(axes, entries: list[dict]) -> None:
    """Bars of what was measured, marks for the aims; left of the line the bound is kept."""
    judged = [
        entry
        for entry in reversed(entries)
        if entry["measured"] is not None and BY_NAME[entry["name"]].must is not None
    ]
    for place, entry in enumerate(judged):
        share = share_of_bound(entry["name"], entry["measured"])
        axes.barh(place, share, color=BROKEN if share > 1 else KEPT)
        aim = BY_NAME[entry["name"]].aim
        if aim is not None:
            mark = share_of_bound(entry["name"], aim)
            axes.plot(mark, place, marker="|", color="black", markersize=14)
    axes.set_yticks(range(len(judged)), [entry["what"] for entry in judged], fontsize=7)
    axes.set_xscale("log")
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlabel("share of the bound that must be kept, left is better; the mark is the aim")


def draw_latencies(axes, latencies: dict) -> None:
    """From p50 to p99.9 per store, on a logarithmic scale."""
    from matplotlib.lines import Line2D

    names = list(reversed(latencies))
    for place, name in enumerate(names):
        for shift, action, colour in ((0.15, "get", GET), (-0.15, "put", PUT)):
            taken = latencies[name].get(action)
            if taken is None:
                continue
            axes.plot([taken["p50"], taken["p99.9"]], [place + shift] * 2, color=colour)
            for label, marker in MARKERS.items():
                axes.plot(taken[label], place + shift, marker, color=colour, markersize=5)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("µs for one operation on 64 B")
    legend = [Line2D([], [], color=GET, label="get"), Line2D([], [], color=PUT, label="put")]
    for label, marker in MARKERS.items():
        legend.append(Line2D([], [], color="grey", marker=marker, linestyle="", label=label))
    axes.legend(handles=legend, fontsize=8, loc="lower left")
