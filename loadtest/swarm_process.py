"""A process of the swarm, as `python -m loadtest.swarm` starts it: orders on standard input, answers on standard
output, each a line of JSON. Orders: `plan`, `go`, `acks`. Answers: `arrived`, `acks`, `counts`, or `failed` instead.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from loadtest.frames import WireError
from loadtest.judge import Ack, Ledger
from loadtest.load import Load
from loadtest.plan import Plan
from loadtest.tokens import NoTokens, tokens_from
from loadtest.traffic import Refused
from loadtest.wire import Json

_run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run
with suppress(ImportError):  # without it (not on Linux), a process carries fewer clients
    import uvloop

    _run = uvloop.run

LINE_LIMIT = 1 << 28
"""Bytes of a line: the acks of a long run, about 100 each."""


async def obey() -> None:
    """Do one run. Raises `EOFError` if the swarm that gives the orders is gone."""
    orders = asyncio.StreamReader(LINE_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)

    async def order(name: str) -> Any:
        if not (line := await orders.readline()):
            raise EOFError(f"no order {name!r}: the swarm is gone")
        return json.loads(line)[name]

    plan = Plan(**await order("plan"))
    load = Load(plan, tokens_from(os.environ, f"{plan.prefix}*"))
    async with load.living():
        await load.arrive()
        answer({"arrived": plan.clients})
        await order("go")
        await load.run()
        answer({"acks": load.ledger.acks})
        ledger = Ledger(Ack(*ack) for ack in await order("acks"))
        await load.hear(ledger.heads())
        answer({"counts": load.judge(ledger).to_json()})


def answer(what: Json) -> None:
    """Write an answer as a line."""
    print(json.dumps(what), flush=True)


def innermost(error: BaseException) -> BaseException:
    """Return the first error inside nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main() -> int:
    """Run; answer with a plain reason if the run fails for a cause outside this program."""
    try:
        _run(obey())
    except Exception as error:
        cause = innermost(error)
        if not isinstance(cause, NoTokens | Refused | WireError | TimeoutError | EOFError):
            raise
        answer({"failed": str(cause)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
