"""A process of clients: does what the harness says over a pipe, and answers pings in between."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import jwt

from bench.client_protocols import PROTOCOLS, Conversation, Line, Plan
from bench.clients import Clients
from bench.fanout import Flow, Pace, Window, flow, pace
from bench.marker import MARKER
from bench.processes import LoadFailed
from bench.sends import SendFlow, SendWindow, senders

IDLE_S = 0.02
"""Between two looks at the pipe while there is no order."""

STATIONS = 64
"""Clients that are let in at a time, unless told otherwise; each waits for its answers, as a real client does."""

TOKEN_S = 3_600


@dataclass(frozen=True, slots=True)
class Target:
    """The server to go to."""

    protocol: str
    ports: tuple[int, ...]
    pids: tuple[int, ...]
    secret: str


@dataclass(frozen=True, slots=True)
class Entered:
    """The times that it took to let clients in."""

    clients: int
    seconds: float
    longest_s: float
    load_cpu_s: float


class Worker:
    """Carries out orders. Each public method is an order; its arguments and result travel through the pipe."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._protocol = PROTOCOLS[target.protocol]
        self.crowd = Clients(self._protocol)
        self._members: list[int] = []
        self._senders: list[int] = []
        self._plans: list[Plan] = []

    def prepare(self, count: int, channels: Sequence[str], join: bool, first: int = 0) -> None:
        """Make the bytes of `count` clients now, so that it costs no time while they are let in."""
        for number in range(first, first + count):
            channel = channels[number % len(channels)]
            lines = self._connect(f"user-{number}", channel)
            port = self._target.ports[number // len(channels) % len(self._target.ports)]
            self._plans.append(Plan(port, lines + self._protocol.join(channel) if join else lines))

    def enter(self, concurrency: int = STATIONS) -> Entered:
        """Let in the prepared clients."""
        plans, self._plans = self._plans, []
        began, cpu = time.perf_counter(), time.process_time()
        entered, took = self.crowd.enter(plans, min(concurrency, len(plans)))
        self._members += entered
        return Entered(len(plans), time.perf_counter() - began, max(took), time.process_time() - cpu)

    def join(self, channel: str) -> None:
        """Make all clients that were let in members of a channel."""
        for line in self._protocol.join(channel):
            for start in range(0, len(self._members), STATIONS):
                self.crowd.ask(self._members[start : start + STATIONS], line)

    def fanout(self, window: Window) -> Flow:
        """Keep messages in flight for a while."""
        self.crowd.count(MARKER)
        return flow(self.crowd, self._members, self._sender(window.senders), self._wave(window), window)

    def latency(self, window: Window, waves_s: float) -> Pace:
        """Send at a steady rate, and time every delivery."""
        self.crowd.count(MARKER)
        return pace(self.crowd, self._members, self._sender(window.senders), self._wave(window), window, waves_s)

    def sends(self, window: SendWindow) -> SendFlow:
        """Have every client send, and time the acks."""
        self.crowd.count(self._protocol.acked)
        who = self._members[: window.senders or None]
        return senders(self.crowd, who, self._frames(window), window, self._target.pids)

    def leave(self) -> None:
        """Disconnect all clients at once."""
        self.crowd.close()
        self._members, self._senders = [], []

    def lost(self) -> int:
        """Return how many clients lost their connection against their wish."""
        return self.crowd.lost

    def enter_prober(self) -> None:
        """Let in the client that `probe` asks through."""
        self._members = self.crowd.enter([Plan(self._target.ports[0], self._prober())], 1)[0]

    def probe(self, interval_s: float, stop: Callable[[], bool]) -> list[float]:
        """Ask and wait, again and again, until told to stop; return how long each answer took in seconds."""
        (prober,) = self._members
        took: list[float] = []
        while True:
            began = time.perf_counter()
            self.crowd.ask([prober], Line(self._protocol.ask, self._protocol.answer))
            took.append(time.perf_counter() - began)
            if stop():
                return took
            self.crowd.pump(interval_s)

    def _prober(self) -> Conversation:
        prober = self._protocol.connect_prober
        return self._connect("prober", "room:nobody") if prober is None else prober

    def _wave(self, window: Window) -> bytes:
        return b"".join(self._protocol.publish(channel, window.size) for channel in window.channels)

    def _frames(self, window: SendWindow) -> list[bytes]:
        """Return the message of each client; they are spread over the channels."""
        protocol, count = self._protocol, len(window.channels)
        if protocol.publish_as is None:
            return [protocol.publish(channel, window.size) for channel in window.channels]
        return [
            protocol.publish_as(f"user-{number}", window.channels[number % count], window.size)
            for number in range(len(self._members))
        ]

    def _connect(self, user: str, channel: str) -> Conversation:
        if self._protocol.named:
            return self._protocol.connect(user)
        if self._protocol.enter_at_handshake:
            return self._protocol.connect(channel)
        return self._protocol.connect(mint(self._target.secret, user, grants=self._protocol.grants))

    def _sender(self, count: int) -> list[int]:
        """Return `count` clients that send and are no members; they stay connected for the next order."""
        connect = self._protocol.connect_sender
        while len(self._senders) < count:
            number = len(self._senders)
            lines = connect("room:0") if connect else self._connect(f"sender-{number}", "")
            port = self._target.ports[number % len(self._target.ports)]
            self._senders += self.crowd.enter([Plan(port, lines)], 1)[0]
        return self._senders[:count]


def mint(secret: str, user: str, *, grants: bool = True) -> str:
    """Return a token; with `grants`, for a server that reads them there, it lets its user into every room."""
    claims: dict[str, Any] = {"sub": user, "name": user, "exp": int(time.time()) + TOKEN_S}
    if grants:
        claims["channels"] = {"room:*": ["join", "send"]}
    return jwt.encode(claims, secret, algorithm="HS256")


def main(pipe: Connection, target: Target, core: int, niceness: int) -> None:
    """Serve the harness until it hangs up. Answers are (result, None) or (None, problem)."""
    os.sched_setaffinity(0, {core})
    os.nice(niceness)
    worker = Worker(target)
    while True:
        while not pipe.poll():
            worker.crowd.pump(IDLE_S)
        try:
            name, arguments = pipe.recv()
            pipe.send(_obey(worker, pipe, name, arguments))
        except (EOFError, BrokenPipeError):  # the harness has gone
            return


def _obey(worker: Worker, pipe: Connection, name: str, arguments: dict[str, Any]) -> tuple[Any, str | None]:
    if name == "probe":
        arguments |= {"stop": pipe.poll}
    try:
        return getattr(worker, name)(**arguments), None
    except LoadFailed as error:
        return None, str(error)
