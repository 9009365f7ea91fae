"""Tokens that were verified lately: after a deploy every client returns with the same token."""

from collections import OrderedDict
from typing import NamedTuple

from server.adapters.tokens.keys import Key
from server.domain.identity import Identity

MAX_CACHED_TOKENS = 16_384
"""Bound of the tokens that are remembered, by their hash."""

MAX_CACHED_CHARS = 8 * 1024 * 1024
"""Bound of their lengths together: the memory for a token grows with its grants."""


class Verified(NamedTuple):
    """A token whose signature and claims are good. Its key and its times are checked at each use."""

    identity: Identity
    key: Key  # of its signature
    not_before_s: float | None  # in seconds since the epoch, as the next
    expires_s: float
    chars: int  # length of the token


class Remembered:
    """Verified tokens by their hash. The text of a token is not kept."""

    def __init__(self) -> None:
        self._tokens: OrderedDict[bytes, Verified] = OrderedDict()  # the oldest first
        self._chars = 0  # lengths of the tokens, added up
        self.find = self._tokens.get

    def add(self, digest: bytes, verified: Verified) -> None:
        """Remember a token, and forget the oldest beyond the bounds."""
        self._tokens[digest] = verified
        self._chars += verified.chars
        while len(self._tokens) > MAX_CACHED_TOKENS or self._chars > MAX_CACHED_CHARS:
            self._chars -= self._tokens.popitem(last=False)[1].chars

    def discard(self, digest: bytes) -> None:
        """Forget a token."""
        if (verified := self._tokens.pop(digest, None)) is not None:
            self._chars -= verified.chars

    def clear(self) -> None:
        """Forget all tokens."""
        self._tokens.clear()
        self._chars = 0
