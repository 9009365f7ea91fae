"""Hooks: a backend is asked before a command takes effect (PROTOCOL.md, "Hooks")."""

from enum import StrEnum


class Hook(StrEnum):
    """The commands before which a backend can be asked."""

    JOIN = "join"
    SEND = "send"
    EDIT = "edit"


class HookFailure(StrEnum):
    """The fate of a command if the backend gives no answer: refused as `unavailable`, or let through."""

    CLOSED = "closed"
    OPEN = "open"
