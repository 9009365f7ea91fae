"""The lines and bars of the charts, with the least and the most of all rounds, and the colour of each peer."""

from collections.abc import Sequence
from typing import Any

from bench.report.summary import Key, Summary

COLORS = {
    "maru": "#d1495b",
    "maru-asyncio": "#e8a0a9",
    "maru-before": "#c9b3b6",
    "maru-sqlite": "#d1495b",
    "maru-sqlite-before": "#c9b3b6",
    "maru-redis": "#8d2b3a",
    "maru-redis-before": "#a89a9c",
    "pyfloor": "#444444",
    "stock": "#30638e",
    "stock-redis": "#30638e",
    "node": "#3c8d5a",
    "node-streams": "#93c7a5",
    "bun": "#b8a07e",
    "oxide": "#7a4a2b",
    "centrifugo": "#74b3ce",
    "centrifugo-history": "#2f7f9f",
    "centrifugo-redis": "#1d5468",
    "nats": "#8f5fb8",
    "jetstream": "#b79ad0",
    "jetstream-always": "#5f3a80",
    "nchan": "#d99b3f",
    "bare": "#8a8a8a",
}


def lines(summary: Summary, axes: Any, keys: Sequence[Key], param: str, metric: str) -> bool:
    """Draw a line for each peer, with the least and the most of all rounds as a band."""
    for peer in dict.fromkeys(key.peer for key in keys):
        mine = sorted((key for key in keys if key.peer == peer), key=lambda key: dict(key.params)[param])
        points = [(dict(key.params)[param], found) for key in mine if (found := summary.spread(key, metric))]
        xs = [x for x, _ in points]
        axes.plot(xs, [found.median for _, found in points], "o-", color=COLORS[peer], label=peer)
        axes.fill_between(
            xs,
            [found.least for _, found in points],
            [found.most for _, found in points],
            color=COLORS[peer],
            alpha=0.15,
        )
    if keys:
        axes.legend()
    return bool(keys)


def bars(summary: Summary, axes: Any, case: str, metric: str, groups: dict[str, dict[str, Any]]) -> bool:
    """Draw groups of bars, with a bar for each peer."""
    peers = list(dict.fromkeys(key.peer for key in summary.keys(case)))
    width = 0.8 / max(len(peers), 1)
    for order, peer in enumerate(peers):
        for at, params in enumerate(groups.values()):
            if (key := summary.find(case, peer, **params)) is not None:
                label = peer if at == 0 else None
                bar(axes, summary, key, metric, at + (order - (len(peers) - 1) / 2) * width, width, label=label)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.grid(visible=False, axis="x")
    if peers:
        axes.legend(ncols=4, loc="upper left")
        axes.margins(y=0.2)
    return bool(peers)


def bar(axes: Any, summary: Summary, key: Key, metric: str, at: float, width: float, **options: Any) -> None:
    """Draw a bar, with the least and the most of all rounds."""
    found = summary.spread(key, metric)
    if found is None:
        return
    error = [[found.median - found.least], [found.most - found.median]]
    style = {"color": COLORS[key.peer], "error_kw": {"elinewidth": 1, "ecolor": "#333333"}}
    if options.pop("horizontal", False):
        axes.barh(at, found.median, width, xerr=error, **style, **options)
        axes.annotate(
            f" {found.median:,.3g}" if found.median < 1_000 else f" {found.median:,.0f}",
            (found.most, at),
            va="center",
            fontsize=8,
        )
        axes.margins(x=0.25)
    else:
        axes.bar(at, found.median, width * 0.92, yerr=error, **style, **options)


def thousands(value: float, _: object) -> str:
    """Return a tick's label, `10,000`."""
    return f"{value:,.0f}" if value >= 1 or value == 0 else f"{value:g}"


def plain(value: float, _: object) -> str:
    """Return a tick's label, `0.01`."""
    return f"{value:g}"
