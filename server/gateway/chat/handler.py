"""Handlers: a command's payload, and the function that runs it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from server.application.commands import Command
from server.application.sessions.session import Session
from server.wire.answers import Done

C = TypeVar("C", bound=Command)

Reply = Callable[[Done], None]
"""Writes the ack at once. Where order matters, no await stands between a use case's last step and this call."""


@dataclass(frozen=True, slots=True)
class Handler(Generic[C]):
    """How a command is parsed and run. `run` ends by replying, or raises a `MaruError`."""

    payload: type[C]
    run: Callable[[Session, C, Reply], Awaitable[None]]


Handlers = Mapping[str, Handler[Any]]
"""Commands by their name on the wire."""
