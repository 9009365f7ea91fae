"""Signals, and stops that hang: real processes, their exit codes and their last line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
DEADLINE_S = 30

STUCK = """
import asyncio, os, signal, time
from server.process.stopping import stop_on_signals
async def close_the_store():
    {hang}
async def run(limit_s, signals):
    stop = stop_on_signals(limit_s)
    for number in signals:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 10)
    await close_the_store()
{run}(run({limit_s}, [signal.Signals(number) for number in {signals}]))
"""
WAITS, BLOCKS = "await asyncio.sleep(60)", "time.sleep(60)"
RUNS = {"asyncio": "asyncio.run", "uvloop": "__import__('uvloop').run"}


@pytest.mark.parametrize("run_with", RUNS)
@pytest.mark.parametrize("hang", [WAITS, BLOCKS], ids=["waits", "blocks"])
@pytest.mark.parametrize(("limit_s", "signals", "code"), [(60, [15, 15], 143), (60, [2, 15], 143), (-2.45, [15], 1)])
def test_a_stop_that_hangs_is_ended(limit_s: float, signals: list[int], code: int, hang: str, run_with: str) -> None:
    """By a second signal at once, else when its time is up: with one line that says where it hangs."""
    script = STUCK.format(limit_s=limit_s, signals=signals, hang=hang, run=RUNS[run_with])
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    named = [line for line in ended.stdout.splitlines() if "stop.overdue" in line and "close_the_store" in line]
    assert len(named) == (code == 1), ended.stdout
    assert "Traceback" not in ended.stderr


FULL_LOG = """
import sys
os.set_blocking(1, False)
with contextlib.suppress(BlockingIOError):
    while True:
        os.write(1, bytes(4096))
os.set_blocking(1, True)
print("told to stop", file=sys.stderr, flush=True)
time.sleep(60)
"""


def test_the_watchdog_waits_for_no_reader() -> None:
    """Where nobody reads the log any more, its line is not waited for beyond the time that was promised."""
    script = STUCK.replace("import asyncio", "import contextlib, asyncio")
    script = script.replace("{hang}", FULL_LOG.strip().replace("\n", "\n    "))
    script = script.format(limit_s=-1.5, signals=[15], run="asyncio.run")  # it is to be gone 1.5 s later
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as stuck:
        assert stuck.stderr is not None
        assert stuck.stderr.readline() == b"told to stop\n"
        assert stuck.wait(2.0) == 1


def test_a_second_signal_ends_a_loop_that_does_not_turn() -> None:
    """Also where the stop itself has blocked the event loop."""
    script = STUCK.replace("{hang}", "threading.Timer(0.3, os.kill, (os.getpid(), 2)).start(); time.sleep(60)")
    script = script.replace("import asyncio", "import threading, asyncio")
    script = script.format(limit_s=60, signals=[15], run="asyncio.run")
    ended = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, timeout=DEADLINE_S, check=False)
    assert ended.returncode == 130
