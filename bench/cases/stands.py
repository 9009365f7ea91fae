"""Peers that stand ready with their clients, so that rounds can alternate without starting anything again."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from bench.load import Load
from bench.peers.base import Peer
from bench.processes import NotAvailable
from bench.runs import Run


class Stands:
    """Started peers with their clients. Idle ones cost a heartbeat only. Use as a context manager."""

    def __init__(self, run: Run, fill: Callable[[Load], None], size: int = 64) -> None:
        """`fill` lets the clients in; `size` is of the messages, for a peer whose frame is fixed at its start."""
        self._run, self._fill, self._size = run, fill, size
        self._absent: dict[str, NotAvailable] = {}
        self._open: dict[str, tuple[Peer, Load, contextlib.ExitStack]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._open):
            self.close(name)

    def get(self, name: str) -> tuple[Peer, Load]:
        """A peer with all its clients in. Raises `NotAvailable`, `LoadFailed`."""
        if name in self._absent:
            raise self._absent[name]
        if name not in self._open:
            try:
                self._open[name] = self._start(name)
            except NotAvailable as error:
                self._absent[name] = error
                raise
        peer, load, _ = self._open[name]
        return peer, load

    def _start(self, name: str) -> tuple[Peer, Load, contextlib.ExitStack]:
        with contextlib.ExitStack() as stack:
            peer = stack.enter_context(self._run.peer(name, self._size))
            load = stack.enter_context(self._run.load(peer))
            self._fill(load)
            return peer, load, stack.pop_all()

    def close(self, name: str) -> None:
        """End a peer if it runs; `get` starts it again."""
        if name in self._open:
            self._open.pop(name)[2].close()

    @contextlib.contextmanager
    def attempt(self, case: str, name: str, number: int, params: Mapping[str, Any]) -> Iterator[None]:
        """Report a failure, and end its peer: clients may be lost, so the next measurement starts the peer again."""
        done = False
        with self._run.attempt(case, name, number, params):
            yield
            done = True
        if not done:
            self.close(name)
