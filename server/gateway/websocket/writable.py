"""The writing half of a connection, as the outbox sees it."""

import os
from collections.abc import Callable, Collection, Iterable
from typing import Protocol


class Writable(Protocol):
    """The writing half of a client's connection."""

    queued: bytes | list[bytes] | None
    """Whole frames that are to be written in this turn, in order."""

    descriptor: int
    """The socket's, while bytes may go to the kernel directly; else -1."""

    def send_rest(self, data: bytes, taken: int) -> int:
        """Send what the kernel has not taken of whole frames, if nothing is queued; return how many bytes of all were
        accepted. Raises nothing."""

    @property
    def taken(self) -> int:
        """Bytes of those that once waited in the transport that the kernel has taken."""

    def recount(self) -> int:
        """Ask the transport how many bytes wait in it, and return that number."""

    def drop(self) -> None:
        """Drop the connection with everything that waits for it: the process needs the memory."""


Audience = Callable[[], Collection[Writable]]
"""Returns the clients that are to be given a batch. Called when the batch ends: until then its audience is the same."""


# The inner loops of a fan-out. They call `os.write` themselves: a method's call for each client costs up to a tenth of
# the system call, and the way through the transport half of it.


def send_to_all(writers: Iterable[Writable], data: bytes) -> int:
    """Send whole frames to clients for whom nothing is queued; return how many bytes were accepted. Raises nothing."""
    write, size, sent = os.write, len(data), 0
    for writer in writers:
        taken = 0
        if (descriptor := writer.descriptor) >= 0:
            try:
                taken = write(descriptor, data)
            except OSError:
                taken = 0
        sent += size if taken == size else writer.send_rest(data, taken)
    return sent


def flush_all(writers: Iterable[Writable]) -> int:
    """Send each client the frames that are queued for it; return how many bytes were accepted. Raises nothing."""
    write, sent = os.write, 0
    for writer in writers:
        queued, writer.queued = writer.queued, None
        if queued is None:
            continue
        data = b"".join(queued) if isinstance(queued, list) else queued
        taken = 0
        if (descriptor := writer.descriptor) >= 0:
            try:
                taken = write(descriptor, data)
            except OSError:
                taken = 0
        sent += taken if taken == len(data) else writer.send_rest(data, taken)
    return sent
