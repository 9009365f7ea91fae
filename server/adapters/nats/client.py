"""A single connection of the client library: opened once, and not again."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from server.adapters.nats import address
from server.adapters.nats.echo import Echo

CONNECT_S = 0.9
"""For each step of connecting. A frozen or unreachable server is an outage and no hang."""

OPEN_S = 2.5
"""For all steps, with two tries for each server."""

AGAIN_S = 0.1
"""Between the tries."""

ACCOUNT_S = 1.7
"""For what the account may have."""

CLOSE_S = 0.5
"""For a connection to close; a frozen server takes no last bytes."""

NO_RESPONDERS = "503"
"""The status of an answer if nobody hears a subject."""

FAILURES = (NatsError, OSError, TimeoutError)
"""Whatever the library raises if it can't do what it should."""


class MaruClient(Client):
    """A client that sends no login over a connection without TLS, if the URL asks for TLS: the library's own does as
    the server says. It keeps nothing for a time with a connection."""

    def __init__(self, at: address.Address) -> None:
        super().__init__()
        self.echo: Echo  # set by `open`
        self._inbox = ""  # begins the subjects of answers
        self._asked: dict[str, asyncio.Future[Msg]] = {}  # by the ends of those subjects
        self._numbers = count(1)
        self._at = at
        self._problem: Exception | None = None  # the last that was told while it connected

    async def open(
        self, name: str, hear_problem: Callable[[Exception], Awaitable[None]], closed: Callable[[], Awaitable[None]]
    ) -> None:
        """Connect. `hear_problem` is told of problems later on, `closed` that the connection is over."""

        async def hear(error: Exception) -> None:
            self._problem = error
            if self.is_connected:
                await hear_problem(error)

        try:
            await self.connect(
                list(self._at.servers),
                name=name,
                error_cb=hear,
                closed_cb=closed,
                allow_reconnect=False,
                connect_timeout=CONNECT_S,  # type: ignore[arg-type]  # goes to `asyncio.wait_for`
                reconnect_time_wait=AGAIN_S,  # type: ignore[arg-type]  # goes to `asyncio.sleep`
                max_reconnect_attempts=1,  # of each server; then the link's next connection tries them again
                ping_interval=3600,  # the link's pulse does better
                pending_size=0,  # nothing is kept for later
                skip_subject_validation=True,  # every part of a subject is escaped (names.py)
                tls=self._at.tls,
                **self._at.login,  # type: ignore[arg-type]  # the library's types name each option
            )
        except NatsError as error:
            raise self._problem or error from error  # the library's "no servers" tells nothing
        self.echo = await Echo.open(self)
        self._inbox = self.new_inbox() + "."
        await self.hear(f"{self._inbox}*", self._take_answer)

    @property
    def server(self) -> str:
        """The server that answers, without the login."""
        url = self.connected_url
        return "" if url is None else f"{url.hostname}:{url.port}"

    async def hear(self, subject: str, take: Callable[[Msg], None]) -> Subscription:
        """Subscribe to a subject; `take` gets each message as it comes, and must not fail."""
        subscription = await self.subscribe(subject, pending_bytes_limit=0)
        # The library would have a queue of its own for each subscription, and drop what has no room there. What comes
        # is taken at once instead: the queues that have a bound are those of the listeners.
        queue, inlet = subscription._pending_queue, _Inlet(take)  # noqa: SLF001
        subscription._pending_queue = inlet  # type: ignore[assignment]  # noqa: SLF001
        while not queue.empty():  # they came while the library had more to write than it takes at once
            take(queue.get_nowait())
        return subscription

    async def ask(self, subject: str, data: bytes, headers: Mapping[str, str]) -> Msg:
        """Return the answer to a message, however long it takes: the library's own `request` costs some tasks and
        timers more. Raises `NoRespondersError`."""
        token = str(next(self._numbers))
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._asked[token] = answer
        try:
            await self.publish(subject, data, reply=self._inbox + token, headers=dict(headers) or None)
            message = await answer
        finally:
            del self._asked[token]
        if message.headers and message.headers.get("Status") == NO_RESPONDERS:
            raise NoRespondersError
        return message

    def _take_answer(self, message: Msg) -> None:
        answer = self._asked.get(message.subject[len(self._inbox) :])
        if answer is not None and not answer.done():
            answer.set_result(message)

    async def end(self) -> None:
        """Close the connection, or leave a server alone that does not take its end."""
        with contextlib.suppress(*FAILURES, AssertionError):  # the library asserts that it has tried to connect
            async with asyncio.timeout(CLOSE_S):
                await self.close()

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if self._at.tls is not None and not info.get("tls_required"):
            raise NatsError("the server offers no TLS")
        await super()._process_info(info, initial_connection)


class _Inlet:
    """Takes messages as they come, in place of a queue."""

    __slots__ = ("put_nowait",)

    def __init__(self, take: Callable[[Msg], None]) -> None:
        self.put_nowait = take


async def startup_error(url: str, *, jetstream: bool) -> str | None:
    """Return why NATS will not serve this URL until somebody changes one of the two, e.g. because of a wrong password,
    or since it has no JetStream. None if NATS serves, or is only away. Raises `ValueError` on a bad URL."""
    client = MaruClient(address.parse(url))
    try:
        async with asyncio.timeout(OPEN_S):
            await client.open("maru", _heed_nothing, _end)
            if jetstream:
                await client.jetstream(timeout=ACCOUNT_S).account_info()
    except FAILURES as error:
        return _lasting(error, jetstream and client.is_connected)
    finally:
        await client.end()
    return None


async def _heed_nothing(_error: Exception) -> None:
    pass


async def _end() -> None:
    pass


def _lasting(error: Exception, lacking: bool) -> str | None:
    """Return what lasts of an error; `lacking` if there is a connection, and the account has no answer."""
    text = str(error).lower()
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"NATS' certificate is not trusted: {error.verify_message}"
    if "authorization" in text or "authentication" in text:
        return "NATS refuses the user, the password or the token"
    if "no tls" in text or "wrong version number" in text:
        return "NATS offers no TLS, and the URL asks for it"
    if lacking and not isinstance(error, TimeoutError):
        return "this NATS has no JetStream, which the log needs: start it with -js, or enable it for the account"
    return None
