"""Write log lines to a stream: at once, or in a thread, so that a reader that has stopped blocks nobody else."""

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Protocol, TextIO

GATHER_S = 0.01
"""How long the thread waits for more lines after it has written: a busy server makes 100 system calls a second for all
its lines. A warning ends that wait."""

MAX_WAITING = 1 << 20
"""Bound of the characters of lines below `warning` that wait to be written. Over it the oldest of them are dropped."""

MAX_KEPT = 1 << 20
"""Bound of the characters of lines from `warning` up that wait to be written. Over it new ones are dropped."""

FLUSH_S = 1.0
"""How long a critical line, or the end of the process, waits until all lines are written."""

MOMENT_S = 0.1
"""The same where the process is to end at once."""

Reply = SimpleQueue[None]


class Writer(Protocol):
    """Writes whole lines in the order in which it is given them. Never raises; a line that can't be written is lost."""

    dropped: int
    """Lines that were lost so far: nobody read them in time, the reader is gone, or the disk is full."""

    def put(self, line: str) -> None:
        """Take a line that may be dropped to make room."""
        ...

    def keep(self, line: str) -> None:
        """Take a line that is dropped for no other line's sake, and write it as soon as possible."""
        ...

    def flush(self, timeout_s: float = FLUSH_S) -> None:
        """Wait until the lines that were taken before are written, or for `timeout_s`."""
        ...


class StreamWriter(Writer):
    """Writes each line at once: for a stream that is no descriptor, and for a process that does not serve yet."""

    def __init__(self, stream: TextIO) -> None:
        self.dropped = 0
        self._stream = stream

    def put(self, line: str) -> None:
        """Write the line."""
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except (OSError, ValueError):
            self.dropped += 1

    keep = put

    def flush(self, timeout_s: float = FLUSH_S) -> None:
        """Nothing waits."""


class ThreadWriter(Writer):
    """Writes to a descriptor in a thread of its own. Taking a line never waits for the reader, and memory is bounded.

    If nobody reads, `MAX_WAITING` and `MAX_KEPT` bound the lines that wait, and again those that the thread has taken.
    As soon as lines are read again, the line `report(count)` stands where others are missing.

    Finalizers and signal handlers may write lines, too, at any moment: the lock is one that a thread may take twice,
    and the bell a queue whose `put` may be interrupted by another `put`.
    """

    def __init__(self, descriptor: int, report: Callable[[int], str], encoding: str = "utf-8") -> None:
        self.dropped = 0
        self._descriptor, self._encoding, self._report = descriptor, encoding, report
        self._lock = threading.RLock()  # held to take lines out, or to count them
        self._old: list[str] = []  # lines to keep, older than those in `_lines`
        self._lines: deque[str] = deque()
        self._waiting = 0  # characters in `_lines` that may be dropped
        self._kept = 0  # characters in `_old` and `_lines` that may not
        self._torn = False  # whether the last line that was written is not whole
        self._reported = 0  # how many of the dropped lines were told of
        self._awake = False  # whether the thread will look at the lines by itself
        self._called = False  # whether the thread was called to write at once
        self._bell: SimpleQueue[Reply | None] = SimpleQueue()  # wakes the thread; replies are sent when all is written
        # Not waited for at the end of the process: the reader may never read again.
        threading.Thread(target=self._run, name="log-writer", daemon=True).start()

    def put(self, line: str) -> None:
        """Take a line; the oldest such lines are dropped if there is no room.

        There are thousands of these a second, so they take no lock. `_waiting` may be wrong by a line where two threads
        meet, until the lines are taken the next time.
        """
        size = len(line)
        self._lines.append(line)
        self._waiting += size
        if self._waiting > MAX_WAITING:
            self._make_room()
        if not self._awake:
            self._awake = True
            self._bell.put(None)

    def keep(self, line: str) -> None:
        """Take a line that stays; it is dropped only if there is no room beside other such lines."""
        with self._lock:
            if self._kept + len(line) > MAX_KEPT:
                self.dropped += 1
                return
            self._kept += len(line)
            self._lines.append(_Kept(line))
            if not self._called:
                self._called = self._awake = True
                self._bell.put(None)

    def flush(self, timeout_s: float = FLUSH_S) -> None:
        """Wait for the thread, but no longer than that."""
        reply: Reply = SimpleQueue()
        self._bell.put(reply)
        with suppress(Empty):
            reply.get(timeout=timeout_s)

    def _make_room(self) -> None:
        with self._lock:
            while self._waiting > MAX_WAITING and self._lines:
                line = self._lines.popleft()
                if type(line) is _Kept:
                    self._old.append(line)
                else:
                    self._waiting -= len(line)
                    self.dropped += 1

    def _run(self) -> None:
        reply: Reply | None = None
        while True:
            busy = self._write_all()
            if reply is not None:
                reply.put(None)
            try:
                reply = self._bell.get(timeout=GATHER_S if busy else None)
            except Empty:
                reply = None

    def _write_all(self) -> bool:
        """Write the lines that wait. Return whether there were any; if not, the thread has to be woken for the next."""
        with self._lock:
            # In this order: a line that comes now is either seen below, or its writer sees that nobody is awake.
            self._called = self._awake = False
            lines, self._old = self._old, []
            self._waiting = self._kept = 0
            lines += [self._lines.popleft() for _ in range(len(self._lines))]
            dropped = self.dropped
            if not lines:
                return False
            self._awake = True
        missing = dropped - self._reported
        torn = [""] * self._torn
        head = [self._report(missing)] if missing else []
        whole = self._write("\n".join([*torn, *head, *lines, ""])) - len(torn)
        if whole >= len(head):
            self._reported = dropped
        with self._lock:
            self.dropped += min(len(lines), len(head) + len(lines) - whole)
        return True

    def _write(self, text: str) -> int:
        """Return how many lines were written whole. A descriptor that does not block is waited for."""
        data = memoryview(text.encode(self._encoding, "backslashreplace"))
        left = data
        try:
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:
                    room = select.poll()
                    room.register(self._descriptor, select.POLLOUT)
                    room.poll()
        except OSError:  # the reader is gone, or the disk is full
            written = bytes(data[: len(data) - len(left)])
            self._torn = self._torn if not written else not written.endswith(b"\n")
            return written.count(b"\n")
        self._torn = False
        return text.count("\n")


class _Kept(str):
    """A line that is not dropped to make room for others."""

    __slots__ = ()
