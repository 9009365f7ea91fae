"""Errors as JSON: the only place that builds an error envelope."""

from server.domain.errors import MaruError
from server.wire.words import Json


def error(value: MaruError) -> Json:
    """A failure as it stands in an ack and in the body of an HTTP answer."""
    body: Json = {"code": value.code, "message": value.message, "retryable": value.retryable}
    if value.retry_after_ms is not None:
        body["retry_after_ms"] = value.retry_after_ms
    if value.details is not None:
        body["details"] = dict(value.details)
    return body


def http_body(value: MaruError) -> Json:
    """The body of an HTTP answer to a refused request."""
    return {"error": error(value)}


def connect_error(value: MaruError) -> Json:
    """The data of a CONNECT_ERROR packet."""
    data = error(value)
    data.pop("details", None)
    return {"message": value.code, "data": data}
