"""Erasures as bytes, for stores: compact JSON with a version, the same bytes for the same erasure."""

from typing import Any

import orjson

from server.adapters.codec import MAX_TIME_MS
from server.domain.channels import ChannelName
from server.domain.erasures import Erasure, Step
from server.domain.identity import UserId
from server.domain.limits import MAX_OFFSET
from server.domain.replicas import ReplicaId

VERSION = 1
"""Of the shape."""


def encode_erasure(erasure: Erasure) -> bytes:
    """Return the bytes of an erasure."""
    step = erasure.step
    return orjson.dumps(
        {
            "v": VERSION,
            "id": erasure.id,
            "user": erasure.user,
            "began_at": erasure.began_at,
            "asked_at": erasure.asked_at,
            "erased": erasure.erased,
            "step": None if step is None else [step.channel, step.after, step.until, step.planned],
            "leader": erasure.leader,
            "done_at": erasure.done_at,
        }
    )


def decode_erasure(raw: bytes) -> Erasure | None:
    """Return the erasure of these bytes; None if they are none that this version knows."""
    try:
        fields = orjson.loads(raw)
        return _erasure(fields) if fields["v"] == VERSION else None
    except (KeyError, TypeError, ValueError):
        return None


def _erasure(fields: dict[str, Any]) -> Erasure:
    step, leader, done_at = fields["step"], fields["leader"], fields["done_at"]
    return Erasure(
        id=_text(fields["id"]),
        user=UserId(_text(fields["user"])),
        began_at=_whole(fields["began_at"], MAX_TIME_MS),
        asked_at=_whole(fields["asked_at"], MAX_TIME_MS),
        erased=_whole(fields["erased"], MAX_OFFSET),
        step=None if step is None else _step(*step),
        leader=None if leader is None else ReplicaId(_text(leader)),
        done_at=None if done_at is None else _whole(done_at, MAX_TIME_MS),
    )


def _step(channel: object, after: object, until: object, planned: object) -> Step:
    offsets = (_whole(number, MAX_OFFSET) for number in (after, until, planned))
    return Step(ChannelName(_text(channel)), *offsets)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def _whole(value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError("expected a whole number in its range")
    return value
