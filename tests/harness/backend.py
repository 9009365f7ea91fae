"""A backend of a test's own, which calls the HTTP API of a server."""

from typing import Any
from urllib.parse import quote

import aiohttp

from tests.harness.server import ServerProcess

API_KEY = "a-key-of-the-tests-for-all-scopes"

API_ENV = {"MARU_API_KEYS": API_KEY}
"""In the environment of a server that backends may call."""

TIMEOUT = aiohttp.ClientTimeout(10.0)


async def call(
    server: ServerProcess, method: str, path: str, body: object = None, key: str = API_KEY
) -> tuple[int, Any]:
    """Call an operation; return the status and the body, None if there is none. A path may be given unquoted."""
    url = f"http://127.0.0.1:{server.internal_port}/api/v1{quote(path, safe='/?=&%:')}"
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
        session.request(method, url, headers=headers, json=body) as response,
    ):
        return response.status, await response.json() if response.content_length else None
