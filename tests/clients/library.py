"""socket.io-client in a process of its own, with the library's own options."""

import asyncio
from collections.abc import Callable
from typing import Any, Self

from tests.clients.javascript import node
from tests.harness.program import Program
from tests.harness.server import ROOT
from tests.harness.waiting import until

CALM_S = 40.0
"""The longest that a library may take to come back."""

Line = dict[str, Any]


class Page:
    """A Node process with socket.io-client. Use as an async context manager; `lines` is what it said."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._changed = asyncio.Event()
        self._program = Program(*node(ROOT / "tests/clients/options.mjs"), react=self._heard)

    async def __aenter__(self) -> Self:
        await self._program.__aenter__()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._program.__aexit__(*failure)

    def do(self, what: str, name: str, **fields: object) -> None:
        """Give a command."""
        self._program.say({"do": what, "name": name, **fields})

    def of(self, name: str, kind: str) -> list[Line]:
        """What a socket has said of a kind."""
        return [line for line in self.lines if (line["name"], line["is"]) == (name, kind)]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a line after which this holds."""
        await until(holds, self._changed, CALM_S, lambda: str(self.lines[-5:]))

    def _heard(self, line: Line) -> None:
        self.lines.append(line)
        self._changed.set()
