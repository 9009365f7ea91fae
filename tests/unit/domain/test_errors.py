"""The error table: closed, and safe to show."""

import inspect

import pytest

from server.domain import errors
from server.domain.errors import (
    TABLE,
    MaruError,
    RateLimited,
    TokenExpired,
    TokenInQuery,
    TokenRevoked,
    Unauthenticated,
)

CODES = [
    "bad_request",
    "unknown_event",
    "unknown_namespace",
    "unauthenticated",
    "token_expired",
    "token_revoked",
    "token_in_query",
    "permission_denied",
    "not_joined",
    "not_found",
    "conflict",
    "payload_too_large",
    "too_many_channels",
    "rate_limited",
    "unavailable",
    "overloaded",
    "internal",
]
"""PROTOCOL.md, "Errors"."""


def test_the_table_has_the_codes_of_the_protocol() -> None:
    """Seventeen codes, each once, in the protocol's order."""
    assert [row.code for row in TABLE] == CODES


def test_every_error_class_has_its_row() -> None:
    """The table is closed: no class of the tree is missing from it."""
    classes = {value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, MaruError)}
    assert classes - {MaruError} == set(TABLE)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.code)
def test_every_row_is_a_sentence_of_meaning_and_one_of_remedy(row: type[MaruError]) -> None:
    """Each code has a meaning and a remedy of its own, and they are whole sentences."""
    assert "meaning" in vars(row)
    assert "remedy" in vars(row)
    assert row.meaning.endswith((".", "?"))
    assert row.remedy.endswith((".", ")"))
    assert sum(other.meaning == row.meaning for other in TABLE) == 1


def test_only_what_may_pass_by_itself_is_retryable() -> None:
    """The same command may succeed later unchanged after a rate limit, an outage or an overload, and only then."""
    assert [row.code for row in TABLE if row.retryable] == ["rate_limited", "unavailable", "overloaded"]


@pytest.mark.parametrize("error", [TokenExpired, TokenRevoked, TokenInQuery])
def test_a_bad_token_is_a_kind_of_unauthenticated(error: type[MaruError]) -> None:
    """Who handles `Unauthenticated` handles each way in which a token fails."""
    assert issubclass(error, Unauthenticated)


def test_an_error_carries_what_the_client_is_told() -> None:
    """Message, details and the pause before a retry travel with the error; the last two may be absent."""
    limited = RateLimited("too many", details={"limit": 5}, retry_after_ms=250)
    assert (str(limited), limited.message, limited.details, limited.retry_after_ms) == (
        "too many",
        "too many",
        {"limit": 5},
        250,
    )
    bare = RateLimited("too many")
    assert (bare.details, bare.retry_after_ms) == (None, None)


def test_a_refusal_by_a_limit() -> None:
    """It names the limit, and a wait in whole milliseconds."""
    error = RateLimited.by("session", 0.0123, "too many")
    assert (error.scope, error.details, error.retry_after_ms) == ("session", {"limit": "session"}, 13)
