"""The HTTP API as a table: each operation once, from which its route, its checks and its description are made.

To add operations:

1. Add their names to `server.wire.words.Operation`, and a row each to PROTOCOL.md, "HTTP API".
2. Write a module beside this one, with a function `operations(<use cases>) -> list[Operation[Any, Any]]`.
3. Say what a request holds: a `Params` for the path and the query (fields of `fields.py`; a field whose name stands in
   the path is taken from there), a `Body` for its JSON. Give each field a `description`.
4. Say what the answer holds: an `Answer`, or None for 204. Build its JSON by `server.wire`.
5. Write the handler: `async def post(call: Call[MyParams, MyBody]) -> Reply`. Everything is parsed and allowed by then.
   Call a use case; raise `MaruError`; put into `call.target` what was acted upon (ids, never texts).
6. List in `codes` what the use case raises, beside what every operation may answer.
7. Add the operations in `server/bootstrap/backends.py`, and a request for each in `tests/doubles/api_table.py`.
8. Add a method of that name to `clients/python-backend`, a call of it to `tests/e2e/python_backend/test_operations.py`,
   and an example to `docs/http-api.md`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel

from server.application.commands import Command
from server.domain.backends import Scope
from server.domain.errors import (
    BadRequest,
    Internal,
    MaruError,
    Overloaded,
    PayloadTooLarge,
    PermissionDenied,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from server.wire import words
from server.wire.words import Json

PREFIX = "/api/v1"
"""Begins every path."""

MAX_BODY_BYTES = 64 * 1024
"""Bytes of a request's body, if its operation does not say otherwise."""

NO_CONTENT = 204

_ALWAYS = (BadRequest, Unauthenticated, PermissionDenied, RateLimited, Internal, Unavailable, Overloaded)
"""Errors that every operation may answer."""


class Params(Command):
    """What the path and the query of a request say."""


class NoParams(Params):
    """Nothing."""


class Body(Command):
    """What the body of a request says: a JSON object."""

    expected: ClassVar[str] = "expected one JSON object"


class NoBody(Body):
    """Nothing: the request has no body, or it is ignored."""


class Answer(BaseModel):
    """What the body of an answer holds. It describes; the JSON is made by `server.wire`."""


P = TypeVar("P", bound=Params)
B = TypeVar("B", bound=Body)


@dataclass(slots=True)
class Call(Generic[P, B]):
    """A request that is allowed, and well formed."""

    params: P
    body: B
    idempotency_key: str | None
    """The header `Idempotency-Key`; None if there is none, or if the operation takes none."""
    target: dict[str, Any]
    """What is acted upon, for the audit line. The parameters of the path stand in it already."""


@dataclass(slots=True)
class Reply:
    """The answer to a request that was done. `etag`: the version of what is answered, without quotes."""

    body: Json | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Operation(Generic[P, B]):
    """A row of the table. `path` stands behind `PREFIX`; `codes` are its own errors; `idempotent`: it takes the header
    `Idempotency-Key`; `tagged`: its answer has an `ETag`. Without a `scope` it asks for no key."""

    id: words.Operation
    summary: str
    method: str
    path: str
    handle: Callable[[Call[P, B]], Awaitable[Reply]]
    scope: Scope | None = None
    params: type[P] = NoParams  # type: ignore[assignment]  # until a row says otherwise
    body: type[B] = NoBody  # type: ignore[assignment]
    answer: type[BaseModel] | None = None
    created: bool = False
    codes: tuple[type[MaruError], ...] = ()
    max_body: int = MAX_BODY_BYTES
    idempotent: bool = False
    tagged: bool = False

    @property
    def status(self) -> int:
        """The status of an answer without an error."""
        if self.answer is None:
            return NO_CONTENT
        return 201 if self.created else 200

    @property
    def has_body(self) -> bool:
        """Whether a request has a body."""
        return self.body is not NoBody

    @property
    def errors(self) -> tuple[type[MaruError], ...]:
        """The errors that it may answer."""
        more = (PayloadTooLarge,) if self.has_body else ()
        return tuple(dict.fromkeys((*_ALWAYS, *more, *self.codes)))


Table = list[Operation[Any, Any]]
"""All operations."""
