"""Idempotency keys and message ids as the bytes that the scripts keep."""

from hashlib import blake2b

from server.domain.drafts import NewMessage
from server.domain.messages import MessageId

DIGEST_BYTES = 8
"""64 bits: among a million keys of a day and a channel, two are the same once in 40 million days."""


def digest(draft: NewMessage) -> bytes:
    """Return the digest of (author, key); nothing for a draft without a key. The length keeps pairs apart."""
    if draft.key is None:
        return b""
    author = draft.author.id
    return blake2b(f"{len(author)}:{author}:{draft.key}".encode(), digest_size=DIGEST_BYTES).digest()


def id_bytes(id: MessageId) -> bytes:
    """Return the 16 bytes of a UUID's text."""
    return bytes.fromhex(id.replace("-", ""))


def created_at(id: MessageId) -> int:
    """Return the time in the id, ms: that of the message's creation, since the server makes both from the same."""
    return int.from_bytes(id_bytes(id)[:6], "big")
