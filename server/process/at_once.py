"""End the process as soon as a signal arrives.

`__main__` imports this module before all others, so it imports nothing that takes time.
"""

import os
import signal
from collections.abc import Callable

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""The signals by which an operator, a container engine or a terminal stops the server."""

last_steps: list[Callable[[], object]] = []
"""Run before such an end, whatever the process is doing: each is harmless at any moment, and takes a bounded time."""


def end_at_once(number: int, _: object) -> None:
    """Handle a signal: end the process with exit code 128 + `number`, whatever the process is doing."""
    for step in last_steps:
        step()
    os._exit(128 + number)


def on_stop_signals() -> None:
    """Make every stop signal end the process at once, and SIGHUP do nothing until the keys can be read again.

    Call this first in a process: the kernel drops the signals of process 1 (as in a container) until it handles them.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, end_at_once)
    # Else a word to all replicas that keys have changed would end those that start. These read the new keys anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
