"""A `socketio.SimpleClient` that does what it is told. ../README.md has the commands and the lines."""

import json
import os
import sys
import threading

import socketio

from tests.clients_of_others.python.lines import HASTE, Json, Voice, argument

LOOK_S = 0.02
"""How often it looks whether the client is still connected: the library calls nobody."""


class User:
    """A client, and the payload of its next CONNECT."""

    def __init__(self, id: str) -> None:
        self._voice = Voice(id)
        self._client = socketio.SimpleClient(**HASTE)
        self._order: Json = {}
        self._told = False  # whether it was said to be connected
        self._left = False

    def open(self, order: Json) -> None:
        """Connect, and receive from then on."""
        self._order = order
        self.connect(order)

    def connect(self, _: Json) -> None:
        """Connect, for the first time or by hand."""
        names = self._order["namespaces"]
        if len(names) > 1:
            self._voice.say("unable", reason="one client has one namespace")
            return
        try:
            self._client.connect(
                self._order["url"],
                auth=lambda: self._order["auth"],
                transports=self._order["transports"],
                namespace=names[0],
            )
        except socketio.exceptions.ConnectionError as error:
            self._voice.failed(error)
            return
        while not self._left:
            self._receive()

    def _receive(self) -> None:
        connected = self._client.connected and self._client.connected_event.is_set()
        if connected != self._told:
            self._told = connected
            self._voice.say("connect" if connected else "disconnect", reason="it is not connected")
        try:
            self._voice.heard(*self._client.receive(timeout=LOOK_S))
        except socketio.exceptions.TimeoutError:
            pass
        except socketio.exceptions.DisconnectedError:
            threading.Event().wait(LOOK_S)

    def auth(self, order: Json) -> None:
        """Change the payload of the next CONNECT."""
        self._order["auth"] = order["auth"]

    def emit(self, order: Json) -> None:
        """Emit, or call if it has a tag."""
        try:
            if order["tag"] is None:
                self._client.emit(order["name"], argument(order))
            else:
                self._voice.answered(order["tag"], self._client.call(order["name"], argument(order)))
        except socketio.exceptions.SocketIOError as error:
            self._voice.failed(repr(error))

    def close(self, _: Json) -> None:
        """Go away, also while it reconnects: `disconnect` alone lets it go on."""
        self._left = True
        if self._client.client is not None:
            self._client.client.shutdown()


def main() -> None:
    """Do what the lines say, each in its own thread: connects and calls take their time."""
    users: dict[str, User] = {}
    for line in sys.stdin:
        order: Json = json.loads(line)
        user = users.setdefault(order["id"], User(order["id"]))
        act = getattr(user, order["do"])
        if (order["do"] == "emit" and order["tag"] is None) or order["do"] == "auth":
            act(order)  # in order
        else:
            threading.Thread(target=act, args=(order,), daemon=True).start()


main()
os._exit(0)  # at once: the libraries' threads may still have something to print
