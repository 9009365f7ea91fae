"""Questions to JetStream, and its answers and refusals."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from nats.errors import NoRespondersError

from server.adapters.nats.client import FAILURES
from server.adapters.nats.link import ANSWER_S, Link
from server.domain.errors import Unavailable


class Refused(Exception):
    """The server's refusal, with its code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


async def answer(link: Link, subject: str, data: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer to a message. Raises `Refused`; `NoRespondersError` if no stream takes it; `Unavailable`."""
    client = link.client
    try:
        async with asyncio.timeout(ANSWER_S):
            message = await client.ask(subject, data, headers)
    except NoRespondersError:
        raise
    except FAILURES as error:
        raise Unavailable(f"NATS does not answer ({type(error).__name__})") from error
    fields: dict[str, Any] = orjson.loads(message.data)
    if refusal := fields.get("error"):
        raise Refused(refusal.get("err_code", 0), refusal.get("description", ""))
    return fields
