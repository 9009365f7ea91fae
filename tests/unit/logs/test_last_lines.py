"""The last lines of real processes, however they end; and a reader that has stopped does not keep them alive."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
DEADLINE_S = 30

SCRIPT = """
import os, sys
import structlog
from server.logs.configure import configure, flush_soon
from server.process.at_once import last_steps, on_stop_signals
configure("info", "json")
log = structlog.get_logger("maru.test")
for number in range(1_000):
    log.info("first", number=number)
{end}
"""
ENDS = {
    "a return": ("log.info('last')", 0),
    "an error": ("log.warning('last'); raise RuntimeError('a fault')", 1),
    "an exit": ("log.info('last'); sys.exit(3)", 3),
    "an exit without manners": ("log.critical('last'); os._exit(4)", 4),
    "a signal": ("last_steps.append(flush_soon); on_stop_signals(); log.info('last'); os.kill(os.getpid(), 15)", 143),
}


@pytest.mark.parametrize(("end", "code"), ENDS.values(), ids=ENDS)
def test_the_last_line_is_written(end: str, code: int) -> None:
    """Behind all others."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(end=end)],
        env=ENVIRONMENT,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["number"] for line in lines[:-1]] == list(range(1_000))
    assert lines[-1]["event"] == "last"


@pytest.mark.parametrize("how", ["a return", "an exit without manners", "a signal"])
def test_a_reader_that_has_stopped_keeps_no_process_alive(how: str) -> None:
    """The last lines are waited for within bounds: here the pipe is full before the first."""
    end, code = ENDS[how]
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        while True:
            os.write(writing, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writing, True)
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(end=end)],
        env=ENVIRONMENT,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=DEADLINE_S,
        check=False,
    )
    os.close(reading)
    os.close(writing)
    assert ended.returncode == code, ended.stderr
