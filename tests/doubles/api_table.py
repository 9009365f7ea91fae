"""The HTTP API's operations without use cases: each answers, or fails, as a test says. And a request that fits each."""

import re
from dataclasses import replace
from typing import Any

from server.api.backends import (
    broadcast,
    erasures,
    events,
    follows,
    history,
    members,
    messages,
    openapi,
    presence,
    reactions,
    revocations,
    webhooks,
)
from server.api.backends.table import PREFIX, Call, Operation, Reply, Table
from server.domain.errors import MaruError

NOBODY: Any = None
"""In place of a use case: no handler of these is called."""

OPERATIONS: Table = [
    *messages.operations(NOBODY),
    *reactions.operations(NOBODY),
    *events.operations(NOBODY),
    *history.operations(NOBODY),
    *broadcast.operations(NOBODY),
    *revocations.operations(NOBODY),
    *members.operations(NOBODY),
    *follows.operations(NOBODY),
    *erasures.operations(NOBODY, NOBODY),
    *presence.operations(NOBODY, NOBODY),
    *webhooks.operations(NOBODY),
    *openapi.operations([]),
]

PATH = {"channel": "room:1", "id": "a-message", "user": "alice", "name": "crm", "emoji": "%F0%9F%91%8D"}
"""Values of the names in paths."""

QUERIES = {"addReaction": "?user=alice", "removeReaction": "?user=alice"}
"""The queries of operations that can't do without."""

AUTHOR = {"id": "alice", "name": "Alice"}

BODIES: dict[str, dict[str, Any]] = {
    "postMessage": {"author": AUTHOR, "text": "hi"},
    "editMessage": {"text": "ho"},
    "publishEvent": {"author": AUTHOR, "name": "order.paid", "data": None},
    "revoke": {"user": "alice"},
    "broadcast": {"author": AUTHOR, "text": "hi", "channels": ["room:1"]},
    "countPresent": {"channels": ["room:1"]},
    "readStatus": {"users": ["alice"]},
    "replayDeadLetters": {"ids": ["1"]},
}
"""A body for each operation that has one."""


def path(operation: Operation[Any, Any]) -> str:
    """Return a path that the operation takes."""
    asked = QUERIES.get(operation.id, "")
    return PREFIX + re.sub(r"{(\w+)}", lambda found: PATH[found[1]], operation.path) + asked


def fails_with(error: MaruError | Exception) -> Table:
    """Return the operations, each of which fails."""

    async def handle(_: Call[Any, Any]) -> Reply:
        raise error

    return [replace(operation, handle=handle) for operation in OPERATIONS]
