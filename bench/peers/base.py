"""A peer for the harness: processes that listen, and the protocol that they speak."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import Cores
from bench.processes import Process


@dataclass(frozen=True, slots=True)
class Setting:
    """How a peer is to be started."""

    cores: Cores
    folder: Path
    secret: str
    """HS256: who may enter Maru."""
    size: int = 64
    """Bytes of a message, for a peer whose frame is fixed at its start."""
    replicas: int = 1
    redis_url: str | None = None
    source: Path | None = None
    """A folder with another version of Maru, to measure that one."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """For Maru, above the harness's own."""


@dataclass(slots=True)
class Peer:
    """A started peer."""

    name: str
    protocol: str
    ports: tuple[int, ...]
    processes: list[Process]
    store: tuple[int, ...] = ()
    """The processes of the store behind it, which are not its own."""

    def pids(self) -> list[int]:
        """All processes that do its work."""
        return [pid for process in self.processes for pid in process.pids()]

    def stop(self) -> None:
        """End it."""
        for process in self.processes:
            process.stop()


def started(peer: Peer) -> Peer:
    """Wait until it serves. Raises `NotAvailable`, with nothing left running."""
    try:
        for process, port in zip(peer.processes, peer.ports, strict=True):
            process.listens(port)
    except BaseException:
        peer.stop()
        raise
    return peer
