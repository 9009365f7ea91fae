"""Stop the server on a signal, and end the process if the stop takes too long."""

import asyncio
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import Iterator
from pathlib import Path

import structlog

from server.process.at_once import STOP_SIGNALS, end_at_once, on_stop_signals

OVERDUE_S = 3.0
"""The process ends this long after the drain timeout at the latest. A drain that works is over long before."""

LAST_WORDS_S = 0.5
"""The part of `OVERDUE_S` in which the line about the hang is written: the reader of the log may hang too."""

MAX_HUNG = 20
"""Bound of the tasks in that line, of the steps of each task, and of the steps of the main thread."""

_log = structlog.get_logger("maru.server")


def stop_on_signals(limit_s: float) -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets.

    A second signal ends the process at once. A watchdog ends it `limit_s` + `OVERDUE_S` after the first signal, even if
    the event loop is blocked. Neither loses an acked message: it is on the disk by then.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():  # both signals came in the same turn of the loop
            end_at_once(number, None)
        stop.set()
        on_stop_signals()  # not by way of the loop: the loop may be what hangs
        watchdog = threading.Timer(max(0.0, limit_s + OVERDUE_S - LAST_WORDS_S), _end_overdue, (loop, limit_s))
        watchdog.daemon = True
        watchdog.start()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    return stop


def _end_overdue(loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
    """Log what hangs, if the log takes the line in time; end the process."""
    words = threading.Thread(target=lambda: _log.critical("stop.overdue", limit_s=limit_s, **_hung(loop)), daemon=True)
    words.start()
    words.join(LAST_WORDS_S)
    os._exit(1)


def _hung(loop: asyncio.AbstractEventLoop) -> dict[str, list[str]]:
    """Return the stack of the main thread, outermost step first, and the await chain of each task."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001  # documented for this use
    thread = [f"{step.name} ({Path(step.filename).name}:{step.lineno})" for step in traceback.extract_stack(frame)]
    tasks = [f"{task.get_name()}: {' > '.join(_awaiting(task.get_coro()))}" for task in asyncio.all_tasks(loop)]
    return {"thread": thread[-MAX_HUNG:], "tasks": sorted(tasks)[:MAX_HUNG]}


def _awaiting(coroutine: object) -> Iterator[str]:
    """Yield the coroutines from a task's own to the innermost. `Task.get_stack` has the task's own alone."""
    for _ in range(MAX_HUNG):
        if not isinstance(coroutine, types.CoroutineType):
            return
        line = coroutine.cr_frame.f_lineno if coroutine.cr_frame else 0
        yield f"{coroutine.__qualname__}:{line}"
        coroutine = coroutine.cr_await
