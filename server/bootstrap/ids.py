"""Ids of messages and replicas."""

import os
import secrets

from server.domain.messages import ID_RANDOM_BYTES, MessageId, message_id
from server.domain.replicas import ReplicaId

REPLICA_ID_BYTES = 8


class _Randomness:
    """The system's randomness, fetched for many ids at once: each fetch also gives the interpreter's lock away."""

    FETCH = 400 * ID_RANDOM_BYTES

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0

    def take(self) -> bytes:
        """Return bytes for an id; no bytes are given twice."""
        at = self._at
        if at == len(self._bytes):
            self._bytes, at = os.urandom(self.FETCH), 0
        self._at = at + ID_RANDOM_BYTES
        return self._bytes[at : self._at]


_randomness = _Randomness()


def new_message_id(unix_ms: int) -> MessageId:
    """Make the id of a message that is sent at this time, in milliseconds since the Unix epoch."""
    return message_id(unix_ms, _randomness.take())


def new_replica_id() -> ReplicaId:
    """Make the id of this process."""
    return ReplicaId(secrets.token_hex(REPLICA_ID_BYTES))
