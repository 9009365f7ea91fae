"""Idempotency keys and message ids as the bytes that the scripts keep."""

from hashlib import blake2b

from server.domain.drafts import NewMessage, Record
from server.domain.messages import MessageId

DIGEST_BYTES = 8
"""64 bits: among a million keys of a day and a channel, two are the same once in 40 million days."""


def digest(draft: NewMessage) -> bytes:
    """Return the digest of (author, key); nothing for a draft without a key. The length keeps pairs apart."""
    if draft.key is None:
        return b""
    author = draft.author.id
    return blake2b(f"{len(author)}:{author}:{draft.key}".encode(), digest_size=DIGEST_BYTES).digest()


def record_digest(record: Record) -> bytes:
    """Return the digest of an event's (author, key); nothing without a key. No key of a message has the same, since
    their digests are salted otherwise."""
    if record.key is None:
        return b""
    author = record.author.id
    words = f"{len(author)}:{author}:{record.key}".encode()
    return blake2b(words, digest_size=DIGEST_BYTES, person=b"event").digest()


def time_bytes(at: int) -> bytes:
    """Return the 16 bytes that stand beside an event's key, where a message has its id: its time, ms."""
    return at.to_bytes(16, "big")


def time_of(packed: bytes) -> int:
    """Return the time of these bytes."""
    return int.from_bytes(packed, "big")


def id_bytes(id: MessageId) -> bytes:
    """Return the 16 bytes of a UUID's text."""
    return bytes.fromhex(id.replace("-", ""))


def created_at(id: MessageId) -> int:
    """Return the time in the id, ms: that of the message's creation, since the server makes both from the same."""
    return int.from_bytes(id_bytes(id)[:6], "big")
