"""The shares of the memory that the parts of a replica may take."""

from server.application.channels.hosting import HOSTED_LIMIT
from server.process.memory import memory_limit
from server.settings.model import Settings

OUTBOUND_SHARE = 4
"""Frames that wait for clients that do not read may take a quarter of the memory, unless a setting says otherwise."""

MEMORY_OF_A_CHANNEL = 16 * 1024
"""A replica with much memory hosts more channels: one for so many bytes, an eighth of which it takes."""


def most_outbound(settings: Settings) -> int:
    """Return how many bytes may wait for clients."""
    return settings.max_outbound or memory_limit() // OUTBOUND_SHARE


def most_channels() -> int:
    """Return how many channels may be hosted."""
    return max(HOSTED_LIMIT, memory_limit() // MEMORY_OF_A_CHANNEL)
