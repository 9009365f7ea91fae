"""A bot for the demo: it answers in one channel, and greets users that mention it.

    python clients/python-bot/examples/echo_bot.py --url http://127.0.0.1:8080

Its token is BOT_TOKEN, or comes from a development server's `/dev/token`. Ctrl-C or SIGTERM ends it.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the bot's package lies beside this folder

from maru_bot.bot import MaruBot
from maru_bot.errors import MaruError
from maru_bot.events import Created, Message

USER = "maru-bot"

ANSWERS: dict[str, Callable[[], str]] = {
    "!ping": lambda: "pong",
    "!time": lambda: f"It is {datetime.now(UTC):%H:%M:%S} UTC.",
    "!help": lambda: f"I know {', '.join(ANSWERS)}, and I greet users that write @{USER}.",
}


def answer(message: Message) -> str | None:
    """Return the answer to a message, if there is one."""
    words = message.text.split()
    if words and words[0] in ANSWERS:
        return ANSWERS[words[0]]()
    if f"@{USER}" in message.text.lower():
        return f"Hello {message.author.name}! Write !help to see what I can do."
    return None


async def dev_token(url: str) -> str:
    """Return a token of a development server, which gives a token to anybody."""
    async with (
        aiohttp.ClientSession(raise_for_status=True) as http,
        http.get(f"{url}/dev/token", params={"user": USER}) as response,
    ):
        return str((await response.json())["token"])


async def run(url: str, channel: str) -> None:
    """Answer until cancelled."""
    token = os.environ.get("BOT_TOKEN") or (lambda: dev_token(url))
    async with MaruBot(url, token) as bot:
        room = bot.channel(channel)
        print(f"{bot.user} answers in {channel} of {url}; Ctrl-C ends it", flush=True)
        async for event in room:
            if not isinstance(event, Created) or event.author.id == bot.user:
                continue
            if text := answer(event.message):
                # The key comes from the message: if the bot reads the message twice, it still answers once.
                await bot.send(channel, text, reply_to=event.id, key=f"answer:{event.id}")
        print(f"no longer in {channel}: {room.error}", file=sys.stderr)


async def main(url: str, channel: str) -> None:
    """Answer until a signal comes."""
    running = asyncio.ensure_future(run(url, channel))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the server's origin (%(default)s)")
    parser.add_argument("--channel", default="room:lobby", help="the channel to answer in (%(default)s)")
    arguments = parser.parse_args()
    try:
        asyncio.run(main(arguments.url.rstrip("/"), arguments.channel))
    except MaruError as error:
        sys.exit(f"the bot had to give up: {error}")
