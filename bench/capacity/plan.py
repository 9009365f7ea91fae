"""A capacity plan: how many replicas, how much memory, how many nodes of the store, and what is full first. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bench.capacity.costs import Engine, Replica

HEARTBEAT_S = 10.0
STORE_BUSY = 0.6
"""Share of the store's processors that may be used: beyond it waiting grows quickly."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What users do, at the busiest hour."""

    users: float
    """Users of the application."""
    online: float = 0.1
    """Their share that is connected."""
    messages: float = 0.01
    """Messages a second of each connected user."""
    audience: float = 10.0
    """Members of a message's channel that are connected, on average over messages."""
    channels: float = 5.0
    """Channels that a connected user has joined."""
    comings: float = 2.0
    """Times an hour that a connected user comes back."""
    reads: float = 4.0
    """Pages of history an hour that a connected user reads."""
    kept_days: float = 30.0

    @property
    def connections(self) -> float:
        """Users that are connected."""
        return self.users * self.online

    @property
    def sends(self) -> float:
        """Messages a second of all."""
        return self.connections * self.messages


@dataclass(frozen=True, slots=True)
class Plan:
    """What the workload needs. `core` divides a replica's core by kinds of work, `full` names the resources and which
    share of each is used."""

    replicas: int
    core: Mapping[str, float]
    replica_bytes: float
    store_nodes: int
    store_cores: float
    store_bytes: float
    full: Mapping[str, float]
    storm_s: float

    @property
    def busy(self) -> float:
        """The share of its core that each replica uses."""
        return sum(self.core.values())

    @property
    def bottleneck(self) -> tuple[str, float]:
        """The resource that is full first if all grows, and how much more of everything it bears: 2.0 is twice."""
        name = max(self.full, key=lambda each: self.full[each])
        return name, 1 / self.full[name] if self.full[name] else math.inf


def hosting(replicas: int, members: float) -> float:
    """Return on how many replicas a channel is, if its members are spread by chance."""
    return replicas * (1 - (1 - 1 / replicas) ** members) if replicas > 1 else min(1.0, members)


def core_of(work: Workload, engine: Engine, costs: Replica, replicas: int) -> dict[str, float]:
    """Return which share of its core a replica spends on each kind of work."""
    hosts = hosting(replicas, work.audience)
    hourly = work.connections / 3600
    spent = {
        "sends": work.sends * engine.send,
        "deliveries": work.sends * work.audience * costs.delivery,
        "hints": work.sends * max(hosts - 1, 0) * costs.hearing,
        "strangers": work.sends * (replicas - hosts) * engine.foreign,
        "heartbeats": work.connections / HEARTBEAT_S * costs.heartbeat,
        "comings": hourly * work.comings * (costs.arrival + (work.channels - 1) * costs.join),
        "presence": hourly * work.comings * work.channels * costs.presence,
        "pages": hourly * work.reads * costs.page,
    }
    return {name: us / replicas / 1e6 for name, us in spent.items()}


@dataclass(frozen=True, slots=True)
class Given:
    """What there is for it."""

    target: float = 0.5
    """Share of its core that a replica may use."""
    memory: float = 2 * 2**30
    """Bytes of a replica."""
    store_memory: float = 64 * 2**30
    """Bytes of a node of a store that keeps all in memory."""
    spare: int = 1
    """Replicas that may be away."""


def plan(work: Workload, engine: Engine, given: Given) -> Plan:
    """Return the fewest replicas that keep their cores under the target, and the spare ones.

    Raises `ValueError` if no number of replicas does: then the price of strangers is over the target.
    """
    costs = Replica()
    replicas = _enough(work, engine, costs, given) + (given.spare if engine.cores else 0)
    core, hosts = core_of(work, engine, costs, replicas), hosting(replicas, work.audience)
    entering = work.connections / 3600 * work.comings * work.channels
    used = (work.sends * (engine.store + hosts * engine.heard) + entering * engine.presence) / 1e6
    kept = work.sends * 0.4 * 86_400 * work.kept_days * engine.event  # a day has 0.4 of its busiest hour, 24 times
    kept += work.users * engine.channel
    nodes = _nodes(engine, used, kept, given)
    size = _bytes(work, costs, replicas)
    full = {
        "a replica's core": sum(core.values()) / 0.9,
        "a replica's memory": size / given.memory,
        "a replica's connections": work.connections / replicas / costs.connections,
        "strangers' hints, which no replica relieves": work.sends * engine.foreign / 1e6 / given.target,
    }
    if engine.cores:
        full["the store's processors"] = used / (nodes * engine.cores * STORE_BUSY)
    if engine.in_memory:
        full["the store's memory"] = kept / (nodes * given.store_memory)
    storm = work.connections * (costs.arrival + (work.channels - 1) * costs.join) / 1e6 / replicas / 0.8
    return Plan(replicas, core, size, nodes, used, kept, full, storm)


def _enough(work: Workload, engine: Engine, costs: Replica, given: Given) -> int:
    least = max(1, math.ceil(work.connections / costs.connections))
    if not engine.cores:
        return 1  # a process that is alone with its file; the plan says how full it is
    for replicas in range(least, 10_000):
        busy = sum(core_of(work, engine, costs, replicas).values())
        if busy <= given.target and _bytes(work, costs, replicas) <= 0.8 * given.memory:
            return replicas
    raise ValueError("no number of replicas is enough: hints of strangers fill each of them")


def _bytes(work: Workload, costs: Replica, replicas: int) -> float:
    connections = work.connections / replicas
    channels = min(work.connections * work.channels / replicas, 50_000)
    each = costs.connection + (work.channels - 1) * costs.membership
    return costs.process + costs.rings + connections * each + channels * costs.hosted


def _nodes(engine: Engine, cores: float, kept: float, given: Given) -> int:
    if not engine.cores:
        return 0
    by_memory = kept / given.store_memory if engine.in_memory else 0
    return max(1, math.ceil(cores / (engine.cores * STORE_BUSY)), math.ceil(by_memory)) if engine.grows else 1
