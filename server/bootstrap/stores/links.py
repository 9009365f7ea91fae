"""The links to several servers, as one."""

import asyncio
from typing import Literal


class Links(asyncio.Event):
    """Set while all of the links are."""

    def __init__(self, *links: asyncio.Event) -> None:
        super().__init__()
        self._links = links

    def is_set(self) -> bool:
        """Say whether all are up."""
        return all(link.is_set() for link in self._links)

    async def wait(self) -> Literal[True]:
        """Wait until all are up."""
        while not self.is_set():
            for link in self._links:
                await link.wait()
        return True
