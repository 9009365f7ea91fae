"""A rolling update, second by second, as a picture. matplotlib is in an extra of its own, `bench`."""

from bisect import bisect_left
from importlib import import_module
from pathlib import Path

from tests.kubernetes.plane.timeline import Timeline

WIDTH, HEIGHT, DPI = 8.0, 5.6, 100


def draw(file: Path, timeline: Timeline, since: float) -> None:
    """Draw pods, ready endpoints, connected clients and reconnects a second from a moment on, as a PNG file."""
    pyplot = import_module("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    pyplot.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    moments = [moment for moment in timeline.moments if since <= moment.at <= timeline.talked_until]
    seconds = [moment.at - since for moment in moments]
    attempts = sorted(at - since for at in timeline.attempts if since <= at <= timeline.talked_until)
    whole = range(int(seconds[-1]) + 1)
    rates = [bisect_left(attempts, second + 1) - bisect_left(attempts, second) for second in whole]
    figure = pyplot.figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    pods, clients, reconnects = figure.subplots(3, sharex=True)
    pods.set_title("helm upgrade, then helm rollback, of two replicas")
    pods.step(seconds, [moment.pods for moment in moments], where="post", label="pods", color="0.6")
    pods.step(seconds, [moment.ready for moment in moments], where="post", label="ready", color="tab:green")
    pods.set_ylim(0)
    pods.legend(frameon=False, ncols=2, loc="lower right")
    clients.plot(seconds, [moment.connections for moment in moments], color="tab:blue")
    clients.set_ylim(0)
    clients.set_ylabel("connected")
    reconnects.bar([second + 0.5 for second in whole], rates, width=0.9, color="tab:orange")
    reconnects.set_ylabel("reconnects/s")
    reconnects.set_xlabel("seconds")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    pyplot.close(figure)
