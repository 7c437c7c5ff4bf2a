"""The report as a picture: how far each figure is from its bound, and the latencies."""

from pathlib import Path

from targets import BY_NAME


def draw(entries: list[dict], latencies: dict, heading: str, path: Path) -> str | None:
    """Write a PNG; returns the reason when there is no matplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        return f"not installed ({error})"
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(17, 7), width_ratios=(3, 2))
    draw_targets(left, entries)
    draw_latencies(right, latencies)
    figure.suptitle(heading, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return None


def draw_targets(axes, entries: list[dict]) -> None:
    """Bars of measured / must; the aim as a mark. Left of 1 is kept where less is better."""
    shown = [entry for entry in entries if entry["measured"] is not None]
    shown = [entry for entry in shown if BY_NAME[entry["name"]].must is not None]
    for place, entry in enumerate(reversed(shown)):
        target = BY_NAME[entry["name"]]
        beyond = target.missed_by(entry["measured"], target.must) > 0
        axes.barh(place, entry["measured"] / target.must, color="#c44" if beyond else "#4a7")
        if target.aim is not None:
            axes.plot(target.aim / target.must, place, marker="|", color="black", markersize=14)
    names = [
        entry["what"] + (" (more is better)" if BY_NAME[entry["name"]].at_least else "")
        for entry in reversed(shown)
    ]
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlabel("measured / must; the mark is the aim")


def draw_latencies(axes, latencies: dict) -> None:
    """From p50 to p99.9 per store, on a logarithmic scale."""
    names = list(reversed(latencies))
    for place, name in enumerate(names):
        for shift, action, colour in ((0.15, "get", "#47a"), (-0.15, "put", "#d84")):
            taken = latencies[name].get(action)
            if taken is None:
                continue
            axes.plot(
                [taken["p50"], taken["p99.9"]], [place + shift] * 2, color=colour, linewidth=2
            )
            for label, marker in (("p50", "o"), ("p99", "s"), ("p99.9", "d")):
                axes.plot(taken[label], place + shift, marker, color=colour, markersize=5)
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("µs: p50 (circle), p99 (square), p99.9 (diamond); get blue, put orange")
