"""Where the time of a `message:send` and of a handshake goes in Maru: layer by layer, with calls and turns of the loop.

What the work costs is measured without a profiler. A second server, under cProfile, tells how that divides, and a
third, on asyncio's own loop, how many turns a piece of work takes when it is alone.
"""

import os
import pstats
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench import layers
from bench.cases.crowd import CHANNEL, WARM
from bench.cases.sends import CHANNELS
from bench.layers import Profile
from bench.load import Load
from bench.peers import python
from bench.peers.base import Peer, Setting
from bench.processes import NotAvailable, cpu_s, main_thread_s, pause
from bench.runs import Run
from bench.sends import SendFlow, SendWindow
from bench.worker import STATIONS, Entered

CASE = "layers"
SENDERS = 256
PROFILED = (python.HERE / "profiled.py").as_posix()
NOTED_S = 0.1
"""A server has taken a signal after this time."""

OTHER_THREADS = "other threads (SQLite, log lines)"


@dataclass(frozen=True, slots=True)
class Work:
    """How long sends are measured, and how many handshakes."""

    seconds: float = 1.5
    handshakes: int = 2_000
    rounds: int = 1


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of work: `begin` lets in who is needed and warms up, `do` does the work and returns how often."""

    begin: Callable[[Load], None]
    do: Callable[[Load, bool], int]
    """With `True`: one piece of work at a time."""


def _enter_senders(load: Load) -> None:
    load.do("prepare", count=SENDERS, channels=CHANNELS, join=False)
    load.do("enter")
    load.do("sends", window=SendWindow(CHANNELS, 64, 0.2, 0.2))


def _send(seconds: float, load: Load, alone: bool) -> int:
    flow: SendFlow = load.do("sends", window=SendWindow(CHANNELS, 64, seconds, 0.0, senders=1 if alone else 0))
    return flow.sent


def _enter_first(load: Load) -> None:
    load.do("prepare", count=WARM, channels=[CHANNEL], join=True)
    load.do("enter")


def _enter(count: int, load: Load, alone: bool) -> int:
    some = count // 10 if alone else count
    load.do("prepare", count=some, channels=[CHANNEL], join=True, first=WARM)
    entered: Entered = load.do("enter", concurrency=1 if alone else STATIONS)
    return entered.clients


def profile(run: Run, names: Sequence[str], work: Work) -> None:
    """Profile each peer that is a Maru, in both kinds of work."""
    kinds = {
        "send": Kind(_enter_senders, partial(_send, work.seconds)),
        "handshake": Kind(_enter_first, partial(_enter, work.handshakes)),
    }
    for number in range(work.rounds):
        for of, kind in kinds.items():
            for name in names:
                params = {"of": of}
                with run.attempt(CASE, name, number, params):
                    run.record(CASE, name, number, params, _measure(run, name, kind, f"{of}-{number}"))


def _measure(run: Run, name: str, kind: Kind, label: str) -> dict[str, float]:
    """Return microseconds of each layer for one piece of work; and `us`, `calls`, `c_calls`, `turns`."""
    with run.peer(name) as peer, run.load(peer) as load:
        kind.begin(load)
        (pid,) = peer.pids()
        main, total = main_thread_s(pid), cpu_s([pid])
        count = kind.do(load, False)
        main, total = (main_thread_s(pid) - main) / count, (cpu_s([pid]) - total) / count
    file = run.folder / f"layers-{name}-{label}"
    seen = _profiled(run, name, kind, file, loop="uvloop", alone=False)
    busy = layers.sum_up(seen.stats, main * seen.count, seen.outside)
    seen_alone = _profiled(run, name, kind, file, loop="asyncio", alone=True)
    polls = layers.sum_up(seen_alone.stats, main * seen_alone.count).polls
    return _values(busy, seen.count, main, total) | {"turns": polls / seen_alone.count}


def _values(found: Profile, count: int, main: float, total: float) -> dict[str, float]:
    parts = {layer: seconds / count * 1e6 for layer, seconds in found.seconds.items()}
    others = {OTHER_THREADS: (total - main) * 1e6}
    return {"us": total * 1e6} | parts | others | {"calls": found.calls / count, "c_calls": found.c_calls / count}


@dataclass(frozen=True, slots=True)
class _Seen:
    """A profile, how often the work was done during it, and the main thread's seconds outside of all functions."""

    stats: layers.Stats
    count: int
    outside: float


def _profiled(run: Run, name: str, kind: Kind, file: Path, *, loop: str, alone: bool) -> _Seen:
    file.unlink(missing_ok=True)

    def start(name: str, setting: Setting) -> Peer:
        program = ("-P", PROFILED, str(file), "cpu")
        setting = replace(setting, source=python.earlier() if name.endswith("-before") else setting.source)
        return python.maru(name, setting, python.log_of(name), loop, program)

    with run.peer(name, start=start) as peer, run.load(peer) as load:
        kind.begin(load)
        (pid,) = peer.pids()
        os.kill(pid, signal.SIGUSR1)
        pause(NOTED_S)
        cpu = main_thread_s(pid)
        count = kind.do(load, alone)
        cpu = main_thread_s(pid) - cpu
        os.kill(pid, signal.SIGUSR2)
        pause(NOTED_S)
    if not file.exists():
        raise NotAvailable("the server left no profile")
    stats: layers.Stats = pstats.Stats(str(file)).stats  # type: ignore[attr-defined]  # public, and documented nowhere
    return _Seen(stats, count, max(cpu - sum(counts[2] for counts in stats.values()), 0.0))
