"""Talking to the real API server."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import aiohttp
import helm_python as helm

from tests.kubernetes.api.kinds import Json

MERGE = "application/merge-patch+json"

ANSWER_S = 20.0
"""The longest time for an answer. Creating a Namespace is the slowest of all."""

WATCH_S = 300
"""After so long the API server ends a watch, and the next one begins."""

LINE_BYTES = 1 << 22
"""An object in a watch is a line."""


class ApiError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """The API server, with the rights of an administrator. Use as an async context manager.

    Paths are without the leading slash, e.g. `api/v1/nodes`.
    """

    def __init__(self, url: str, token: str, certificate: Path) -> None:
        self._url, self._token, self._certificate = url, token, certificate
        self._open: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context(cafile=self._certificate)
        self._open = aiohttp.ClientSession(
            self._url + "/",
            headers={"Authorization": f"Bearer {self._token}"},
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=aiohttp.ClientTimeout(ANSWER_S),
            read_bufsize=LINE_BYTES,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    def access(self, namespace: str) -> helm.Config:
        """Return Helm's way in."""
        return helm.Config(
            kube_apiserver=self._url,
            kube_token=self._token,
            kube_ca_file=self._certificate,
            namespace=namespace,
            kubeconfig_content=EMPTY_KUBECONFIG,
        )

    @property
    def _http(self) -> aiohttp.ClientSession:
        assert self._open is not None
        return self._open

    async def get(self, path: str, **query: str) -> Json:
        """Return an object, or a list of objects. Raises `ApiError`."""
        return await self._ask("GET", path, query)

    async def post(self, path: str, body: Json, **query: str) -> Json:
        """Create an object. Raises `ApiError`."""
        return await self._ask("POST", path, query, json.dumps(body), "application/json")

    async def patch(self, path: str, body: Json) -> Json:
        """Merge something into an object. Raises `ApiError`."""
        return await self._ask("PATCH", path, {}, json.dumps(body), MERGE)

    async def delete(self, path: str, **options: Any) -> None:
        """Delete an object, which may be gone already. Raises `ApiError`."""
        try:
            await self._ask("DELETE", path, {}, json.dumps(options), "application/json")
        except ApiError as error:
            if error.status != 404:
                raise

    async def watch(self, path: str, **query: str) -> AsyncIterator[tuple[str, Json]]:
        """Yield ADDED, MODIFIED or DELETED, and the object: first those that are there, then each change, for ever."""
        version = "0"
        while True:
            options = query | {"watch": "1", "resourceVersion": version, "timeoutSeconds": str(WATCH_S)}
            timeout = aiohttp.ClientTimeout(sock_connect=ANSWER_S)
            async with self._http.get(path, params=options, timeout=timeout) as response:
                await _raise(response)
                async for line in response.content:
                    change = json.loads(line)
                    if change["type"] == "ERROR":  # too old
                        version = "0"
                        break
                    version = change["object"]["metadata"]["resourceVersion"]
                    yield change["type"], change["object"]
            await asyncio.sleep(0)

    async def _ask(
        self, method: str, path: str, query: dict[str, str], body: str | None = None, content: str = ""
    ) -> Json:
        headers = {"Content-Type": content} if content else {}
        async with self._http.request(method, path, params=query, data=body, headers=headers) as response:
            await _raise(response)
            found: Json = await response.json()
            return found


EMPTY_KUBECONFIG = "apiVersion: v1\nkind: Config\n"


async def _raise(response: aiohttp.ClientResponse) -> None:
    if response.status >= 400:
        text = await response.text()
        with contextlib.suppress(ValueError, KeyError):
            text = json.loads(text)["message"]
        raise ApiError(response.status, text)
