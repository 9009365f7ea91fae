"""A real Socket.IO client in a process of its own, to be frozen by a test: it joins a channel, says so, and stays.

python frozen_client.py URL TOKEN
"""

import asyncio
import sys

import socketio

STAY_S = 120.0


async def main(url: str, token: str) -> None:
    """Connect, join, print `ready`."""
    client = socketio.AsyncClient(reconnection=False)
    await client.connect(url, transports=["websocket"], namespaces=["/chat"], auth={"token": token})
    await client.call("channel:join", {"channel": "room:frozen"}, namespace="/chat")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    async with asyncio.timeout(STAY_S):
        await client.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
