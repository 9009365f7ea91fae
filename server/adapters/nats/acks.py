"""Acknowledgements of entries that are sent without waiting for each.

The library has the same, but loses a refusal: its handler raises the error instead of handing it over.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from itertools import count
from typing import Self

import orjson
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import Header

from server.adapters.nats.client import MaruClient


class Refused(NatsError):
    """The server did not take an entry. `code` is the server's own."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(description)
        self.code = code


class NoStream(NatsError):
    """No stream takes the subject."""


class Acks:
    """The acknowledgements over one connection."""

    def __init__(self, client: MaruClient) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._numbers = count(1)
        self._waiting: dict[str, asyncio.Future[int]] = {}  # by the last part of the subject for the answer

    @classmethod
    async def open(cls, client: MaruClient) -> Self:
        """Hear acknowledgements."""
        acks = cls(client)
        await client.hear(f"{acks._inbox}.*", acks.hear)
        return acks

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str]) -> asyncio.Future[int]:
        """Send an entry. The future is its sequence, `Refused` or `NoStream`; never done if the connection is lost."""
        number = str(next(self._numbers))
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        future.add_done_callback(partial(self._settled, number))
        await self._client.publish(subject, data, reply=f"{self._inbox}.{number}", headers=dict(headers))
        return future

    def _settled(self, number: str, future: asyncio.Future[int]) -> None:
        del self._waiting[number]
        if not future.cancelled():
            future.exception()  # a refusal may come when nobody waits for it any more

    def hear(self, message: Msg) -> None:
        future = self._waiting.get(message.subject.rpartition(".")[2])
        if future is None or future.done():
            return
        if message.headers and message.headers.get(Header.STATUS) == "503":
            future.set_exception(NoStream("no stream takes the subject"))
            return
        answer = orjson.loads(message.data)
        if refusal := answer.get("error"):
            future.set_exception(Refused(refusal.get("err_code", 0), str(refusal.get("description"))))
        else:
            future.set_result(answer["seq"])
