"""The goals of Maru's performance, and whether a run reached them: pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.cases import crowd, fanout, replicas, sends
from bench.report.summary import Key, Summary
from bench.report.tables import Table
from bench.stats import Spread


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on one figure of Maru's, or on its ratio to a peer's (`than`).

    `metric_than` is the peer's figure, if it has another name. `bound` is the least allowed; with `most`, the most.
    """

    text: str
    case: str
    metric: str
    bound: float
    most: bool = False
    than: str = ""
    metric_than: str = ""
    peer: str = "maru"
    params: Mapping[str, Any] = field(default_factory=dict)
    form: str = ",.2f"


_ONE = {"members": 1_000, "in_flight": 1, "size": 64}
_MANY = {"members": 1_000, "in_flight": 32, "size": 64, "senders": 32}
_ALONE = _MANY | {"senders": 1}
_FULL = {"clients": 256, "load": "full"}
_HALF = {"clients": 256, "load": "half"}

GOALS = (
    Goal("1 in flight: times stock", fanout.CASE, "deliveries_s", 4.0, than="stock", params=_ONE),
    Goal("1 in flight: times Node", fanout.CASE, "deliveries_s", 1.3, than="node", params=_ONE),
    Goal("1 in flight: times nchan", fanout.CASE, "deliveries_s", 1.1, than="nchan", params=_ONE),
    Goal("32 in flight, of 32 senders: times Node", fanout.CASE, "deliveries_s", 5.0, than="node", params=_MANY),
    Goal("32 in flight, of 32 senders: times nchan", fanout.CASE, "deliveries_s", 5.0, than="nchan", params=_MANY),
    Goal("32 in flight, of one sender: times Node", fanout.CASE, "deliveries_s", 5.0, than="node", params=_ALONE),
    Goal("32 in flight, of one sender: times nchan", fanout.CASE, "deliveries_s", 5.0, than="nchan", params=_ALONE),
    Goal("KiB a connection, uvloop", crowd.CASE, "kib", 8.0, most=True, params={"clients": 5_000}),
    Goal("KiB a connection, asyncio", crowd.CASE, "kib", 12.0, True, peer="maru-asyncio", params={"clients": 5_000}),
    Goal("15,000 idle connections: share of a core", crowd.HEARTBEAT, "share", 0.15, most=True),
    Goal("handshakes/s with token and join", crowd.CASE, "joined_s", 2_500, params={"clients": 5_000}, form=",.0f"),
    Goal("the same, times Node's plain ones", crowd.CASE, "joined_s", 1.5, than="node", metric_than="plain_s"),
    Goal("8,000 leave: CPU seconds", crowd.CASE, "leave_cpu_s", 0.5, most=True, params={"clients": 8_000}),
    Goal("8,000 leave: longest stall, ms", crowd.CASE, "leave_stall_ms", 50.0, most=True, params={"clients": 8_000}),
    Goal("5,000 arrive at once: are in", crowd.STORM, "in", 5_000, params={"clients": 5_000}, form=",.0f"),
    Goal("durable sends/s, SQLite", sends.CASE, "acks_s", 8_000, peer="maru-sqlite", params=_FULL, form=",.0f"),
    Goal("durable sends/s, Redis", sends.CASE, "acks_s", 8_000, peer="maru-redis", params=_FULL, form=",.0f"),
    Goal("p99 at half load, SQLite, ms", sends.CASE, "p99_ms", 50.0, most=True, peer="maru-sqlite", params=_HALF),
    Goal("p99 at half load, Redis, ms", sends.CASE, "p99_ms", 50.0, most=True, peer="maru-redis", params=_HALF),
    Goal("idle replica, 2,000 messages/s elsewhere", replicas.IDLE, "idle_share", 0.02, True, peer="maru-redis"),
)


def judged(summary: Summary) -> Table:
    """Every goal that was measured, with what was found: the median, and the least and the most of all rounds."""
    lines = [line for goal in GOALS if (line := _line(summary, goal)) is not None]
    return Table("Goals", ("", "goal", "found", "reached"), tuple(lines))


def _line(summary: Summary, goal: Goal) -> tuple[str, ...] | None:
    found = _found(summary, goal)
    if found is None:
        return None
    reached = found.median <= goal.bound if goal.most else found.median >= goal.bound
    cells = [format(value, goal.form) for value in (goal.bound, *found[:3])]
    shown = cells[1] if found.runs == 1 else f"{cells[1]} ({cells[2]}..{cells[3]})"
    return (goal.text, f"{'at most' if goal.most else 'at least'} {cells[0]}", shown, "yes" if reached else "NO")


def _found(summary: Summary, goal: Goal) -> Spread | None:
    ours = summary.find(goal.case, goal.peer, **goal.params)
    if ours is None:
        return None
    if not goal.than:
        return summary.spread(ours, goal.metric)
    theirs = Key(goal.case, goal.than, ours.params)
    return summary.ratio(ours, theirs, goal.metric, goal.metric_than or goal.metric)
