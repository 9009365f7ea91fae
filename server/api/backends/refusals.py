"""Errors of the HTTP API as answers: the only place that gives an error its status and headers."""

import math

import orjson
from aiohttp import hdrs, web

from server.domain.errors import BadRequest, MaruError, NotFound, Unauthenticated
from server.wire import errors

RETRY_S = 1
"""`Retry-After` of a retryable error that says no time, in seconds."""


class UnsupportedMediaType(BadRequest):
    """The body is no plain JSON in UTF-8."""

    status = 415


class MethodNotAllowed(BadRequest):
    """The path has operations, but none with this method. `allowed` are those that it has."""

    status = 405

    def __init__(self, allowed: set[str]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(f"the method is none of this path's; it has {self.allowed}")


def no_such_path() -> NotFound:
    """Return the refusal of a path that is not in the table."""
    return NotFound("no such path; GET /api/v1/openapi.json lists them")


def refused(error: MaruError) -> web.Response:
    """Return the answer to a request that is refused."""
    answer = web.Response(body=orjson.dumps(errors.http_body(error)), status=error.status)
    answer.content_type = "application/json"
    if error.retryable:
        wait_ms = error.retry_after_ms
        answer.headers[hdrs.RETRY_AFTER] = str(RETRY_S if wait_ms is None else math.ceil(wait_ms / 1_000))
    if isinstance(error, Unauthenticated):
        answer.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        answer.headers[hdrs.ALLOW] = error.allowed
    return answer
