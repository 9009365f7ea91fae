"""The seal of hints: only replicas of the same cluster can hint, although others may publish (ADR 0023).

A seal is SHA-1 of OUTER and the hex digest of INNER, topic and hint: NMAC, the proven form of HMAC (RFC 2104), with
two keys that each fill a block of SHA-1. Redis has no other hash for scripts; NMAC needs no collision resistance.
"""

import hashlib
import hmac

SEAL_CHARS = 40
"""Of hex."""


class Seal:
    """Seals hints and checks seals, with keys that are derived from the secret of the cluster."""

    def __init__(self, secret: bytes) -> None:
        self.keys = _key(secret, b"inner"), _key(secret, b"outer")
        self._inner, self._outer = (hashlib.sha1(key, usedforsecurity=False) for key in self.keys)

    def in_script(self, text: bytes) -> bytes:
        """Return the text of a script with the keys in their places."""
        inner, outer = self.keys
        return text.replace(b"@inner@", inner).replace(b"@outer@", outer)

    def of(self, topic: bytes, hint: bytes) -> bytes:
        """Return the seal of a hint on a topic. A topic has no space, so the two can't be shifted."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(b"%b %b" % (topic, hint))
        outer.update(inner.hexdigest().encode())
        return outer.hexdigest().encode()

    def fits(self, seal: bytes, topic: bytes, hint: bytes) -> bool:
        """Say whether a replica of the cluster has sealed the hint for the topic."""
        return hmac.compare_digest(seal, self.of(topic, hint))


def _key(secret: bytes, part: bytes) -> bytes:
    """Derive a key that serves no other purpose."""
    return hmac.digest(secret, b"maru: seal of hints, " + part, "sha256").hex().encode()
