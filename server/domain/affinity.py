"""The affinity cookie: which clients belong together, shown to a proxy, and to nobody which user they are.

A value is 44 characters of Base64url: 22 that stand for the user in this period, and 22 that show that a server with
the key has made them. It changes with the period, so it follows nobody for long.
"""

import base64
import hmac

VALUE_CHARS = 44

PERIOD_S = 30 * 24 * 3_600
"""How long a user's value stays the same. The value of the period before still counts: its holder has it for a day."""

_PLACE_CHARS = 22  # 132 bits: no two users share a value by chance
_LABEL = b"maru affinity 2"


def derive_key(secret: bytes) -> bytes:
    """Return a key for the cookies, from a secret that all replicas share. The key does not reveal the secret."""
    return hmac.digest(secret, _LABEL, "sha256")


class AffinityCookies:
    """Makes and recognizes values. `key` is the same on every replica, and known to nobody else."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def value(self, user: str, now_s: float) -> str:
        """Return the user's value at this time: the same on every replica."""
        period = _period(now_s)
        place = self._keyed(b"place", period, user.encode())
        return place + self._keyed(b"sign", period, place.encode())

    def is_ours(self, value: str, now_s: float) -> bool:
        """Say whether a server with this key has made the value, in this period or the one before."""
        place, sign = value[:_PLACE_CHARS].encode(), value[_PLACE_CHARS:].encode()
        if len(place) + len(sign) != VALUE_CHARS:
            return False
        now = _period(now_s)
        return any(hmac.compare_digest(self._keyed(b"sign", period, place).encode(), sign) for period in (now, now - 1))

    def _keyed(self, use: bytes, period: int, text: bytes) -> str:
        digest = hmac.digest(self._key, b"%b %d %b" % (use, period, text), "sha256")
        return base64.urlsafe_b64encode(digest)[:_PLACE_CHARS].decode()


def _period(now_s: float) -> int:
    return int(now_s // PERIOD_S)
