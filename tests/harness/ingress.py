"""The real nginx as a cluster's way in: its replicas come and go while clients stay connected."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.harness.nginx import NginxProcess

NOBODY = "server 127.0.0.1:1 down;\n"
"""nginx wants at least one server; this server is never asked."""


class Ingress(NginxProcess):
    """nginx with the configuration of `nginx-sticky/`, pointed at other replicas by `route`.

    Use as an async context manager; it starts with nobody behind it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ())
        self._replicas().write_text(NOBODY)

    def route(self, ports: Sequence[int]) -> None:
        """Send newcomers to these ports from now on; connected clients stay."""
        lines = (f"server 127.0.0.1:{port} max_fails=0;\n" for port in ports)
        self._replicas().write_text("".join(lines) or NOBODY)
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def turned_away(self) -> list[dict[str, Any]]:
        """Return the handshakes that a replica refused or could not take, among the connections that have ended.

        Handshakes whose client left before any answer are not among them.
        """
        return [line for line in self.requests if line["replica_status"].startswith("5")]

    def _replicas(self) -> Path:
        return self._configuration / "replicas.conf"
