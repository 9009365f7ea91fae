"""Signatures of requests that Maru sends to backends, as Standard Webhooks 1.0 has them
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md)."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
"""Begins a secret that stands as text."""

MIN_KEY_BYTES = 24
MAX_KEY_BYTES = 64
"""Of the key in a secret, as Standard Webhooks bounds it."""


class SigningKey:
    """A key that is shared with a receiver. It is shown nowhere."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def parse(cls, secret: str) -> "SigningKey":
        """Return the key of a secret such as `whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw`. Raises `ValueError`, which does
        not repeat the secret."""
        try:
            text = secret.removeprefix(PREFIX)
            key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)  # some leave the '=' out
        except ValueError:  # no base64, or characters beyond ASCII
            key = b""
        if not secret.startswith(PREFIX) or not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
            raise ValueError(
                f"expected {PREFIX} and {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes in base64; "
                'make one: echo "whsec_$(openssl rand -base64 32)"'
            )
        return cls(key)

    def sign(self, message: bytes) -> str:
        """Return a signature in its form for the header."""
        digest = hmac.digest(self._key, message, hashlib.sha256)
        return f"v1,{base64.b64encode(digest).decode()}"

    def __repr__(self) -> str:
        return "SigningKey(********)"


def signed(keys: Sequence[SigningKey], id: str, unix_s: int, body: bytes) -> Mapping[str, str]:
    """Return the headers of a request: one signature for each key, so that a receiver that has either key believes it.

    Send the bytes of `body` as they are: another encoding of the same JSON has another signature.
    """
    message = b"%b.%d.%b" % (id.encode(), unix_s, body)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(unix_s),
        "webhook-signature": " ".join(key.sign(message) for key in keys),
    }
