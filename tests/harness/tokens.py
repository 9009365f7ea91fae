"""Tokens for tests, signed with the tests' secret."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import jwt

from tests.harness.server import SECRET

EVERYTHING: Mapping[str, Sequence[str]] = {"room:*": ["join", "send"]}


def token(user: str, grants: Mapping[str, Sequence[str]] | None = None, ttl_s: float = 3600, **claims: Any) -> str:
    """A token for `user` that may join and send in `room:*` unless told otherwise."""
    now = time.time()
    payload = {
        "sub": user,
        "name": user.title(),
        "iat": int(now),
        "exp": int(now + ttl_s),
        "channels": EVERYTHING if grants is None else grants,
    }
    return jwt.encode(payload | claims, SECRET, algorithm="HS256")
