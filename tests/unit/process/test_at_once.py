"""Signals before the server handles them itself, in real processes."""

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import os
from server.process.at_once import on_stop_signals
on_stop_signals()
os.kill(os.getpid(), {number:d})
print("goes on")
"""


@pytest.mark.parametrize(
    ("number", "ended"),
    [
        (signal.SIGTERM, (128 + signal.SIGTERM, "")),
        (signal.SIGINT, (128 + signal.SIGINT, "")),
        (signal.SIGHUP, (0, "goes on\n")),
    ],
)
def test_a_signal_while_the_server_starts(number: int, ended: tuple[int, str]) -> None:
    """A stop is at once; a word that keys have changed ends no server that has not read any."""
    program = [sys.executable, "-c", SCRIPT.format(number=number)]
    found = subprocess.run(program, capture_output=True, text=True, timeout=30, check=False)
    assert (found.returncode, found.stdout) == ended
