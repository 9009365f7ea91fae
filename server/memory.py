"""The process's memory: how much it may use, and when its garbage is looked for."""

import asyncio
import gc
import os
import time
from collections.abc import Iterable
from pathlib import Path

LIMIT_FILES = (
    Path("/sys/fs/cgroup/memory.max"),  # version 2 of control groups, as a container sees its own
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),  # version 1
)

YOUNG, MIDDLE = 100_000, 50
"""Objects, and collections of the young, until the next generation is looked at: rarely, as most go by count alone."""

NEVER = 1_000_000
"""A full collection by itself: all connections' objects at once are a pause that every client feels."""

COLLECT_S = 60.0
"""Between two full collections, at a moment when the loop has nothing to do."""

LOOK_S = 0.05
"""How long the loop is watched for such a moment, and how often."""

IDLE_LAG_S = 0.002
"""A loop that wakes up within this of what was asked has little to do."""

PATIENCE_S = 600.0
"""A loop that is never idle gets its full collection after this long all the same."""


def memory_limit(files: Iterable[Path] = LIMIT_FILES) -> int:
    """Bytes that this process may use: what its container is granted, or what the machine has."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in files:
        try:
            granted = int(file.read_text("ascii"))
        except (OSError, ValueError):  # no such file; or "max"
            continue
        return min(granted, machine)
    return machine


def settle() -> None:
    """Take what start-up made out of the collector's sight, and leave full collections to `collect_when_idle`."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, NEVER)


async def collect_when_idle() -> None:
    """Collect cyclic garbage of all generations every `COLLECT_S`, in an idle moment, until cancelled."""
    while True:
        await asyncio.sleep(COLLECT_S)
        deadline = time.monotonic() + PATIENCE_S
        while await _lag() > IDLE_LAG_S and time.monotonic() < deadline:
            pass
        gc.collect()


async def _lag() -> float:
    """How late, in seconds, the loop wakes somebody up now."""
    due = time.monotonic() + LOOK_S
    await asyncio.sleep(LOOK_S)
    return time.monotonic() - due
