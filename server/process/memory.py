"""How much memory the process may use, and how much it does."""

import os
from collections.abc import Iterable
from pathlib import Path

LIMIT_FILES = (
    Path("/sys/fs/cgroup/memory.max"),  # version 2 of control groups, as a container sees its own
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),  # version 1
)
"""Files that may hold a limit; the first with a number counts."""

STATM = Path("/proc/self/statm")
"""Sizes of the process in pages; the second is that of its memory."""


def memory_limit(files: Iterable[Path] = LIMIT_FILES) -> int:
    """Return the bytes that this process may use: its container's limit, or the memory of the machine."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in files:
        try:
            granted = int(file.read_text("ascii"))
        except (OSError, ValueError):  # no such file; or "max"
            continue
        return min(granted, machine)
    return machine


def resident_bytes() -> int:
    """Return the memory that the process takes; 0 if the system does not tell."""
    try:
        pages = int(STATM.read_text("ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
