"""Maru's HTTP API for backends: publish, read, remove, revoke.

async with MaruBackend("http://maru-internal:9090", key) as backend:
    await backend.post_message("room:42", "shop", "Your order is on its way")
"""

from maru_backend.client import MaruBackend
from maru_backend.errors import MaruError, Patience
from maru_backend.values import (
    Author,
    Broadcast,
    DeadLetter,
    DeadLetters,
    Delivery,
    Edited,
    Erasure,
    Message,
    Page,
    Present,
    Published,
    Replay,
    Revocation,
    Roster,
    Sent,
    Tombstone,
    UserStatus,
)

__all__ = [
    "Author",
    "Broadcast",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "Edited",
    "Erasure",
    "MaruBackend",
    "MaruError",
    "Message",
    "Page",
    "Patience",
    "Present",
    "Published",
    "Replay",
    "Revocation",
    "Roster",
    "Sent",
    "Tombstone",
    "UserStatus",
]
