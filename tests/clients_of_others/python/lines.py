"""What the three Python puppets share: lines of JSON in and out."""

import json
import sys
from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

HASTE: Mapping[str, Any] = {"reconnection_delay": 0.2, "reconnection_delay_max": 0.5, "handle_sigint": False}
"""The options of every client: it reconnects soon."""


class Voice:
    """Tells what one client sees."""

    def __init__(self, id: str) -> None:
        self._id = id

    def say(self, kind: str, **fields: object) -> None:
        """Print a line in one piece, also when several threads do."""
        sys.stdout.write(json.dumps({"id": self._id, "is": kind} | fields) + "\n")
        sys.stdout.flush()

    def failed(self, error: object) -> None:
        """Tell why there is no session: by the object of the handler of `connect_error`, or by an exception."""
        refused = error if isinstance(error, dict) else {"message": str(error)}
        self.say("connect_error", message=refused["message"], data=refused.get("data"), detail="")

    def heard(self, name: str, body: object) -> None:
        """Tell of an event."""
        self.say("event", name=name, body=body)

    def answered(self, tag: int, ack: object) -> None:
        """Tell of an ack."""
        self.say("ack", tag=tag, ack=ack)


def argument(order: Json) -> Any:
    """The payload as the library takes it: several arguments are a tuple."""
    args = order["args"]
    return args[0] if len(args) == 1 else tuple(args)
