"""The harness's hold on a process of clients: orders with a deadline."""

import multiprocessing
from typing import Any, Self

from bench.processes import LoadFailed
from bench.worker import Target, main

STOP_S = 10.0
ORDER_S = 150.0
"""No order takes longer, with all its own deadlines inside."""


class Load:
    """A worker process on the load's core. Use as a context manager."""

    def __init__(self, target: Target, core: int, niceness: int = 0) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=main, args=(theirs, target, core, niceness), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(STOP_S)

    def order(self, name: str, **arguments: object) -> None:
        """Give the worker an order, and do not wait."""
        self._pipe.send((name, arguments))

    def result(self, timeout_s: float = ORDER_S) -> Any:
        """Wait for the result of an order. Raises `LoadFailed`."""
        if not self._pipe.poll(timeout_s):
            raise LoadFailed(f"the clients' process did not answer within {timeout_s:.0f} s")
        try:
            result, problem = self._pipe.recv()
        except EOFError:
            raise LoadFailed("the clients' process ended") from None
        if problem is not None:
            raise LoadFailed(problem)
        return result

    def do(self, name: str, **arguments: object) -> Any:
        """Order, and wait. Raises `LoadFailed`."""
        self.order(name, **arguments)
        return self.result()

    def stop_probe(self) -> list[float]:
        """End a `probe`; return what it saw."""
        self._pipe.send(("lost", {}))
        took: list[float] = self.result()
        self.result()
        return took
