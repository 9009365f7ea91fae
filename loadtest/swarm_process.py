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

from loadtest.crowd import Crowd
from loadtest.frames import WireError
from loadtest.judge import Ack, Ledger
from loadtest.plan import Plan
from loadtest.tokens import NoTokens, tokens_from
from loadtest.traffic import Refused
from loadtest.wire import Json

_run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run
with suppress(ImportError):  # where there is none (not on Linux), a process is good for fewer clients
    import uvloop

    _run = uvloop.run

LINE_LIMIT = 1 << 28
"""Bytes of a line: the acks of a long run, about 100 each."""


async def obey() -> None:
    """Do one run. Ends early, by `EOFError`, where nobody gives orders any more."""
    orders = asyncio.StreamReader(LINE_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)

    async def order(name: str) -> Any:
        if not (line := await orders.readline()):
            raise EOFError(f"no order {name!r}: the swarm is gone")
        return json.loads(line)[name]

    plan = Plan(**await order("plan"))
    crowd = Crowd(plan, tokens_from(os.environ, f"{plan.prefix}*"))
    async with crowd.living():
        await crowd.arrive()
        answer({"arrived": plan.clients})
        await order("go")
        await crowd.run()
        answer({"acks": crowd.ledger.acks})
        ledger = Ledger(Ack(*ack) for ack in await order("acks"))
        await crowd.hear(ledger.heads())
        answer({"counts": crowd.judge(ledger).to_json()})


def answer(what: Json) -> None:
    """Write a line."""
    print(json.dumps(what), flush=True)


def innermost(error: BaseException) -> BaseException:
    """The first error of a group that is none itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main() -> int:
    """Run; say plainly what was in the way, for what is not a fault of this program."""
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
