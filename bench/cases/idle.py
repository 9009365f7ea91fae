"""As many idle connections on one process as its open files allow: memory, heartbeats, and all leaving at once."""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.cases.crowd import CHANNEL, SETTLE_S, leave
from bench.load import Load
from bench.peers.base import Peer
from bench.processes import cpu_s, memory_kib, pause
from bench.runs import Run
from bench.stats import slope
from bench.worker import Entered

CASE = "idle"

MOST = 50_000
"""Clients at most, and the number for which memory and heartbeats are foretold."""

SPARE_FILES = 200
"""Files that a server, or a process of clients, opens beside the connections."""

STEPS = 4
"""Memory is looked at after each part of the clients, so that its slope can be told from what a start costs."""

BEAT_S = 10.0
"""Between two pings of a connection, at every peer that has a heartbeat here."""

UNLIMITED = {"MARU_ADMISSION_RATE": "0"}
"""Handshakes are not what is measured, and all clients come from one machine."""


@dataclass(frozen=True, slots=True)
class Work:
    """How many clients there are (0: as many as this process's limit of open files allows), and for how long."""

    clients: int = 0
    seconds: float = 2 * BEAT_S
    rounds: int = 1


def most_clients() -> int:
    """Return the connections that one process can hold here. Server and clients have the same limit, of which Maru
    gives clients four fifths."""
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 4 // 5 - SPARE_FILES, MOST)


def idle(run: Run, names: Sequence[str], work: Work) -> None:
    """Every client joins one channel and is silent; in the end all leave at once."""
    clients = work.clients or most_clients()
    for number in range(work.rounds):
        for name in names:
            params = {"clients": clients}
            with (
                run.attempt(CASE, name, number, params),
                run.peer(name, variables=UNLIMITED) as peer,
                run.load(peer) as load,
                run.load(peer) as prober,
            ):
                values = _fill(peer, load, clients) | _beat(peer, work.seconds, clients)
                values["lost"] = float(load.do("lost"))
                values |= leave(peer, load, prober, clients)
                run.record(CASE, name, number, params, values)


def _fill(peer: Peer, load: Load, clients: int) -> dict[str, float]:
    """Let them in, part by part; `kib` is what a connection adds, `mib_at_most` foretells `MOST` of them."""
    pids, seconds = peer.pids(), 0.0
    counts, kib = [0], [float(memory_kib(pids))]
    for step in range(1, STEPS + 1):
        count = clients * step // STEPS
        load.do("prepare", count=count - counts[-1], channels=[CHANNEL], join=True, first=counts[-1])
        entered: Entered = load.do("enter")
        seconds += entered.seconds
        pause(SETTLE_S)
        counts.append(count)
        kib.append(float(memory_kib(pids)))
    rise, start = slope(counts[1:], kib[1:])
    return {
        "kib": (kib[-1] - kib[0]) / clients,
        "slope_kib": rise,
        "mib": kib[-1] / 1_024,
        "mib_at_most": (start + rise * MOST) / 1_024,
        "joined_s": clients / seconds,
    }


def _beat(peer: Peer, seconds: float, clients: int) -> dict[str, float]:
    """The share of a core that pings and pongs take, and the time for one of each."""
    began, cpu = time.perf_counter(), cpu_s(peer.pids())
    pause(seconds)
    share = (cpu_s(peer.pids()) - cpu) / (time.perf_counter() - began)
    return {"share": share, "beat_us": share * BEAT_S / clients * 1e6, "share_at_most": share / clients * MOST}
