"""The load side against the smallest server there is: real processes, real sockets."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import machine
from bench.fanout import Flow, Pace, Window
from bench.load import Load
from bench.machine import cores
from bench.peers import python
from bench.processes import LoadFailed, NotAvailable, Process, cpu_s, files, free_port, memory_kib
from bench.sends import SendFlow, SendWindow
from bench.worker import Entered, Target

MEMBERS = 5
FRAME_BYTES = 100


@pytest.fixture
def load() -> Iterator[Load]:
    """Run clients of the bare loop in Python."""
    port = free_port()
    bare = Path(python.__file__).parent / "bare.py"
    process = Process([sys.executable, str(bare), str(port), str(FRAME_BYTES)], cores().server)
    try:
        process.listens(port)
        with Load(Target("bare", (port,), (process.pid,), "no secret"), cores().load) as clients:
            clients.do("prepare", count=MEMBERS, channels=["room:0"], join=True)
            entered: Entered = clients.do("enter")
            assert entered.clients == MEMBERS
            yield clients
    finally:
        process.stop()


@pytest.mark.parametrize(("in_flight", "senders"), [(1, 1), (4, 1), (4, 4)])
def test_deliveries_are_counted(load: Load, in_flight: int, senders: int) -> None:
    """Every frame that comes is one delivery, and its bytes are its own."""
    window = Window(("room:0",), 64, in_flight, 0.1, 0.05, (os.getpid(),), senders)
    flow: Flow = load.do("fanout", window=window)
    assert flow.deliveries >= MEMBERS * in_flight
    assert flow.received_bytes == flow.deliveries * FRAME_BYTES
    assert flow.waves == pytest.approx(flow.deliveries / MEMBERS)
    assert (flow.lost, load.do("lost")) == (0, 0)


def test_a_paced_message_is_timed_at_every_member(load: Load) -> None:
    """One latency a delivery, sorted, none negative."""
    window = Window(("room:0",), 64, 1, 0.2, 0.05, (os.getpid(),))
    pace: Pace = load.do("latency", window=window, waves_s=100.0)
    assert len(pace.latencies) % MEMBERS == 0
    assert list(pace.latencies) == sorted(pace.latencies)
    assert pace.latencies[0] >= 0


@pytest.fixture
def floor() -> Iterator[Load]:
    """Run clients of the floor of Python, which answers at once."""
    port = free_port()
    script = Path(python.__file__).parent / "pyfloor.py"
    process = Process([sys.executable, str(script), str(port)], cores().server)
    try:
        process.listens(port)
        with Load(Target("maru", (port,), (process.pid,), "0123456789abcdef" * 2), cores().load) as clients:
            clients.do("prepare", count=MEMBERS, channels=["room:0", "room:1"], join=True)
            clients.do("enter")
            yield clients
    finally:
        process.stop()


@pytest.mark.parametrize(("depth", "senders"), [(1, 0), (8, 0), (8, 1)])
def test_every_send_is_acked_and_timed(floor: Load, depth: int, senders: int) -> None:
    """Those of the window are counted, and `sent` has all others too."""
    window = SendWindow(("room:0",), 64, 0.1, 0.05, depth=depth, senders=senders, store_pids=(os.getpid(),))
    flow: SendFlow = floor.do("sends", window=window)
    assert len(flow.latencies) == flow.acks
    assert 0 < flow.acks <= flow.sent
    assert list(flow.latencies) == sorted(flow.latencies)
    assert flow.store_cpu_s >= 0
    assert (flow.lost, floor.do("lost")) == (0, 0)


def test_sends_at_a_rate_are_no_more_than_it(floor: Load) -> None:
    """A late one counts from when it was due."""
    began = time.perf_counter()
    flow: SendFlow = floor.do("sends", window=SendWindow(("room:0",), 64, 0.2, 0.0, rate=100.0))
    assert 0 < flow.sent <= 100 * (time.perf_counter() - began) + 1
    assert flow.latencies[0] >= 0


def test_a_window_waits_for_its_first_ack(floor: Load) -> None:
    """A machine that is busy elsewhere makes it longer, and not empty."""
    flow: SendFlow = floor.do("sends", window=SendWindow(("room:0",), 64, 0.0, 0.0))
    assert flow.acks > 0


def test_who_was_not_let_in_is_an_error_with_a_reason() -> None:
    """Nothing listens there."""
    with Load(Target("bare", (free_port(),), (), "no secret"), cores().load) as clients:
        clients.do("prepare", count=1, channels=["room:0"], join=True)
        with pytest.raises(LoadFailed, match="cut off"):
            clients.do("enter")


def test_a_program_that_is_not_there_is_not_available() -> None:
    """With its name."""
    with pytest.raises(NotAvailable, match="no-such-server"):
        Process(["no-such-server"], cores().server)
    assert machine.version(("no-such-server", "--version")) == "not installed"


def test_a_program_that_does_not_listen_is_quoted() -> None:
    """What it said is in the error."""
    process = Process([sys.executable, "-c", "print('out of luck')"], cores().server)
    try:
        with pytest.raises(NotAvailable, match="out of luck"):
            process.listens(free_port())
    finally:
        process.stop()


def test_a_program_without_a_worker_is_quoted() -> None:
    """And has ended; one with a worker is waited for."""
    process = Process([sys.executable, "-c", "print('no workers here')"], cores().server)
    with pytest.raises(NotAvailable, match="no workers here"):
        process.has_children()
    parent = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE).wait()"
    process = Process([sys.executable, "-c", parent], cores().server)
    try:
        process.has_children()
        assert len(process.pids()) == 2
    finally:
        process.stop()


def test_a_process_is_seen_from_outside(tmp_path: Path) -> None:
    """Its time, its memory and its open files."""
    mine = [os.getpid()]
    before, opened = cpu_s(mine), files(mine)
    with (tmp_path / "file").open("w"):
        assert files(mine) == opened + 1
    sum(range(2_000_000))
    assert cpu_s(mine) > before
    assert memory_kib(mine) > 1_000


def test_the_machine_is_described() -> None:
    """What a reader needs to compare figures."""
    assert {"processor", "cores", "memory", "kernel", "Python", "Node.js", "nats-server"} <= machine.describe().keys()
