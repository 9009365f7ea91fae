"""Charts of the figures, as PNG files 800 pixels wide. matplotlib is in an extra of its own, `bench`."""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.cases import crowd, fanout, replicas, sends
from bench.report import plotting
from bench.report.summary import Summary

WIDTH, HEIGHT, DPI = 8.0, 4.4, 100


def draw(summary: Summary, folder: Path) -> list[str]:
    """Draw every chart that there are figures for; return the files' names."""
    pyplot = import_module("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    pyplot.rcParams.update(
        {
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "axes.axisbelow": True,
            "axes.titlesize": 11,
            "legend.frameon": False,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    drawn: list[str] = []
    for name, chart in CHARTS.items():
        figure = pyplot.figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
        if chart(summary, figure):
            figure.savefig(folder / f"{name}.png")
            drawn.append(name)
        pyplot.close(figure)
    return drawn


def _fanout(summary: Summary, figure: Any) -> bool:
    """Deliveries a second, a group of bars for each number in flight."""
    depths = [
        (1, 1, "1 in flight"),
        (32, 1, "32 in flight,\none sender"),
        (32, 32, "32 in flight,\n32 senders"),
    ]
    wanted = {label: {"members": 1_000, "in_flight": depth, "senders": senders} for depth, senders, label in depths}
    axes = figure.subplots()
    axes.set_title("Fan-out to 1,000 members on one core")
    axes.set_ylabel("deliveries/s")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(plotting.thousands)
    return plotting.bars(summary, axes, fanout.CASE, "deliveries_s", wanted)


def _small(summary: Summary, figure: Any) -> bool:
    """CPU for a message, a group of bars for each number of members and in flight."""
    depths = [(10, 1), (10, 32), (100, 1), (100, 32)]
    wanted = {
        f"{members} members,\n{depth} in flight": {"members": members, "in_flight": depth} for members, depth in depths
    }
    axes = figure.subplots()
    axes.set_title("A message into a small channel: server CPU, µs")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(plotting.thousands)
    return plotting.bars(summary, axes, fanout.SMALL, "message_us", wanted)


def _latency(summary: Summary, figure: Any) -> bool:
    """Percentiles, at one rate for all and at half of each peer's most."""
    panels = figure.subplots(1, 2, sharey=True)
    drawn = False
    for axes, load, title in ((panels[0], "same", "10,000 deliveries/s each"), (panels[1], "half", "half of its most")):
        keys = [key for key in summary.keys(fanout.LATENCY) if dict(key.params).get("load") == load]
        for at, key in enumerate(keys):
            for offset, metric, alpha in ((-0.27, "p50_ms", 0.45), (0.0, "p99_ms", 0.75), (0.27, "p999_ms", 1.0)):
                plotting.bar(axes, summary, key, metric, at + offset, 0.25, alpha=alpha)
        axes.set_xticks(range(len(keys)), [key.peer for key in keys])
        axes.set_title(title)
        axes.set_yscale("log")
        axes.set_ylim(bottom=1)
        axes.yaxis.set_major_formatter(plotting.plain)
        drawn = drawn or bool(keys)
    panels[0].set_ylabel("ms from due to delivered")
    figure.suptitle("Latency to 1,000 members: p50, p99, p99.9 (light to dark)", fontsize=11)
    return drawn


def _members(summary: Summary, figure: Any) -> bool:
    return _curves(
        summary,
        figure,
        fanout.MEMBERS,
        "members",
        "wave_us",
        ("A message costs by its receivers", "members of the channel", "server CPU, µs a message"),
    )


def _sizes(summary: Summary, figure: Any) -> bool:
    return _curves(
        summary,
        figure,
        fanout.SIZES,
        "size",
        "cpu_us",
        ("Bytes cost little beside the call that sends them", "bytes of a message", "server CPU, µs a delivery"),
        from_zero=True,
    )


def _channels(summary: Summary, figure: Any) -> bool:
    return _curves(
        summary,
        figure,
        fanout.CHANNELS,
        "channels",
        "cpu_us",
        ("1,000 members spread over channels, a message to each", "channels", "server CPU, µs a delivery"),
        from_zero=True,
    )


def _connections(summary: Summary, figure: Any) -> bool:
    """Memory, handshakes, leaving: three panels."""
    panels = figure.subplots(1, 3)
    what = (
        ("kib", "KiB a connection", 5_000),
        ("joined_s", "handshakes/s, joined", 5_000),
        ("leave_cpu_s", "8,000 leave: CPU, s", 8_000),
    )
    drawn = False
    for axes, (metric, title, clients) in zip(panels, what, strict=True):
        keys = [key for key in summary.keys(crowd.CASE) if dict(key.params).get("clients") == clients]
        keys.sort(key=lambda key: list(plotting.COLORS).index(key.peer))
        for at, key in enumerate(keys):
            plotting.bar(axes, summary, key, metric, at, 0.7, horizontal=True)
        axes.set_yticks(range(len(keys)), [key.peer for key in keys])
        axes.invert_yaxis()
        axes.set_title(title)
        axes.xaxis.set_major_formatter(plotting.plain)
        axes.grid(visible=False, axis="y")
        drawn = drawn or bool(keys)
    return drawn


def _sends(summary: Summary, figure: Any) -> bool:
    """CPU for a send at full load, and the wait at half of it."""
    panels = figure.subplots(1, 2)
    drawn = False
    what = (("cpu_us", "full", "Acked sends: server CPU, µs each"), ("p99_ms", "half", "p99 at half load, ms"))
    for axes, (metric, load, title) in zip(panels, what, strict=True):
        wanted = {"load": load, "depth": 1}.items()
        keys = [key for key in summary.keys(sends.CASE) if wanted <= dict(key.params).items()]
        drawn = plotting.lines(summary, axes, keys, "clients", metric) or drawn
        axes.set_title(title)
        axes.set_xlabel("clients with one send under way")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(plotting.plain)
        axes.yaxis.set_major_formatter(plotting.thousands)
        axes.set_ylim(bottom=0)
    return drawn


def _replicas(summary: Summary, figure: Any) -> bool:
    panels = figure.subplots(1, 2, sharey=True)
    drawn = False
    for axes, depth in zip(panels, (1, 32), strict=True):
        keys = [key for key in summary.keys(replicas.CASE) if dict(key.params).get("in_flight") == depth]
        drawn = plotting.lines(summary, axes, keys, "replicas", "replica_us") or drawn
        axes.set_title(f"{depth} in flight")
        axes.set_xlabel("replicas, 1,000 members in all")
        axes.set_xticks([1, 2, 4])
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(plotting.thousands)
    panels[0].set_ylabel("CPU of one replica, µs a message")
    return drawn


def _curves(
    summary: Summary, figure: Any, case: str, param: str, metric: str, words: Sequence[str], *, from_zero: bool = False
) -> bool:
    """Draw a line for each peer over a parameter that grows tenfold."""
    axes = figure.subplots()
    title, x_label, y_label = words
    axes.set_title(title)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(plotting.thousands)
    if not from_zero:
        axes.set_yscale("log")
    axes.yaxis.set_major_formatter(plotting.thousands)
    drawn = plotting.lines(summary, axes, summary.keys(case), param, metric)
    if from_zero:
        axes.set_ylim(bottom=0)
    return drawn


CHARTS: dict[str, Callable[[Summary, Any], bool]] = {
    "fanout": _fanout,
    "small": _small,
    "latency": _latency,
    "members": _members,
    "sizes": _sizes,
    "channels": _channels,
    "connections": _connections,
    "sends": _sends,
    "replicas": _replicas,
}
