"""Sums up a profile by the layers of Maru: whose time it is, how many calls there were, how many turns. Pure.

A function of Maru's belongs to the layer of its folder. What it calls in other packages or in C is work for it, and
counts to its layer; some of that is told apart, as every server has it: writing to sockets, and the loop.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

Function = tuple[str, int, str]
"""File, line, name."""

Counts = tuple[int, int, float, float]
"""Calls without recursion, all calls, own seconds, seconds with what it calls."""

Stats = Mapping[Function, tuple[int, int, float, float, Mapping[Function, Counts]]]
"""As `pstats` has them: the counts, and the same for each caller."""

LOOP = "loop, tasks, futures"
WRITES = "writes to sockets"

FOLDERS = {
    "server/gateway/websocket": "connections and frames",
    "server/gateway/socketio": "Socket.IO packets, rooms",
    "server/gateway/chat": "commands (gateway/chat)",
    "server/application": "use cases",
    "server/domain": "values and rules (domain)",
    "server/wire": "encoding (wire)",
    "server/adapters/codec.py": "encoding (wire)",
    "server/adapters/memory": "log and broadcast",
    "server/adapters/sqlite": "log and broadcast",
    "server/adapters/redis": "log and broadcast",
    "server/adapters/tokens": "tokens",
    "server/adapters/prometheus": "metrics",
    "server/logs": "log lines",
    "server/": "the rest of Maru",
    "site-packages/redis": "log and broadcast",
    "site-packages/aiohttp": "HTTP (aiohttp)",
    "site-packages/socketio": "Socket.IO packets, rooms",
    "/logging/": "log lines",
    "/asyncio/": LOOP,
    "site-packages/uvloop": LOOP,
}
"""The layers by a part of the path; the first that fits counts."""

WRITE_CALLS = ("posix.write", "'send' of '_socket.socket'", "posix.writev")
LOOP_CALLS = ("_asyncio", "Context' objects", "'poll' of 'select.epoll'", "_contextvars")


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile in layers."""

    seconds: Mapping[str, float]
    """Of each layer, the dearest first."""
    calls: int
    """Of functions in Python."""
    c_calls: int
    polls: int
    """Turns of the loop, if it is asyncio's: each asks once for what is ready."""


def sum_up(stats: Stats, seconds: float, outside: float = 0.0) -> Profile:
    """Divide `seconds`, what the same work costs without a profiler, by layers. Of these, `outside` were spent in no
    function that the profiler sees: in a loop that is written in C.

    The profiler's own time is about the same for each call: it is taken off so that the rest comes to `seconds`.
    """
    outside = min(outside, seconds)
    seconds -= outside
    own = {function: counts[2] for function, counts in stats.items()}
    count = sum(counts[1] for counts in stats.values())
    each = max(sum(own.values()) - seconds, 0.0) / max(count, 1)
    rest = {function: max(own[function] - stats[function][1] * each, 0.0) for function in stats}
    scale = seconds / (sum(rest.values()) or 1.0)
    found: dict[str, float] = defaultdict(float, {LOOP: outside})
    shares = _Shares(stats)
    for function, time in rest.items():
        for layer, share in shares.of(function).items():
            found[layer] += time * share * scale
    in_c = sum(counts[1] for function, counts in stats.items() if function[0] == "~")
    polls = sum(counts[1] for function, counts in stats.items() if "'poll' of 'select.epoll'" in function[2])
    return Profile(dict(sorted(found.items(), key=lambda item: -item[1])), count - in_c, in_c, polls)


def layer(function: Function) -> str | None:
    """Return the layer of a function, or nothing if it works for those who call it."""
    path, _, name = function
    if path == "~":
        if any(call in name for call in WRITE_CALLS):
            return WRITES
        return LOOP if any(call in name for call in LOOP_CALLS) else None
    return next((found for part, found in FOLDERS.items() if part in path), None)


class _Shares:
    """The layers that each function works for. Those who call it count by the time that it spends for them."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._known: dict[Function, dict[str, float]] = {}

    def of(self, function: Function) -> dict[str, float]:
        if function in self._known:
            return self._known[function]
        if (found := layer(function)) is not None:
            self._known[function] = {found: 1.0}
            return self._known[function]
        self._known[function] = {LOOP: 1.0}  # stands while its callers are asked, so that a circle ends
        callers = self._stats[function][4] if function in self._stats else {}
        weights = {caller: counts[2] or counts[1] * 1e-9 for caller, counts in callers.items()}
        total = sum(weights.values())
        shares: dict[str, float] = defaultdict(float)
        for caller, weight in weights.items():
            for name, share in self.of(caller).items():
                shares[name] += share * weight / total
        if shares:
            self._known[function] = dict(shares)
        return self._known[function]
