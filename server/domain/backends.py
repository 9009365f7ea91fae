"""Backends: the keys by which programs of a deployment act through the HTTP API, and whom they act for."""

import hashlib
import hmac
from collections.abc import Sequence
from enum import StrEnum

from server.domain.identity import Action, Author, CompiledGrants, Identity, UserId
from server.domain.values import value

MAX_KEYS = 1_000
"""Keys of a deployment: each given key is compared with all of them."""


class Scope(StrEnum):
    """The kinds of work that a key may do. None includes another."""

    PUBLISH = "publish"
    READ = "read"
    ADMIN = "admin"


@value
class ApiKey:
    """A key as it is kept: its name, for people and logs, and the SHA-256 of its text."""

    name: str
    digest: bytes
    scopes: frozenset[Scope]


def digest(text: str) -> bytes:
    """Return what is kept of a key. A key is random, so a fast hash does."""
    return hashlib.sha256(text.encode()).digest()


class ApiKeys:
    """The keys that hold now. `replace` takes effect for the next request."""

    def __init__(self, keys: Sequence[ApiKey] = ()) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._keys)

    def replace(self, keys: Sequence[ApiKey]) -> None:
        """Let these keys hold, and no others."""
        self._keys = tuple(keys)

    def find(self, text: str) -> ApiKey | None:
        """Return the key of this text; None if there is none. It takes as long whichever key it is: each is compared,
        in constant time."""
        given, found = digest(text), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, given):
                found = key
        return found


_EVERYTHING = CompiledGrants({"*": frozenset(Action)})

BACKEND = Author(UserId("backend"), None)
"""Stands in `edited_by` and `deleted_by` of a message that a backend has changed. A key's name is none of the members'
business."""


def on_behalf_of(author: Author) -> Identity:
    """Return an identity that may do everything as this user: the key has been judged, and no token is asked."""
    return Identity(author.id, author.name, _EVERYTHING, 0)
