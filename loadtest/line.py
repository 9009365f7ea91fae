"""A session on gevent, for Locust: blocking sockets, as Locust has patched them.

Not `locust.contrib.socketio`: its client handles each event in a greenlet of its own, so the order in which events came
is gone before anybody can judge it; and it can neither vanish without a goodbye nor say where it was.
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
from loadtest.traffic import Closed, Outgoing, Refused

READ_BYTES = 65_536
CONNECT_S = 10.0


class Line:
    """Carries what one session says; `ready` is set while it is in all its channels.

    `live` reads in a greenlet of the caller's; every other method may be called from another one.
    """

    def __init__(self, target: Target, session_of: Callable[["Line"], Session]) -> None:
        self.ready = Event()
        self._target = target
        self._socket: socket.socket | None = None
        self._writing = RLock()  # else frames of two greenlets mix, where the first has to wait half-way
        self._dropped = False
        self.session = session_of(self)

    def live(self) -> Exception | None:
        """Connect, and hear the server until the connection ends; return why, or None where `drop` ended it."""
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
        """Send a message; on a connection that is just dying, it is sent again on the next one."""
        self._send(lambda: self.session.say(message))

    def retry(self) -> None:
        """Do again what was refused for now."""
        self._send(self.session.retry)

    def drop(self) -> None:
        """Vanish with no word: TCP is reset."""
        self._dropped = True
        self._hang_up()

    def _send(self, work: Callable[[], bytes]) -> None:
        with contextlib.suppress(OSError), self._writing:  # what is numbered first is written first
            self._write(work())

    def _connect(self) -> None:
        target = self._target
        plug = socket.create_connection((target.host, target.port), CONNECT_S)
        self._socket = plug
        if target.tls:
            self._socket = ssl.create_default_context().wrap_socket(plug, server_hostname=target.host)

    def _write(self, data: bytes) -> None:
        with self._writing:
            if data and self._socket is not None:
                self._socket.sendall(data)

    def _hang_up(self) -> None:
        plug, self._socket = self._socket, None
        if plug is not None:
            reset_on_close(plug)
            plug.close()
