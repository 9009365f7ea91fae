"""Where a frame reader puts its messages.

This file uses a private module of aiohttp: `WebSocketReader` is compiled, and takes its own queue's class only. aiohttp
is pinned, and tests/integration/test_frames.py holds this file against the real reader.
"""

import asyncio
from typing import Any

from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http import WebSocketReader

from server.domain.limits import MAX_PAYLOAD


class Inbox(WebSocketDataQueue):
    """Takes whole messages from frame readers. All connections of an event loop share an inbox: a connection empties it
    before another connection reads, since reading never waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(None, 1 << 30, loop=loop)  # type: ignore[arg-type]  # it never pauses a protocol
        self._messages: list[Any] = []  # the messages that the last read completed
        self._error: BaseException | None = None  # the fault of the last read

    def new_reader(self) -> WebSocketReader:
        """Make the frame reader of a connection."""
        # A byte more than allowed: the reader refuses a message that reaches its limit.
        return WebSocketReader(self, MAX_PAYLOAD + 1, compress=False, decode_text=True)

    def feed_data(self, data: Any, size: int) -> None:
        """Take a message from a reader."""
        self._messages.append(data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Take a reader's verdict on a malformed frame."""
        self._error = exc

    def take(self) -> tuple[list[Any], BaseException | None]:
        """Return the messages and the fault of the last read, and empty the inbox."""
        taken = self._messages, self._error
        self._messages, self._error = [], None
        return taken
