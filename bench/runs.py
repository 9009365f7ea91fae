"""One run of the harness: starts peers, keeps what was measured, tells the terminal how far it is."""

import contextlib
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from bench.load import Load
from bench.machine import Cores
from bench.peers import native
from bench.peers.base import Peer, Setting
from bench.peers.registry import NEEDS_REDIS, START
from bench.processes import LoadFailed, NotAvailable
from bench.worker import Target


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured once. `problem` says why there are no values."""

    case: str
    peer: str
    round: int
    params: Mapping[str, Any]
    values: Mapping[str, float]
    problem: str = ""


@dataclass(slots=True)
class Run:
    """The settings and the rows that all cases share."""

    cores: Cores
    folder: Path
    """For the peers' files; goes with the run."""
    out: TextIO | None = None
    """Takes one line of JSON a row."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """`MARU_*` settings that were asked for."""
    source: Path | None = None
    """A folder with another version of Maru."""
    rows: list[Row] = field(default_factory=list)
    _secret: str = field(default_factory=lambda: secrets.token_hex(32))
    _began: float = field(default_factory=time.monotonic)

    @contextlib.contextmanager
    def peer(
        self,
        name: str,
        size: int = 64,
        replicas: int = 1,
        variables: Mapping[str, str] | None = None,
        start: Callable[[str, Setting], Peer] | None = None,
    ) -> Iterator[Peer]:
        """Start a peer, and a Redis if it needs it; end them afterwards. Raises `NotAvailable`.

        `variables` are settings of Maru's that a case needs; those that were asked for stand above them. `start` starts
        the peer in another way than always.
        """
        with contextlib.ExitStack() as stack:
            setting = self.setting(size=size, replicas=replicas)
            setting = replace(setting, variables={**(variables or {}), **setting.variables})
            store: tuple[int, ...] = ()
            if name in NEEDS_REDIS:
                redis = native.redis(setting)
                stack.callback(redis.stop)
                store = tuple(redis.pids())
                setting = replace(setting, redis_url=f"redis://127.0.0.1:{redis.ports[0]}")
            started = (start or START[name])(name, setting)
            started.store = store
            stack.callback(started.stop)
            yield started

    def setting(self, size: int = 64, replicas: int = 1) -> Setting:
        """Return the setting for a peer of this run."""
        return Setting(self.cores, self.folder, self._secret, size, replicas, None, self.source, self.variables)

    def load(self, peer: Peer, niceness: int = 0, ports: tuple[int, ...] | None = None) -> Load:
        """Return clients for a peer, or for some of its replicas."""
        target = Target(peer.protocol, ports or peer.ports, tuple(peer.pids()), self._secret)
        return Load(target, self.cores.load, niceness)

    def record(self, case: str, peer: str, number: int, params: Mapping[str, Any], values: Mapping[str, float]) -> None:
        """Keep a row, and show it."""
        self._keep(Row(case, peer, number, dict(params), dict(values)))

    @contextlib.contextmanager
    def attempt(self, case: str, peer: str, number: int, params: Mapping[str, Any]) -> Iterator[None]:
        """Report a measurement that fails with its reason, and let the run go on."""
        try:
            yield
        except (NotAvailable, LoadFailed) as error:
            self._keep(Row(case, peer, number, dict(params), {}, str(error)))

    def say(self, text: str) -> None:
        """Print progress, with the seconds since the start."""
        print(f"[{time.monotonic() - self._began:5.0f} s] {text}", file=sys.stderr, flush=True)

    def _keep(self, row: Row) -> None:
        self.rows.append(row)
        if self.out is not None:
            self.out.write(json.dumps(asdict(row)) + "\n")
            self.out.flush()
        params = " ".join(f"{name}={value}" for name, value in row.params.items())
        values = " ".join(f"{name}={value:.4g}" for name, value in row.values.items())
        self.say(f"{row.case} {row.peer} #{row.round} {params}: {values or 'not available: ' + row.problem}")
