"""How the process' descriptors are shared out: to clients, to the internal port, and to all the rest."""

from dataclasses import dataclass

import structlog

from server.process import descriptors
from server.settings.errors import StartRefused

INTERNAL = 8
"""Connections to the internal port, at least: probes and scrapes need one or two."""

INTERNAL_SHARE = 20
"""A twentieth of all descriptors is for the internal port, if that is more: backends may ask there, too."""

_log = structlog.get_logger("maru.server")


@dataclass(frozen=True, slots=True)
class Room:
    """How many connections may be open."""

    descriptors: int
    clients: int
    internal: int


def find_room(max_connections: int) -> Room:
    """Share out the descriptors: to clients as many as the setting says, or as can be spared. Raises `StartRefused`."""
    limit = descriptors.limit()
    spare = descriptors.for_clients(limit, descriptors.in_use())
    if spare < 1:
        raise StartRefused(
            f"{limit} file descriptors are too few; allow this process more, e.g. by `ulimit -n 65536` before it starts"
        )
    if max_connections > spare:
        _log.warning("connections.limited", wanted=max_connections, limit=spare, descriptors=limit)
    return Room(limit, min(max_connections or spare, spare), max(INTERNAL, limit // INTERNAL_SHARE))
