"""`helm test`: open a Socket.IO connection as a client does, and see the server begin its part.

The one argument is the WebSocket URL of `/socket.io/`. No token is needed: the server greets first, then asks.
"""

import asyncio
import sys

from aiohttp import ClientSession

ATTEMPTS = 5
"""A Service that has just been made may not be known everywhere yet."""

WAIT_S = 5.0


async def greeting(url: str) -> str:
    """The first packet that the server sends."""
    async with (
        asyncio.timeout(WAIT_S),
        ClientSession() as http,
        http.ws_connect(url, params={"EIO": "4", "transport": "websocket"}) as socket,
    ):
        return await socket.receive_str()


async def main(url: str) -> int:
    """Return 0 if the server greeted, else 1."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            packet = await greeting(url)
        except (OSError, TypeError, TimeoutError) as error:
            print(f"attempt {attempt} of {ATTEMPTS}: {url}: {error!r}")
            await asyncio.sleep(1.0)
            continue
        print(f"{url} greets: {packet}")
        return 0 if packet.startswith("0{") else 1
    return 1


sys.exit(asyncio.run(main(sys.argv[1])))
