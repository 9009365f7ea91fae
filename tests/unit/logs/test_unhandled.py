"""Errors that nobody can catch: lines like all others, and not a word on standard error."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
DEADLINE_S = 30

SCRIPT = """
import sys, threading
from server.logs.configure import configure
from server.logs.unhandled import log_unhandled
configure("info", "json")
log_unhandled()
class Careless:
    def __del__(self):
        raise ValueError("of a finalizer; Bearer canary")
Careless()
def work(error):
    raise error
for error in (KeyError("of a thread"), SystemExit(1)):
    thread = threading.Thread(target=work, args=(error,), name="worker")
    thread.start()
    thread.join()
"""


def test_errors_of_finalizers_and_threads_are_lines() -> None:
    """With their traceback, redacted. A thread that ends itself is no error."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert ended.stderr == b""
    first, second = (json.loads(line) for line in ended.stdout.splitlines())
    for line in (first, second):
        assert (line["level"], line["event"]) == ("error", "error.unhandled")
    assert first["place"] == "Careless.__del__"
    assert first["exception"].endswith("ValueError: of a finalizer; Bearer [redacted]")
    assert second["place"] == "worker"
    assert second["exception"].endswith("KeyError: 'of a thread'")
