"""The goals of Maru's performance, and whether a run reached them: pure.

Most are ratios to a peer in the same run, as the same work differs by three between machines. CPU time for a piece of
work comes first: what else the machine does takes little from it, where it halves a rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bench.cases import crowd, fanout, idle, replicas, sends
from bench.report.summary import Key, Summary
from bench.report.tables import Table, spread_text
from bench.stats import Spread

BEFORE = "-before"
"""Ends the names of peers that are an earlier Maru."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on one figure of Maru's, or on its ratio to a peer's (`than`).

    `bound` is the least allowed; with `most`, the most. `inverse` turns the ratio, where less of a figure is better.
    """

    text: str
    case: str
    metric: str
    bound: float
    most: bool = False
    than: str = ""
    inverse: bool = False
    rate: str = ""
    """The figure for a second look, as a ratio to the same peer."""
    peer: str = "maru"
    params: Mapping[str, Any] = field(default_factory=dict)
    form: str = ",.2f"


def _cheaper(text: str, case: str, than: str, bound: float, **params: Any) -> Goal:
    """A fan-out of Maru's is to cost a part of what the peer's costs: `bound` times less CPU."""
    return Goal(text, case, "cpu_us", bound, than=than, inverse=True, rate="deliveries_s", params=params)


_ONE = {"members": 1_000, "in_flight": 1}
_ALONE = {"members": 1_000, "in_flight": 32, "senders": 1}
_MANY = {"members": 1_000, "in_flight": 32, "senders": 32}
_FULL = {"clients": 256, "depth": 1, "load": "full"}
_HALF = {"clients": 256, "load": "half"}
_PIPE = {"clients": 1, "depth": 32}
_GO = "centrifugo-history"

GOALS = (
    _cheaper("1,000 members, 1 in flight: less CPU than nchan, x", fanout.CASE, "nchan", 1.0, **_ONE),
    _cheaper("1,000 members, 1 in flight: less CPU than Centrifugo, x", fanout.CASE, _GO, 2.0, **_ONE),
    _cheaper("1,000 members, 1 in flight: less CPU than python-socketio, x", fanout.CASE, "stock", 4.0, **_ONE),
    _cheaper("1,000 members, 1 in flight: less CPU than a bare loop of `send`, x", fanout.CASE, "bare", 0.65, **_ONE),
    _cheaper("1,000 members, 32 in flight of one sender: less CPU than nchan, x", fanout.CASE, "nchan", 4.0, **_ALONE),
    _cheaper("1,000 members, 32 in flight of one sender: less CPU than Centrifugo, x", fanout.CASE, _GO, 2.0, **_ALONE),
    _cheaper(
        "1,000 members, 32 in flight of one sender: less CPU than socketioxide, x", fanout.CASE, "oxide", 1.6, **_ALONE
    ),
    _cheaper("1,000 members, 32 in flight of 32 senders: less CPU than nchan, x", fanout.CASE, "nchan", 6.0, **_MANY),
    _cheaper("1,000 members, 32 in flight of 32 senders: less CPU than Centrifugo, x", fanout.CASE, _GO, 2.0, **_MANY),
    _cheaper(
        "100 members, 32 in flight: less CPU than Centrifugo, x", fanout.SMALL, _GO, 1.2, members=100, in_flight=32
    ),
    _cheaper(
        "100 members, 32 in flight: less CPU than socketioxide, x",
        fanout.SMALL,
        "oxide",
        0.5,
        members=100,
        in_flight=32,
    ),
    _cheaper("10 members, 32 in flight: less CPU than Centrifugo, x", fanout.SMALL, _GO, 0.5, members=10, in_flight=32),
    _cheaper("10 members, 32 in flight: less CPU than Node, x", fanout.SMALL, "node", 1.5, members=10, in_flight=32),
    _cheaper("direct messages, channels of one: less CPU than Node, x", fanout.DIRECT, "node", 1.0, members=1_000),
    _cheaper("direct messages, channels of one: less CPU than Centrifugo, x", fanout.DIRECT, _GO, 0.6, members=1_000),
    Goal(
        "sends on SQLite, 256 clients: rate, times JetStream with sync always",
        sends.CASE,
        "acks_s",
        7.0,
        than="jetstream-always",
        peer="maru-sqlite",
        params=_FULL,
    ),
    Goal(
        "sends on SQLite, 256 clients: CPU, times the earlier Maru's",
        sends.CASE,
        "cpu_us",
        0.60,
        most=True,
        than="maru-sqlite-before",
        peer="maru-sqlite",
        params=_FULL,
    ),
    Goal(
        "sends on SQLite, 256 clients: CPU, times Python's floor",
        sends.CASE,
        "cpu_us",
        6.5,
        most=True,
        than="pyfloor",
        peer="maru-sqlite",
        params=_FULL,
    ),
    Goal(
        "one client, 32 under way, SQLite: rate, times JetStream with sync always",
        sends.CASE,
        "acks_s",
        5.0,
        than="jetstream-always",
        peer="maru-sqlite",
        params=_PIPE,
    ),
    Goal(
        "sends on Redis, 256 clients: less CPU than Centrifugo, x",
        sends.CASE,
        "cpu_us",
        0.9,
        than="centrifugo-redis",
        inverse=True,
        rate="acks_s",
        peer="maru-redis",
        params=_FULL,
    ),
    Goal(
        "sends on Redis, 256 clients: Redis' own CPU, times Centrifugo's",
        sends.CASE,
        "store_us",
        1.0,
        most=True,
        than="centrifugo-redis",
        peer="maru-redis",
        params=_FULL,
    ),
    Goal(
        "handshakes with token and join, 64 at once: less CPU than Centrifugo, x",
        crowd.HANDSHAKES,
        "cpu_us",
        0.7,
        than=_GO,
        inverse=True,
        rate="joined_s",
    ),
    Goal("KiB a connection, 5,000 joined", crowd.CASE, "kib", 4.5, most=True, params={"clients": 5_000}),
    Goal("8,000 leave: longest stall, ms", crowd.CASE, "leave_stall_ms", 50.0, most=True, params={"clients": 8_000}),
    Goal("50,000 idle connections, foretold: share of a core", idle.CASE, "share_at_most", 0.5, most=True),
    Goal("5,000 arrive at once: are in", crowd.STORM, "in", 5_000, params={"clients": 5_000}, form=",.0f"),
    Goal("p99 at half load, SQLite, ms", sends.CASE, "p99_ms", 50.0, most=True, peer="maru-sqlite", params=_HALF),
    Goal("p99 at half load, Redis, ms", sends.CASE, "p99_ms", 50.0, most=True, peer="maru-redis", params=_HALF),
    Goal(
        "replica without a member, 2,000 messages/s elsewhere: share of a core",
        replicas.IDLE,
        "idle_share",
        0.02,
        most=True,
        peer="maru-redis",
        form=".3f",
    ),
)


def judged(summary: Summary) -> Table:
    """Every goal that was measured, with what was found: the median, and the least and the most of all rounds."""
    lines = [line for goal in GOALS if (line := _line(summary, goal)) is not None]
    heads = ("", "goal", "found", "reached", "by rate", "the earlier Maru")
    used = [at for at in range(len(heads)) if at < 4 or any(line[at] != "-" for line in lines)]
    return Table("Goals", _pick(heads, used), tuple(_pick(line, used) for line in lines))


def _pick(cells: tuple[str, ...], used: list[int]) -> tuple[str, ...]:
    return tuple(cells[at] for at in used)


def _line(summary: Summary, goal: Goal) -> tuple[str, ...] | None:
    found = _found(summary, goal, goal.metric)
    if found is None:
        return None
    reached = found.median <= goal.bound if goal.most else found.median >= goal.bound
    rate = _found(summary, replace(goal, inverse=False), goal.rate) if goal.rate else None
    earlier = replace(goal, peer=goal.peer + BEFORE)
    before = None if goal.than == earlier.peer else _found(summary, earlier, goal.metric)
    return (
        goal.text,
        f"{'at most' if goal.most else 'at least'} {goal.bound:{goal.form}}",
        spread_text(found, goal.form),
        "yes" if reached else "NO",
        spread_text(rate, ",.2f"),
        spread_text(before, goal.form),
    )


def _found(summary: Summary, goal: Goal, metric: str) -> Spread | None:
    ours = summary.find(goal.case, goal.peer, **goal.params)
    if ours is None:
        return None
    if not goal.than:
        return summary.spread(ours, metric)
    theirs = Key(goal.case, goal.than, ours.params)
    return summary.ratio(theirs, ours, metric) if goal.inverse else summary.ratio(ours, theirs, metric)
