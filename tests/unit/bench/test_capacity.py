"""The capacity plan against points that were measured, and against arithmetic that anybody can do."""

import math

import pytest

from bench.capacity import __main__ as program
from bench.capacity.costs import ENGINES, Replica
from bench.capacity.plan import Given, Workload, core_of, hosting, plan

QUIET = {"online": 1.0, "comings": 0.0, "reads": 0.0, "channels": 1.0}

MEASURED = {
    # docs/performance.md, fan-out: 100.8 messages/s to 1,000 members, the server busy for 86 %.
    "fan-out": (Workload(users=1_000, messages=0.1008, audience=1_000, **QUIET), "redis", 1, 0.86),
    # The same, replicas: 92.3 messages/s to 1,000 members on two, each with half of 97 % of a core.
    "two replicas": (Workload(users=1_000, messages=0.0923, audience=1_000, **QUIET), "redis", 2, 0.485),
    # Idle connections: 15,800, a ping and a pong in 10 s.
    "idle": (Workload(users=15_800, messages=0, **QUIET), "redis", 1, 0.069),
    # Acked sends at half of the load, nobody listens: 6,751/s, the server busy for 77 %.
    "sends": (Workload(users=256, messages=6_751 / 256, audience=0, **QUIET), "redis", 1, 0.77),
    "sends on SQLite": (Workload(users=256, messages=6_871 / 256, audience=0, **QUIET), "sqlite", 1, 0.94),
    # Small channels: 2,766 messages/s to ten members each, one under way: 77 % of a core.
    "small channels": (Workload(users=10, messages=276.6, audience=10, **QUIET), "sqlite", 1, 0.77),
}


@pytest.mark.parametrize("point", MEASURED)
def test_a_measured_point(point: str) -> None:
    """The plan says what was measured, within a third."""
    work, engine, replicas, busy = MEASURED[point]
    said = sum(core_of(work, ENGINES[engine], Replica(), replicas).values())
    assert busy / 1.35 < said < busy * 1.35


def test_members_by_chance() -> None:
    """A channel of one is on one replica, a large one on all."""
    assert hosting(1, 5) == 1
    assert hosting(20, 1) == pytest.approx(1)
    assert hosting(20, 2) == pytest.approx(1.95)
    assert hosting(20, 10_000) == pytest.approx(20)
    assert hosting(1, 0) == 0


def test_replicas_keep_below_the_target() -> None:
    """The fewest that do, and the spare ones."""
    work, engine = Workload(users=2e6), ENGINES["redis"]
    found = plan(work, engine, Given(target=0.4, spare=2))
    assert sum(core_of(work, engine, Replica(), found.replicas - 2).values()) <= 0.4
    assert sum(core_of(work, engine, Replica(), found.replicas - 3).values()) > 0.4
    assert found.busy < 0.4


def test_connections_bound_the_replicas() -> None:
    """Idle users cost little of a core: then it is their number that counts, or the memory."""
    idle = Workload(users=1e6, online=1.0, messages=0, comings=0, reads=0, channels=1)
    assert plan(idle, ENGINES["redis"], Given(spare=0)).replicas == 20
    assert plan(idle, ENGINES["redis"], Given(spare=0, memory=300 * 2**20)).replicas > 40


def test_strangers_that_fill_every_replica() -> None:
    """With one topic for all no number of replicas is enough, and the plan says so."""
    work = Workload(users=1e6, messages=0.5, audience=1)
    with pytest.raises(ValueError, match="strangers"):
        plan(work, ENGINES["redis+kafka"], Given())
    assert plan(work, ENGINES["redis-cluster"], Given()).replicas > 1


def test_the_first_bottleneck() -> None:
    """A single Redis is full before the replicas, a cluster of them gets further nodes."""
    work = Workload(users=20e6, kept_days=0.1)
    alone, cluster = plan(work, ENGINES["redis"], Given()), plan(work, ENGINES["redis-cluster"], Given())
    assert alone.bottleneck[0] == "the store's processors"
    assert alone.bottleneck[1] < 1
    assert (alone.store_nodes, cluster.store_nodes > 1) == (1, True)
    assert cluster.bottleneck[1] > 1
    kept = plan(Workload(users=20e6, kept_days=300), ENGINES["redis"], Given())
    assert kept.bottleneck[0] == "the store's memory"


def test_a_process_alone() -> None:
    """SQLite has one replica, however full."""
    found = plan(Workload(users=1e5), ENGINES["sqlite"], Given())
    assert (found.replicas, found.store_nodes) == (1, 0)
    nothing = plan(Workload(users=0, messages=0), ENGINES["redis"], Given())
    assert nothing.replicas == 2
    assert math.isfinite(nothing.bottleneck[1])


def test_it_prints_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """Replicas, memory, the store, the storm and the bottleneck, in words; a load that is too much is one line."""
    assert program.main(["--users", "10e6", "--engine", "postgres"]) == 0
    said = capsys.readouterr().out
    for words in ("1,000,000 connections", "replicas: ", "core: ", "on disk", "inside after", "full first: "):
        assert words in said
    assert program.main(["--users", "1e5", "--engine", "sqlite"]) == 0
    assert "in the process itself" in capsys.readouterr().out
    assert program.main(["--users", "10e6", "--messages", "1", "--engine", "redis+kafka"]) == 1
    assert "strangers" in capsys.readouterr().err
