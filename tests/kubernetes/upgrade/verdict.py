"""Judges an upgrade: compares what clients received with the log, and the stops of the replicas with their orders."""

import hashlib
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.application.life.drainer import DrainTiming
from server.domain.events import Event, MessageCreated
from tests.clients.crowd import Report
from tests.kubernetes.containers import Stop

GAP_S = 5.0
"""The longest silence of a client, at the 99th percentile of all clients."""

PACE_SLACK = 2.0
"""A process of clients that had to wait for the CPU catches up at once, so more clients may reconnect in a second than
a drain sent away in it. All clients of a replica in the same second are three times the pace, and more."""

AFTER_S = 1.5
"""How long after its end a drain's clients still come: clients without our core wait at most so long."""

Logs = Mapping[str, Sequence[Event]]


@dataclass(frozen=True, slots=True)
class Observed:
    """The input of a verdict. `talked_at` separates the first connections from the reconnects; `turned_away` are the
    handshakes that nginx had to take to another replica; `killed` are the pods that the test itself killed. `gap_s` is
    the longest silence of a client that is allowed, at the 99th percentile."""

    logs: Logs
    members: Sequence[Report]
    stops: Sequence[Stop]
    talked_at: float
    turned_away: Sequence[Mapping[str, Any]]
    killed: frozenset[str] = frozenset()
    gap_s: float = GAP_S


@dataclass(frozen=True, slots=True)
class Verdict:
    """The faults in words, and the figures."""

    faults: Sequence[str]
    figures: Mapping[str, object]


def judge(observed: Observed) -> Verdict:
    """Check everything that must hold of an upgrade that nobody notices."""
    attempts = [at for member in observed.members for at in member.attempts if at > observed.talked_at]
    peak_at, peak = _peak(attempts)
    pace = _pace(observed.stops, peak_at)
    gaps = sorted(member.gap for member in observed.members)
    p99 = gaps[len(gaps) * 99 // 100]
    away = _statuses(observed.turned_away)
    faults = [
        *_log_faults(observed.logs),
        *(fault for member in observed.members for fault in _member_faults(member, observed.logs[member.channel])),
        *_stop_faults(observed),
    ]
    if p99 >= observed.gap_s:
        faults.append(f"a hundredth of the clients heard nothing for {p99:.1f} s or more, allowed: {observed.gap_s} s")
    if not observed.killed and peak > pace * PACE_SLACK:
        faults.append(f"{peak} clients reconnected within one second, the drains' pace was {pace:.0f} a second")
    if not observed.killed and away:
        faults.append(f"handshakes were sent to replicas that did not take them: {away}")
    figures = {
        "clients": len(observed.members),
        "messages": sum(len(log) for log in observed.logs.values()),
        "acked": sum(len(member.acks) for member in observed.members),
        "deliveries": sum(member.count for member in observed.members),
        "gap p50/p99/max, s": "/".join(f"{gap:.2f}" for gap in (gaps[len(gaps) // 2], p99, gaps[-1])),
        "moved by drains": sum(stop.connections for stop in observed.stops),
        "reconnects": len(attempts),
        "reconnects/s peak": f"{peak} (pace {pace:.0f})",
        "error answers": dict(_errors(observed.members)) | away,
        "stops, s": [round(stop.ended_at - (stop.told_at or stop.ended_at), 1) for stop in observed.stops],
    }
    return Verdict(faults, figures)


def _log_faults(logs: Logs) -> Iterable[str]:
    """Yield holes in the offsets, repeated keys, and authors whose messages are not in the order of sending."""
    for channel, log in logs.items():
        if [event.offset for event in log] != list(range(1, len(log) + 1)):
            yield f"{channel}: the log has a hole"
        keys = Counter(_key(event) for event in log)
        if twice := [key for key, count in keys.items() if count > 1]:
            yield f"{channel}: written twice: {twice[:5]}"
        said: defaultdict[str, list[int]] = defaultdict(list)
        for key in keys:
            author, _, number = key.rpartition("-")
            said[author].append(int(number))
        for author, numbers in said.items():
            if numbers != sorted(numbers):
                yield f"{channel}: {author}'s messages are not in the order of sending"


def _member_faults(member: Report, log: Sequence[Event]) -> Iterable[str]:
    """Yield acks without their event in the log, and events that the client missed or got twice. A client that can't
    resume may miss the events that came while it was away."""
    for fault in member.faults:
        yield f"{member.user}: {fault}"
    for key, offset in member.acks.items():
        if offset > len(log) or _key(log[offset - 1]) != key:
            yield f"{member.user}: {key} was acked at {offset}, and is not there"
    if member.last != len(log):
        yield f"{member.user}: heard up to {member.last} of {len(log)}"
    elif member.resumes and (member.first != min(1, len(log)) or member.digest != _digest(log)):
        yield f"{member.user}: what it heard from {member.first} to {member.last} is not the log"
    if member.resumes and len(member.acks) != member.sent:
        yield f"{member.user}: {member.sent - len(member.acks)} of {member.sent} sends had no ack: {member.failed}"


def _stop_faults(observed: Observed) -> Iterable[str]:
    """Yield pods that were killed at the end of their grace, or ended with an error."""
    for stop in observed.stops:
        if stop.pod in observed.killed and stop.told_at is None:
            continue
        if stop.killed:
            yield f"{stop.pod} was killed at the end of its grace, with {stop.connections} clients to move"
        elif stop.code != 0:
            yield f"{stop.pod} ended with {stop.code}"


def _peak(times: Sequence[float]) -> tuple[float, int]:
    """Return the second with the most times in it: its beginning, and their number."""
    ordered = sorted(times)
    counts = [(bisect_left(ordered, at + 1.0) - number, at) for number, at in enumerate(ordered)]
    count, at = max(counts, default=(0, 0.0))
    return at, count


def _pace(stops: Sequence[Stop], at: float) -> float:
    """Return the clients a second that all drains under way at a moment are to move together."""
    under_way = [
        stop for stop in stops if stop.told_at is not None and stop.told_at - 1.0 <= at <= stop.ended_at + AFTER_S
    ]
    return sum(pace(stop.connections, stop.drain_timeout_s) for stop in under_way)


def pace(connections: int, drain_timeout_s: float) -> float:
    """Return the clients a second that a drain moves: all over its window (at least a second), or the slowest pace."""
    timing = DrainTiming(drain_timeout_s).fitted()
    return max(timing.slowest_pace, connections / max(1.0, timing.window_s))


def _statuses(turned_away: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return dict(Counter(f"replica {line['replica_status']}" for line in turned_away))


def _errors(members: Sequence[Report]) -> Counter[str]:
    """Count the error answers and failures of the clients."""
    return sum((Counter(member.failed) for member in members), Counter())


def _key(event: Event) -> str:
    assert isinstance(event, MessageCreated)
    return event.message.key or ""


def _digest(log: Sequence[Event]) -> str:
    digest = hashlib.sha256()
    for event in log:
        assert isinstance(event, MessageCreated)
        digest.update(f"{event.offset} {event.message.id} {event.message.text}\n".encode())
    return digest.hexdigest()
