"""Round trips to Redis: commands out, their answers back, scripts sent again if Redis has forgotten them."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from server.adapters.redis.connection import Command, Connection
from server.adapters.redis.keeping import Keeping
from server.adapters.redis.master import Master, NotKept
from server.domain.errors import Unavailable

FORGOTTEN_LIMIT = 3
"""How often a batch is repeated, at most, because Redis has forgotten its scripts."""


class Exchange:
    """Makes one round trip at a time over a connection of `client`, which it owns. Close it by `aclose`.

    `master` is shared with the other connections of the process, so that all leave a node that one has found demoted.
    `keep` is for commands that write: they are answered once so many replicas have them, and never by an old master.
    """

    def __init__(self, client: Redis, master: Master | None = None, keep: int | None = None) -> None:
        keeping = None if keep is None else Keeping(client, keep)
        self.keeps_at_once = keeping is None or keeping.asks_nobody
        self._connection = Connection(client, master or Master(), keeping)
        self._scripts: dict[str, bytes] = {}  # their texts, by hash

    def script(self, text: bytes) -> str:
        """Return the script's hash for EVALSHA. A Redis that has restarted is sent the text again."""
        name = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        self._scripts[name] = text
        return name

    async def round_trip(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        """Send the commands; return Redis' answers, of which each may be a `ResponseError`. `deadline` is on the loop's
        clock. Raises `Unavailable`: the commands may have been executed. If its cause is `NotKept`, Redis is there."""
        try:
            async with asyncio.timeout_at(deadline):
                answers = await self._connection.exchange(commands, deadline)
                await self._repeat_forgotten(commands, answers, deadline)
        except NotKept as error:
            raise Unavailable(str(error)) from error
        except (RedisError, OSError, TimeoutError) as error:
            await self._connection.drop()
            raise Unavailable(f"Redis does not answer ({type(error).__name__})") from error
        except BaseException:
            await self._connection.drop()  # answers may still come, which belong to no later command
            raise
        return answers

    async def aclose(self) -> None:
        """Close the connection. No round trip may be under way."""
        await self._connection.aclose()

    async def _repeat_forgotten(self, commands: Sequence[Command], answers: list[Any], deadline: float) -> None:
        """Load the scripts into a Redis that has restarted, and repeat the commands that needed them, before any later
        command is sent."""
        for _ in range(FORGOTTEN_LIMIT):
            forgotten = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if not forgotten:
                return
            scripts: list[Command] = [("SCRIPT", "LOAD", text) for text in self._scripts.values()]
            repeated = await self._connection.exchange([*scripts, *(commands[index] for index in forgotten)], deadline)
            for index, answer in zip(forgotten, repeated[len(scripts) :], strict=True):
                answers[index] = answer
