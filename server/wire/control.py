"""Revocations as JSON."""

from server.domain.control import Revocation
from server.wire.words import Json, timestamp


def revocation(value: Revocation) -> Json:
    """Return a revocation, by user or by token."""
    concerned = {"jti": value.token_id} if value.user is None else {"user": value.user}
    times = {"issued_before": timestamp(value.issued_before), "expires_at": timestamp(value.expires_at)}
    return {"id": value.id, **concerned, **times} | ({"ban": True} if value.ban else {})
