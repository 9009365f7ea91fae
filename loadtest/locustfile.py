"""Locust users on the real protocol: chatters, lurkers, readers, and phones that drop out and come back.

    MARU_JWT_SECRET=... locust -f loadtest/locustfile.py --host http://127.0.0.1:8080 --headless -u 100 -r 20 -t 1m

Run it at the project's root. A lost, repeated or disordered event is a failure, so Locust's exit code tells. Add
`loadtest/locust_shape.py` to `-f` for storms that drop all phones at once. See docs/loadtest.md.
"""

import itertools
import os
import random
import secrets
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
from gevent.event import Event
from locust import User, between, events, task
from locust.runners import MasterRunner

from loadtest.gevent_client import GeventClient
from loadtest.judge import ChannelRecord, Verdict
from loadtest.people import Marks, PeopleTally
from loadtest.reporter import CONNECT, RESUME, Reporter
from loadtest.session import OUTBOX_LIMIT, Session
from loadtest.target import Target
from loadtest.tokens import NoTokens, Tokens, tokens_from
from loadtest.traffic import Closed, Outgoing, Question, Refused
from loadtest.wire import Json

BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 10.0
"""As PROTOCOL.md asks of clients: doubling, each 50 to 150 %."""

LOOKS_EVERY_S = 0.05

ENTER_S = 30.0
"""How long a new user waits until it is in, before it begins its tasks anyway."""

LEAVE_S = 5.0

NUMBERS_PER_WORKER = 100_000
RUN = secrets.token_hex(4)


@events.init_command_line_parser.add_listener
def options(parser: Any) -> None:
    """Our options; each has a variable too. Tokens come by the environment alone."""
    add = parser.add_argument_group("Maru").add_argument
    add("--channels", type=int, default=10, env_var="LOADTEST_CHANNELS", help="how many there are")
    add("--joins", type=int, default=3, env_var="LOADTEST_JOINS", help="how many of them a user is in")
    add("--prefix", default="room:locust", env_var="LOADTEST_PREFIX", help="channels are PREFIX-NUMBER")
    add("--pace", type=float, default=1.0, env_var="LOADTEST_PACE", help="a chatter's messages a second")
    add("--text", type=int, default=100, env_var="LOADTEST_TEXT", help="characters of a message")
    add("--drop-every", type=float, default=15.0, env_var="LOADTEST_DROP_EVERY", help="a phone's seconds in between")
    add(
        "--settle",
        type=float,
        default=10.0,
        env_var="LOADTEST_SETTLE",
        help="seconds for the last acks and events",
    )
    add("--mix", default="", env_var="LOADTEST_MIX", help="weights, e.g. Chatter=1,Lurker=8,Phone=3")


class Process:
    """State that the users of one process share."""

    def __init__(self, environment: Any) -> None:
        given = environment.parsed_options
        self.options = given
        self.target = Target.parse(environment.host or "")
        self.channels = [f"{given.prefix}-{number}" for number in range(given.channels)]
        self.tokens: Tokens = tokens_from(os.environ, f"{given.prefix}-*")
        self.records = {channel: ChannelRecord() for channel in self.channels}
        self.heads: dict[str, dict[str, int]] = {}
        self.clock = f"{RUN}-{os.getpid()}"  # workers may be forks of one process, with the same `RUN`
        self.keys = itertools.count()
        self.phones: set[Phone] = set()
        first = getattr(environment.runner, "worker_index", 0) * NUMBERS_PER_WORKER
        self.numbers = itertools.count(first)


process: Process | None = None


@events.init.add_listener
def prepare(environment: Any, runner: Any, **_: object) -> None:
    """Set the weights, and let a shape drop all phones. End at once if the run could not begin."""
    given = environment.parsed_options
    kinds = {kind.__name__: kind for kind in environment.user_classes}
    try:
        for name, weight in (each.split("=") for each in given.mix.split(",") if each):
            if name not in kinds:
                raise ValueError(f"--mix names {name!r}, which is none of {', '.join(kinds)}")
            kinds[name].weight = int(weight)
        if not isinstance(runner, MasterRunner):  # a master has no users of its own
            tokens_from(os.environ, given.prefix)
        if environment.host:
            Target.parse(environment.host)
    except (ValueError, NoTokens) as error:
        sys.exit(f"loadtest: {error}")
    if runner is not None:
        runner.register_message("storm", storm)


@events.test_start.add_listener
def begin(environment: Any, **_: object) -> None:
    """Forget an earlier run."""
    global process  # noqa: PLW0603  # Locust builds the users and calls the listeners: they share nothing else
    process = Process(environment)


def storm(**_: object) -> None:
    """Drop all phones of this process at once."""
    for phone in list(process.phones if process else ()):
        phone.client.drop()


class Maru(User):
    """A user with a connection that it gets back whenever it loses it."""

    abstract = True

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        assert process is not None
        self.shared = process
        self.number = next(process.numbers)
        self.leaving = Event()
        self.asked_at = self.came_at = 0.0
        self.client = GeventClient(process.target, self._session)
        self.living: Any = None

    def _session(self, client: GeventClient) -> Session:
        shared = self.shared
        self.reporter = Reporter(
            self.environment.events.request.fire, shared.clock, time.monotonic, shared.heads, self._came
        )
        joins = min(shared.options.joins, len(shared.channels))
        channels = random.sample(shared.channels, joins)
        return Session(
            shared.target.header, lambda: shared.tokens.of(self.number), channels, shared.records, self.reporter
        )

    def _came(self) -> None:
        self.reporter.entered(RESUME if self.came_at else CONNECT, time.monotonic() - self.asked_at)
        self.came_at = time.monotonic()
        self.client.ready.set()

    def on_start(self) -> None:
        """Come in."""
        self.living = gevent.spawn(self._live)
        self.client.ready.wait(ENTER_S)

    def _live(self) -> None:
        """Connect, and again after each end, until the user leaves."""
        pause = BACKOFF_S
        while not self.leaving.is_set():
            self.asked_at = time.monotonic()
            problem = self.client.live()
            if self.leaving.is_set():
                return
            if self.came_at > self.asked_at:
                pause = BACKOFF_S
            wait = self._get_over(problem)
            self.leaving.wait(max(wait, pause) * random.uniform(0.5, 1.5))
            pause = min(2 * pause, LONGEST_BACKOFF_S)

    def _get_over(self, problem: Exception | None) -> float:
        """Report why a connection has ended, unless the user ended it; return how long the server asks to wait.

        Clients get over a close and a refusal for now. It is a failure if the first connection reaches no server.
        """
        if problem is None:
            return 0.0
        expected = isinstance(problem, Closed) or (isinstance(problem, Refused) and problem.retryable)
        lost = isinstance(problem, OSError) and self.came_at > 0
        self.reporter.ended(problem, failed=not expected and not lost)
        return problem.retry_after_s if isinstance(problem, Refused) else 0.0

    def on_stop(self) -> None:
        """Wait for the last acks and events, at most `--settle` seconds; the missing ones are lost. Then leave."""
        state, heads = self.client.session.state, self.shared.heads
        deadline = time.monotonic() + self.shared.options.settle
        while (self.client.session.outbox or state.behind(heads)) and time.monotonic() < deadline:
            gevent.sleep(LOOKS_EVERY_S)
        if state.behind(heads):
            self.reporter.fault(Verdict.GAP, "at the end")
        self.leaving.set()
        self.client.drop()
        if self.living is not None:
            self.living.join(LEAVE_S)

    def say(self) -> None:
        """Send a message to a channel of the user's, unless too many are unanswered."""
        session = self.client.session
        if len(session.outbox) >= OUTBOX_LIMIT:
            return
        shared = self.shared
        key, text = f"{shared.clock}-{next(shared.keys)}", "x" * shared.options.text
        message = Outgoing(random.choice(session.channels), key, text, shared.clock, time.monotonic())
        self.reporter.said(message)
        self.client.say(message)

    def look(self) -> None:
        """Repeat the commands that were refused for now."""
        if self.client.session.refusals:
            self.client.retry()


class Chatter(Maru):
    """Talks at a steady pace, and reads."""

    weight = 3

    def wait_time(self) -> float:
        """Between two messages."""
        return random.uniform(0.5, 1.5) / float(self.shared.options.pace)

    @task
    def talk(self) -> None:
        """Send a message."""
        self.look()
        if self.client.ready.is_set():
            self.say()


class Lurker(Maru):
    """Only reads."""

    weight = 6
    wait_time = between(1, 2)

    @task
    def read(self) -> None:
        """Reading happens by itself."""
        self.look()


class Reader(Maru):
    """Reads like somebody at a desk: marks the messages as read, reacts now and then, types without sending, and looks
    at rosters. Its marks must never go back."""

    weight = 2
    wait_time = between(1, 3)

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.marks = Marks(PeopleTally())

    @task(4)
    def mark(self) -> None:
        """Mark a channel as read."""
        channel = random.choice(self.client.session.channels)
        position = self.client.session.state.position(channel)
        if position is not None:
            body = {"channel": channel, "offset": position["offset"]}
            self._ask("read:mark", body, partial(self.marks.answered, channel))

    @task(2)
    def begin_to_type(self) -> None:
        """Type, and think better of it."""
        channel = random.choice(self.client.session.channels)
        self._ask("typing:start", {"channel": channel})
        self._ask("typing:stop", {"channel": channel})

    @task(2)
    def react(self) -> None:
        """React to one of the last messages."""
        channel = random.choice(self.client.session.channels)
        self._ask("history:read", {"channel": channel, "limit": 3}, partial(self._react, channel))

    @task(1)
    def look_around(self) -> None:
        """Read a roster."""
        channel = random.choice(self.client.session.channels)
        self._ask("presence:read", {"channel": channel}, lambda answer: len(answer["members"]) <= answer["count"])

    def _react(self, channel: str, answer: Json) -> bool:
        messages = [message for message in answer["messages"] if not message.get("deleted")]
        if messages:
            body = {"channel": channel, "id": random.choice(messages)["id"], "emoji": random.choice("👍🎉😄")}
            self._ask(random.choice(("reaction:add", "reaction:remove")), body)
        return True

    def _ask(self, name: str, payload: Json, judge: Callable[[Json], bool] = lambda _: True) -> None:
        self.look()
        if not self.client.ready.is_set():
            return
        asked_at = time.monotonic()

        def answered(answer: Json) -> None:
            sound = not answer["ok"] or judge(answer)
            self.reporter.answered(question, time.monotonic() - asked_at, answer, sound=sound)

        question = Question(name, payload, answered, lambda: None)
        self.client.ask(question)


class Phone(Maru):
    """Drops out now and then without a goodbye, half of the time with a message under way. It comes back with `resume`,
    must get exactly the events that it missed, and sends its unanswered messages again under the same keys."""

    weight = 1

    def on_start(self) -> None:
        """Come in, and be there for storms."""
        super().on_start()
        self.shared.phones.add(self)

    def on_stop(self) -> None:
        """Leave, and be there for storms no more."""
        self.shared.phones.discard(self)
        super().on_stop()

    def wait_time(self) -> float:
        """Between two tunnels."""
        return random.uniform(0.5, 1.5) * float(self.shared.options.drop_every)

    @task
    def tunnel(self) -> None:
        """Drop out."""
        self.look()
        if self.client.ready.is_set():
            if random.random() < 0.5:
                self.say()
            self.client.drop()
