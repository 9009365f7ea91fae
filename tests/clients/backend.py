"""A backend: asks the HTTP API, and reads whatever it answers."""

import io
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import aiohttp
import orjson

API_KEY = "a-key-of-a-backend-0123456789abcdef"


class Answered(NamedTuple):
    """An answer; `body` is None if there is none."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Backend:
    """Use as an async context manager. `url` is that of the port, without a path."""

    def __init__(self, url: str, key: str | None = API_KEY) -> None:
        self._url = url + "/api/v1"
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answered:
        """One request; header names are written with underscores."""
        sent = self._headers | {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else io.BytesIO(orjson.dumps(body))  # as aiohttp wants a large one
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        async with self._http.request(method, self._url + path, data=data, headers=sent) as response:
            raw = await response.read()
            return Answered(response.status, response.headers, orjson.loads(raw) if raw else None)

    async def post(self, channel: str, text: str = "hi", user: str = "alice", key: str | None = None) -> Answered:
        """Write a message."""
        headers = {} if key is None else {"Idempotency_Key": key}
        return await self.ask(
            "POST", f"/channels/{channel}/messages", {"author": {"id": user}, "text": text}, **headers
        )
