"""Orders as bytes, for lists that replicas share: compact JSON with a version.

Shape: `{"v": 1, "k": kind, ...}`, with the fields of the order under their names. A field of the kind that another
version does not know is passed over; an order of another version or kind is an `UnknownOrder`.
"""

from typing import Any

import orjson

from server.adapters.codec import MAX_TIME_MS
from server.domain.channels import ChannelName
from server.domain.control import (
    MemberRemoved,
    Order,
    RefreshAsked,
    Revocation,
    RevocationLifted,
    Revoked,
    SessionsEnded,
    UnknownOrder,
)
from server.domain.identity import UserId

VERSION = 1
"""Of the shape above."""

MAX_BYTES = 16 * 1024
"""Of an order; the largest takes less, however it is escaped. A longer entry is not parsed."""


def encode_order(order: Order) -> bytes:
    """Return the bytes of an order: a single line."""
    return orjson.dumps({"v": VERSION} | _fields(order))


def _fields(order: Order) -> dict[str, Any]:
    match order:
        case Revoked(revocation):
            return {"k": "revoked", **revocation_fields(revocation)}
        case RevocationLifted(id):
            return {"k": "lifted", "id": id}
        case MemberRemoved(channel, user, denied_until):
            return {"k": "removed", "channel": channel, "user": user, "denied_until": denied_until}
        case SessionsEnded(user, reconnect):
            return {"k": "ended", "user": user, "reconnect": reconnect}
        case RefreshAsked(user, asked_at, ends_at):
            return {"k": "refresh", "user": user, "asked_at": asked_at, "ends_at": ends_at}
        case UnknownOrder():
            return {"k": "unknown"}


def decode_order(raw: bytes) -> Order:
    """Return the order of these bytes; `UnknownOrder` if they are none that this version knows."""
    if len(raw) > MAX_BYTES:
        return UnknownOrder()
    try:
        fields = orjson.loads(raw)
        return _order(fields) if fields["v"] == VERSION else UnknownOrder()
    except (KeyError, TypeError, ValueError):
        return UnknownOrder()


def _order(fields: dict[str, Any]) -> Order:
    match fields["k"]:
        case "revoked":
            return Revoked(revocation_of(fields))
        case "lifted":
            return RevocationLifted(_text(fields["id"]))
        case "removed":
            channel, until = ChannelName(_text(fields["channel"])), fields["denied_until"]
            return MemberRemoved(channel, UserId(_text(fields["user"])), None if until is None else _time(until))
        case "ended":
            return SessionsEnded(UserId(_text(fields["user"])), _flag(fields["reconnect"]))
        case "refresh":
            return RefreshAsked(UserId(_text(fields["user"])), _time(fields["asked_at"]), _time(fields["ends_at"]))
        case _:
            return UnknownOrder()


def encode_revocation(revocation: Revocation) -> bytes:
    """Return the bytes of a revocation, for stores."""
    return orjson.dumps({"v": VERSION, **revocation_fields(revocation)})


def decode_revocation(raw: bytes) -> Revocation | None:
    """Return the revocation of these bytes; None if they are none that this version knows."""
    if len(raw) > MAX_BYTES:
        return None
    try:
        fields = orjson.loads(raw)
        return revocation_of(fields) if fields["v"] == VERSION else None
    except (KeyError, TypeError, ValueError):
        return None


def revocation_fields(revocation: Revocation) -> dict[str, Any]:
    """Return a revocation as JSON has it."""
    return {
        "id": revocation.id,
        "user": revocation.user,
        "token_id": revocation.token_id,
        "issued_before": revocation.issued_before,
        "expires_at": revocation.expires_at,
        "ban": revocation.ban,
    }


def revocation_of(fields: dict[str, Any]) -> Revocation:
    """Return the revocation of these fields. Raises `KeyError`, `TypeError` or `ValueError`."""
    user, token_id = fields["user"], fields["token_id"]
    if (user is None) == (token_id is None):
        raise ValueError("expected a user or the id of a token")
    return Revocation(
        id=_text(fields["id"]),
        user=None if user is None else UserId(_text(user)),
        token_id=None if token_id is None else _text(token_id),
        issued_before=_time(fields["issued_before"]),
        expires_at=_time(fields["expires_at"]),
        ban=_flag(fields["ban"]),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def _time(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("expected a whole number")
    if not 0 <= value <= MAX_TIME_MS:
        raise ValueError("a time is out of range")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("expected true or false")
    return value
