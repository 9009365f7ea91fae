"""Clients by the thousand, on bare WebSockets, that are moved from one server to another; and what is to be said of it.

Half of a crowd heeds `session:draining`, the other half knows nothing of it, as a library alone does. Each keeps its
position and its keys, and writes down what happened to it; `Story.complaints` is the verdict.
"""

import asyncio
import contextlib
import itertools
import json
import random
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.frames import Opcode
from tests.clients.frames import closing, masked
from tests.clients.raw import Frame, Gone, RawSocket, event
from tests.harness.tokens import token

LIBRARY_S = (0.5, 1.5)
"""After which a library comes back, the first time."""

RETRY_S = 0.3
"""After which what was refused for now is sent again."""

HASTE_S = 0.25
"""After which one that still has its old connection tries again."""

FRAME_S = 60.0
"""Between two frames: pings come more often."""

DIALLING = 50
"""Connections that are made at the same time, at the beginning."""

WAIT_LIMIT_S = 5.0
"""What 99 of 100 clients may be without a connection."""

HEEDED = 0.75
"""The part of those that heed the notice which must not be without a connection at all. On a machine with nothing
else to do it is all of them; on a busy one, connecting takes some longer than the grace. Without a grace, none is."""

Json = dict[str, Any]


@dataclass(eq=False)
class Line:
    """One connection: the answers that it owes, by ack id, and the last offset that it brought."""

    socket: RawSocket
    owed: dict[int, str] = field(default_factory=dict)
    offset: int = 0
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1_000))


class Mover:
    """One user in one channel. `heeds`: moves when told; else it is closed and comes back as a library does.

    `offsets` are those of the events that its application got. With `pause_s` it sends, so long after each answer,
    `in_flight` at a time.
    """

    def __init__(
        self, port: int, user: str, channel: str, *, heeds: bool, pause_s: float | None = None, in_flight: int = 1
    ) -> None:
        self.user, self.channel, self.heeds = user, channel, heeds
        self.offsets: list[int] = []
        self.sent: Counter[str] = Counter()
        self.acks: dict[str, Json] = {}
        self.refused: set[str] = set()
        self.faults: list[str] = []
        self.dialled: list[float] = []
        self.gaps: list[float] = []
        self.closed: list[int | None] = []
        self._port, self._pause_s, self._in_flight = port, pause_s, in_flight
        self._position: Json = {}
        self._line: Line | None = None
        self._lost_at: float | None = None
        self._silent = asyncio.Event()
        self._answered = asyncio.Event()
        self._unsent: list[str] = []
        self._leaving = False
        self._tasks: set[asyncio.Task[None]] = set()

    # The test's side

    async def arrive(self) -> None:
        """Connect and join; then live until `leave`."""
        socket = await RawSocket.chat(self._port, token(self.user))
        joined = await socket.ask("channel:join", {"channel": self.channel})
        self._position = {"epoch": joined["epoch"], "offset": joined["offset"]}
        self.offsets.append(joined["offset"])
        self._take_over(Line(socket, offset=joined["offset"]))
        if self._pause_s is not None:
            for lane in range(self._in_flight):
                self._spawn(self._talk(lane))

    def hush(self) -> None:
        """Send nothing new."""
        self._silent.set()

    @property
    def unanswered(self) -> set[str]:
        """The keys that wait for an answer."""
        return self.sent.keys() - self.acks.keys()

    @property
    def at(self) -> int:
        """Its last offset."""
        return self.offsets[-1]

    @property
    def online(self) -> bool:
        """Whether it has a connection."""
        return self._line is not None

    async def leave(self) -> None:
        """Close everything; raise what went wrong in the client itself."""
        self._leaving = True
        if self._line is not None:
            self._line.socket.vanish()
        for task in list(self._tasks):
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    # Living

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.faults.append(f"{type(task.exception()).__name__}: {task.exception()}")

    def _take_over(self, line: Line) -> None:
        """Use this connection from now on."""
        self._line = line
        if self._lost_at is not None:
            self.gaps.append(time.monotonic() - self._lost_at)
            self._lost_at = None
        self._spawn(self._listen(line))
        again, self._unsent = self._unsent, []
        for key in again:
            self._post(key)

    async def _listen(self, line: Line) -> None:
        code: int | None = None
        with contextlib.suppress(Gone, TimeoutError):
            while True:
                frame = await line.socket.frame(FRAME_S)
                if frame.opcode == Opcode.CLOSE:
                    code = frame.code
                    line.socket.push(closing(frame.code))
                    break
                self._hear(line, frame)
        line.socket.vanish()
        self._unsent += [key for key in line.owed.values() if key not in self.acks]
        self.closed.append(code)
        if line is self._line and not self._leaving:
            self._line = None
            self._lost_at = time.monotonic()
            self._spawn(self._come_back())
        elif self._line is not None:
            again, self._unsent = self._unsent, []
            for key in again:
                self._post(key)

    def _hear(self, line: Line, frame: Frame) -> None:
        text = frame.payload.decode()
        if text == "2":
            line.socket.push(masked("3"))
        elif text.startswith("43"):
            number, _, body = text.removeprefix("43/chat,").partition("[")
            self._ack(line, int(number), json.loads("[" + body)[0])
        elif text.startswith("42"):
            name, body = json.loads(text.removeprefix("42/chat,"))
            if name == "message:created":
                self._event(line, body)
            elif name == "session:draining" and self.heeds:
                self._spawn(self._move(line, body["reconnect_in_ms"] / 1000))

    def _event(self, line: Line, body: Json) -> None:
        """Each connection brings all, in order; of two, whichever is first."""
        offset = body["offset"]
        if body["epoch"] != self._position["epoch"] or offset != line.offset + 1:
            self.faults.append(f"{self.channel} at {line.offset}: {body['epoch']} {offset}")
        line.offset = offset
        if offset > self.at:
            self.offsets.append(offset)
            self._position["offset"] = offset

    def _ack(self, line: Line, number: int, answer: Json) -> None:
        key = line.owed.pop(number)
        if answer["ok"]:
            self.acks[key] = answer
        elif answer["error"]["retryable"]:
            self.refused.add(key)
            asyncio.get_running_loop().call_later(RETRY_S, self._post, key)
        else:
            self.faults.append(f"{key}: {answer['error']}")
        self._answered.set()

    async def _move(self, old: Line, delay: float) -> None:
        """Connect elsewhere in time, beside the present connection; leave that one when it owes nothing."""
        await asyncio.sleep(delay)
        while old is self._line:
            line = await self._dial()
            if line is None:
                await asyncio.sleep(HASTE_S * (0.5 + random.random()))
            elif old is not self._line:
                line.socket.vanish()  # the old one was closed before, and another attempt is under way
                return
            else:
                self._take_over(line)
        while old.owed and old is not self._line:
            self._answered.clear()
            await self._answered.wait()
        with contextlib.suppress(Gone):
            await old.socket.say("41/chat,")

    async def _come_back(self) -> None:
        for failures in itertools.count():
            await asyncio.sleep(random.uniform(*LIBRARY_S) * 2 ** min(failures, 2))
            line = await self._dial()
            if line is not None:
                self._take_over(line)
                return

    async def _dial(self) -> Line | None:
        """A connection that has resumed."""
        self.dialled.append(time.monotonic())
        try:
            socket = await RawSocket.chat(self._port, token(self.user), {self.channel: dict(self._position)})
        except (AssertionError, Gone, OSError, TimeoutError):
            return None
        line = Line(socket)
        for text in socket.unread:
            name, body = json.loads(text.removeprefix("42/chat,"))
            if name == "channel:resumed":
                self._resumed(line, body)
            elif name == "message:created":
                self._event(line, body)
        return line

    def _resumed(self, line: Line, reply: Json) -> None:
        if reply["recovered"] is not True:
            self.faults.append(f"not recovered: {reply}")
        line.offset = reply["offset"] - len(reply["events"])
        for each in reply["events"]:
            self._event(line, each)

    # Talking

    async def _talk(self, lane: int) -> None:
        assert self._pause_s is not None
        for number in itertools.count():
            if self._silent.is_set():
                return
            key = f"{self.user}-{lane}-{number}"
            self.sent[key] = 0
            self._post(key)
            while key not in self.acks:
                self._answered.clear()
                await self._answered.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s):
                    await self._silent.wait()

    def _post(self, key: str) -> None:
        line = self._line
        if line is None:
            self._unsent.append(key)
            return
        self.sent[key] += 1
        number = next(line.numbers)
        line.owed[number] = key
        payload = {"channel": self.channel, "text": key, "key": key}
        line.socket.push(masked(event("message:send", payload, ack=number)))


@dataclass
class Story:
    """A drain as its clients lived it, and what the process that ended says of itself; `pace` is clients a second."""

    movers: Sequence[Mover]
    log: Mapping[str, Sequence[tuple[int, str | None]]]
    exit_code: int
    seconds: float
    limit_s: float
    pace: float

    @property
    def peak(self) -> int:
        """The most attempts to connect that fell into any one second."""
        times = sorted(moment for mover in self.movers for moment in mover.dialled)
        return max((bisect_left(times, begin + 1.0) - place for place, begin in enumerate(times)), default=0)

    @property
    def gaps(self) -> list[float]:
        """Seconds for which each client was without a connection, the shortest first."""
        return sorted(sum(mover.gaps) for mover in self.movers)

    @property
    def moved(self) -> float:
        """The part of those that heed the notice which never were without a connection."""
        heeding = [mover for mover in self.movers if mover.heeds]
        return sum(not mover.gaps for mover in heeding) / len(heeding)

    @property
    def retried(self) -> list[Json]:
        """The answers to what had to be sent again, for no refusal of the server's."""
        return [
            mover.acks[key]
            for mover in self.movers
            for key, tries in mover.sent.items()
            if tries > 1 and key in mover.acks and key not in mover.refused
        ]

    def complaints(self) -> list[str]:
        """What was promised and not kept; none, if all is well."""
        waits = self.gaps[round(len(self.gaps) * 0.99) - 1]
        unanswered_but_done = sum(answer["duplicate"] for answer in self.retried)
        verdict = {
            f"exit code {self.exit_code}": self.exit_code != 0,
            f"ended after {self.seconds:.1f} s": self.seconds > self.limit_s,
            f"{self.peak} attempts in one second, at a pace of {self.pace:.0f}": self.peak > 2 * self.pace,
            f"the 99th of a hundred waited {waits:.1f} s": waits > WAIT_LIMIT_S,
            f"only {self.moved:.0%} of those that heeded the notice kept a connection": self.moved < HEEDED,
            f"{unanswered_but_done} commands were done and not answered": unanswered_but_done > 0,
        }
        return [text for text, wrong in verdict.items() if wrong] + self._lies()

    def _lies(self) -> list[str]:
        """Where a client's view and the log differ."""
        found = [f"{mover.user}: {fault}" for mover in self.movers for fault in mover.faults]
        for mover in self.movers:
            log = self.log[mover.channel]
            if mover.offsets != list(range(mover.offsets[0], len(log) + 1)):
                found.append(f"{mover.user} heard {mover.offsets[-5:]} of {len(log)}")
            at = {key: offset for offset, key in log}
            if mover.unanswered or any(at.get(key) != answer["offset"] for key, answer in mover.acks.items()):
                found.append(f"{mover.user}: not in the log as acked; {len(mover.unanswered)} without an answer")
            often = {key for key, tries in mover.sent.items() if tries > 2} - mover.refused
            found += [f"{key} was sent more than twice" for key in often]
        for channel, log in self.log.items():
            keys = [key for _, key in log]
            if [offset for offset, _ in log] != list(range(1, len(log) + 1)) or len(set(keys)) != len(keys):
                found.append(f"{channel}: not dense, or a message twice")
        return found


async def arrive(movers: Sequence[Mover]) -> None:
    """Let all connect and join."""
    gate = asyncio.Semaphore(DIALLING)

    async def one(mover: Mover) -> None:
        async with gate:
            await mover.arrive()

    async with asyncio.TaskGroup() as arriving:
        for mover in movers:
            arriving.create_task(one(mover))
