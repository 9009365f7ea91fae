"""The Lua scripts beside this file: sent once by text, called by their hash ever after."""

import hashlib
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from server.adapters.redis.pipeline import Pipeline


class Script:
    """One script, of files that follow one another. Redis forgets scripts when it restarts; then it is sent again."""

    def __init__(self, pipeline: Pipeline, *names: str) -> None:
        self._pipeline = pipeline
        self._text = b"\n".join(resources.files(__package__).joinpath(f"{name}.lua").read_bytes() for name in names)
        self._hash = hashlib.sha1(self._text, usedforsecurity=False).hexdigest()

    async def __call__(self, keys: tuple[str, ...], *arguments: str | int | bytes) -> Any:
        """Run it. Raises as `Pipeline.execute`."""
        try:
            return await self._pipeline.execute("EVALSHA", self._hash, len(keys), *keys, *arguments)
        except NoScriptError:
            return await self._pipeline.execute("EVAL", self._text, len(keys), *keys, *arguments)
