"""JavaScript clients as test subjects, each in a Node process of its own, driven by JSON lines."""

import asyncio
import itertools
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from tests.harness.py_client import LOG_EVENTS, Outgoing, Refused, Reset, until
from tests.harness.server import ROOT

PLAIN = Path(__file__).parent / "plain_client.mjs"

DRIVE = ROOT / "clients/js-demo/test/drive.js"

CONNECT_S = 20.0
EXIT_S = 10.0
LINE_BYTES = 1 << 24
"""A line may be a whole replay."""

Json = dict[str, Any]


class NodeProgram:
    """A Node program that reads and writes JSON lines. Use as an async context manager.

    `react` is called with each line. On leaving, its input is closed, and it has to end by itself, with exit code 0.
    """

    def __init__(self, script: Path, react: Callable[[Json], None]) -> None:
        self._script = script
        self._react = react
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._complaints: asyncio.Task[bytes] | None = None

    async def __aenter__(self) -> Self:
        node = shutil.which("node")
        assert node is not None, "node not found: install nodejs"
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            node, str(self._script), cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, limit=LINE_BYTES
        )
        assert self._process.stderr is not None
        self._reader = asyncio.create_task(self._read(self._process))
        self._complaints = asyncio.create_task(self._process.stderr.read())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._reader is not None
        assert self._complaints is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(EXIT_S):
                await self._reader
                code = await self._process.wait()
        except BaseException:
            self._process.kill()
            await self._process.wait()
            raise
        finally:
            complaints = (await self._complaints).decode(errors="replace")
        if kind is None:
            assert (code, complaints) == (0, ""), f"{self._script.name} ended with {code}:\n{complaints[-3000:]}"

    def say(self, line: Json) -> None:
        """Give the program one line."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._react(json.loads(line))


class BareJsClient:
    """One user on a bare socket.io-client, as `plain_client.mjs` drives it. Use as an async context manager.

    `received` are the log events of each channel in the order of arrival, `acks` by the key of the message, `faults`
    whatever ended its connection.
    """

    def __init__(self, url: str, token: str) -> None:
        self.received: defaultdict[str, list[Json]] = defaultdict(list)
        self.acks: dict[str, Json] = {}
        self.faults: list[str] = []
        self._url, self._token = url, token
        self._program = NodeProgram(PLAIN, self._heard)
        self._ready = self._leaving = False
        self._sent: Sequence[Outgoing] = ()
        self._joins: dict[str, Json] = {}
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._program.__aenter__()
        self._program.say({"do": "connect", "url": self._url, "token": self._token})
        await until(lambda: self._ready, self._changed, CONNECT_S, self._story)
        return self

    async def __aexit__(self, *failure: Any) -> None:
        self._leaving = True
        await self._program.__aexit__(*failure)

    async def join(self, channel: str) -> None:
        """Join one channel."""
        self._program.say({"do": "emit", "tag": channel, "event": "channel:join", "data": {"channel": channel}})
        await until(lambda: channel in self._joins, self._changed, CONNECT_S, self._story)
        assert self._joins[channel]["ok"], self._joins[channel]

    async def burst(self, messages: Sequence[Outgoing], timeout: float = 100.0) -> None:
        """Emit all messages without waiting; return when every one has its ack, or the connection is gone."""
        self._sent = messages
        awaited = len(self.acks) + len(messages)
        payloads = [message.payload for message in messages]
        self._program.say({"do": "burst", "event": "message:send", "payloads": payloads})
        await until(lambda: len(self.acks) == awaited or bool(self.faults), self._changed, timeout, self._story)

    async def heard(self, channel: str, offset: int, timeout: float = 20.0) -> None:
        """Wait until the channel's events have come up to an offset."""
        await until(lambda: self._offset(channel) >= offset, self._changed, timeout, self._story)

    def _offset(self, channel: str) -> int:
        events = self.received[channel]
        return events[-1]["offset"] if events else 0

    def _heard(self, line: Json) -> None:
        match line:
            case {"is": "event", "name": name, "body": body} if name in LOG_EVENTS:
                self.received[body["channel"]].append({"event": name, **body})
            case {"is": "ack", "tag": str(channel), "ack": ack}:
                self._joins[channel] = ack
            case {"is": "ack", "tag": int(index), "ack": ack}:
                self.acks[self._sent[index].key] = ack
            case {"is": "ready"}:
                self._ready = True
            case {"is": "gone", "reason": reason} if not self._leaving:
                self.faults.append(f"disconnected: {reason}")
            case _:
                pass  # `session:ready` comes as an event too, and a client that leaves says so
        self._changed.set()

    def _story(self) -> str:
        counts = {channel: len(events) for channel, events in self.received.items()}
        return f"{counts} events, {len(self.acks)} acks, {self.faults}"


class CoreJsClient:
    """One user on our JavaScript core, as `clients/js-demo/test/drive.js` drives it. Use as an async context manager.

    `received` are the log events of each channel as the core gave them to its application, `acks` by the key of the
    message, `faults` whatever means that events are missing. Where the log is to lose something (`may_reset`), what the
    core says of it is kept in `resets`, by channel. `changed` is set whenever one of these grows.
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
        self.received: defaultdict[str, list[Json]] = defaultdict(list)
        self.resets: defaultdict[str, list[Reset]] = defaultdict(list)
        self.acks: dict[str, Json] = {}
        self.faults: list[str] = []
        self.states: list[str] = []
        self.connects = 0
        self.changed = changed or asyncio.Event()
        self._connect = {"url": url, "token": token, "options": options}
        self._may_reset = may_reset
        self._program = NodeProgram(DRIVE, self._heard)
        self._numbers = itertools.count()
        self._owed: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        await self._program.__aenter__()
        async with asyncio.timeout(CONNECT_S):  # a program that could not start answers nothing
            await self.ask("connect", **self._connect)
        await until(lambda: self.connects > 0, self.changed, CONNECT_S, lambda: f"online; {self.states}")
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

    async def heard(self, channel: str, offset: int, timeout: float = 20.0) -> None:
        """Wait until the channel's events have come up to an offset."""
        events = self.received[channel]
        await until(
            lambda: bool(events) and events[-1]["offset"] >= offset,
            self.changed,
            timeout,
            lambda: f"{channel} at {offset}; {len(events)} events, {self.states[-5:]}, {self.faults}",
        )

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
            case "reset" if self._may_reset:
                heard = len(self.received[line["channel"]])
                reset = Reset(line["reason"], line["epoch"], line["offset"], heard)
                self.resets[line["channel"]].append(reset)
            case _:  # a reset or a removal: something was missed
                self.faults.append(json.dumps(line))
        self.changed.set()
