"""Many connections: letting them in, what they weigh, what they cost idle, and all of them leaving at once."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.load import Load
from bench.peers.base import Peer
from bench.processes import LoadFailed, cpu_s, files, memory_kib, pause
from bench.runs import Run
from bench.worker import STATIONS, Entered

CASE = "crowd"
HANDSHAKES = "handshakes"
STORM = "storm"
HEARTBEAT = "heartbeat"

CHANNEL = "room:crowd"
PLAIN = 1_000
"""Clients that come first and only connect, as most benchmarks do: code paths are warm after them."""

SETTLE_S = 1.0
"""Until memory is looked at: what was for the handshakes alone has gone then."""

LEAVE_S = 60.0
OWN_FILES = 3
"""Files that a server may open for itself meanwhile."""

LOOK_S = 0.05
"""Between two looks at how many are left."""

WARM = 500
"""Handshakes before those that are measured: the channel is hosted then, and code paths are warm."""

PROBE_S = 0.002
"""Between two questions of the client that watches for stalls."""

NICE = 5
"""The crowd closes thousands of sockets on the prober's core, and must not be what stalls it."""


@dataclass(frozen=True, slots=True)
class Work:
    """The size of the crowd, and how often it comes."""

    clients: int = 5_000
    rounds: int = 5


def crowd(run: Run, names: Sequence[str], work: Work) -> None:
    """Measure every peer in every round. Each time its server is started again: used memory is not given back."""
    for number in range(work.rounds):
        for name in names:
            params = {"clients": work.clients}
            with (
                run.attempt(CASE, name, number, params),
                run.peer(name) as peer,
                run.load(peer, NICE) as load,
                run.load(peer) as prober,
            ):
                values = {**_fill(peer, load, work.clients), **leave(peer, load, prober, work.clients)}
                run.record(CASE, name, number, params, values)


def _fill(peer: Peer, load: Load, clients: int) -> dict[str, float]:
    """Some only connect, the others join as well; then everybody has joined, and is idle."""
    plain = min(PLAIN, clients // 2)
    pids, empty = peer.pids(), memory_kib(peer.pids())
    load.do("prepare", count=plain, channels=[CHANNEL], join=False)
    cpu = cpu_s(pids)
    first: Entered = load.do("enter")
    first_cpu = cpu_s(pids) - cpu
    load.do("join", channel=CHANNEL)
    load.do("prepare", count=clients - plain, channels=[CHANNEL], join=True, first=plain)
    cpu = cpu_s(pids)
    second: Entered = load.do("enter")
    second_cpu = cpu_s(pids) - cpu
    pause(SETTLE_S)
    return {
        "plain_s": first.clients / first.seconds,
        "plain_cpu_ms": first_cpu / first.clients * 1e3,
        "joined_s": second.clients / second.seconds,
        "joined_cpu_ms": second_cpu / second.clients * 1e3,
        "longest_s": max(first.longest_s, second.longest_s),
        "load_share": second.load_cpu_s / second.seconds,
        "kib": (memory_kib(pids) - empty) / clients,
    }


def leave(peer: Peer, load: Load, prober: Load, clients: int) -> dict[str, float]:
    """Everybody leaves; the prober's longest wait is how long the server looked after nobody else."""
    pids = peer.pids()
    prober.do("enter_prober")
    full = files(pids)
    prober.order("probe", interval_s=PROBE_S)
    pause(0.2)
    began, cpu = time.perf_counter(), cpu_s(pids)
    load.do("leave")
    while files(pids) > full - clients + OWN_FILES:
        pause(LOOK_S)
        if time.perf_counter() - began > LEAVE_S:
            raise LoadFailed(f"{files(pids) - full + clients} connections still open after {LEAVE_S:.0f} s")
    seconds = time.perf_counter() - began
    pause(LOOK_S)
    took = prober.stop_probe()
    return {"leave_s": seconds, "leave_cpu_s": cpu_s(pids) - cpu, "leave_stall_ms": max(took) * 1e3}


def handshakes(run: Run, names: Sequence[str], work: Work, concurrency: int = STATIONS) -> None:
    """From the first byte to a member of a channel, with a token if the peer knows any, so many at a time."""
    for number in range(work.rounds):
        for name in names:
            params = {"clients": work.clients, "at_once": concurrency}
            with run.attempt(HANDSHAKES, name, number, params), run.peer(name) as peer, run.load(peer) as load:
                load.do("prepare", count=WARM, channels=[CHANNEL], join=True)
                load.do("enter", concurrency=concurrency)
                load.do("prepare", count=work.clients, channels=[CHANNEL], join=True, first=WARM)
                cpu = cpu_s(peer.pids())
                entered: Entered = load.do("enter", concurrency=concurrency)
                values = {
                    "cpu_us": (cpu_s(peer.pids()) - cpu) / entered.clients * 1e6,
                    "joined_s": entered.clients / entered.seconds,
                    "longest_s": entered.longest_s,
                    "load_share": entered.load_cpu_s / entered.seconds,
                }
                run.record(HANDSHAKES, name, number, params, values)


def storm(run: Run, names: Sequence[str], work: Work) -> None:
    """Everybody arrives at the same instant, with token and join. A lost SYN would cost its client a second."""
    for number in range(work.rounds):
        for name in names:
            params = {"clients": work.clients}
            with run.attempt(STORM, name, number, params), run.peer(name) as peer, run.load(peer) as load:
                load.do("prepare", count=work.clients, channels=[CHANNEL], join=True)
                entered: Entered = load.do("enter", concurrency=work.clients)
                values = {"all_in_s": entered.seconds, "longest_s": entered.longest_s, "in": float(entered.clients)}
                run.record(STORM, name, number, params, values)


def heartbeat(run: Run, names: Sequence[str], clients: int, seconds: float, rounds: int) -> None:
    """The share of a core that idle connections take: pings each 10 s, and pongs."""
    for number in range(rounds):
        for name in names:
            params = {"clients": clients}
            with run.attempt(HEARTBEAT, name, number, params), run.peer(name) as peer, run.load(peer) as load:
                pids = peer.pids()
                empty = memory_kib(pids)
                load.do("prepare", count=clients, channels=[CHANNEL], join=True)
                load.do("enter")
                pause(SETTLE_S)
                began, cpu = time.perf_counter(), cpu_s(pids)
                pause(seconds)
                share = (cpu_s(pids) - cpu) / (time.perf_counter() - began)
                kib = (memory_kib(pids) - empty) / clients
                values = {"share": share, "kib": kib, "lost": float(load.do("lost"))}
                run.record(HEARTBEAT, name, number, params, values)
