"""The tokens of a load: minted with the server's secret, or read from a file.

Secret and file are named by the environment (`MARU_JWT_SECRET`, `LOADTEST_TOKENS`): every user of the machine can read
a command line, and it ends up in logs.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import jwt

SECRET_VARIABLE = "MARU_JWT_SECRET"
FILE_VARIABLE = "LOADTEST_TOKENS"
TTL_S = 24 * 3_600
"""Longer than any run, so that no token expires during one."""


class NoTokens(Exception):
    """There is nothing to make tokens from; the text says what to set."""


class Tokens(Protocol):
    """Gives each user a token."""

    def of(self, number: int) -> str:
        """The token of the user with this number; always the same user for the same number."""
        ...


class Minted(Tokens):
    """HS256 tokens for `load-NUMBER`, with the grants that the channels need."""

    def __init__(self, secret: str, channels: str) -> None:
        self._secret = secret
        self._grants = {channels: ["join", "send"]}

    def of(self, number: int) -> str:
        user, now = f"load-{number}", int(time.time())
        claims = {"sub": user, "name": user, "iat": now, "exp": now + TTL_S, "channels": self._grants}
        return jwt.encode(claims, self._secret, algorithm="HS256")


class Listed(Tokens):
    """Tokens from a file, one in each line. Users share tokens if there are more users than lines."""

    def __init__(self, path: Path) -> None:
        self._tokens = path.read_text().split()
        if not self._tokens:
            raise NoTokens(f"{path}: no token in it; write one a line")

    def of(self, number: int) -> str:
        return self._tokens[number % len(self._tokens)]


def tokens_from(environment: Mapping[str, str], channels: str) -> Tokens:
    """The tokens that the environment offers, for channels of a pattern such as `room:*`. Raises `NoTokens`."""
    if file := environment.get(FILE_VARIABLE):
        try:
            return Listed(Path(file))
        except (OSError, UnicodeDecodeError) as error:
            raise NoTokens(f"{FILE_VARIABLE}={file} can't be read: {type(error).__name__}") from None
    if secret := environment.get(SECRET_VARIABLE):
        return Minted(secret, channels)
    raise NoTokens(f"no tokens: set {SECRET_VARIABLE} as on the server, or {FILE_VARIABLE} to a file with one a line")
