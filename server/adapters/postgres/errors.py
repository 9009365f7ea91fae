"""Errors of PostgreSQL and of the way to it, as the server's own."""

import ssl
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from asyncpg import InterfaceError, InternalClientError, PostgresError

from server.adapters.postgres.schema import AnotherLife, SchemaUnusable
from server.domain.errors import Unavailable

BROKEN = (InterfaceError, InternalClientError, OSError, TimeoutError)
"""Errors of the way to PostgreSQL, and an expired deadline. asyncpg has an `InternalClientError` for a connection that
ends just as a statement begins."""

ERRORS = (PostgresError, *BROKEN)
"""All that asyncpg raises, and an expired deadline."""

_PASSING = frozenset({"40001", "40P01", "55P03", "57014"})
"""Conflicts of two transactions, a lock that was not had in time, a statement that took too long: PostgreSQL itself is
well."""

ANOTHER_LIFE = "MR001"
"""The SQLSTATE with which our own functions refuse callers that do not know of a restart, or of a failover."""

NO_SCHEMA = frozenset({"3F000", "42P01", "42883"})
"""A schema, a table or a function is missing."""

NOT_PREPARED = frozenset({"26000", "42P05"})
"""A prepared statement is missing, or there is another: a pooler has come before PostgreSQL."""

NO_RIGHT = "42501"
"""The role may not do that."""

NO_OPTION = "42704"
"""The URL has an option that PostgreSQL does not know."""

_LASTING = {
    "28": "the user, the password or the database",
    "3D000": "the user, the password or the database",
    "3F000": "the user, the password or the database",
    NO_RIGHT: "a right",
    NO_OPTION: "an option of the URL",
}
"""By the SQLSTATE, or its beginning, what PostgreSQL refuses until somebody changes something."""

_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
"""Options of a URL that name files."""

_CUT = ("08", "57P01", "57P02")
"""A connection that has ended, or is ended: by an operator, by a crash of another."""


def lasting(url: str, error: BaseException) -> str | None:
    """Return why waiting would not help, as a single line without what the URL holds; None if it may."""
    if isinstance(error, ssl.SSLCertVerificationError):  # a `ValueError`, too
        return f"PostgreSQL's certificate is not trusted: {error.verify_message}"
    if isinstance(error, ValueError):
        if "root certificate" in str(error):
            return "the URL asks for a certificate that is checked, and names no CA: add sslrootcert=FILE"
        return "not a PostgreSQL URL: expected postgresql://user:password@host:port/database"
    if isinstance(error, ssl.SSLError | FileNotFoundError | PermissionError) and _lacks_file(url, error):
        return f"a file that the URL names for TLS can't be used ({type(error).__name__})"
    if "rejected SSL upgrade" in str(error):
        return "PostgreSQL offers no TLS, and the URL asks for it"
    refused = next((what for begin, what in _LASTING.items() if state(error).startswith(begin)), None)
    return refused and f"PostgreSQL refuses {refused} ({state(error)})"


def _lacks_file(url: str, error: OSError) -> bool:
    """Return whether the error tells of a file of the URL's, and not of a socket."""
    files = [value for name, value in parse_qsl(urlsplit(url).query) if name in _FILES]
    return bool(files) and (isinstance(error, ssl.SSLError) or not all(Path(file).is_file() for file in files))


def unavailable(error: BaseException) -> Unavailable:
    """Return the refusal for an error. It does not repeat PostgreSQL's text, which may hold what a user wrote."""
    return Unavailable(f"PostgreSQL {_problem(error)}")


def is_outage(error: BaseException) -> bool:
    """Return whether the error tells of PostgreSQL as a whole, and not of a single transaction."""
    return not isinstance(error, PostgresError) or state(error) not in _PASSING | {ANOTHER_LIFE}


def is_cut(error: BaseException) -> bool:
    """Return whether the connection has ended, while PostgreSQL may be well."""
    if isinstance(error, PostgresError):
        return state(error).startswith(_CUT)
    return isinstance(error, BROKEN) and not isinstance(error, TimeoutError | ValueError)  # an argument that won't do


def state(error: BaseException) -> str:
    """Return the error's SQLSTATE; nothing if it has none."""
    return str(getattr(error, "sqlstate", None) or "")


def _problem(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error, AnotherLife):
        return "was started anew, or another server stands in for it"
    if isinstance(error, SchemaUnusable):
        return f"is not fit: {error}"
    if not isinstance(error, PostgresError):
        return "can't be reached"
    return "is busy with the same rows" if state(error) in _PASSING else f"refuses to serve ({state(error)})"
