"""One connection of a client: questions with deadlines, and everything that is told unasked."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping

from tests.clients.frames import masked
from tests.clients.raw import Gone, RawSocket, connect, event
from tests.jepsen.history import Json

PING_S = 1
"""The interval in which the servers of a run ping, in whole seconds."""

SILENCE_S = 4.0
"""After so long without a ping, the connection is given up: its replica is frozen, or the network is cut."""

ANSWER_S = 5.0
"""After so long without an answer, nobody knows if a command was done. Servers answer within 2 s."""

Heard = Callable[[str, Json], None]


class Lost(Exception):
    """The connection ended, or the answer did not come in time."""


class Line:
    """Use `dial`. `heard` is called in the order of arrival, so are the callbacks of `ask`."""

    def __init__(self, socket: RawSocket, heard: Heard) -> None:
        self.over = asyncio.Event()
        self._socket, self._heard = socket, heard
        self._numbers = itertools.count(1)
        self._owed: dict[int, tuple[asyncio.Future[Json], Callable[[Json], None]]] = {}
        self._held: list[bytes] | None = None  # frames that are to be sent in one piece
        self._pump = asyncio.get_running_loop().create_task(self._read())
        self._pump.add_done_callback(self._ended)

    @classmethod
    async def dial(cls, port: int, token: str, heard: Heard, resume: Mapping[str, object] | None = None) -> "Line":
        """Connect, and return when the session is ready. Raises `Lost`."""
        ready, problem = asyncio.Event(), list[Json]()

        def first(name: str, data: Json) -> None:
            if name == "session:ready":
                ready.set()
            elif name == "refused":
                problem.append(data)
            else:
                heard(name, data)

        try:
            async with asyncio.timeout(ANSWER_S):
                line = cls(await RawSocket.open(port), first)
        except (OSError, AssertionError, Gone) as error:
            raise Lost(repr(error)) from error
        line._say(connect({"token": token, "resume": dict(resume or {})}))
        waits = [asyncio.ensure_future(wait) for wait in (ready.wait(), line.over.wait())]
        try:
            await asyncio.wait(waits, timeout=2 * ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not ready.is_set() or line.over.is_set():
            await line.vanish()
            raise Lost(f"no session: {problem}")
        return line

    async def ask(self, name: str, payload: Json, then: Callable[[Json], None] = lambda _: None) -> Json:
        """Send a command; return its ack. `then` is given the ack before anything that came behind it is heard."""
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._owed[number] = answer, then
        self._say(event(name, payload, ack=number))
        try:
            async with asyncio.timeout(ANSWER_S):
                ack: Json = await answer
                return ack
        except TimeoutError:
            await self.vanish()
            raise Lost("no answer") from None

    async def vanish(self) -> None:
        """Cut the connection without a goodbye; return when nothing more will be heard."""
        self._pump.cancel()
        self._socket.vanish()  # ends the task too if it swallows the cancellation, as `wait_for` may
        await asyncio.wait((self._pump,))

    @contextlib.asynccontextmanager
    async def one_piece(self) -> AsyncIterator[None]:
        """Send the questions of the block in one piece, so that the server reads all of them before it answers any."""
        self._held = []
        try:
            yield
            await asyncio.sleep(0)  # the tasks that ask have begun
        finally:
            held, self._held = self._held, None
            self._socket.push(b"".join(held))

    def _say(self, text: str) -> None:
        if self._held is not None:
            self._held.append(masked(text))
        else:
            self._socket.push(masked(text))  # without waiting for the kernel: a frozen replica reads nothing

    async def _read(self) -> None:
        with contextlib.suppress(Gone, AssertionError, OSError):
            while True:
                self._take(await self._socket.text(SILENCE_S))

    def _ended(self, pump: "asyncio.Task[None]") -> None:
        self._socket.vanish()
        self.over.set()
        for answer, _ in self._owed.values():
            if not answer.done():
                answer.set_exception(Lost("the connection ended"))
                answer.exception()  # the asker may have been cancelled
        if not pump.cancelled() and (problem := pump.exception()) is not None:
            raise problem

    def _take(self, text: str) -> None:
        if text.startswith("43/chat,"):
            number, _, body = text.removeprefix("43/chat,").partition("[")
            answer, then = self._owed.pop(int(number))
            ack = json.loads("[" + body)[0]
            if not answer.done():
                then(ack)
                answer.set_result(ack)
        elif text.startswith("42/chat,"):
            name, data, *_ = json.loads(text.removeprefix("42/chat,"))
            self._heard(name, data)
        elif text.startswith("44/chat,"):
            self._heard("refused", json.loads(text.removeprefix("44/chat,")))
