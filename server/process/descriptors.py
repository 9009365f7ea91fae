"""File descriptors: each connection needs one, and so do the probes, the stores and the log."""

import contextlib
import resource
from pathlib import Path

MOST = 1 << 20
"""More descriptors are not asked for: the memory of so many connections is far beyond one process."""

RESERVE = 36
"""Descriptors that no client gets, beside those in use at the start: 8 for the internal port, 4 for connections that
are being refused, 12 for those that are accepted and not counted yet (asyncio), and 12 for the stores (as many as a
SQLite log opens; Redis has 8 connections)."""

SHARE = 5
"""A fifth of all descriptors is no client's, if that is more."""


def raise_limit() -> None:
    """Raise this process' limit of descriptors as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # the system has a lower bound of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def limit() -> int:
    """Return how many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else min(soft, MOST)


def for_clients(limit: int, in_use: int) -> int:
    """Return how many of `limit` descriptors clients may have, while the process itself has `in_use`."""
    return limit - max(limit // SHARE, in_use + RESERVE)


def in_use() -> int:
    """Return how many descriptors this process has open."""
    return sum(1 for _ in Path("/dev/fd").iterdir()) - 1  # one was open for the list itself
