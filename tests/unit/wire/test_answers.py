"""Answers: an answer that tells of a fault keeps nothing of the command but the error."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from server.application.commands import Join
from server.domain.errors import BadRequest, MaruError, Unavailable
from server.wire.answers import Failed


class Payload(dict[str, Any]):
    """A payload that a weak reference may point at."""


def refused(payload: Payload) -> None:
    """Fail by pydantic."""
    Join.parse(payload)


def away(_: Payload) -> None:
    """Fail because of something else."""
    try:
        raise OSError("away")
    except OSError as error:
        raise Unavailable("later") from error


def bad(_: Payload) -> None:
    """Fail by itself."""
    raise BadRequest("no")


def handled(fault: Callable[[Payload], None], payload: Payload) -> "weakref.ref[Payload]":
    """Answer a command as the namespace does."""
    answer: Failed | None = None
    try:
        fault(payload)
    except MaruError as error:
        answer = Failed(error)
    assert answer is not None
    return weakref.ref(payload)


@pytest.mark.parametrize("fault", [refused, away, bad])
def test_a_failed_command_leaves_no_garbage(fault: Callable[[Payload], None]) -> None:
    """Its payload, which may be 64 KiB, goes at once, and not at the next collection."""
    gc.collect()
    gc.disable()
    try:
        payload = handled(fault, Payload(channel="x" * 1_000))
        assert payload() is None
    finally:
        gc.enable()
