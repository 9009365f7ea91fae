"""The endpoints of webhooks that are open, in each partition: every append reads them there, of whichever replica.

A line each: NAME OPENED PHASE PATTERNS. OPENED is when it was opened last, ms of Redis' clock, some time late. PHASE is
`o`, or `s` while an endpoint that begins at the start of the logs is given their debts. PATTERNS are joined by commas.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from server.adapters.redis import keys
from server.adapters.redis.pipeline import Pipeline
from server.adapters.redis.scripts import Script
from server.domain.errors import Unavailable
from server.ports.webhooks import FORGOTTEN_S

FIELD = "hooks"
"""Of a partition's store (keys.py)."""

TRIES = 8
"""Replicas may change the same list at once."""

OPEN, STARTING = "o", "s"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint that is open."""

    opened: int
    phase: str
    patterns: str

    @property
    def line(self) -> str:
        return f"{self.opened} {self.phase} {self.patterns}"


Change = Callable[[dict[str, Endpoint]], None]


def parse(text: bytes | None) -> dict[str, Endpoint]:
    """Return the endpoints of a list by name. A line that can't be read is passed over, as by the scripts."""
    found: dict[str, Endpoint] = {}
    for line in (text or b"").decode(errors="replace").splitlines():
        words = line.split(" ")
        if len(words) == 4 and words[1].isdecimal():  # noqa: PLR2004  # the words of a line
            found[words[0]] = Endpoint(int(words[1]), words[2], words[3])
    return found


def written(endpoints: Mapping[str, Endpoint]) -> str:
    """Return the list."""
    return "".join(f"{name} {endpoint.line}\n" for name, endpoint in endpoints.items())


class Endpoints:
    """The lists of all partitions."""

    def __init__(self, pipeline: Pipeline, prefix: str) -> None:
        self._pipeline, self._prefix = pipeline, prefix
        self._swap = Script(pipeline, "swap")

    def read(self, partition: str) -> Awaitable[bytes | None]:
        """Return the list of a partition as it stands there."""
        return self._pipeline.ask("HGET", keys.store(partition, self._prefix), FIELD)

    async def change(self, partition: str, change: Change, text: bytes | None, remove: Sequence[str] = ()) -> None:
        """Let `change` change a list that was read as `text`; then remove these keys. Raises `Unavailable`."""
        store = keys.store(partition, self._prefix)
        for _ in range(TRIES):
            endpoints = parse(text)
            change(endpoints)
            new = written(endpoints)
            if new == (text or b"").decode(errors="replace"):
                return
            if await self._swap((store, *remove), FIELD, text or b"", new):
                return
            text = await self.read(partition)
        raise Unavailable("other replicas open endpoints all the time")

    async def forget_old(self, partition: str, now_ms: float) -> list[str]:
        """Forget the endpoints of a partition that nobody has opened for long, and what it owes them. Returns their
        names."""
        oldest = now_ms - FORGOTTEN_S * 1_000
        text = await self.read(partition)
        old = [name for name, endpoint in parse(text).items() if endpoint.opened < oldest]
        for name in old:

            def forget(endpoints: dict[str, Endpoint], name: str = name) -> None:
                if name in endpoints and endpoints[name].opened < oldest:
                    del endpoints[name]

            await self.change(partition, forget, text, (keys.debts(partition, name, self._prefix),))
            text = await self.read(partition)
        for name in old:
            await self._pipeline.ask("UNLINK", keys.dead(name, self._prefix))
        return old
