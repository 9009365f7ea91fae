"""The Lua scripts beside this file: sent once as text, then called by their hash."""

import asyncio
from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import Any, TypeVar

from redis.exceptions import RedisError

from server.adapters.redis.pipeline import Pipeline
from server.adapters.seal import Seal
from server.domain.errors import Unavailable

T = TypeVar("T")

OPENING = ("channel", "losses", "parts")
"""The files that begin every script that reads messages, or writes them."""

APPEND = (*OPENING, "sent", "append", "drafts")
"""The files of the script that appends."""

APPEND_OTHERS = (*OPENING, "sent", "append", "react", "record", "drafts")
"""Of the same, if reactions or events of applications are among the drafts: without them it is quicker."""

READING = (*OPENING, "unread")
"""The files that begin every script that counts what is unread."""


class Script:
    """A script: the files of these names, one behind the other. One that publishes gets the keys of the `seal`."""

    def __init__(self, pipeline: Pipeline, *names: str, seal: Seal | None = None) -> None:
        self._pipeline = pipeline
        text = script_text(*names)
        self._hash = pipeline.script(text if seal is None else seal.in_script(text))

    async def __call__(self, keys: tuple[str, ...], *arguments: str | int | bytes) -> Any:
        """Run the script. Raises as `Pipeline.execute`, and `Unavailable` if Redis refuses."""
        return await self.submit(keys, arguments, _itself)

    def submit(
        self, keys: tuple[str, ...], arguments: tuple[str | int | bytes, ...], read: Callable[[Any], T]
    ) -> asyncio.Future[T]:
        """As `Pipeline.submit`. `read` gets no refusals: they are `Unavailable`."""
        return self._pipeline.submit(("EVALSHA", self._hash, len(keys), *keys, *arguments), partial(_accepted, read))


def script_text(*names: str) -> bytes:
    """Return the script that the files of these names are."""
    files = (resources.files(__package__).joinpath(f"{name}.lua") for name in names)
    return b"\n".join(file.read_bytes() for file in files)


def _itself(answer: Any) -> Any:
    return answer


def _accepted(read: Callable[[Any], T], answer: Any) -> T:
    if isinstance(answer, RedisError):
        raise Unavailable(f"Redis refuses ({type(answer).__name__})") from answer
    return read(answer)
