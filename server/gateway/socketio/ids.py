"""The ids of connections and sessions (`sid`), which nobody can guess."""

import base64
import os

ID_BYTES = 18
"""Random bytes in an id: 144 bits, which are 24 characters of Base64url without padding."""

IDS_AT_ONCE = 400
"""Ids for which the system is asked at once: each call costs more than the bytes, and gives the interpreter's lock
away."""


class RandomIds:
    """Makes ids from the system's randomness, fetched for many ids at once. No bytes are used twice."""

    def __init__(self) -> None:
        self._bytes = b""  # fetched and used up to `_at`
        self._at = 0

    def new(self) -> str:
        """Make an id that has never been made before."""
        at = self._at
        if at == len(self._bytes):
            self._bytes, at = os.urandom(ID_BYTES * IDS_AT_ONCE), 0
        self._at = at + ID_BYTES
        return base64.b64encode(self._bytes[at : self._at], b"-_").decode()
