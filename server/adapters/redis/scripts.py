"""The Lua scripts beside this file: sent once by text, called by their hash ever after."""

from importlib import resources
from typing import Any

from redis.exceptions import RedisError

from server.adapters.redis.pipeline import Pipeline
from server.domain.errors import Unavailable


class Script:
    """One script: `channel.lua`, and what follows it."""

    def __init__(self, pipeline: Pipeline, name: str) -> None:
        self._pipeline = pipeline
        files = (resources.files(__package__).joinpath(f"{part}.lua") for part in ("channel", name))
        self._hash = pipeline.script(b"\n".join(file.read_bytes() for file in files))

    async def __call__(self, keys: tuple[str, ...], *arguments: str | int | bytes) -> Any:
        """Run it. Raises `Unavailable`, `Overloaded` as `Pipeline.execute`; Redis' refusals are `Unavailable` too."""
        try:
            return await self._pipeline.execute("EVALSHA", self._hash, len(keys), *keys, *arguments)
        except RedisError as error:
            raise Unavailable(f"Redis refuses ({type(error).__name__})") from error
