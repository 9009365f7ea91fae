"""The swarm's processes, and the run that they do together."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtest.judge import Ack, Ledger
from loadtest.plan import Counts, Plan
from loadtest.swarm_process import LINE_LIMIT, innermost
from loadtest.verdict import Report
from loadtest.wire import Json

GRACE_S = 30.0
"""Added to the time that an order takes by its plan; then the process counts as dead."""

LEAVE_S = 10.0
"""A process that is done drops its connections and ends within this time, or is killed."""


class Failed(Exception):
    """A process could not go on; the text says why."""


class Worker:
    """One process of the swarm. Use as an async context manager; the process has ended afterwards."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> "Worker":
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "loadtest.swarm_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
            cwd=Path(__file__).parent.parent,
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def ask(self, order: Json, answer: str, seconds: float) -> Any:
        """Give an order and wait for its answer. Raises `Failed` with the reason that the process gives."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(seconds + GRACE_S):
                self._process.stdin.write(json.dumps(order).encode() + b"\n")
                await self._process.stdin.drain()
                line = await self._process.stdout.readline()
        except (TimeoutError, ConnectionError):
            line = b""
        said = json.loads(line or b'{"failed": "a process of the swarm died, or gave no answer in time"}')
        if answer not in said:
            raise Failed(said["failed"])
        return said[answer]


async def coordinate(plans: Sequence[Plan], say: Callable[[str], None]) -> Report:
    """Do the run, and report progress to `say`. Ends in bounded time, whatever the server or a process does."""
    clients = sum(plan.clients for plan in plans)
    try:
        async with AsyncExitStack() as stack:
            workers = [await stack.enter_async_context(Worker(plan)) for plan in plans]
            return await _run(workers, clients, say)
    except Failed as failure:
        return Report(clients, Counts(), failures=(str(failure),))


async def _run(workers: Sequence[Worker], clients: int, say: Callable[[str], None]) -> Report:
    plan = workers[0].plan
    began = time.monotonic()
    await _all(worker.ask({"plan": asdict(worker.plan)}, "arrived", plan.arrive_s) for worker in workers)
    arriving_s = time.monotonic() - began
    say(f"{clients} clients in {len(workers)} processes came in within {arriving_s:.1f} s")
    acks = await _all(worker.ask({"go": True}, "acks", plan.seconds + plan.settle_s) for worker in workers)
    ledger = Ledger(Ack(*ack) for each in acks for ack in each)
    say(f"{len(ledger.acks)} messages were acked; waiting until all members have them")
    told = {"acks": ledger.acks}
    counts = Counts(tally=ledger.tally)
    for each in await _all(worker.ask(told, "counts", plan.settle_s) for worker in workers):
        counts.add(Counts.from_json(each))
    return Report(clients, counts, arriving_s)


async def _all(questions: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Wait for all answers; the first failure cancels the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(question) for question in questions]
    except ExceptionGroup as failures:
        raise innermost(failures) from None
    return [task.result() for task in tasks]
