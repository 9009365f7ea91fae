"""A well-behaved client that must not notice an attack on the server.

It sends a numbered message every few milliseconds and expects each back, in order, once, over a single connection.
"""

import asyncio
import contextlib
from collections import deque
from typing import Any, Self

import socketio

from tests.harness.tokens import token

PACE_S = 0.03
"""Between two messages: often enough to meet every disturbance, seldom enough to leave the machine to others."""

BEAT_S = 5.0
"""The longest that a message may take, to the ack and back."""

CHANNEL = "room:bystander"


class Bystander:
    """Use as an async context manager; `unharmed` waits for fresh proof of health."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = socketio.AsyncClient(reconnection=False)
        self._client.on("message:created", self._received, namespace="/chat")
        self._client.on("disconnect", self._lost, namespace="/chat")
        self._stop = asyncio.Event()
        self._arrived = asyncio.Condition()
        self._expected: deque[str] = deque()
        self._offset = 0
        self._beats = 0
        self._fault: str | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._client.connect(
            self._url, transports=["websocket"], namespaces=["/chat"], auth={"token": token("bystander", tier="free")}
        )
        joined = await self._call("channel:join", {"channel": CHANNEL})
        self._offset = joined["offset"]
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        assert self._task is not None
        await self._task
        await self._client.disconnect()

    async def unharmed(self, beats: int = 2) -> None:
        """Wait until a number of further messages have come back; fail if any message ever did not."""
        wanted = self._beats + beats
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEAT_S * beats), self._arrived:
                await self._arrived.wait_for(lambda: self._fault is not None or self._beats >= wanted)
        assert self._fault is None, self._fault
        assert self._beats >= wanted, f"only {self._beats} beats, wanted {wanted}"

    async def _run(self) -> None:
        number = 0
        while not self._stop.is_set() and self._fault is None:
            number += 1
            self._expected.append(f"beat {number}")
            try:
                answer = await self._call("message:send", {"channel": CHANNEL, "text": f"beat {number}"})
            except Exception as error:  # noqa: BLE001  # reported by `unharmed`
                await self._note(f"{type(error).__name__} at beat {number}")
                return
            if not answer["ok"]:
                await self._note(f"beat {number}: {answer}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), PACE_S)

    async def _call(self, name: str, payload: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = await self._client.call(name, payload, namespace="/chat", timeout=BEAT_S)
        return answer

    async def _received(self, data: dict[str, Any]) -> None:
        expected = self._expected.popleft() if self._expected else None
        self._offset += 1
        if (data["channel"], data["offset"], data["message"]["text"]) != (CHANNEL, self._offset, expected):
            await self._note(f"expected {expected!r} at {self._offset}, got {data}")
        async with self._arrived:
            self._beats += 1
            self._arrived.notify_all()

    async def _lost(self, *_: object) -> None:
        if not self._stop.is_set():
            await self._note("disconnected")

    async def _note(self, fault: str) -> None:
        async with self._arrived:
            self._fault = self._fault or fault
            self._arrived.notify_all()
