"""A `socketio.Client` that does what it is told. ../README.md has the commands and the lines."""

import json
import os
import sys
import threading
from collections.abc import Callable

import socketio

from tests.clients_of_others.python.lines import HASTE, Json, Voice, argument


class User:
    """A client, and the payload of its next CONNECT."""

    def __init__(self, id: str) -> None:
        self._voice = Voice(id)
        self._client = socketio.Client(**HASTE)
        self._order: Json = {}

    def open(self, order: Json) -> None:
        """Make ready, and connect."""
        self._order = order
        handlers: dict[str, Callable[..., None]] = {
            "connect": lambda: self._voice.say("connect"),
            "disconnect": lambda reason: self._voice.say("disconnect", reason=reason),
            "connect_error": self._voice.failed,
            "*": self._voice.heard,
        }
        for name, handler in handlers.items():
            self._client.on(name, handler, namespace=order["namespaces"][-1])
        self._connect()

    def connect(self, _: Json) -> None:
        """Connect by hand. When `disconnect` is called, the library is not done yet."""
        self._client.wait()
        self._connect()

    def _connect(self) -> None:
        """Connect; the handlers tell what becomes of it, or the exception does."""
        names = self._order["namespaces"]
        try:
            self._client.connect(
                self._order["url"],
                auth=lambda: self._order["auth"],
                transports=self._order["transports"],
                namespaces=names,
                wait=len(names) == 1,  # one that waits gives all of them up if one is refused
                wait_timeout=5,
            )
        except socketio.exceptions.ConnectionError as error:
            self._voice.failed(error)

    def auth(self, order: Json) -> None:
        """Change the payload of the next CONNECT."""
        self._order["auth"] = order["auth"]

    def emit(self, order: Json) -> None:
        """Emit, with an ack if it has a tag."""
        tag = order["tag"]
        callback = None if tag is None else lambda ack: self._voice.answered(tag, ack)
        try:
            self._client.emit(order["name"], argument(order), self._order["namespaces"][-1], callback)
        except socketio.exceptions.SocketIOError as error:
            self._voice.failed(repr(error))

    def close(self, _: Json) -> None:
        """Go away, also while it reconnects."""
        self._client.shutdown()


def main() -> None:
    """Do what the lines say; a connect takes its time, so it has a thread."""
    users: dict[str, User] = {}
    for line in sys.stdin:
        order: Json = json.loads(line)
        user = users.setdefault(order["id"], User(order["id"]))
        act = getattr(user, order["do"])
        if order["do"] in {"open", "connect"}:
            threading.Thread(target=act, args=(order,), daemon=True).start()
        else:
            act(order)


main()
os._exit(0)  # at once: the libraries' threads may still have something to print
