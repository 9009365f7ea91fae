"""A session on gevent, for Locust: blocking sockets, as Locust has patched them.

Not `locust.contrib.socketio`: its client handles each event in its own greenlet, so the order of arrival is lost before
it can be judged; and it can neither vanish without a goodbye nor resume.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable

from gevent.event import Event
from gevent.lock import RLock

from loadtest.frames import WireError, closing
from loadtest.session import Session
from loadtest.target import Target, reset_on_close
from loadtest.traffic import Closed, Outgoing, Question, Refused

READ_BYTES = 65_536
CONNECT_S = 10.0


class GeventClient:
    """Carries one session's bytes. `ready` is set while the session is in all its channels.

    `live` reads in the caller's greenlet; every other method may be called from any greenlet.
    """

    def __init__(self, target: Target, session_of: Callable[["GeventClient"], Session]) -> None:
        self.ready = Event()
        self._target = target
        self._socket: socket.socket | None = None
        self._writing = RLock()  # two greenlets may write: if the first has to wait, the second must not cut in
        self._dropped = False
        self.session = session_of(self)

    def live(self) -> Exception | None:
        """Connect, and read until the connection ends. Return the reason, or None if `drop` ended it."""
        self._dropped = False
        try:
            self._connect()
            assert self._socket is not None
            self._write(self.session.dial())
            while data := self._socket.recv(READ_BYTES):
                self._write(self.session.hear(data))
                self._socket.settimeout(self.session.patience_s)
            problem: Exception = Closed(1006)
        except Closed as closed:
            problem = closed
            with contextlib.suppress(OSError):
                self._write(closing())
        except (Refused, WireError, OSError) as error:
            problem = error
        finally:
            self.ready.clear()
            self.session.hang_up()
            self._hang_up()
        return None if self._dropped else problem

    def say(self, message: Outgoing) -> None:
        """Send a message. If the connection is lost, the session sends the message again on the next connection."""
        self._send(lambda: self.session.say(message))

    def retry(self) -> None:
        """Repeat the commands that were refused for now."""
        self._send(self.session.retry)

    def ask(self, question: Question) -> None:
        """Ask something else."""
        self._send(lambda: self.session.ask(question))

    def drop(self) -> None:
        """Vanish without a goodbye: reset TCP."""
        self._dropped = True
        self._hang_up()

    def _send(self, work: Callable[[], bytes]) -> None:
        with contextlib.suppress(OSError), self._writing:  # the session numbers its commands: they go out in that order
            self._write(work())

    def _connect(self) -> None:
        target = self._target
        sock = socket.create_connection((target.host, target.port), CONNECT_S)
        self._socket = sock
        if target.tls:
            self._socket = ssl.create_default_context().wrap_socket(sock, server_hostname=target.host)

    def _write(self, data: bytes) -> None:
        with self._writing:
            if data and self._socket is not None:
                self._socket.sendall(data)

    def _hang_up(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            reset_on_close(sock)
            sock.close()
