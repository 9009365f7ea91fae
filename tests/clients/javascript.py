"""JavaScript clients, each in a Node process of its own, driven by JSON lines."""

import asyncio
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.clients.account import LOG_EVENTS, Account, Json, Outgoing, Refused
from tests.harness.program import Program
from tests.harness.waiting import until

BARE = Path(__file__).parent / "bare.mjs"

CORE = Path(__file__).parent / "core.mjs"

CONNECT_S = 20.0


def node(script: Path) -> tuple[str, str]:
    """Return the command that runs a Node program."""
    program = shutil.which("node")
    assert program is not None, "node not found: install nodejs"
    return program, str(script)


class BareJsClient(Account):
    """One user on a bare socket.io-client, as `bare.mjs` drives it. Use as an async context manager.

    It resumes nothing and repeats nothing: a lost connection is one of its `faults`.
    """

    def __init__(self, url: str, token: str, changed: asyncio.Event | None = None) -> None:
        super().__init__(changed)
        self._url, self._token = url, token
        self._program = Program(*node(BARE), react=self._heard)
        self._leaving = False
        self._sent: Sequence[Outgoing] = ()
        self._joins: dict[str, Json] = {}

    async def __aenter__(self) -> Self:
        await self._program.__aenter__()
        self._program.say({"do": "connect", "url": self._url, "token": self._token})
        await self.connected(1)
        return self

    async def __aexit__(self, *failure: Any) -> None:
        self._leaving = True
        await self._program.__aexit__(*failure)

    async def join(self, channel: str) -> None:
        """Join one channel."""
        self._program.say({"do": "emit", "tag": channel, "event": "channel:join", "data": {"channel": channel}})
        await until(lambda: channel in self._joins, self.changed, CONNECT_S, lambda: f"joined; {self}")
        assert self._joins[channel]["ok"], self._joins[channel]

    async def burst(self, messages: Sequence[Outgoing], timeout: float = 100.0) -> None:
        """Emit all messages without waiting; return when every one has its ack, or the connection is gone."""
        self._sent = messages
        awaited = len(self.acks) + len(messages)
        payloads = [message.payload for message in messages]
        self._program.say({"do": "burst", "event": "message:send", "payloads": payloads})
        await until(
            lambda: len(self.acks) == awaited or bool(self.faults), self.changed, timeout, lambda: f"acked; {self}"
        )

    def _heard(self, line: Json) -> None:
        match line:
            case {"is": "event", "name": name, "body": body} if name in LOG_EVENTS:
                self.received[body["channel"]].append({"event": name, **body})
            case {"is": "ack", "tag": str(channel), "ack": ack}:
                self._joins[channel] = ack
            case {"is": "ack", "tag": int(index), "ack": ack}:
                self.acks[self._sent[index].key] = ack
            case {"is": "ready"}:
                self.connects += 1
            case {"is": "gone", "reason": reason} if not self._leaving:
                self.faults.append(f"disconnected: {reason}")
            case _:
                pass  # `session:ready` comes as an event too, and a client that leaves says so
        self.changed.set()


class CoreJsClient(Account):
    """One user on our JavaScript core, as `core.mjs` drives it. Use as an async context manager.

    `received` are the events as the core gave them to its application.
    """

    def __init__(
        self,
        url: str,
        token: str,
        changed: asyncio.Event | None = None,
        *,
        may_reset: bool = False,
        **options: object,
    ) -> None:
        super().__init__(changed, may_reset=may_reset)
        self.states: list[str] = []
        self._connect = {"url": url, "token": token, "options": options}
        self._program = Program(*node(CORE), react=self._heard)
        self._numbers = itertools.count()
        self._owed: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        await self._program.__aenter__()
        async with asyncio.timeout(CONNECT_S):  # a program that could not start answers nothing
            await self.ask("connect", **self._connect)
        await self.connected(1)
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._program.__aexit__(*failure)

    async def join(self, channel: str) -> None:
        """Join one channel."""
        await self.ask("join", channel=channel)

    async def send_all(self, messages: Sequence[Outgoing]) -> None:
        """Put all into the core's outbox, in order; return when every one is acked."""
        async with asyncio.TaskGroup() as sending:
            for message in messages:
                sending.create_task(self._send(message))

    async def ask(self, do: str, **fields: object) -> Any:
        """Give the core one command, return the value of its answer. Raises `Refused`."""
        number = next(self._numbers)
        answer = self._owed[number] = asyncio.get_running_loop().create_future()
        self._program.say({"id": number, "do": do, **fields})
        return await answer

    async def _send(self, message: Outgoing) -> None:
        self.acks[message.key] = await self.ask("send", **message.payload)
        self.changed.set()

    def _heard(self, line: Json) -> None:
        match line["type"]:
            case "answer" if line["ok"]:
                self._owed.pop(line["id"]).set_result(line["value"])
            case "answer":
                self._owed.pop(line["id"]).set_exception(Refused(str(line["error"])))
            case "event":
                self.received[line["event"]["channel"]].append(line["event"])
            case "ready":
                self.connects += 1
            case "state":
                self.states.append(line["state"])
            case "reset":
                self.reset(line["channel"], line)
            case "delayed":
                pass  # the core tries again
            case _:  # a removal: something was missed
                self.faults.append(json.dumps(line))
        self.changed.set()
