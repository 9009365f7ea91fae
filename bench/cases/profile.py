"""Profiles the server during a fan-out: by Python function, and by native symbol and library.

Both are shares of all samples. cProfile makes Python calls dearer than they are; `perf`, if it is installed and
allowed, does not, but sees the interpreter instead of the functions.
"""

import os
import pstats
import re
import shutil
import signal
import subprocess
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.cases.fanout import Work
from bench.fanout import Flow
from bench.peers import python
from bench.peers.base import Peer
from bench.processes import NotAvailable, pause
from bench.runs import Run

CASE = "profile"
TOP = 20
PROFILE_S = 2.0
COMMAND_S = 60.0
PERF_LINE = re.compile(r"^\s*(\d+\.\d+)%\s+(\S+)\s+\[.\]\s+(\S+)")


def profile(run: Run, in_flight: tuple[int, ...] = (1, 32)) -> None:
    """Profile Maru at 1,000 members, for each number of messages in flight."""
    for depth in in_flight:
        for kind, measure in (("python", _python), ("native", _native)):
            params = {"kind": kind, "in_flight": depth}
            with run.attempt(CASE, "maru", 0, params):
                run.record(CASE, "maru", 0, params, measure(run, depth))


def _python(run: Run, in_flight: int) -> dict[str, float]:
    """By function: the time in it, without what it calls."""
    found = run.folder / f"profile-{in_flight}"
    peer = python.maru("maru", run.setting(), "memory", program=("-m", "bench.peers.profiled", str(found), "wall"))
    try:
        _work(run, peer, in_flight, partial(_sample, peer))
    finally:
        peer.stop()
    if not found.exists():
        raise NotAvailable("the server left no profile")
    stats = pstats.Stats(str(found)).stats  # type: ignore[attr-defined]  # public, and documented nowhere
    own = {function: numbers[2] for function, numbers in stats.items() if not _waits(function)}
    return _top({_named(function): seconds for function, seconds in own.items()})


def _sample(peer: Peer) -> None:
    """Profile for a while: the server, started by `bench.peers.profiled`, begins and ends at signals."""
    os.kill(peer.pids()[0], signal.SIGUSR1)
    pause(PROFILE_S)
    os.kill(peer.pids()[0], signal.SIGUSR2)


def _waits(function: tuple[str, int, str]) -> bool:
    """Whether it is the loop itself, whose time is mostly the waiting for work."""
    return (function[2] == "run" and Path(function[0]).name == "runners.py") or "run_until_complete" in function[2]


def _named(function: tuple[str, int, str]) -> str:
    path, _, name = function
    if path == "~":
        return name.strip("<>")
    parts = Path(path).parts
    for root in ("server", "site-packages"):
        if root in parts:
            return f"{'/'.join(parts[parts.index(root) + (root != 'server') :])}: {name}"
    return f"{Path(path).name}: {name}"


def _native(run: Run, in_flight: int) -> dict[str, float]:
    """By symbol and library or kernel, of a server that runs as always."""
    perf = shutil.which("perf")
    if perf is None:
        raise NotAvailable("perf is not installed")
    data = str(run.folder / f"perf-{in_flight}")
    with run.peer("maru") as peer:
        pids = ",".join(map(str, peer.pids()))
        record = [perf, "record", "-q", "-F", "499", "-p", pids, "-o", data, "sleep", str(PROFILE_S)]
        _work(run, peer, in_flight, lambda: _command(record))
    report = [perf, "report", "-i", data, "--stdio", "--sort", "dso,symbol", "--percent-limit", "0.01"]
    shares = native_shares(_command(report))
    if not shares:
        raise NotAvailable("perf saw nothing; is kernel.perf_event_paranoid too strict?")
    return _top(shares)


def native_shares(report: str) -> dict[str, float]:
    """Read `perf report --sort dso,symbol`: the share of each symbol, and of each library or the kernel as a whole."""
    shares: defaultdict[str, float] = defaultdict(float)
    for line in report.splitlines():
        if found := PERF_LINE.match(line):
            library = "kernel" if "kernel" in found[2] else found[2].strip("[]").partition(".")[0]
            shares[f"all of {library}"] += float(found[1])
            shares[f"{library}: {found[3]}"] += float(found[1])
    return dict(shares)


def _command(command: list[str]) -> str:
    env = os.environ | {"LC_ALL": "C"}
    return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False, env=env).stdout


def _work(run: Run, peer: Peer, in_flight: int, watch: Callable[[], object]) -> None:
    """A fan-out, with something that watches it."""
    work = Work(seconds=PROFILE_S + 1.0)
    with run.load(peer) as load:
        load.do("prepare", count=work.members, channels=work.names(), join=True)
        load.do("enter")
        load.order("fanout", window=work.window(peer.pids(), in_flight))
        pause(work.warm_s)
        watch()
        flow: Flow = load.result()
        run.say(f"profiled during {flow.deliveries} deliveries")


def _top(times: dict[str, float]) -> dict[str, float]:
    """The dearest, as shares of all."""
    total = sum(time for name, time in times.items() if not name.startswith("all of ")) or 1.0
    dearest = sorted(times.items(), key=lambda item: -item[1])[:TOP]
    return {name: seconds / total for name, seconds in dearest}
