"""Lines that strangers cause by malformed HTTP: without a traceback, and a few in a second."""

import logging

import pytest
from aiohttp import web
from aiohttp.client_exceptions import ClientConnectionResetError
from aiohttp.http_exceptions import BadStatusLine

from server.logs.configure import MALFORMED_LINES, FaultsOfStrangers


def record(error: Exception) -> logging.LogRecord:
    """A line of aiohttp about an error."""
    return logging.LogRecord("aiohttp.server", logging.ERROR, "", 0, "Error", (), (type(error), error, None))


@pytest.mark.parametrize("error", [BadStatusLine, web.RequestPayloadError], ids=["request", "body"])
def test_malformed_requests_are_a_few_warnings_in_a_second(error: type[Exception]) -> None:
    """Without what the client has sent."""
    now = 0.0
    write = FaultsOfStrangers(lambda: now)
    lines = [record(error("secret")) for _ in range(MALFORMED_LINES * 3)]
    assert [write(line) for line in lines] == [True] * MALFORMED_LINES + [False] * MALFORMED_LINES * 2
    assert {(line.levelno, line.exc_info) for line in lines} == {(logging.WARNING, None)}
    now = 1.0
    assert write(record(error("again")))


def test_a_client_that_is_gone_is_nobodys_fault() -> None:
    """Every other error is written as it is."""
    write = FaultsOfStrangers(lambda: 0.0)
    assert not write(record(ClientConnectionResetError("gone")))
    error = record(LookupError("ours"))
    assert write(error)
    assert error.levelno == logging.ERROR
    assert error.exc_info
