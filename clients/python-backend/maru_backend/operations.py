"""What all operations share: a call, and its answer as a value."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from maru_backend.answers import parsed
from maru_backend.calls import Calls, Request
from maru_backend.values import Json

T = TypeVar("T")


class Operations:
    """The base of a group of operations. `more` are fields of `Request`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def _call(self, operation: str, method: str, path: str, read: Callable[[Json], T], **more: Any) -> T:
        return parsed(read, await self._calls.answer(Request(operation, method, path, **more)))

    async def _do(self, operation: str, method: str, path: str, **more: Any) -> None:
        await self._calls.answer(Request(operation, method, path, **more))


def timestamp(moment: datetime | None) -> str | None:
    """Return a time for a request; None stays None. Raises `ValueError` for a time without a zone."""
    if moment is not None and moment.tzinfo is None:
        raise ValueError("a time has no time zone: datetime.now(UTC) has")
    return None if moment is None else moment.isoformat()


def given(**fields: object) -> dict[str, object]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
